"""The settings of OAuth."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from stalwart.config import OAuthSettings
from tests.config.support import errors_of, load_text


class OAuthSettingsTests(SynchronousTestCase):
    """The table `oauth`."""

    def test_defaults(self) -> None:
        """Without the table: what the documentation says."""
        self.assertEqual(load_text("").oauth, OAuthSettings())

    def test_read(self) -> None:
        """Stalwart's names for what this server has, too."""
        text = """
            [oauth]
            expiry.user-code = "15m"
            expiry.auth-code = "1m"
            expiry.token = "30m"
            expiry.refresh-token = "90d"
            oidc.expiry.id-token = "5m"
            oidc.signature-algorithm = "RS256"
            client-registration.require = false
            client-registration.anonymous = true
        """
        self.assertEqual(
            load_text(text).oauth,
            OAuthSettings(
                user_code=900.0,
                auth_code=60.0,
                token=1800.0,
                refresh_token=90 * 86_400.0,
                id_token=300.0,
                algorithm="RS256",
                registered_only=False,
                anonymous_registration=True,
            ),
        )

    def test_shared_secret(self) -> None:
        """Algorithms that sign with a secret are refused, and the reason is told."""
        (error,) = errors_of('oauth.oidc.signature-algorithm = "hs256"')
        self.assertIn("every client would have to know", error.wanted)
        for other in ('"none"', '"es999"', "256"):
            (error,) = errors_of(f"oauth.oidc.signature-algorithm = {other}")
            self.assertIn('"es256"', error.wanted)

    def test_bounds(self) -> None:
        """No code counts for days, no token for ever."""
        for setting in ('expiry.auth-code = "2h"', 'expiry.token = "31d"', 'expiry.refresh-token = "1m"'):
            self.assertEqual(len(errors_of(f"oauth.{setting}")), 1, setting)
