"""The table `relay`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from stalwart.config import RelaySettings, Secret
from tests.config.support import errors_of, load_text


class RelaySettingsTests(SynchronousTestCase):
    """Where mail leaves."""

    def test_defaults(self) -> None:
        """Nothing is sent until a relay is named, or the recipients' servers are to be asked."""
        relay = load_text("").relay
        self.assertEqual(relay, RelaySettings())
        self.assertEqual((relay.host, relay.direct, relay.tls, relay.effective_port), (None, False, "starttls", 587))

    def test_values(self) -> None:
        """Names, ports and times are read; the password is not shown, and its file's line break is no part of it."""
        settings = load_text(
            '[relay]\nhost = "Smtp.Example.net."\ntls = "implicit"\nauth.username = "jane"\nauth.secret = "s3cret\\n"\n'
            'dnssec-resolver = "::1"\ntimeout.final = "15m"\n'
        )
        relay = settings.relay
        self.assertEqual((relay.host, relay.effective_port, relay.timeout_final), ("smtp.example.net", 465, 900.0))
        self.assertEqual((relay.credentials, relay.dnssec_resolver), (("jane", Secret("s3cret")), "::1"))
        self.assertNotIn("s3cret", repr(settings))
        self.assertNotIn("s3cret", repr([entry.value for entry in settings.entries]))
        self.assertEqual(load_text('[relay]\nhost = "a"\ntls = "none"\n').relay.effective_port, 25)
        self.assertEqual(load_text('[relay]\nhost = "a"\nport = 26\n').relay.effective_port, 26)

    def test_contradictions(self) -> None:
        """Half a sign-in is an error; what has no effect, or shows the password, is warned of."""
        for half in ("username", "secret"):
            (error,) = errors_of(f'[relay]\nhost = "a"\nauth.{half} = "s3cret"\n')
            self.assertEqual(error.key, f"relay.auth.{half}")
            self.assertNotIn("s3cret", str(error))
        sign_in = 'auth.username = "a"\nauth.secret = "b"\n'
        for text, key in (
            ('[relay]\nhost = "a"\ndirect = true\n', "relay.direct"),
            ("[relay]\nport = 25\n", "relay.port"),
            (f"[relay]\n{sign_in}", "relay.auth"),
            (f'[relay]\nhost = "mx.example"\ntls = "none"\n{sign_in}', "relay.tls"),
        ):
            self.assertEqual([warning.key for warning in load_text(text).warnings], [key])
        self.assertEqual(load_text(f'[relay]\nhost = "localhost"\ntls = "none"\n{sign_in}').warnings, ())

    def test_wrong_values(self) -> None:
        """Each names what was wanted."""
        for line in (
            'tls = "ssl"',
            'dnssec-resolver = "127.0.0.1:53"',
            'timeout.final = "2h"',
            "port = 70000",
        ):
            self.assertEqual(len(errors_of(f"[relay]\n{line}\n")), 1, line)
