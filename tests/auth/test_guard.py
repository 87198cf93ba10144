"""Who is kept out, who never is, and what makes the server ban by itself."""

from __future__ import annotations

from ipaddress import ip_network

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.auth import Guard, GuardRules, bans
from stalwart.config import Rate
from stalwart.ops.metrics import Metrics
from stalwart.store import BanRow

DAY = 86_400.0
RULES = GuardRules(
    blocked=(ip_network("192.0.2.0/24"),),
    allowed=(ip_network("192.0.2.9"), ip_network("2001:db8:a::/48")),
    proxies=(ip_network("198.51.100.0/24"),),
    failed_sign_ins=Rate(count=5, period=DAY),
    scans=Rate(count=3, period=DAY),
    scan_paths=("*.php*",),
    ban_seconds=DAY,
)
A, B, C, PROXY = "203.0.113.1", "203.0.113.2", "203.0.113.3", "198.51.100.7"


class GuardTestCase(SynchronousTestCase):
    """A guard on a clock of its own."""

    def setUp(self) -> None:
        """Make it."""
        self.now = 1_000_000.0
        self.made: list[BanRow] = []
        self.metrics = Metrics("0")
        self.guard = self.new()

    def new(self) -> Guard:
        """A guard that has seen nothing."""
        return Guard(
            RULES,
            monotonic=lambda: self.now,
            wall=lambda: self.now,
            metrics=self.metrics,
            on_ban=self.made.append,
        )

    def banned(self, *addresses: str) -> list[bool]:
        """Which of them are kept out."""
        return [self.guard.ban_of(address) is not None for address in addresses]

    def miss(self, address: str, name: str = "ada@example.org", times: int = 1) -> None:
        """Fail to sign in."""
        for _ in range(times):
            self.guard.sign_in_failed(address, name)


