"""The tables `jmap` and `object-quota`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from stalwart.config import JmapSettings, ObjectQuotas
from tests.config.support import errors_of, load_text


class JmapSettingsTests(SynchronousTestCase):
    """Limits and times of JMAP."""

    def test_defaults(self) -> None:
        """Without the tables everything has its default, those of Stalwart."""
        settings = load_text("")
        self.assertEqual((settings.jmap, settings.object_quota), (JmapSettings(), ObjectQuotas()))
        self.assertEqual((settings.jmap.request_max_size, settings.jmap.upload_ttl), (10_000_000, 3600.0))

    def test_values(self) -> None:
        """Settings are read under Stalwart's names; durations become seconds."""
        settings = load_text(
            "[jmap.protocol]\nrequest.max-size = 20_000\nupload.ttl = '90m'\nupload.quota.files = 3\n"
            "[jmap.push]\nattempts.max = 9\nallow-private-addresses = true\n"
            "[object-quota]\nidentity = 2\n"
        )
        self.assertEqual(settings.jmap.request_max_size, 20_000)
        self.assertEqual((settings.jmap.upload_ttl, settings.jmap.upload_quota_files), (5400.0, 3))
        self.assertEqual((settings.jmap.push_attempts_max, settings.jmap.push_allow_private_addresses), (9, True))
        self.assertEqual(settings.object_quota, ObjectQuotas(identity=2))

    def test_bounds(self) -> None:
        """RFC 8620 §6: uploads are kept for an hour at least; a value out of bounds names those that are right."""
        (error,) = errors_of("[jmap]\nprotocol.upload.ttl = '59m'\n")
        self.assertEqual((error.key, error.line), ("jmap.protocol.upload.ttl", 2))
        self.assertIn('from "1h" to "365d"', str(error))
        self.assertEqual(len(errors_of("[jmap]\nprotocol.request.max-calls = 0\n")), 1)
        self.assertEqual(len(errors_of("[object-quota]\ncalendar = 1\n")), 1)
