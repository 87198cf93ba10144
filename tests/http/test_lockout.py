"""Who administers the server is not locked out by a reload."""

from __future__ import annotations

from ipaddress import ip_network

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from stalwart.auth import GuardRules, Principal
from stalwart.http import Endpoint, Problem, Request, Response, SiteSettings, TrustedProxies
from stalwart.http.lockout import LockedOut, locked_out
from stalwart.http.policy import PolicyRequest
from stalwart.ops.networks import Networks
from tests.http.bed import Bed
from tests.http.test_http2 import Client


class Admin(Endpoint):
    """A page of the administration."""

    administers = True

    async def get(self, request: Request) -> Response:
        """It is there, unless it is asked not to be."""
        if request.header(b"x-fail"):
            raise Problem(403)
        return Response(body=b"admin")


class AdminBelow(Admin):
    """A page that inherits from one of the administration."""


class SignsIn(Endpoint):
    """A page for everybody who has signed in."""

    async def get(self, request: Request) -> Response:
        """Sign in by saying who one is."""
        permissions = frozenset({"settings-update"} if request.header(b"x-admin") is not None else ())
        request.principal = Principal(
            account_id=1, address="a@example.org", name="", permissions=permissions, credential_version=1
        )
        return Response(body=b"hello")


class Denies:
    """Denies a path, or an address."""

    def __init__(self, what: str, status: int = 404) -> None:
        self._what = what
        self._status = status

    def decide(self, request: PolicyRequest) -> int:
        """By path or address."""
        return self._status if self._what in (request.path.decode(), request.client_address) else 200


