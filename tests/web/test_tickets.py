"""Tickets and the cookie: how browsers open streams."""

from __future__ import annotations

import json

from stalwart import store
from stalwart.auth import GuardRules
from stalwart.config import Rate
from stalwart.http import ListenerContext
from tests.jmap.bed import NOW
from tests.web.streams import StreamBed

OWN = "http://mail.example.org:8443"
ELSEWHERE = "https://evil.example"


class TicketTests(StreamBed):
    """`POST /jmap/ticket`."""

    def test_event_source(self) -> None:
        """A ticket opens one event stream without a password, from whichever page."""
        ticket = self.ticket("eventsource")
        events = self.events(f"types=*&ticket={ticket}", None, Origin=ELSEWHERE)
        events.read()
        self.mail()
        self.assertEqual([name for name, _ in events.read()], ["state"])
        self.problem(self.get(f"/jmap/eventsource/?types=*&ticket={ticket}", password=None), 403)

    def test_web_socket(self) -> None:
        """And one WebSocket."""
        ticket = self.ticket("websocket")
        socket = self.socket(f"/jmap/ws?ticket={ticket}", None, Origin=ELSEWHERE)
        socket.tell(type="Request", id="1", using=[], methodCalls=[])
        self.assertEqual(socket.messages()[0]["requestId"], "1")
        self.problem(self.handshake(f"/jmap/ws?ticket={ticket}", None)[1], 403)

    def test_bound(self) -> None:
        """A ticket is for one kind of stream; it is not used up where it isn't valid."""
        ticket = self.ticket("eventsource")
        self.problem(self.handshake(f"/jmap/ws?ticket={ticket}", None)[1], 403)
        self.problem(self.get(f"/jmap/session?ticket={ticket}", password=None), 401)
        self.assertEqual(self.events(f"types=*&ticket={ticket}", None).read(), [])

    def test_expires(self) -> None:
        """After 60 seconds it is worth nothing; the answer says how long it lasts and isn't stored."""
        answer = self.post("/jmap/ticket?for=eventsource", b"")
        self.assertEqual((answer.status, answer.headers["cache-control"]), (201, "no-store"))
        given = json.loads(answer.body)
        self.assertEqual((given["for"], given["expiresIn"]), ("eventsource", 60))
        self.store.clock = lambda: NOW + 60.0
        self.problem(self.get(f"/jmap/eventsource/?types=*&ticket={given['ticket']}", password=None), 403)

    def test_password_changed(self) -> None:
        """A changed password takes tickets along."""
        ticket = self.ticket("eventsource")
        with self.store.write() as s:
            store.set_password_hash(s, self.account.id, "other")
        self.problem(self.get(f"/jmap/eventsource/?types=*&ticket={ticket}", password=None), 403)

    def test_made_up(self) -> None:
        """What isn't a ticket is 403, without a challenge that would have a browser ask for a password."""
        for made_up in ("", "x", "x" * 43, "x" * 101, "%C3%A4" * 30, "a&ticket=b"):
            answer = self.get(f"/jmap/eventsource/?types=*&ticket={made_up}", password=None)
            self.problem(answer, 403)
            self.assertNotIn("www-authenticate", answer.headers)

    def test_needs_sign_in(self) -> None:
        """Without a password, or with the cookie alone, there is no ticket; another purpose is 400."""
        cookie = self.cookie()
        self.problem(self.http.ask(self.head("POST", "/jmap/ticket?for=eventsource", None, Content_Length="0")), 401)
        asked = self.head("POST", "/jmap/ticket?for=eventsource", None, Content_Length="0", Cookie=cookie)
        self.problem(self.http.ask(asked), 401)
        for query in ("", "?for=", "?for=session", "?for=cookie&for=eventsource"):
            self.problem(self.post(f"/jmap/ticket{query}", b""), 400)

    def test_not_logged(self) -> None:
        """No ticket gets into the log."""
        ticket = self.ticket("eventsource")
        self.events(f"types=*&ticket={ticket}", None).wire.hang_up()
        self.get(f"/jmap/eventsource/?types=*&ticket={ticket}", password=None)
        self.assertEqual(len(self.http.log.lines), 3)
        self.assertNotIn(ticket, repr(self.http.log.lines))

    def test_too_many(self) -> None:
        """An account has a hundred tickets at a time."""
        for _ in range(100):
            self.ticket("eventsource")
        self.problem(self.post("/jmap/ticket?for=eventsource", b""), 429)

    # The cookie.

    def cookie(self) -> str:
        """The Cookie field of a browser that asked for one."""
        answer = self.post("/jmap/ticket?for=cookie", b"")
        self.assertEqual((answer.status, answer.body), (204, b""))
        return answer.headers["set-cookie"].partition(";")[0]

    def test_cookie_attributes(self) -> None:
        """It is out of reach for scripts and other sites, short-lived, and for JMAP only; over TLS it stays there."""
        plain = ["Path=/jmap", "Max-Age=3600", "HttpOnly", "SameSite=Strict"]
        for tls, attributes in ((False, plain), (True, [*plain, "Secure"])):
            self.http.site.listener = ListenerContext(id="test", tls=tls)
            answer = self.post("/jmap/ticket?for=cookie", b"")
            self.assertEqual(answer.headers["set-cookie"].split("; ")[1:], attributes)

    def test_cookie_opens_streams(self) -> None:
        """The cookie opens streams for pages of this server, as often as they come, beside other cookies."""
        cookie = f"theme=dark; {self.cookie()}; x"
        for fields in ({}, {"Origin": OWN}, {"Sec_Fetch_Site": "same-origin"}):
            self.assertEqual(self.events("types=*", None, Cookie=cookie, **fields).read(), [])
        self.assertEqual(self.handshake("/jmap/ws", None, Cookie=cookie, Origin=OWN)[1].status, 101)

    def test_cookie_from_elsewhere(self) -> None:
        """Pages of other sites can't use it, nor who doesn't say where a WebSocket is opened from."""
        cookie = self.cookie()
        for fields in ({"Origin": ELSEWHERE}, {"Sec_Fetch_Site": "cross-site"}, {"Sec_Fetch_Site": "same-site"}):
            self.problem(self.get("/jmap/eventsource/?types=*", password=None, Cookie=cookie, **fields), 403)
        self.problem(self.handshake("/jmap/ws", None, Cookie=cookie)[1], 403)
        self.problem(self.handshake("/jmap/ws", None, Cookie=cookie, Origin=ELSEWHERE)[1], 403)

    def test_cookie_renewed(self) -> None:
        """A browser that asks for its cookie each time a page is loaded has one, and uses up no tickets."""
        first = cookie = self.cookie()
        for _ in range(110):
            answer = self.post("/jmap/ticket?for=cookie", b"", Cookie=cookie)
            self.assertEqual(answer.status, 204)
            cookie = answer.headers["set-cookie"].partition(";")[0]
        self.assertEqual(self.events("types=*", None, Cookie=cookie).read(), [])
        self.problem(self.get("/jmap/eventsource/?types=*", password=None, Cookie=first), 403)

    def test_rates(self) -> None:
        """Tickets and cookies are no way around rates: a stream counts for its account, a wrong one for its address."""
        self.http.guard.configure(GuardRules(account=Rate(count=2, period=60.0), anonymous=Rate(count=2, period=60.0)))
        cookie = self.cookie()
        self.http.site.guard = self.http.guard
        statuses = [self.handshake(password=None, Cookie=cookie, Origin=OWN)[1].status for _ in range(3)]
        self.assertEqual(statuses, [101, 101, 429])
        path = "/jmap/eventsource/?types=*&ticket=" + "x" * 43
        self.assertEqual([self.get(path, password=None).status for _ in range(3)], [403, 403, 429])

    def test_cookie_for_streams_only(self) -> None:
        """Nothing else takes it for a sign-in."""
        cookie = self.cookie()
        for path in ("/jmap/session", "/jmap/download/A1/b/x"):
            self.problem(self.get(path, password=None, Cookie=cookie), 401)

    def test_cookie_revoked(self) -> None:
        """DELETE takes it back, and so does a changed password."""
        cookie = self.cookie()
        answer = self.http.ask(self.head("DELETE", "/jmap/ticket"))
        self.assertEqual(answer.status, 204)
        self.assertIn("Max-Age=0", answer.headers["set-cookie"])
        self.problem(self.get("/jmap/eventsource/?types=*", password=None, Cookie=cookie), 403)
        cookie = self.cookie()
        with self.store.write() as s:
            store.set_password_hash(s, self.account.id, "other")
        self.problem(self.get("/jmap/eventsource/?types=*", password=None, Cookie=cookie), 403)
