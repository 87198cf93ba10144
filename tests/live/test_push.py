"""Changes told by the real daemon: over event streams, WebSockets and pushes, of its own writes and of others'."""

from __future__ import annotations

import base64
import http.client
import http.server
import json
import os
import queue
import socket
import ssl
import tempfile
import threading
import urllib.request
from pathlib import Path
from typing import Any
from unittest import mock

import trustme
from twisted.trial.unittest import SynchronousTestCase
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Request, TextMessage

from tests.jmap.receiver import Receiver
from tests.live.daemon import ADDRESS, PASSWORD, Daemon

CORE = "urn:ietf:params:jmap:core"
MAIL = b"From: ada@example.net\r\nTo: jane@example.org\r\nSubject: Hello\r\n\r\nHi.\r\n"
AUTHORIZATION = "Basic " + base64.b64encode(f"{ADDRESS}:{PASSWORD}".encode()).decode()
SECONDS = 20


class PushService:
    """A push service on TLS, in a thread."""

    def __init__(self, folder: Path) -> None:
        posts: queue.Queue[tuple[str, dict[str, str], bytes]] = queue.Queue()
        self.posts = posts
        authority = trustme.CA()
        self.ca_path = folder / "ca.pem"
        authority.cert_pem.write_to_path(self.ca_path)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)

        class Handler(http.server.BaseHTTPRequestHandler):
            """Takes every push."""

            def do_POST(self) -> None:
                """Keep it."""
                body = self.rfile.read(int(self.headers["Content-Length"]))
                posts.put((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(201)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                """Print nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://localhost:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Stream:
    """An open event stream."""

    def __init__(self, daemon: Daemon, query: str = "types=*&closeafter=no&ping=30", **headers: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", daemon.http_port, timeout=SECONDS)
        self._connection.request(
            "GET", f"/jmap/eventsource/?{query}", headers=headers or {"Authorization": AUTHORIZATION}
        )
        self.answer = self._connection.getresponse()
        self.id = ""

    def event(self) -> tuple[str, Any] | None:
        """The next event; None at the end of the stream."""
        fields: dict[str, str] = {}
        while line := self.answer.readline().decode():
            name, _, value = line.rstrip("\n").partition(":")
            if name:
                fields[name] = value.removeprefix(" ")
            self.id = fields.get("id", self.id)
            if line == "\n" and "data" in fields:
                return fields["event"], json.loads(fields["data"])
        return None

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


class LivePushTests(SynchronousTestCase):
    """One daemon for each test."""

    def setUp(self) -> None:
        """A push service, and a daemon that trusts its authority."""
        temporary = tempfile.TemporaryDirectory(prefix="stalwart-push-")
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        self.service = PushService(self.folder)
        self.addCleanup(self.service.close)
        environment = mock.patch.dict(os.environ, {"SSL_CERT_FILE": str(self.service.ca_path)})
        environment.start()
        self.addCleanup(environment.stop)
        self.imported = 0
        self.daemon = Daemon.start(extra_config="[jmap]\npush.allow-private-addresses = true\n")
        self.addCleanup(self.daemon.close)

    def ask(self, method: str, path: str, value: object = None) -> Any:
        """What the daemon answers, decoded."""
        request = urllib.request.Request(
            self.daemon.base_url + path,
            None if value is None else json.dumps(value).encode(),
            {"Authorization": AUTHORIZATION, "Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            return json.load(answer)

    def call(self, name: str, arguments: object) -> Any:
        """The arguments of the response to one call."""
        answer = self.ask("POST", "/jmap/", {"using": [CORE], "methodCalls": [[name, arguments, "0"]]})
        self.assertEqual(answer["methodResponses"][0][0], name, answer)
        return answer["methodResponses"][0][1]

    def stream(self, *arguments: str, **headers: str) -> Stream:
        """An open event stream."""
        stream = Stream(self.daemon, *arguments, **headers)
        self.addCleanup(stream.close)
        return stream

    def import_mail(self) -> None:
        """Have another process write a mail."""
        path = self.folder / "mail.eml"
        self.imported += 1
        path.write_bytes(MAIL + b"%d\r\n" % self.imported)
        self.daemon.admin("import", ADDRESS, str(path))

    def state(self, stream: Stream) -> dict[str, str]:
        """The account's types and states in the next event, which must be a state event."""
        event = stream.event()
        assert event is not None
        self.assertEqual(event[0], "state")
        (types,) = event[1]["changed"].values()
        return dict(types)

    def test_event_stream(self) -> None:
        """LMTP and another process' import are told; a reconnected client hears of what it missed; the stop ends it."""
        stream = self.stream()
        self.assertEqual(stream.answer.status, 200)
        self.daemon.deliver(MAIL)
        first = self.state(stream)
        self.assertEqual(set(first), {"Email", "EmailDelivery", "Mailbox", "Thread"})
        self.import_mail()
        second = self.state(stream)
        self.assertGreater(int(second["Email"]), int(first["Email"]))
        stream.close()
        self.import_mail()
        again = self.stream(
            "types=Email&closeafter=no&ping=0",
            **{"Authorization": AUTHORIZATION, "Last-Event-ID": stream.id},
        )
        self.assertGreater(int(self.state(again)["Email"]), int(second["Email"]))
        self.assertEqual(self.daemon.stop(), 0)
        self.assertIsNone(again.event())
        self.assertNotIn("Traceback", self.daemon.log)

    def test_password_changed_elsewhere(self) -> None:
        """The admin command changes a password, and the streams of the account end."""
        stream = self.stream()
        self.daemon.admin("account", "passwd", ADDRESS, "--password-stdin", stdin="another long password\n")
        self.assertIsNone(stream.event())

    def test_ticket(self) -> None:
        """A ticket opens a stream, once."""
        ticket = self.ask("POST", "/jmap/ticket?for=eventsource", {})["ticket"]
        stream = self.stream(f"types=*&ticket={ticket}", Host="localhost")
        self.daemon.deliver(MAIL)
        self.assertIn("Email", self.state(stream))
        self.assertEqual(self.stream(f"types=*&ticket={ticket}", Host="localhost").answer.status, 403)
        self.assertNotIn(ticket, self.daemon.log)

    def test_web_socket(self) -> None:
        """A request and a push over one WebSocket, whose client is somebody else's; the stop closes it with 1001."""
        with socket.create_connection(("127.0.0.1", self.daemon.http_port), SECONDS) as wire:
            client = WSConnection(ConnectionType.CLIENT)
            wire.sendall(
                client.send(
                    Request(
                        host="localhost",
                        target="/jmap/ws",
                        subprotocols=["jmap"],
                        extra_headers=[(b"Authorization", AUTHORIZATION.encode())],
                    )
                )
            )
            events: list[Any] = []

            def following() -> Any:
                while not events:
                    client.receive_data(wire.recv(65536) or None)
                    events.extend(client.events())
                return events.pop(0)

            accepted = following()
            assert isinstance(accepted, AcceptConnection), accepted
            self.assertEqual(accepted.subprotocol, "jmap")
            for message in (
                {"@type": "WebSocketPushEnable", "dataTypes": ["EmailDelivery"]},
                {"@type": "Request", "id": "R1", "using": [CORE], "methodCalls": [["Core/echo", {"a": 1}, "c"]]},
            ):
                wire.sendall(client.send(TextMessage(data=json.dumps(message))))
            answer = json.loads(following().data)
            self.assertEqual((answer["@type"], answer["requestId"]), ("Response", "R1"))
            self.daemon.deliver(MAIL)
            change = json.loads(following().data)
            self.assertEqual(change["@type"], "StateChange")
            ((types,),) = [change["changed"].values()]
            self.assertEqual(list(types), ["EmailDelivery"])
            stopping = threading.Thread(target=self.daemon.stop)
            stopping.start()
            closed = following()
            assert isinstance(closed, CloseConnection), closed
            self.assertEqual(closed.code, 1001)
            wire.sendall(client.send(closed.response()))
            stopping.join()

    def test_push(self) -> None:
        """A subscription is verified, then told of LMTP and of another process' import, encrypted and signed."""
        session = self.ask("GET", "/jmap/session")
        server_key = session["capabilities"]["urn:ietf:params:jmap:webpush-vapid"]["applicationServerKey"]
        receiver = Receiver()
        wanted = {
            "deviceClientId": "test",
            "url": self.service.url + "/push/1",
            "keys": receiver.keys(),
            "types": ["Email"],
        }
        found = self.call("PushSubscription/set", {"create": {"k": wanted}})["created"]["k"]["id"]
        path, fields, body = self.service.posts.get(timeout=SECONDS)
        self.assertEqual((path, fields["content-encoding"]), ("/push/1", "aes128gcm"))
        self.assertTrue(fields["authorization"].endswith(f"k={server_key}"))
        told = json.loads(receiver.decrypt(body))
        self.assertEqual((told["@type"], told["pushSubscriptionId"]), ("PushVerification", found))
        self.daemon.deliver(MAIL)
        update = {found: {"verificationCode": told["verificationCode"]}}
        self.assertEqual(self.call("PushSubscription/set", {"update": update})["updated"], {found: None})
        states = []
        for write in (lambda: self.daemon.deliver(MAIL), self.import_mail):
            write()
            (types,) = json.loads(receiver.decrypt(self.service.posts.get(timeout=SECONDS)[2]))["changed"].values()
            self.assertEqual(list(types), ["Email"])
            states.append(int(types["Email"]))
        self.assertLess(states[0], states[1])
        self.daemon.stop()
        self.daemon.run()
        self.assertEqual(self.ask("GET", "/jmap/session")["capabilities"], session["capabilities"])
        self.daemon.deliver(MAIL)
        self.service.posts.get(timeout=SECONDS)
        self.assertNotIn("/push/1", self.daemon.log)
        self.assertNotIn("Traceback", self.daemon.log)
