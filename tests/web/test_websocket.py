"""JMAP over WebSocket (RFC 8887)."""

from __future__ import annotations

import json
from ipaddress import ip_network
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from wsproto.connection import Connection, ConnectionType

from stalwart import store
from stalwart.auth import GuardRules
from stalwart.config import Rate
from stalwart.web import jmap_socket
from stalwart.web.jmap_websocket import accept_token
from tests.jmap.bed import CORE
from tests.web.streams import (
    KEY,
    MAIL_TYPES,
    BytesMessage,
    CloseConnection,
    Ping,
    Pong,
    Socket,
    StreamBed,
    TextMessage,
)

ECHO = {"using": [CORE], "methodCalls": [["Core/echo", {"hello": True}, "b3ff"]]}


class AcceptTests(SynchronousTestCase):
    """`accept_token`."""

    def test_example(self) -> None:
        """RFC 6455 §1.3."""
        self.assertEqual(accept_token(KEY.encode()), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")


class HandshakeTests(StreamBed):
    """`GET /jmap/ws`."""

    def test_answer(self) -> None:
        """RFC 8887 §4.1: the answer names the subprotocol; no extension is agreed to."""
        _, answer = self.handshake(Sec_WebSocket_Extensions="permessage-deflate; client_max_window_bits")
        self.assertEqual(answer.status, 101)
        headers = answer.headers
        self.assertEqual(headers["upgrade"], "websocket")
        self.assertEqual(headers["connection"], "Upgrade")
        self.assertEqual(headers["sec-websocket-accept"], accept_token(KEY.encode()))
        self.assertEqual(headers["sec-websocket-protocol"], "jmap")
        self.assertNotIn("sec-websocket-extensions", headers)
        self.assertNotIn("content-length", headers)
        self.assertNotIn("transfer-encoding", headers)

    def test_lists_of_tokens(self) -> None:
        """Fields are read as lists of tokens without case, as Firefox and proxies write them."""
        for fields in (
            {"Connection": "keep-alive, Upgrade"},
            {"Connection": "upgrade"},
            {"Upgrade": "WebSocket"},
            {"Upgrade": "h2c, websocket"},
            {"Sec_WebSocket_Protocol": "chat, jmap"},
        ):
            self.assertEqual(self.handshake(**fields)[1].status, 101, fields)

    def test_refused(self) -> None:
        """What is no handshake of RFC 6455 §4.2.1 is refused with the reason, and the connection stays HTTP."""
        for fields, status in (
            ({"Upgrade": None}, 426),
            ({"Upgrade": "websockets"}, 426),
            ({"Connection": "keep-alive"}, 400),
            ({"Sec_WebSocket_Version": "8"}, 426),
            ({"Sec_WebSocket_Version": None}, 426),
            ({"Sec_WebSocket_Key": None}, 400),
            ({"Sec_WebSocket_Key": "c2hvcnQ="}, 400),
            ({"Sec_WebSocket_Key": "not base64!"}, 400),
            ({"Sec_WebSocket_Protocol": None}, 400),
            ({"Sec_WebSocket_Protocol": "chat"}, 400),
        ):
            wire, answer = self.handshake(**fields)
            self.problem(answer, status)
            if status == 426:
                self.assertEqual(answer.headers["upgrade"], "websocket")
            wire.send(self.head("GET", "/jmap/session"))
            self.assertEqual(wire.answers()[0].status, 200)
        self.assertEqual(self.handshake(Sec_WebSocket_Version="8")[1].headers["sec-websocket-version"], "13")

    def test_sign_in(self) -> None:
        """RFC 8887 §4.1: without the right password it is 401."""
        for password in (None, "wrong"):
            self.problem(self.handshake(password=password)[1], 401)

    def test_pages_elsewhere(self) -> None:
        """A page of another site can't use a password that the browser remembers."""
        self.problem(self.handshake(Origin="https://evil.example")[1], 403)
        self.problem(self.handshake(Origin="null")[1], 403)
        self.assertEqual(self.handshake(Origin="http://mail.example.org:8443")[1].status, 101)

    def test_noted(self) -> None:
        """The socket is one request in the log, with 101, when it ends."""
        socket = self.socket()
        self.assertEqual(self.http.log.lines, [])
        socket.wire.hang_up()
        (line,) = self.http.log.lines
        self.assertEqual((line["status"], line["path"], line["user"]), (101, "/jmap/ws", "ada@example.org"))

    def test_sent_too_early(self) -> None:
        """Frames that come along with the handshake are not lost."""
        frame = Connection(ConnectionType.CLIENT).send(TextMessage(data=json.dumps({"@type": "Request", **ECHO})))
        fields = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec_WebSocket_Key": KEY,
            "Sec_WebSocket_Version": "13",
            "Sec_WebSocket_Protocol": "jmap",
        }
        wire = self.http.connect()
        wire.send(self.head("GET", "/jmap/ws", **fields) + frame)
        head, _, rest = wire.raw().partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"HTTP/1.1 101 "))
        self.assertIn(b'"Core/echo"', rest)


