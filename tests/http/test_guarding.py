"""Bans and rates where requests meet them: over HTTP/1.1 and HTTP/2, by the client that trusted proxies name."""

from __future__ import annotations

import base64
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IAddress
from twisted.trial.unittest import SynchronousTestCase

from stalwart.auth import AuthMalformed, GuardRules, Principal
from stalwart.config import Rate
from stalwart.http import Endpoint, Request, Response, TrustedProxies, authenticate
from stalwart.http.settings import SiteSettings
from stalwart.store import BanRow
from tests.http.bed import PEER, Answer, Bed
from tests.http.test_http2 import Client

RULES = GuardRules(
    blocked=(ip_network("203.0.113.0/24"),),
    allowed=(ip_network("203.0.113.9"),),
    proxies=(ip_network("10.0.0.0/8"),),
    failed_sign_ins=Rate(count=20, period=86_400.0),
    scans=Rate(count=3, period=86_400.0),
    scan_paths=("*.php*", "*/..*"),
    ban_seconds=3600.0,
    anonymous=Rate(count=5, period=60.0),
    account=Rate(count=8, period=60.0),
)
PROXY = IPv4Address("TCP", "10.0.0.1", 40_000)
BAD = b"nonsense\r\n\r\n"


class Page(Endpoint):
    """A page that anybody may ask for, up to the limit."""

    surface = "page"
    charged = True

    async def get(self, request: Request) -> Response:
        """Something."""
        return Response(body=b"page")


class Pool:
    """Runs at once."""

    def run(self, function: Callable[[], Any]) -> Deferred[Any]:
        """Run it."""
        return maybeDeferred(function)


class People:
    """Everybody whose password is `right`."""

    def __init__(self) -> None:
        self.seen: dict[bytes, Principal] = {}

    def cached(self, authorization: bytes) -> Principal | None:
        """Who was seen before."""
        return self.seen.get(authorization)

    def verify(self, authorization: bytes, client: str) -> Principal | None:
        """Whether it is right."""
        try:
            user, _, password = base64.b64decode(authorization.removeprefix(b"Basic ")).decode().partition(":")
        except ValueError as error:
            raise AuthMalformed("no Basic") from error
        if password != "right":
            return None
        found = Principal(
            account_id=len(user), address=user, name=user, permissions=frozenset({"authenticate"}), credential_version=1
        )
        self.seen[authorization] = found
        return found

    recheck = verify


class GuardedBed(Bed):
    """A bed with the rules above and pages that need a sign-in or not."""

    def __init__(self, *, peer: IAddress = PEER, tls: bool = False, rules: GuardRules = RULES) -> None:
        super().__init__(peer=peer, rules=rules, tls=tls, forwarded=TrustedProxies([ip_network("10.0.0.0/8")]))
        people = People()

        class Mine(Endpoint):
            surface = "mine"

            async def admit(self, request: Request) -> None:
                await authenticate(request, people, Pool())

            async def get(self, request: Request) -> Response:
                return Response(body=b"mine")

        self.mount("/page", Page())
        self.mount("/mine", Mine())

    def sign_in(self, user: str = "ada", password: str = "right", more: str = "") -> Answer:
        """Ask for the page that needs it."""
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        return self.get("/mine", headers=f"Authorization: Basic {token}\r\n{more}")

    def pages(self, times: int, *, path: str = "/page", headers: str = "") -> list[int]:
        """The statuses of some requests."""
        return [self.get(path, headers=headers).status for _ in range(times)]


def from_(address: str) -> str:
    """The field by which a proxy names its client."""
    return f"X-Forwarded-For: {address}\r\n"