class ListTests(GuardTestCase):
    """The list itself."""

    def test_configured(self) -> None:
        """What is blocked is kept out, the allow-list wins, and loopback is always on it."""
        self.guard.configure(GuardRules(blocked=(*RULES.blocked, ip_network("127.0.0.0/8")), allowed=RULES.allowed))
        self.assertEqual(self.banned("192.0.2.1", "192.0.2.9", "203.0.113.1"), [True, False, False])
        self.assertEqual(self.banned("127.0.0.1", "127.0.0.2", "::1", "unix", "unknown"), [False, True, *[False] * 3])

    def test_running(self) -> None:
        """Bans of the running server hold until they end; a wider one behind a narrower one goes on."""
        self.guard.replace_bans(
            [
                BanRow(network=A, reason="manual", since=0, until=int(self.now) + 10),
                BanRow(network="203.0.113.0/24", reason="manual", since=0, until=int(self.now) + 20),
                BanRow(network="2001:db8::/64", reason="manual", since=0, until=None),
            ]
        )
        self.assertEqual(self.banned(A, B, "2001:db8::5", "2001:db8:0:1::5"), [True, True, True, False])
        self.now += 10
        self.assertEqual(self.banned(A, B), [True, True])
        self.assertEqual(self.guard.bans.networks(), {"203.0.113.0/24", "2001:db8::/64"})
        self.now += 10
        self.assertEqual(self.banned(A, B, "2001:db8::5"), [False, False, True])

    def test_replaced(self) -> None:
        """What is taken for all bans is all of them: others are lifted, and those that differ changed."""
        row = BanRow(network=A, reason="manual", since=0, until=int(self.now) + 10)
        other = BanRow(network="203.0.113.0/24", reason="manual", since=0, until=None)
        self.guard.replace_bans([row, other])
        self.guard.replace_bans([msgspec.structs.replace(row, until=int(self.now) + 20)])
        self.assertEqual(self.banned(A, B), [True, False])
        self.now += 10
        self.assertEqual(self.banned(A), [True])
        self.now += 10
        self.assertEqual(self.banned(A), [False])

    def test_allowed_inside_banned(self) -> None:
        """An allowed address inside a banned network is let in."""
        self.guard.replace_bans([BanRow(network="2001:db8:a::/64", reason="manual", since=0, until=None)])
        self.assertEqual(self.banned("2001:db8:a::1"), [False])

    def test_connections(self) -> None:
        """Connections of the banned are closed and counted, but not those of proxies, who speak for others."""
        self.guard.replace_bans([BanRow(network=PROXY, reason="manual", since=0, until=None)])
        peers = ("192.0.2.1", PROXY, A)
        self.assertEqual([self.guard.closes(a, by_request=True) for a in peers], [True, False, False])
        self.assertEqual(self.banned(PROXY), [True])
        value = self.metrics.registry.get_sample_value("stalwart_ban_refusals_total", {"what": "connection"})
        self.assertEqual(value, 1)
        # By LMTP nobody forwards requests of others, and there is no second look.
        self.assertEqual([self.guard.closes(a, by_request=False) for a in peers], [True, True, False])

    def test_neighbour_of_proxy(self) -> None:
        """A proxy isn't kept out, nor its health checks, when another of its /64 is banned by the server."""
        self.guard.configure(GuardRules(proxies=(ip_network("2001:db8::1"),), scan_paths=("*.php",), ban_seconds=DAY))
        self.guard.not_found("2001:db8::bad", "/x.php")
        self.assertEqual(self.banned("2001:db8::bad", "2001:db8::2", "2001:db8::1"), [True, True, False])
        self.assertFalse(self.guard.closes("2001:db8::1", by_request=False))
        self.guard.replace_bans([BanRow(network="2001:db8::/64", reason="manual", since=0, until=None)])
        self.assertEqual(self.banned("2001:db8::1"), [True])

    def test_full(self) -> None:
        """Whoever comes from ever new networks doesn't fill the memory; bans by hand don't count, nor ended ones."""
        self.patch(bans, "MOST_AUTOMATIC", 3)
        self.guard.replace_bans([BanRow(network=f"10.0.0.{n}", reason="manual", since=0, until=None) for n in range(5)])
        for number in range(6):
            self.guard.not_found(f"2001:db8:{number}::1", "/x.php")
        self.assertEqual(len(self.made), 3)
        self.now += DAY
        self.assertEqual(self.banned("2001:db8:1::1", "2001:db8:1::2", "2001:db8:0::1"), [False] * 3)
        self.guard.not_found("2001:db8:4::1", "/x.php")
        self.assertEqual(self.banned("2001:db8:4::1", "2001:db8:5::1", "10.0.0.1"), [True, False, True])

    def test_counted_meanwhile(self) -> None:
        """Another thread may count the bans while one comes."""
        guard = self.guard

        class Meanwhile(int):
            def __gt__(self, other: object) -> bool:
                guard.not_found(A, "/x.php")
                return True

        rows = [BanRow(network=f"10.0.0.{n}", reason="manual", since=0, until=Meanwhile(0)) for n in range(2)]
        for row in rows:
            guard.bans.add(row)
        self.assertLessEqual({row.network for row in rows}, guard.bans.networks())

    def test_other_rules(self) -> None:
        """New rules hold at once; bans and counts stay."""
        self.guard.not_found(A, "/x.php")
        for _ in range(3):
            self.guard.garbled(B)
        self.guard.configure(GuardRules(scans=Rate(count=3, period=DAY)))
        self.assertEqual(self.banned("192.0.2.1", A), [False, True])
        self.guard.garbled(B)
        self.assertEqual(self.banned(B), [True])

    @settings(deadline=None, max_examples=100)
    @given(st.text())
    def test_any_address(self, address: str) -> None:
        """What is no address is never banned, and makes no trouble."""
        self.miss(address, times=7)
        self.guard.not_found(address, "/x.php")
        if not self.guard._watches(address):
            self.assertEqual(self.banned(address), [False])