class LockOutTests(SynchronousTestCase):
    """`locked_out` after requests on a site."""

    def setUp(self) -> None:
        """A site with pages of the administration."""
        self.bed = Bed()
        self.bed.mount("/admin", Admin())
        self.bed.mount("/below", AdminBelow())
        self.bed.mount("/mail", SignsIn())

    def out(self, wanted: SiteSettings, bed: Bed | None = None, rules: GuardRules | None = None) -> list[LockedOut]:
        """Who would be locked out by these settings."""
        site = (bed or self.bed).site
        found: list[LockedOut] = self.successResultOf(
            Deferred.fromCoroutine(locked_out(site.admin_visits, site.settings, wanted, rules or GuardRules()))
        )
        return found

    def test_denied(self) -> None:
        """A page of the administration, or one that inherits it, is told with address, listener, path and status."""
        for path in ("/admin", "/below"):
            self.assertEqual(self.bed.get(path).status, 200)
            [found] = self.out(SiteSettings(policy=Denies(path, 403)))
            wanted = LockedOut(address="192.0.2.7", listener="test", method="GET", path=path, status=403)
            self.assertEqual(found, wanted)
        self.assertEqual(self.out(SiteSettings(policy=Denies("/other"))), [])

    def test_banned(self) -> None:
        """So are those whom the new configuration keeps out, but for those whom it allows."""
        self.bed.get("/admin")
        blocked = (ip_network("192.0.2.0/24"),)
        [found] = self.out(SiteSettings(), rules=GuardRules(blocked=blocked))
        self.assertEqual((found.address, found.status), ("192.0.2.7", 403))
        allowed = (ip_network("192.0.2.7"),)
        self.assertEqual(self.out(SiteSettings(), rules=GuardRules(blocked=blocked, allowed=allowed)), [])

    def test_proxy_headers(self) -> None:
        """Who comes without a PROXY header and would have to send one, or with one that isn't wanted, can't connect."""
        self.bed.get("/admin")
        nobody, peer, others = Networks(()), Networks([ip_network("192.0.2.7")]), Networks([ip_network("192.0.2.8")])
        for now, then, statuses in (
            (nobody, peer, [None]),
            (peer, others, [None]),
            (peer, peer, []),
            (nobody, others, []),
        ):
            settings = self.bed.site.settings
            found = self.successResultOf(
                Deferred.fromCoroutine(
                    locked_out(self.bed.site.admin_visits, settings, settings, GuardRules(), (now, then))
                )
            )
            self.assertEqual([out.status for out in found], statuses)

    def test_account(self) -> None:
        """An administrator's account makes any page count, another account none."""
        self.bed.get("/mail")
        self.assertEqual(self.out(SiteSettings(policy=Denies("/mail"))), [])
        self.bed.get("/mail", headers="X-Admin: 1\r\n")
        self.assertEqual(len(self.out(SiteSettings(policy=Denies("/mail")))), 1)

    def test_http2(self) -> None:
        """A stream of HTTP/2 counts as well."""
        client = Client(self.bed)
        client.ask("/admin")
        self.assertEqual(len(self.out(SiteSettings(policy=Denies("/admin")))), 1)

    def test_not_answered_well(self) -> None:
        """What was refused, by the page or by the rules, locks nobody out."""
        self.bed.get("/admin", headers="X-Fail: 1\r\n")
        self.bed.site.settings = SiteSettings(policy=Denies("/below"))
        self.bed.get("/below")
        for path in ("/admin", "/below"):
            self.assertEqual(self.out(SiteSettings(policy=Denies(path))), [])

    def test_denied_already(self) -> None:
        """Who is denied by the present rules, as after a reload by force, is locked out no further."""
        self.bed.get("/admin")
        self.bed.site.settings = SiteSettings(policy=Denies("/admin"))
        self.assertEqual(self.out(SiteSettings(policy=Denies("/admin", 403))), [])

    def test_fifteen_minutes(self) -> None:
        """Older requests are forgotten; one that is repeated is not."""
        self.bed.get("/admin")
        self.bed.get("/below")
        self.bed.clock.advance(600)
        self.bed.get("/below")
        self.bed.clock.advance(301)
        self.assertEqual(self.out(SiteSettings(policy=Denies("/admin"))), [])
        self.assertEqual(len(self.out(SiteSettings(policy=Denies("/below")))), 1)
        self.bed.clock.advance(600)
        self.assertEqual(self.out(SiteSettings(policy=Denies("/below"))), [])

    def test_bounded(self) -> None:
        """Only so many are remembered, the latest; passwords are not."""
        for number in range(100):
            self.bed.ask(f"GET /admin HTTP/1.1\r\nHost: a\r\nAuthorization: x\r\nX-N: {number}\r\n\r\n".encode())
        self.assertEqual(len(self.bed.site.admin_visits.recent()), 1)
        [visit] = self.bed.site.admin_visits.recent()
        self.assertEqual((visit.header(b"x-n"), visit.header(b"authorization")), (b"99", None))
        for number in range(100):
            self.bed.mount(f"/admin{number}", Admin())
            self.bed.get(f"/admin{number}")
        visits = self.bed.site.admin_visits.recent()
        self.assertEqual((len(visits), visits[0].uri), (64, b"/admin99"))

    def test_proxies(self) -> None:
        """Forwarded fields are read anew, by the proxies that are to be trusted."""
        proxies = TrustedProxies([ip_network("192.0.2.7/32")])
        bed = Bed(forwarded=proxies)
        bed.mount("/admin", Admin())
        bed.get("/admin", headers="X-Forwarded-For: 198.51.100.9\r\n")
        self.assertEqual(self.out(SiteSettings(policy=Denies("192.0.2.7"), forwarded=proxies), bed), [])
        [found] = self.out(SiteSettings(policy=Denies("192.0.2.7")), bed)
        self.assertEqual(found.address, "198.51.100.9")
        [found] = self.out(SiteSettings(policy=Denies("198.51.100.9"), forwarded=proxies), bed)
        self.assertEqual(found.status, 404)


class SwapTests(SynchronousTestCase):
    """Settings that are replaced while connections are open."""

    def test_request_keeps_its_settings(self) -> None:
        """A request ends under the settings that it began with, the next one has the new."""
        bed = Bed()
        wire = bed.connect()
        wire.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na")
        bed.site.settings = SiteSettings(policy=Denies("/echo"))
        wire.send(b"b")
        wire.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab")
        first, second = wire.answers()
        self.assertEqual((first.status, second.status), (200, 404))