class BanTests(SynchronousTestCase):
    """Who is banned gets 403 for every request."""

    def test_socket(self) -> None:
        """By the connection's own address, except allowed ones."""
        for address, wanted in (("203.0.113.5", 403), ("203.0.113.9", 200), ("192.0.2.1", 200)):
            bed = GuardedBed(peer=IPv4Address("TCP", address, 1))
            self.assertEqual(bed.get("/hello").status, wanted)
        self.assertIn("kept out", GuardedBed(peer=IPv4Address("TCP", "203.0.113.5", 1)).get("/").problem()["detail"])

    def test_forwarded(self) -> None:
        """By the address that a trusted proxy names; the proxy itself goes on."""
        bed = GuardedBed(peer=PROXY)
        self.assertEqual(bed.get("/hello", headers=from_("203.0.113.5")).status, 403)
        self.assertEqual(bed.get("/hello", headers='Forwarded: for="203.0.113.5:99"\r\n').status, 403)
        self.assertEqual(bed.get("/hello", headers=from_("192.0.2.1")).status, 200)
        self.assertEqual(bed.get("/hello").status, 200)

    def test_open_connection(self) -> None:
        """A connection that was open when the ban came is answered 403 from then on, and as before when it ends."""
        bed = GuardedBed()
        wire = bed.connect()
        get = b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"
        wire.send(get)
        bed.guard.replace_bans([BanRow(network="192.0.2.7", reason="manual", since=0, until=50)])
        wire.send(get)
        bed.clock.advance(50)
        wire.send(get)
        self.assertEqual([answer.status for answer in wire.answers()], [200, 403, 200])

    def test_http2_streams(self) -> None:
        """Each stream is looked at by itself."""
        bed = GuardedBed(tls=True, peer=PROXY)
        client = Client(bed)
        streams = [client.ask("/hello", fields=[("x-forwarded-for", a)]) for a in ("192.0.2.1", "203.0.113.5")]
        bed.guard.replace_bans([BanRow(network="192.0.2.1", reason="manual", since=0, until=None)])
        streams.append(client.ask("/hello", fields=[("x-forwarded-for", "192.0.2.1")]))
        self.assertEqual([client.status[stream] for stream in streams], [200, 403, 403])

    def test_before_the_policy(self) -> None:
        """A ban is looked at before anything else, and counted; the log has the request."""
        bed = GuardedBed(peer=IPv4Address("TCP", "203.0.113.5", 1))
        self.assertEqual([bed.get(path, method="OPTIONS").status for path in ("/x", "/.well-known/x")], [403, 403])
        value = bed.metrics.registry.get_sample_value("stalwart_ban_refusals_total", {"what": "request"})
        self.assertEqual((value, [line["status"] for line in bed.log.lines]), (2, [403, 403]))


class ScanTests(SynchronousTestCase):
    """What bans by itself."""

    def test_unrouted_path(self) -> None:
        """A request for a banned path is answered 404, the next one of that client 403; queries don't count."""
        for target in ("/x/index.php", "/INDEX%2EPHP?x", "//a/./b.php", "/a/..;/b"):
            bed = GuardedBed()
            self.assertEqual([bed.get(target).status, bed.get("/hello").status], [404, 403], target)
        bed = GuardedBed()
        self.assertEqual([bed.get("/x?a.php").status, bed.get("/hello").status], [404, 200])

    def test_dots_in_what_was_sent(self) -> None:
        """Patterns see the path as it was sent, too."""
        bed = GuardedBed()
        self.assertEqual([bed.get("/a/../none").status, bed.get("/hello").status], [404, 403])

    def test_routed_path(self) -> None:
        """A path that is served never bans, whatever its name; nor does one that the policy denies, nor a challenge."""

        class No:
            def decide(self, request: object) -> int:
                return 404

        bed = GuardedBed()
        bed.mount("/real.php", Page())
        self.assertEqual(bed.get("/real.php", method="POST").status, 405)
        self.assertEqual(bed.get("/hello/../real.php").status, 200)
        bed.site.settings = SiteSettings(policy=No())
        self.assertEqual(bed.get("/other.php").status, 404)
        self.assertIsNone(bed.guard.ban_of("192.0.2.7"))

    def test_http2(self) -> None:
        """So over HTTP/2, and only the named client is banned, not the proxy."""
        bed = GuardedBed(tls=True, peer=PROXY)
        client = Client(bed)
        fields = [("x-forwarded-for", "192.0.2.1")]
        streams = [client.ask("/a.php", fields=fields), client.ask("/hello", fields=fields), client.ask("/a.php")]
        streams.append(client.ask("/hello"))
        self.assertEqual([client.status[stream] for stream in streams], [404, 403, 404, 200])

    def test_garbage(self) -> None:
        """What is no HTTP counts: bad heads, bad targets, bad bodies; not what is only too long."""
        octets = (
            BAD,
            b"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n",
            b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        )
        bed = GuardedBed()
        for sent in (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n", b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n"):
            for _ in range(5):
                bed.ask(sent)
        for sent in octets[:3]:
            self.assertEqual(bed.ask(sent).status, 400)
        self.assertIsNone(bed.guard.ban_of("192.0.2.7"))
        self.assertEqual(bed.ask(octets[3]).status, 400)
        self.assertIsNotNone(bed.guard.ban_of("192.0.2.7"))

    def test_proxy_is_never_banned(self) -> None:
        """Garbage that a trusted proxy passes on isn't its fault."""
        bed = GuardedBed(peer=PROXY)
        for _ in range(10):
            bed.ask(BAD)
            bed.get("/x", headers="Forwarded: ;;=\r\n")
        self.assertEqual(bed.get("/hello").status, 200)

    def test_http2_garbage(self) -> None:
        """Frames that are none count as well."""
        bed = GuardedBed(tls=True)
        for _ in range(4):
            Client(bed).channel.dataReceived(b"\0\0\1\0\0\0\0\0\0x")
        self.assertIsNotNone(bed.guard.ban_of("192.0.2.7"))