class RequestTests(StreamBed):
    """Requests and their answers."""

    def test_request(self) -> None:
        """RFC 8887 §4.3.2, §4.3.3: a Request is answered by a Response with its id; one without id, without."""
        socket = self.socket()
        socket.tell(type="Request", id="R1", **ECHO)
        (response,) = socket.messages()
        self.assertEqual((response["@type"], response["requestId"]), ("Response", "R1"))
        self.assertEqual(response["methodResponses"], ECHO["methodCalls"])
        self.assertIn("sessionState", response)
        socket.tell(type="Request", **ECHO)
        (response,) = socket.messages()
        self.assertNotIn("requestId", response)

    def test_fragments(self) -> None:
        """A message may come in fragments, each in octets of its own, with pings between."""
        socket = self.socket()
        text = json.dumps({"@type": "Request", "id": "é", **ECHO})
        pieces = [
            socket.connection.send(TextMessage(data=text[:10], message_finished=False)),
            socket.connection.send(Ping(payload=b"still there?")),
            socket.connection.send(TextMessage(data=text[10:], message_finished=True)),
        ]
        for octet in b"".join(pieces):
            socket.wire.send(bytes([octet]))
        pong, answer = socket.events()
        self.assertEqual(pong, Pong(payload=b"still there?"))
        assert isinstance(answer, TextMessage)
        self.assertEqual(json.loads(answer.data)["requestId"], "é")

    def request_error(self, data: str) -> Any:
        """The RequestError that a message is answered with."""
        socket = self.socket()
        socket.send(TextMessage(data=data))
        (error,) = socket.messages()
        self.assertEqual(error["@type"], "RequestError")
        socket.tell(type="Request", id="next", **ECHO)
        self.assertEqual(socket.messages()[0]["requestId"], "next")
        socket.wire.hang_up()
        return error

    def test_errors(self) -> None:
        """RFC 8887 §4.3.4: a RequestError has the members of the problem and the request's id, else null."""
        urn = "urn:ietf:params:jmap:error:"
        for data, code, request_id in (
            ("The quick brown fox jumps over the lazy dog.", "notJSON", None),
            ("", "notJSON", None),
            ('{"x":' + "[" * 2000, "notJSON", None),
            ('{"@type":"Request","id":"R","id":"S","using":[],"methodCalls":[]}', "notJSON", "S"),
            ("[1, 2", "notJSON", None),
            ('{"using":[]', "notJSON", None),
            ('{"@type":"Request","id":"R"}', "notRequest", "R"),
            ('{"@type":"Request","id":7}', "notRequest", None),
            ("[]", "notRequest", None),
            ("{}", "notRequest", None),
            ('{"@type":"Nonsense","id":"R"}', "notRequest", "R"),
            ('{"@type":"WebSocketPushEnable","dataTypes":"Email"}', "notRequest", None),
            ('{"@type":"Request","id":"R","using":["urn:x"],"methodCalls":[]}', "unknownCapability", "R"),
        ):
            error = self.request_error(data)
            self.assertEqual((error["type"], error["requestId"], error["status"]), (urn + code, request_id, 400), data)

    def test_concurrency(self) -> None:
        """RFC 8887 §4.2: the limit on concurrent requests holds over HTTP and WebSockets together."""
        first, second = self.socket(), self.socket()
        self.threads.held = True
        first.tell(type="Request", id="1", **ECHO)
        second.tell(type="Request", id="2", **ECHO)
        second.tell(type="Request", id="3", **ECHO)
        (error,) = second.messages()
        self.assertEqual((error["requestId"], error["limit"]), ("3", "maxConcurrentRequests"))
        self.problem(self.post("/jmap/", self.body(), Content_Type="application/json"), 429)
        self.threads.release()
        self.assertEqual(first.messages()[0]["requestId"], "1")
        self.assertEqual(second.messages()[0]["requestId"], "2")
        self.api()

    def test_left_while_running(self) -> None:
        """When a client leaves, its requests end and count no more."""
        for _ in range(5):
            socket = self.socket()
            self.threads.held = True
            socket.tell(type="Request", id="1", **ECHO)
            socket.wire.hang_up()
            self.threads.release()
        self.api()

    def test_requests_in_memory(self) -> None:
        """RFC 8887 §4.2: a long message counts as a request while it comes in, as it does over HTTP."""
        self.patch(jmap_socket, "_SMALL_MESSAGE", 1000)
        sockets = [self.socket() for _ in range(3)]
        for socket in sockets:
            socket.send(TextMessage(data="x" * 1001, message_finished=False))
        self.assertEqual([socket.closed_with() for socket in sockets], [None, None, 1013])
        sockets[0].wire.hang_up()
        sockets[1].send(TextMessage(data="", message_finished=True))
        self.assertEqual(sockets[1].messages()[0]["type"], "urn:ietf:params:jmap:error:notJSON")
        self.assertEqual(self.jmap.requests._running, {})

    def guarded(self, rules: GuardRules) -> None:
        """Have the site go by these rules."""
        self.http.guard.configure(rules)
        self.http.site.guard = self.http.guard

    def test_rate(self) -> None:
        """Each message counts toward the account's rate, as a request over HTTP does."""
        self.guarded(GuardRules(account=Rate(count=3, period=60.0)))
        socket = self.socket()
        for _ in range(3):
            socket.tell(type="Request", id="1", **ECHO)
        self.assertEqual([answer.get("status", 200) for answer in socket.messages()], [200, 200, 429])

    def test_banned(self) -> None:
        """Who is banned is served no more, also on a socket that is open."""
        self.guarded(GuardRules())
        socket = self.socket()
        self.guarded(GuardRules(blocked=(ip_network("192.0.2.0/24"),)))
        socket.tell(type="Request", id="1", **ECHO)
        self.assertEqual(socket.closed_with(), 1008)

    def test_size(self) -> None:
        """A message over maxSizeRequest closes with 1009, before more of it is kept."""
        socket = self.socket()
        socket.send(TextMessage(data="x" * 5000, message_finished=False))
        self.assertEqual(socket.events(), [])
        socket.send(TextMessage(data="é", message_finished=False))
        self.assertEqual(socket.closed_with(), 1009)

    def test_binary(self) -> None:
        """RFC 8887 §4.3.1: JMAP is text; binary closes with 1003."""
        socket = self.socket()
        socket.send(BytesMessage(data=b"{}"))
        self.assertEqual(socket.closed_with(), 1003)

    def test_broken_frames(self) -> None:
        """What breaks RFC 6455 closes with its code: unmasked frames 1002, text that isn't UTF-8 1007."""
        for octets, code in (
            (b"\x81\x02{}", 1002),
            (b"\x81\x82\x00\x00\x00\x00\xff\xff", 1007),
            (b"\xc1\x82\x00\x00\x00\x00{}", 1002),
            (b"\x83\x80\x00\x00\x00\x00", 1002),
        ):
            socket = self.socket()
            socket.wire.send(octets)
            self.assertEqual(socket.closed_with(), code, octets)
            self.assertTrue(socket.wire.closed)

    def test_closing(self) -> None:
        """A Close frame is answered, and the connection closed; nothing is left."""
        socket = self.socket()
        socket.send(CloseConnection(code=1000))
        self.assertEqual(socket.closed_with(), 1000)
        self.assertTrue(socket.wire.closed)
        socket.wire.hang_up()
        self.assertEqual(len(self.announcer._watched), 0)

    def test_full(self) -> None:
        """While a client doesn't take its answers, nothing more is read from it; after a minute it is dropped."""
        socket = self.socket()
        transport = socket.wire.transport
        self.take_nothing(socket.wire)
        socket.tell(type="Request", id="1", **ECHO)
        self.assertEqual(transport.producerState, "paused")
        socket.wire.channel.resumeProducing()
        self.assertEqual(transport.producerState, "producing")
        socket.tell(type="Request", id="2", **ECHO)
        self.clock.pump([1] * 62)
        self.assertTrue(transport.aborted)

    @given(st.binary(max_size=60))
    @settings(deadline=None, max_examples=60)
    def test_any_octets(self, octets: bytes) -> None:
        """Whatever octets come, the socket lives on or closes in good order; no exception gets out."""
        socket = self.socket()
        socket.wire.send(octets)
        socket.events()
        socket.wire.hang_up()

    @given(st.recursive(st.none() | st.booleans() | st.text(max_size=4), lambda inner: st.lists(inner, max_size=3)))
    @settings(deadline=None, max_examples=60)
    def test_any_message(self, value: Any) -> None:
        """Whatever members a message has, the answer is a Response or a RequestError, or there is none."""
        socket = self.socket()
        for kind in ("Request", "WebSocketPushEnable", "WebSocketPushDisable"):
            for name in ("id", "using", "methodCalls", "dataTypes", "pushState", "@type"):
                socket.send(TextMessage(data=json.dumps({"@type": kind, name: value})))
        for answer in socket.messages():
            self.assertIn(answer["@type"], ("Response", "RequestError", "StateChange"))
        socket.wire.hang_up()