class AutomaticTests(GuardTestCase):
    """Bans that the server makes by itself."""

    def test_path(self) -> None:
        """One request for a banned path is enough, in whichever form; another path is not."""
        self.guard.not_found(A, "/favicon.ico", "/favicon.ico")
        self.guard.not_found(B, "/wp.PHP", "/other")
        self.guard.not_found(C, "/other", "/wp.php")
        self.assertEqual(self.banned(A, B, C), [False, True, True])
        (first, _) = self.made
        self.assertEqual((first.network, first.reason, first.until), (B, "banned-path", int(self.now + DAY)))
        self.assertIn("/wp.PHP", first.detail)

    def test_scanning(self) -> None:
        """What is no HTTP is forgiven as often as the rate says."""
        for _ in range(3):
            self.guard.garbled(A)
        self.assertEqual(self.banned(A), [False])
        self.guard.garbled(A)
        self.assertEqual((self.banned(A), self.made[0].reason), ([True], "scanning"))
        self.now += DAY
        self.assertEqual(self.banned(A), [False])

    def test_ipv6(self) -> None:
        """The whole /64 of an IPv6 client is banned, and counts as one."""
        for number in range(4):
            self.guard.garbled(f"2001:db8::{number}")
        self.assertEqual(self.made[0].network, "2001:db8::/64")
        self.assertEqual(self.banned("2001:db8::ffff", "2001:db8:0:1::1"), [True, False])

    def test_spared(self) -> None:
        """Proxies, allowed addresses and loopback are never banned."""
        for address in (PROXY, "2001:db8:a::1", "192.0.2.9", "127.0.0.1", "::1", "unix", "unknown"):
            self.guard.not_found(address, "/x.php")
            self.miss(address, times=20)
            for _ in range(9):
                self.guard.garbled(address)
        self.assertEqual(self.made, [])

    def test_where_users_work(self) -> None:
        """A page or a mail that has a user's browser ask for banned paths doesn't lock the user out."""
        self.guard.sign_in_succeeded("2001:db8::1", "ada@example.org")
        self.guard.not_found("2001:db8::2", "/x.php")
        for _ in range(9):
            self.guard.garbled("2001:db8::1")
        self.assertEqual(self.made, [])
        self.now += DAY + 1
        self.guard.not_found("2001:db8::2", "/x.php")
        self.assertEqual(self.banned("2001:db8::1"), [True])

    def test_for_good(self) -> None:
        """Without a period a ban has no end."""
        self.guard.configure(GuardRules(scan_paths=("*.php",)))
        self.guard.not_found(A, "/x.php")
        self.assertIsNone(self.made[0].until)

    def test_lifted(self) -> None:
        """Whose ban was lifted begins anew: the next mistake doesn't bring it back."""
        self.miss(A, times=6)
        for _ in range(4):
            self.guard.garbled("2001:db8::1")
        self.assertEqual(self.banned(A, "2001:db8::1"), [True, True])
        self.guard.replace_bans([])
        self.miss(A)
        self.guard.garbled("2001:db8::1")
        self.assertEqual(self.banned(A, "2001:db8::1"), [False, False])

    def test_told_once(self) -> None:
        """One ban is made for a client, however many requests were under way."""
        for _ in range(5):
            self.guard.not_found(A, "/x.php")
        self.assertEqual(len(self.made), 1)