class AnonymousTests(SynchronousTestCase):
    """`http.rate-limit.anonymous`."""

    def test_fields(self) -> None:
        """Answers tell what is left, the refusal when to come again."""
        bed = GuardedBed()
        first = bed.get("/page")
        self.assertEqual(first.headers["ratelimit-policy"], '"requests";q=5;w=60')
        self.assertEqual(first.headers["ratelimit"], '"requests";r=4;t=13')
        self.assertEqual(bed.pages(5), [200] * 4 + [429])
        refused = bed.get("/page")
        self.assertEqual(refused.problem()["title"], "Too Many Requests")
        self.assertEqual(refused.headers["ratelimit"], '"requests";r=0;t=61')
        self.assertEqual(refused.headers["ratelimit-policy"], '"requests";q=5;w=60')
        self.assertEqual(refused.headers["retry-after"], "12")
        bed.clock.advance(12)
        self.assertEqual(bed.pages(2), [200, 429])
        value = bed.metrics.registry.get_sample_value("stalwart_rate_limited_total", {"limit": "anonymous"})
        self.assertEqual(value, 3)

    def test_by_client(self) -> None:
        """Each client has its own; a /64 is one client."""
        bed = GuardedBed(peer=PROXY)
        self.assertEqual(bed.pages(6, headers=from_("192.0.2.1"))[-1], 429)
        self.assertEqual(bed.pages(1, headers=from_("192.0.2.2")), [200])
        for number in range(5):
            self.assertEqual(bed.pages(1, headers=from_(f"2001:db8::{number}")), [200])
        self.assertEqual(bed.pages(1, headers=from_("2001:db8::99")), [429])
        self.assertEqual(bed.pages(1, headers=from_("2001:db8:0:1::99")), [200])

    def test_http2(self) -> None:
        """Streams count alike, and have the fields."""
        client = Client(GuardedBed(tls=True))
        streams = [client.ask("/page") for _ in range(6)]
        self.assertEqual([client.status[stream] for stream in streams], [200] * 5 + [429])
        self.assertEqual(client.headers[streams[-1]]["ratelimit"], '"requests";r=0;t=61')
        self.assertEqual(client.headers[streams[-1]]["retry-after"], "12")

    def test_not_everything(self) -> None:
        """Pages that aren't charged are not limited and don't tell of limits."""
        bed = GuardedBed()
        self.assertEqual(bed.pages(20, path="/hello"), [200] * 20)
        self.assertNotIn("ratelimit", bed.get("/hello").headers)

    def test_exempt(self) -> None:
        """This machine over loopback or a Unix socket, and allowed addresses, are not limited: health checks."""
        peers: tuple[IAddress, ...] = (
            IPv4Address("TCP", "127.0.0.1", 1),
            IPv6Address("TCP", "::1", 1),
            UNIXAddress(None),
            IPv4Address("TCP", "203.0.113.9", 1),
        )
        for peer in peers:
            self.assertEqual(GuardedBed(peer=peer).pages(20), [200] * 20, peer)
        self.assertEqual(GuardedBed(peer=PROXY).pages(6, headers=from_("127.0.0.1"))[-1], 429)

    def test_switched_off(self) -> None:
        """Without a rate there is no limit, and nothing is told of one."""
        bed = GuardedBed(rules=GuardRules())
        self.assertEqual(bed.pages(20), [200] * 20)
        self.assertNotIn("ratelimit", bed.get("/page").headers)
        self.assertNotIn("ratelimit", bed.sign_in().headers)

    def test_reloaded(self) -> None:
        """Other rates hold from the next request on, and what was used counts."""
        bed = GuardedBed()
        bed.pages(5)
        bed.guard.configure(GuardRules(anonymous=Rate(count=10, period=60.0)))
        self.assertEqual(bed.pages(1), [429])
        bed.clock.advance(6)
        self.assertEqual(bed.pages(2), [200, 429])


