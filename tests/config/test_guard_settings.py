"""Rates and bans in all their spellings."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from stalwart.config import Rate
from tests.config.support import JSON_FILE, errors_of, load_text


def rates(text: str, file: str = "/etc/test/stalwart.toml") -> tuple[Rate | None, Rate | None]:
    """The anonymous rate and that of accounts."""
    http = load_text(text, file=file).http
    return http.rate_limit_anonymous, http.rate_limit_account


class RateTests(SynchronousTestCase):
    """`rate-limit.anonymous` and `rate-limit.account`."""

    def test_defaults(self) -> None:
        """As Stalwart's."""
        self.assertEqual(rates(""), (Rate(count=100, period=60), Rate(count=1000, period=60)))

    def test_spellings(self) -> None:
        """The tables of 0.10 to 0.15, dotted or not."""
        wanted = (Rate(count=7, period=60), Rate(count=8, period=3600))
        for text in (
            '[http.rate-limit]\nanonymous = "7/1m"\naccount = "8/1h"',
            '[server.http]\nrate-limit.anonymous = "7/1m"\nrate-limit.account = " 8 / 60 M "',
            '[jmap.rate-limit]\nanonymous = "7/60000"\naccount = "8/3600s"',
            'jmap.rate-limit.anonymous = "7/1m"\nhttp.rate-limit.account = "8/1h"',
        ):
            self.assertEqual(rates(text), wanted, text)

    def test_object(self) -> None:
        """The object of 0.16, whose periods are milliseconds."""
        text = '{"Http": {"rateLimitAnonymous": {"count": 7, "period": 60000}, "rateLimitAuthenticated": null}}'
        self.assertEqual(rates(text, JSON_FILE), (Rate(count=7, period=60), None))

    def test_off(self) -> None:
        """Every way to switch a limit off."""
        for off in ('""', "false", '"false"', '"disable"', '"Disabled"', '"never"', "0", '"0"'):
            self.assertEqual(rates(f"[http]\nrate-limit.anonymous = {off}")[0], None, off)

    def test_wrong(self) -> None:
        """What is no rate is told with what was wanted."""
        for wrong in ('"100"', '"x/1m"', '"0/1m"', '"5/500ms"', '"5/1"', "5", '"9999999/1m"', '"1/400d"', '"-1/1m"'):
            (error,) = errors_of(f"[http]\nrate-limit.anonymous = {wrong}")
            self.assertEqual(error.key, "http.rate-limit.anonymous")
        for wrong in ('{"count": 1}', '{"count": true, "period": 60000}', '{"count": 1, "period": 60000, "x": 1}'):
            (error,) = errors_of(f'{{"Http": {{"rateLimitAnonymous": {wrong}}}}}', file=JSON_FILE)

    def test_twice(self) -> None:
        """One limit under two names is an error that names both."""
        (error,) = errors_of('[jmap]\nrate-limit.account = "1/1m"\n[http]\nrate-limit.account = "1/1m"')
        self.assertIn("http.rate-limit.account", str(error))
        self.assertEqual((error.key, error.line), ("jmap.rate-limit.account", 2))

    def test_nothing_else_of_jmap(self) -> None:
        """What isn't known below `jmap` stays an error."""
        (error,) = errors_of('[jmap]\nrate-limit.account = "1/1m"\nrate-limit.other = "1/1m"')
        self.assertIn("an unknown key", str(error))


class ListTests(SynchronousTestCase):
    """`server.blocked-ip` and `server.allowed-ip`."""

    def test_forms(self) -> None:
        """A table with addresses as keys, as Stalwart has it, an array, or one alone."""
        wanted = ["192.0.2.0/24", "2001:db8::1/128"]
        for key in ("blocked-ip", "allowed-ip"):
            for text in (
                f'[server.{key}]\n"192.0.2.0/24" = ""\n"2001:db8::1" = true',
                f'[server]\n{key} = ["192.0.2.0/24", "2001:db8::1"]',
                f'server.{key}."192.0.2.0/24" = ""\nserver.{key}."2001:db8::1" = "a comment"',
            ):
                settings = load_text(text)
                found = settings.blocked_ip if key == "blocked-ip" else settings.allowed_ip
                self.assertEqual([str(network) for network in found], wanted, text)
        self.assertEqual([str(n) for n in load_text('server.blocked-ip = "192.0.2.1"').blocked_ip], ["192.0.2.1/32"])
        self.assertEqual(load_text("server.blocked-ip = []").blocked_ip, ())

    def test_wrong(self) -> None:
        """Keys without quotes, hosts with bits beyond the prefix, and networks that are everybody."""
        for text in ('192.0.2.1 = ""', '"192.0.2.1/24" = ""', '"0.0.0.0/0" = ""', '"host.example" = ""'):
            (error,) = errors_of(f"[server.blocked-ip]\n{text}")
            self.assertIn("server.blocked-ip", error.key)


class AutoBanTests(SynchronousTestCase):
    """`server.auto-ban`."""

    def test_all(self) -> None:
        """Every key, also under the name that the table had."""
        for table in ("auto-ban", "fail2ban"):
            settings = load_text(
                f'[server.{table}]\nauth.rate = "5/1h"\nscan.rate = false\nscan.paths = ["/X*"]\nperiod = "7d"'
            )
            ban = settings.auto_ban
            self.assertEqual((ban.auth_rate, ban.scan_rate), (Rate(count=5, period=3600), None))
            self.assertEqual((ban.scan_paths, ban.period), (("/X*",), 7 * 86_400))
        self.assertIsNone(load_text('server.auto-ban.period = "never"').auto_ban.period)
        self.assertEqual(load_text("server.auto-ban.scan.paths = []").auto_ban.scan_paths, ())

    def test_too_many_scan_paths(self) -> None:
        """Patterns that would cost each request too much are refused, before anything goes by them."""
        text = "[server.auto-ban]\nscan.paths = [{}]"
        [error] = errors_of(text.format(", ".join(f'"*{number:04}*"' for number in range(1000))))
        self.assertIn("at most 4096 characters together", str(error))
        self.assertEqual(len(load_text(text.format('"/x*", ' * 1000)).auto_ban.scan_paths), 1000)

    def test_wrong(self) -> None:
        """A pattern that is every path."""
        for pattern in ('"*"', '"/*"', '""', '"/**?"', "7"):
            (error,) = errors_of(f"[server.auto-ban]\nscan.paths = [{pattern}]")
            self.assertTrue(error.key.startswith("server.auto-ban.scan.paths"), error.key)
