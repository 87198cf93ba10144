"""The settings of discovery: what is taken, and what is wrong with the rest."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.config.support import errors_of, load_text

SECURITY = '[well-known.security]\ncontact = "mailto:a@example.org"\n'


class DiscoverySettingsTests(SynchronousTestCase):
    """`autoconfig`, `session.mta-sts` and `well-known`."""

    def test_domains(self) -> None:
        """Tables are named after domains as they are stored; `default` is one of autoconfig only."""
        for name in ("example.org", "xn--bcher-kva.example", "localhost", "default"):
            self.assertEqual(errors_of(f'[autoconfig."{name}"]\nname = "A"\n'), ())
        for name in ("Example.org", "example.org.", "bücher.example", "a@b.example", "a b"):
            (error,) = errors_of(f'[autoconfig."{name}"]\nname = "A"\n')
            self.assertIn("or default", error.wanted or "")
            (error,) = errors_of(f'[session.mta-sts.domain."{name}"]\nmode = "none"\n')
            self.assertIn("a domain in lower case", error.wanted or "")
        (error,) = errors_of('[session.mta-sts.domain.default]\nmode = "none"\n')
        self.assertEqual(error.key, "session.mta-sts.domain.default")

    def test_values(self) -> None:
        """Values that a document or a header could not carry are refused."""
        for key, good, bad in (
            ("autoconfig.default.name", ("Tom & Söhne <\\\"'>",), ("a\\u0001", "a\\nb", "x" * 61, "\\uFFFE")),
            (
                "autoconfig.default.caldav.url",
                ("https://a.example/x?y=1&z='", "https://[2001:db8::1]:8443/", "HTTPS://a.example"),
                (
                    "http://a.example/",
                    "https://",
                    "https:///x",
                    "https://a..b/",
                    "https://[::g]/",
                    "https://[1.2.3.4]/",
                    "https://a.example/ü",
                    "https://a b/",
                    "https://u:p@a.example/",
                    "https://a.example/#x",
                    "https://a.example:0/",
                    "https://a.example:99999/",
                    "//a.example/",
                    "/x",
                ),
            ),
            ("autoconfig.default.imap.port", ("1", "65535"), ("-1", "65536")),
            ("autoconfig.default.imap.security", ("tls", "starttls"), ("none", "ssl")),
            ("session.mta-sts.mode", ("enforce", "testing", "none", "disable"), ("on",)),
            ("session.mta-sts.max-age", ("1d", "365d"), ("366d", "0s")),
            (
                "session.mta-sts.mx",
                ("mx.example.org", "*.example.org"),
                ("*", "*.*.example.org", "mx.*", "a b", "192.0.2.1"),
            ),
            (
                "well-known.change-password",
                ("/account", "https://a.example/"),
                ("account", "//a.example", "http://a.example"),
            ),
            (
                "well-known.security.contact",
                ("tel:+1-201-555-0123",),
                ("a@example.org", "http://a.example/", "mailto:", "x:y"),
            ),
            (
                "well-known.security.expires",
                ("2030-06-30T12:00:00+02:00",),
                ("2030-06-30", "2030-06-30T12:00:00", "soon"),
            ),
            ("well-known.security.preferred-languages", ("en", "pt-BR"), ("e", "en_US", "")),
            ("well-known.robots", ("User-agent: *",), ("", "a\\u0000")),
        ):
            for value in good:
                more = "well-known.security.expires = 2030-06-30T12:00:00Z\n" if key.endswith("contact") else ""
                self.assertEqual(errors_of(f'{key} = "{value}"\n{more}'), (), (key, value))
            for value in bad:
                self.assertTrue(errors_of(f'{key} = "{value}"\n'), (key, value))

    def test_off(self) -> None:
        """What is offered by default can be taken away in one domain."""
        settings = load_text(
            '[autoconfig.default]\nimap.host = "a.example"\n[autoconfig."b.example"]\nimap.host = false\n'
        )
        self.assertEqual([entry.imap.host for entry in settings.autoconfig], ["a.example", None])

    def test_security_expires(self) -> None:
        """security.txt needs its date; `stalwart check` warns when it has passed, or is far away."""
        (error,) = errors_of(SECURITY)
        self.assertEqual(error.key, "well-known.security.expires")
        for date, warned in (
            ("2030-06-30T00:00:00Z", None),
            ("2029-12-31T23:59:59Z", "expired on 2029-12-31"),
            ("2030-01-01T00:30:00+01:00", "expired"),
            ("2031-02-01T00:00:00Z", "more than a year"),
        ):
            warnings = load_text(f"{SECURITY}expires = {date}\n").warnings
            self.assertEqual(len(warnings), 0 if warned is None else 1)
            if warned is not None:
                self.assertIn(warned, str(warnings[0]))