class SignInTests(SynchronousTestCase):
    """What sign-ins are charged to."""

    def test_missing_and_wrong(self) -> None:
        """Without credentials, of another scheme, and with wrong ones: all are charged to the client's address."""
        bed = GuardedBed()
        self.assertEqual(bed.pages(1, path="/mine"), [401])
        self.assertEqual(bed.pages(1, path="/mine", headers="Authorization: Bearer x\r\n"), [401])
        self.assertEqual([bed.sign_in(password="wrong").status for _ in range(4)], [401, 401, 401, 429])
        self.assertEqual(bed.pages(1), [429])

    def test_right_ones_are_free(self) -> None:
        """A sign-in that succeeds isn't charged to the address, only to the account."""
        bed = GuardedBed()
        answers = [bed.sign_in("x" * number) for number in range(1, 30)]
        self.assertEqual({answer.status for answer in answers}, {200})
        self.assertEqual(answers[0].headers["ratelimit-policy"], '"requests";q=8;w=60')
        self.assertEqual(answers[0].headers["ratelimit"], '"requests";r=7;t=8')
        self.assertEqual(bed.pages(5), [200] * 5)

    def test_account(self) -> None:
        """An account has its own limit, over all addresses; the log has its name."""
        bed = GuardedBed(peer=PROXY)
        statuses = [bed.sign_in(more=from_(f"192.0.2.{number}")).status for number in range(9)]
        self.assertEqual(statuses, [200] * 8 + [429])
        self.assertEqual(bed.log.lines[-1]["user"], "ada")
        self.assertEqual(bed.sign_in("other").status, 200)
        value = bed.metrics.registry.get_sample_value("stalwart_rate_limited_total", {"limit": "account"})
        self.assertEqual(value, 1)

    def test_account_exempt(self) -> None:
        """Over loopback an account isn't limited."""
        bed = GuardedBed(peer=IPv4Address("TCP", "127.0.0.1", 1))
        self.assertEqual({bed.sign_in().status for _ in range(20)}, {200})

    def test_banned(self) -> None:
        """Too many failures ban the address, and with it the right password."""
        bed = GuardedBed(rules=GuardRules(failed_sign_ins=Rate(count=20, period=86_400.0), ban_seconds=60.0))
        self.assertEqual({bed.sign_in(f"u{n}", "wrong").status for n in range(21)}, {401})
        self.assertEqual(bed.sign_in().status, 403)
        bed.clock.advance(60)
        self.assertEqual(bed.sign_in().status, 200)

    def test_owner_goes_on(self) -> None:
        """Where a user works, guesses at others are stopped with 429, and the user isn't."""
        bed = GuardedBed(rules=GuardRules(failed_sign_ins=Rate(count=20, period=86_400.0)))
        bed.sign_in()
        statuses = [bed.sign_in(f"u{n}", "wrong").status for n in range(25)]
        self.assertEqual(statuses, [401] * 20 + [429] * 5)
        refused = bed.sign_in("u", "wrong")
        self.assertEqual(refused.problem()["title"], "Too Many Authentication Attempts")
        self.assertEqual(refused.headers["retry-after"], "4320")  # a twentieth of a day
        self.assertEqual([bed.sign_in().status, bed.sign_in("ada", "wrong").status], [200, 401])