class SignInTests(GuardTestCase):
    """Failed sign-ins."""

    def test_one_address(self) -> None:
        """An address that fails too often is banned, whichever names it tries."""
        for number in range(5):
            self.miss(A, f"user{number}@example.org")
        self.assertEqual(self.banned(A), [False])
        self.miss(A, "other@example.org")
        self.assertEqual(self.banned(A, B), [True, False])
        self.assertEqual(self.made[0].reason, "auth-failure")

    def test_one_name(self) -> None:
        """When one name fails too often, those who took part are banned, and nobody else."""
        self.miss(A, times=3)
        self.miss(C, "bob@example.org")
        self.miss(B, times=3)
        self.assertEqual(self.banned(A, B, C), [True, True, False])

    def test_mistyped(self) -> None:
        """Whoever mistyped a password once or twice while others attack the name isn't banned with them."""
        self.miss(C, times=2)
        self.miss(A, " ADA@example.org ", times=4)
        self.assertEqual(self.banned(A, C), [True, False])
        self.miss(C, times=1)
        self.assertEqual(self.banned(C), [False])

    def test_owner_spared(self) -> None:
        """Nothing bans the address from which the name's owner signs in, and nothing keeps the owner waiting there."""
        self.guard.sign_in_succeeded(C, "ada@example.org")
        self.miss(B, times=3)
        self.miss(C, times=30)
        self.assertEqual(self.banned(B, C), [False, False])
        self.miss(A, times=3)
        self.assertEqual(self.banned(A, B, C), [True, True, False])
        self.assertEqual(self.guard.sign_in_wait(C, "Ada@example.org"), 0)

    def test_failures_cleared(self) -> None:
        """A sign-in that succeeds takes back the failures of that name from there."""
        self.miss(A, times=5)
        self.guard.sign_in_succeeded(A, "ada@example.org")
        self.now += DAY + 1  # the address isn't spared any more
        for _ in range(3):
            self.miss(A, times=1)
        self.assertEqual(self.banned(A), [False])

    def test_own_account_is_no_cover(self) -> None:
        """Whoever has an account can't guess at others' without end: those guesses have to wait."""
        self.guard.sign_in_succeeded(A, "mallory@example.org")
        tried = 0
        for number in range(100):
            name = f"user{number}@example.org"
            if not self.guard.sign_in_wait(A, name):
                self.miss(A, name)
                self.miss(A, "mallory@example.org", times=3)
                self.guard.sign_in_succeeded(A, "mallory@example.org")
                tried += 1
        self.assertEqual(tried, 5)
        self.assertEqual(self.banned(A), [False])
        self.assertEqual(self.guard.sign_in_wait(A, "mallory@example.org"), 0)
        self.assertGreater(self.guard.sign_in_wait(A, "bob@example.org"), 0)

    def test_bounded(self) -> None:
        """Names and addresses that come once take bounded memory."""
        failures = self.guard._failures
        failures._most = 100
        for number in range(1000):
            failures.failed(f"10.0.{number // 250}.{number % 250}", f"n{number}" * 100, self.now)
            failures.succeeded(f"10.1.{number // 250}.{number % 250}", f"n{number}", self.now)
        self.assertLessEqual(len(failures._tries), 100)
        self.assertLessEqual(len(failures._worked) + len(failures._workplaces), 200)

    def test_switched_off(self) -> None:
        """Without a rate nobody is banned."""
        self.guard.configure(GuardRules())
        self.miss(A, times=1000)
        self.assertEqual((self.banned(A), self.guard.sign_in_wait(A, "x")), ([False], 0))


class ExemptTests(GuardTestCase):
    """Whom no rate holds for."""

    def test_table(self) -> None:
        """Loopback and Unix sockets, unless that was only forwarded; allowed addresses anyhow."""
        table = (
            ("127.0.0.1", "127.0.0.1", True),
            ("127.9.9.9", "127.0.0.1", True),
            ("::1", "::1", True),
            ("unix", "unix", True),
            ("127.0.0.1", PROXY, False),
            ("unix", PROXY, False),
            ("192.0.2.9", PROXY, True),
            ("2001:db8:a::7", "2001:db8:a::7", True),
            (A, "127.0.0.1", False),
            (PROXY, PROXY, False),
            ("unknown", PROXY, False),
        )
        for address, peer, wanted in table:
            self.assertEqual(self.guard.exempt(address, peer), wanted, (address, peer))
        self.guard.configure(GuardRules())
        self.assertFalse(self.guard.exempt("192.0.2.9", PROXY))