class PushTests(StreamBed):
    """RFC 8887 §4.3.5."""

    mail_types = list(MAIL_TYPES)

    def changes(self, socket: Socket) -> Any:
        """The changes and the pushState of the one StateChange that came."""
        (message,) = socket.messages()
        self.assertEqual(message["@type"], "StateChange")
        return message["changed"], message["pushState"]

    def test_enabled(self) -> None:
        """Changes are pushed from WebSocketPushEnable to WebSocketPushDisable, each with a pushState."""
        socket = self.socket()
        self.mail()
        self.assertEqual(socket.messages(), [])
        socket.tell(type="WebSocketPushEnable", dataTypes=["Mailbox", "Email"])
        self.assertEqual(socket.messages(), [])
        self.mail()
        changed, state = self.changes(socket)
        self.assertEqual(changed, {self.account_id: self.states("Mailbox", "Email")})
        self.assertTrue(state)
        socket.tell(type="WebSocketPushDisable")
        self.mail()
        self.clock.advance(2)
        self.assertEqual(socket.messages(), [])

    def test_all_types(self) -> None:
        """dataTypes null is all types; names that aren't known are left out."""
        everything, nothing = self.socket(), self.socket()
        everything.tell(type="WebSocketPushEnable", dataTypes=None)
        nothing.tell(type="WebSocketPushEnable", dataTypes=["Nonsense"])
        self.mail()
        self.assertEqual(self.changes(everything)[0], {self.account_id: self.states()})
        self.assertEqual(nothing.messages(), [])

    def test_resume(self) -> None:
        """With the last pushState, what changed meanwhile is sent at once; an unknown one has everything sent."""
        socket = self.socket()
        socket.tell(type="WebSocketPushEnable", dataTypes=None)
        self.mail()
        _, state = self.changes(socket)
        socket.wire.hang_up()
        again = self.socket()
        again.tell(type="WebSocketPushEnable", dataTypes=None, pushState=state)
        self.assertEqual(again.messages(), [])
        again.wire.hang_up()
        self.mail()
        for token in (state, "aaa"):
            late = self.socket()
            late.tell(type="WebSocketPushEnable", dataTypes=self.mail_types, pushState=token)
            self.assertEqual(self.changes(late)[0], {self.account_id: self.states()})

    def test_throttle(self) -> None:
        """Within a second changes are told together; so are those that a full connection couldn't take."""
        socket = self.socket()
        socket.tell(type="WebSocketPushEnable", dataTypes=None)
        for _ in range(3):
            self.mail()
        self.changes(socket)
        self.clock.advance(1)
        self.assertEqual(self.changes(socket)[0], {self.account_id: self.states()})
        self.clock.advance(5)
        socket.wire.channel.pauseProducing()
        for _ in range(3):
            self.mail()
            self.clock.advance(2)
        self.assertEqual(socket.messages(), [])
        socket.wire.channel.resumeProducing()
        self.assertEqual(self.changes(socket)[0], {self.account_id: self.states()})

    def test_revoked(self) -> None:
        """RFC 8887 §4.1: when the password is changed the socket is closed with 1008, also without push."""
        quiet, asking = self.socket(), self.socket()
        with self.store.write() as s:
            store.set_password_hash(s, self.account.id, "other")
        asking.tell(type="Request", id="1", **ECHO)
        self.assertEqual(asking.closed_with(), 1008)
        self.clock.advance(1)
        self.assertEqual(quiet.closed_with(), 1008)
        self.clock.pump([1] * 7)
        self.assertTrue(quiet.wire.closed)

    def test_stopping(self) -> None:
        """At the stop sockets are closed with 1001, those that wait for an answer after it."""
        idle, busy = self.socket(), self.socket()
        self.threads.held = True
        busy.tell(type="Request", id="1", **ECHO)
        self.announcer.close()
        self.assertEqual(idle.closed_with(), 1001)
        self.assertEqual(busy.events(), [])
        self.threads.release()
        answer, close = busy.events()
        assert isinstance(answer, TextMessage)
        assert isinstance(close, CloseConnection)
        self.assertEqual(close.code, 1001)

    def test_asking_on_while_stopping(self) -> None:
        """Who goes on asking while the server stops can't hold it up."""
        socket = self.socket()
        self.threads.held = True
        socket.tell(type="Request", id="1", **ECHO)
        self.announcer.close()
        socket.tell(type="Request", id="2", **ECHO)
        (refused,) = socket.messages()
        self.assertEqual((refused["requestId"], refused["status"]), ("2", 503))
        self.threads.release()
        self.assertEqual([type(event) for event in socket.events()], [TextMessage, CloseConnection])

    def test_draining(self) -> None:
        """The site's own stop ends them too."""
        socket = self.socket()
        drained = self.http.site.drain()
        self.assertEqual(socket.closed_with(), 1001)
        socket.send(CloseConnection(code=1001))
        self.assertTrue(socket.wire.closed)
        socket.wire.hang_up()
        self.successResultOf(drained)

    def test_heartbeat(self) -> None:
        """A quiet client is pinged each minute; one that doesn't answer for ten is closed."""
        socket = self.socket()
        for _ in range(3):
            self.clock.pump([1] * 61)
            (ping,) = socket.events()
            assert isinstance(ping, Ping)
        socket.send(Pong())
        self.clock.pump([1] * 59)
        self.assertEqual(socket.events(), [])
        self.clock.pump([1] * 550)
        self.assertEqual(socket.closed_with(), 1001)
        self.clock.pump([1] * 7)
        self.assertTrue(socket.wire.closed)

    def test_left(self) -> None:
        """When a client leaves, nothing is left of it."""
        socket = self.socket()
        socket.tell(type="WebSocketPushEnable", dataTypes=None)
        self.mail()
        self.mail()
        socket.wire.hang_up()
        self.clock.advance(1)
        self.assertEqual(len(self.announcer._watched), 0)
        self.assertEqual(len(self.clock.getDelayedCalls()), 0)
