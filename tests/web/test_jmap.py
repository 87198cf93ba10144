"""JMAP over HTTP: discovery, sign-in, limits, problem documents, uploads and downloads."""

from __future__ import annotations

import base64
import errno
import json
import os
from collections.abc import Callable
from typing import Any, TypeVar

from argon2.profiles import CHEAPEST
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from stalwart import store
from stalwart.auth import Authenticator, Passwords
from stalwart.http import SiteSettings
from stalwart.http.conditions import matches
from stalwart.jmap.limits import Limits
from stalwart.web.jmap import Jmap
from stalwart.web.jmap_announcer import Announcer
from stalwart.web.jmap_blobs import byte_range, content_disposition, media_type_of
from stalwart.web.jmap_streams import Streams
from tests.http.bed import Answer, Wire, read_answers
from tests.http.bed import Bed as HttpBed
from tests.http.test_http2 import Client
from tests.jmap import bed
from tests.jmap.bed import CORE, MAIL, message

T = TypeVar("T")

PASSWORD = "correct horse"


class Threads:
    """Runs work at once, or, while `held`, when the test says so."""

    def __init__(self) -> None:
        self.held = False
        self.waiting: list[Callable[[], object]] = []
        self.turns = 0

    def run(self, function: Callable[[], T]) -> Deferred[T]:
        """As `ThreadPool.run`."""
        self.turns += 1
        if not self.held:
            return maybeDeferred(function)
        result: Deferred[T] = Deferred()
        self.waiting.append(lambda: maybeDeferred(function).chainDeferred(result))
        return result

    def release(self) -> None:
        """Do what was held."""
        self.held = False
        waiting, self.waiting = self.waiting, []
        for work in waiting:
            work()


class AtOnce:
    """A reactor whose threads wake it at once, on a clock."""

    def __init__(self, clock: Clock) -> None:
        self.callLater = clock.callLater
        self.seconds = clock.seconds

    def callFromThread(self, function: Callable[..., object], /) -> None:
        """Call it."""
        function()


class WebBed(bed.Bed):
    """An account, and a site with the JMAP surface over it."""

    limits = Limits(
        max_size_request=5000,
        max_size_upload=1_000_000,
        max_concurrent_requests=2,
        max_concurrent_upload=2,
        max_octets_read=2_100_000,
    )

    def setUp(self) -> None:
        """Set the password, and mount the surface."""
        super().setUp()
        passwords = Passwords(CHEAPEST)
        with self.store.write() as s:
            store.set_password_hash(s, self.account.id, passwords.hash(PASSWORD))
        self.authenticator = Authenticator(self.store, passwords, clock=lambda: 0.0)
        self.threads = Threads()
        self.http = HttpBed()
        self.jmap = Jmap(
            self.store,
            self.authenticator,
            self.threads,
            self.metrics,
            hostname="fallback.example.org",
            threads=3,
            limits=self.limits,
        )
        self.announcer = Announcer(
            self.store, AtOnce(self.http.clock), self.threads, current=self.authenticator.current
        )
        self.addCleanup(self.announcer.close_thread)
        self.streams = Streams(self.jmap, self.announcer, self.http.clock)
        for path, resource in self.jmap.resources(self.streams).items():
            self.http.mount(path, resource)

    def head(self, method: str, path: str, password: str | None = PASSWORD, **fields: str) -> bytes:
        """The head of a request."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {fields.pop('Host', 'mail.example.org:8443')}"]
        if password is not None:
            token = base64.b64encode(f"ada@example.org:{password}".encode()).decode()
            lines.append(f"Authorization: Basic {token}")
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
        return "\r\n".join([*lines, "", ""]).encode()

    def get(self, path: str, *, method: str = "GET", password: str | None = PASSWORD, **fields: str) -> Answer:
        """Ask for a path."""
        return self.http.ask(self.head(method, path, password, **fields), method=method)

    def post(self, path: str, body: bytes, *, password: str | None = PASSWORD, **fields: str) -> Answer:
        """Send a body to a path."""
        fields["Content_Length"] = str(len(body))
        return self.http.ask(self.head("POST", path, password, **fields) + body, method="POST")

    def take_nothing(self, wire: Wire) -> None:
        """Let the connection be full with whatever is written to it."""
        write = wire.transport.write

        def fill(octets: bytes) -> None:
            write(octets)
            wire.channel.pauseProducing()

        self.patch(wire.transport, "write", fill)

    def take_all(self, wire: Wire) -> bytes:
        """What comes out of a full connection when the client takes it at last."""
        octets = b""
        while more := wire.raw():
            octets += more
            wire.channel.resumeProducing()
        return octets

    def api(self, *calls: Any, **fields: str) -> Any:
        """The Response object to calls."""
        fields.setdefault("Content_Type", "application/json")
        answer = self.post("/jmap/", self.body(*calls), **fields)
        self.assertEqual((answer.status, answer.headers["content-type"]), (200, "application/json"), answer.body)
        return json.loads(answer.body)

    def body(self, *calls: Any) -> bytes:
        """The octets of a Request object."""
        return json.dumps({"using": [CORE, MAIL], "methodCalls": [list(call) for call in calls]}).encode()

    def problem(self, answer: Answer, status: int, code: str | None = None) -> dict[str, Any]:
        """The problem document that the answer has to be."""
        self.assertEqual(answer.status, status, answer.body)
        document = answer.problem()
        if code is not None:
            self.assertEqual(document["type"], "urn:ietf:params:jmap:error:" + code)
        return document


class SessionTests(WebBed):
    """Where clients begin."""

    def test_well_known(self) -> None:
        """RFC 8620 §2.2, §8.3: discovery redirects, without sign-in, and is not cached."""
        for method in ("GET", "HEAD"):
            answer = self.get("/.well-known/jmap", method=method, password=None)
            self.assertEqual(answer.status, 307)
            self.assertEqual(answer.headers["location"], "/jmap/session")
            self.assertEqual(answer.headers["cache-control"], "no-cache")

    def test_session(self) -> None:
        """RFC 8620 §2, rule 3: the object, not cached, its URLs below the address that the client used."""
        answer = self.get("/jmap/session")
        self.assertEqual((answer.status, answer.headers["content-type"]), (200, "application/json"))
        self.assertEqual(answer.headers["cache-control"], "no-cache, no-store, must-revalidate")
        session = json.loads(answer.body)
        self.assertEqual(session["apiUrl"], "http://mail.example.org:8443/jmap/")
        self.assertEqual(session["state"], self.api()["sessionState"])
        self.assertEqual(self.get("/jmap/session", method="HEAD").body, b"")

    def test_configured_address(self) -> None:
        """The rule for the address, if there is one, goes before; one that gives none doesn't."""
        for url, base in (("https://jmap.example.org", "https://jmap.example.org"), (None, "http://a:80")):

            async def configured(request: object, url: str | None = url) -> str | None:
                return url

            self.http.site.settings = SiteSettings(url=configured)
            session = json.loads(self.get("/jmap/session", Host="a:80").body)
            self.assertEqual(session["apiUrl"], f"{base.removesuffix(':80')}/jmap/")

    def test_address(self) -> None:
        """URLs have the host that was asked for; without one, the server's own."""
        for host, base in (
            ("MAIL.example.org", "http://mail.example.org"),
            ("[2001:db8::1]:80", "http://[2001:db8::1]"),
        ):
            session = json.loads(self.get("/jmap/session", Host=host).body)
            self.assertEqual(session["uploadUrl"], base + "/jmap/upload/{accountId}/")
        head = (
            self.head("GET", "/jmap/session", Host="x").replace(b"Host: x\r\n", b"").replace(b"HTTP/1.1", b"HTTP/1.0")
        )
        session = json.loads(self.http.ask(head).body)
        self.assertEqual(session["uploadUrl"], "http://fallback.example.org/jmap/upload/{accountId}/")

    def test_sign_in(self) -> None:
        """Without the right password every part is 401 with a challenge, before a body is read."""
        for method, path in (
            ("GET", "/jmap/session"),
            ("GET", "/jmap/eventsource/?types=*&closeafter=no&ping=0"),
            ("POST", "/jmap/"),
            ("POST", "/jmap/upload/A1/"),
            ("GET", "/jmap/download/A1/b/x"),
        ):
            for password in (None, "wrong"):
                fields = {"Content_Length": "4000"} if method == "POST" else {}
                answer = self.http.ask(self.head(method, path, password, **fields))
                self.problem(answer, 401)
                self.assertIn("Basic", answer.headers["www-authenticate"])

    def test_options(self) -> None:
        """Rule 5: OPTIONS needs no sign-in, on every part."""
        for path, allow in (
            ("/.well-known/jmap", "GET, HEAD, OPTIONS"),
            ("/jmap/session", "GET, HEAD, OPTIONS"),
            ("/jmap/", "OPTIONS, POST"),
            ("/jmap", "OPTIONS, POST"),
            ("/jmap/eventsource/", "GET, HEAD, OPTIONS"),
            ("/jmap/upload/A1/", "OPTIONS, POST"),
            ("/jmap/download/A1/b/x", "GET, HEAD, OPTIONS"),
        ):
            answer = self.get(path, method="OPTIONS", password=None)
            self.assertEqual((answer.status, answer.headers["allow"]), (204, allow))

    def test_sign_ins_keep_nobody_waiting(self) -> None:
        """Passwords are checked in some of the threads only; who has signed in is served beside a flood of guesses."""
        self.api()
        self.threads.held = True
        guesses = [self.http.connect() for _ in range(110)]
        for number, wire in enumerate(guesses):
            wire.send(self.head("GET", "/jmap/session", f"guess {number}"))
        self.assertEqual(len(self.threads.waiting), 2)
        answers = [answer for wire in guesses for answer in wire.answers()]
        self.assertEqual({answer.status for answer in answers}, {429})
        self.assertEqual((len(answers), answers[0].headers["retry-after"]), (8, "5"))
        served = self.http.connect()
        served.send(self.head("GET", "/jmap/session"))
        self.assertEqual(len(self.threads.waiting), 3)
        for wire in guesses[2:]:
            wire.hang_up()
        self.threads.release()
        self.assertEqual(served.answers()[0].status, 200)
        self.assertEqual([wire.answers()[0].status for wire in guesses[:2]], [401, 401])
        self.assertEqual(self.threads.turns, 1 + 1 + 2 + 1)

    def test_methods(self) -> None:
        """Another method is 405 with Allow; another path is 404."""
        answer = self.get("/jmap/")
        self.problem(answer, 405)
        self.assertEqual(answer.headers["allow"], "OPTIONS, POST")
        self.problem(self.post("/jmap/session", b""), 405)
        for path in ("/jmap/nope", "/jmap/session/x"):
            self.problem(self.get(path), 404)

    def test_changed_password(self) -> None:
        """A password changed by another process counts at once, though the old one is still remembered here."""
        self.api()
        with self.store.write() as s:
            store.set_password_hash(s, self.account.id, Passwords(CHEAPEST).hash("new"))
        calls = self.body(("Core/echo", {}, "0"))
        self.problem(self.post("/jmap/", calls, Content_Type="application/json"), 401)
        self.problem(self.get("/jmap/session"), 401)
        self.assertEqual(self.get("/jmap/session", password="new").status, 200)

    def test_deleted_account(self) -> None:
        """An account that was deleted is refused at once everywhere, though its sign-in is still remembered here."""
        blob = "b" + store.blob_hash(message())
        self.deliver(message())
        self.assertEqual(self.get(f"/jmap/download/{self.account_id}/{blob}/x").status, 200)
        with self.store.write() as s:
            store.delete_account(s, self.account.id)
        for answer in (
            self.get("/jmap/session"),
            self.get(f"/jmap/download/{self.account_id}/{blob}/x"),
            self.post("/jmap/", self.body(), Content_Type="application/json"),
            self.post(f"/jmap/upload/{self.account_id}/", b"x"),
        ):
            self.problem(answer, 401)

    def test_same_password_set_again(self) -> None:
        """Where the password was set anew to what it is, clients notice nothing."""
        self.api()
        with self.store.write() as s:
            store.set_password_hash(s, self.account.id, Passwords(CHEAPEST).hash(PASSWORD))
        self.assertEqual(self.get("/jmap/session").status, 200)
        with self.store.write() as s:
            store.set_password_hash(s, self.account.id, Passwords(CHEAPEST).hash(PASSWORD))
        self.api()


class ApiTests(WebBed):
    """API requests."""

    def test_one_turn(self) -> None:
        """A request of someone who signed in a short time ago takes one turn in a thread."""
        self.api()
        turns = self.threads.turns
        self.api(("Core/echo", {}, "0"), ("Mailbox/get", {"accountId": self.account_id}, "1"))
        self.assertEqual(self.threads.turns, turns + 1)

    def test_both_paths(self) -> None:
        """RFC 8620 §3: the API is at /jmap/ and, for clients that lose the slash, at /jmap."""
        for path in ("/jmap/", "/jmap"):
            answer = self.post(path, self.body(("Core/echo", {"a": 1}, "0")), Content_Type="application/json")
            self.assertEqual(json.loads(answer.body)["methodResponses"], [["Core/echo", {"a": 1}, "0"]])
            self.assertIn("no-store", answer.headers["cache-control"])

    def test_content_type(self) -> None:
        """RFC 8620 §3.1, rule 9: application/json, with or without charset=utf-8; anything else is notJSON."""
        for media_type in (
            "application/json",
            "Application/JSON; charset=utf-8",
            'application/json;charset="UTF-8"',
        ):
            self.api(Content_Type=media_type)
        for media_type in (
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/json; charset=latin1",
            "",
        ):
            self.problem(self.post("/jmap/", self.body(), Content_Type=media_type), 400, "notJSON")
        self.problem(self.post("/jmap/", self.body()), 400, "notJSON")

    def test_request_errors(self) -> None:
        """RFC 8620 §3.6.1: request-level errors are problem documents with their URN and status."""
        for body, code in (
            (b"", "notJSON"),
            (b"{", "notJSON"),
            (b'{"using":[],"using":[],"methodCalls":[]}', "notJSON"),
            (b"{}", "notRequest"),
            (b'{"using":["x"],"methodCalls":[]}', "unknownCapability"),
        ):
            self.problem(self.post("/jmap/", body, Content_Type="application/json"), 400, code)
        many = self.body(*[("Core/echo", {}, "0")] * 17)
        document = self.problem(self.post("/jmap/", many, Content_Type="application/json"), 400, "limit")
        self.assertEqual(document["limit"], "maxCallsInRequest")

    def test_too_large(self) -> None:
        """Rule 13: a request over maxSizeRequest is refused as soon as its size is known."""
        wire = self.http.connect()
        wire.send(self.head("POST", "/jmap/", Content_Type="application/json", Content_Length="5001"))
        (answer,) = wire.answers("POST")
        self.assertEqual(self.problem(answer, 413, "limit")["limit"], "maxSizeRequest")
        self.post("/jmap/", b" " * 5000, Content_Type="application/json")

    def test_concurrency(self) -> None:
        """Rule 13: more requests at a time than maxConcurrentRequests are refused, until one has ended."""
        self.api()
        self.threads.held = True
        octets = (
            self.head("POST", "/jmap/", Content_Type="application/json", Content_Length=str(len(self.body())))
            + self.body()
        )
        wires = [self.http.connect() for _ in range(3)]
        for wire in wires:
            wire.send(octets)
        self.assertEqual(wires[0].answers(), [])
        (refused,) = wires[2].answers()
        self.assertEqual(self.problem(refused, 429, "limit")["limit"], "maxConcurrentRequests")
        self.assertEqual(refused.headers["ratelimit-policy"], '"concurrent-requests";q=2')
        self.assertEqual(refused.headers["ratelimit"], '"concurrent-requests";r=0;t=1')
        self.assertEqual(refused.headers["retry-after"], "1")
        wires[1].hang_up()
        fourth = self.http.connect()
        fourth.send(octets)
        self.assertEqual(fourth.answers(), [])
        self.threads.release()
        self.assertEqual([wire.answers()[0].status for wire in (wires[0], fourth)], [200, 200])
        self.api()

    def test_one_account_never_has_all_threads(self) -> None:
        """However many requests an account begins and leaves, one thread is left for the others."""
        self.api()
        self.threads.held = True
        body = self.body(("Core/echo", {}, "0"))
        octets = self.head("POST", "/jmap/", Content_Type="application/json", Content_Length=str(len(body))) + body
        for _ in range(20):
            wire = self.http.connect()
            wire.send(octets)
            self.assertEqual(wire.answers(), [])
            wire.hang_up()
        self.assertEqual(len(self.threads.waiting), 2)
        last = self.http.connect()
        last.send(octets)
        self.threads.release()
        self.assertEqual(last.answers()[0].status, 200)

    def test_large_answers_count_until_they_are_taken(self) -> None:
        """A client that asks for much and takes nothing of it has no more than its requests' worth in memory."""
        email = self.deliver(message(body="x" * 2_000_000))
        wanted = {"accountId": self.account_id, "ids": [email], "properties": ["bodyValues"]}
        body = self.body(("Email/get", {**wanted, "fetchTextBodyValues": True}, "0"))
        octets = self.head("POST", "/jmap/", Content_Type="application/json", Content_Length=str(len(body))) + body
        wires = [self.http.connect() for _ in range(3)]
        for wire in wires:
            self.take_nothing(wire)
            wire.send(octets)
        self.assertLess(len(wires[0].transport.value()), 500_000)
        self.problem(wires[2].answers()[0], 429, "limit")
        for wire in wires[:2]:
            (answer,) = read_answers(self.take_all(wire))
            (value,) = json.loads(answer.body)["methodResponses"][0][1]["list"][0]["bodyValues"].values()
            self.assertEqual(len(value["value"]), 2_000_001)
        self.api()

    def test_server_fail(self) -> None:
        """A fault in a call is logged with the reference that the client is given."""
        email = self.deliver(message())
        self.store.blobs.delete(self.email(email, "blobId")["blobId"][1:])
        wanted = {"accountId": self.account_id, "ids": [email], "properties": ["headers"]}
        with capturedLogs() as events:
            answer = self.api(("Email/get", wanted, "0"))["methodResponses"][0][1]
        self.assertEqual(answer["type"], "serverFail")
        (event,) = (event for event in events if event["log_namespace"] == "stalwart.jmap")
        self.assertIn(event["reference"], answer["description"])
        self.assertIn("BlobMissing", event["cause"])


class BlobTests(WebBed):
    """Uploads and downloads."""

    def upload(self, data: bytes, **fields: str) -> Any:
        """The answer to an upload."""
        answer = self.post(f"/jmap/upload/{self.account_id}/", data, **fields)
        self.assertEqual((answer.status, answer.headers["content-type"]), (200, "application/json"), answer.body)
        return json.loads(answer.body)

    def download(self, blob: str, rest: str = "/file?accept=text/plain", **fields: str) -> Answer:
        """The answer to a download."""
        return self.get(f"/jmap/download/{self.account_id}/{blob}{rest}", **fields)

    def test_upload(self) -> None:
        """Rule 41: any type, or none; zero octets; the type is the one sent."""
        for data, fields, media_type in (
            (b"\x00\xff" * 50, {"Content_Type": 'text/plain; charset="x"'}, 'text/plain; charset="x"'),
            (b"", {"Content_Type": "image/png"}, "image/png"),
            (b"x", {}, "application/octet-stream"),
        ):
            answer = self.upload(data, **fields)
            self.assertEqual(answer["type"], media_type)
            self.assertEqual((answer["size"], answer["accountId"]), (len(data), self.account_id))
            self.assertEqual(self.download(answer["blobId"]).body, data)
        answer = self.post(f"/jmap/upload/{self.account_id}", b"no slash")
        self.assertEqual(answer.status, 200)

    def test_upload_is_kept(self) -> None:
        """What was uploaded is noted for the account, beside its octets."""
        blob = self.upload(b"data", Content_Type="a/b")["blobId"]
        with self.store.read() as s:
            row = store.find_upload(s, self.account.id, self.account.id, blob[1:])
        assert row is not None
        self.assertEqual((row.size, row.type), (4, "a/b"))

    def test_refused_uploads(self) -> None:
        """Rule 41: over maxSizeUpload is a limit problem with 413; a foreign account is 404, before the body."""
        wire = self.http.connect()
        wire.send(self.head("POST", f"/jmap/upload/{self.account_id}/", Content_Length="1000001"))
        self.assertEqual(self.problem(wire.answers("POST")[0], 413, "limit")["limit"], "maxSizeUpload")
        for path in (f"/jmap/upload/A{self.other.id}/", "/jmap/upload/", "/jmap/upload", "/jmap/upload/A1/x"):
            wire = self.http.connect()
            wire.send(self.head("POST", path, Content_Length="10"))
            self.problem(wire.answers("POST")[0], 404)

    def test_concurrency_over_http2(self) -> None:
        """The streams of one connection count like connections: requests and uploads, until one has ended."""
        self.api()
        path = f"/jmap/upload/{self.account_id}/"
        token = base64.b64encode(f"ada@example.org:{PASSWORD}".encode()).decode()
        sign_in = ("authorization", f"Basic {token}")
        client = Client(self.http)
        uploads = [client.ask(path, method="POST", fields=[sign_in], body=b"12345", end=False) for _ in range(3)]
        self.assertEqual(client.status.get(uploads[2]), 429)
        self.assertEqual(client.headers[uploads[2]]["ratelimit-policy"], '"concurrent-uploads";q=2')
        client.h2.end_stream(uploads[0])
        client.h2.reset_stream(uploads[1])
        client.pump()
        self.assertEqual(client.status, {uploads[0]: 200, uploads[2]: 429})
        self.threads.held = True
        fields = [sign_in, ("content-type", "application/json")]
        calls = [client.ask("/jmap/", method="POST", fields=fields, body=self.body()) for _ in range(3)]
        self.assertEqual(client.status.get(calls[2]), 429)
        self.assertEqual(client.headers[calls[2]]["ratelimit-policy"], '"concurrent-requests";q=2')
        self.threads.release()
        client.pump()
        self.assertEqual([client.status[stream] for stream in calls[:2]], [200, 200])

    def test_concurrent_uploads(self) -> None:
        """More uploads at a time than maxConcurrentUpload are refused while bodies are still coming."""
        self.api()
        octets = self.head("POST", f"/jmap/upload/{self.account_id}/", Content_Length="10")
        wires: list[Wire] = [self.http.connect() for _ in range(3)]
        for wire in wires:
            wire.send(octets + b"12345")
        (refused,) = wires[2].answers()
        self.assertEqual(self.problem(refused, 429, "limit")["limit"], "maxConcurrentUpload")
        self.assertEqual(refused.headers["ratelimit-policy"], '"concurrent-uploads";q=2')
        wires[0].send(b"67890")
        self.assertEqual(wires[0].answers()[0].status, 200)
        wires[1].hang_up()
        self.upload(b"again")

    def test_upload_in_pieces(self) -> None:
        """A large upload is written while it comes, and only what no thread has written yet is in memory."""
        data = bytes(range(256)) * 3900
        wire = self.http.connect()
        wire.send(self.head("POST", f"/jmap/upload/{self.account_id}/", Content_Length=str(len(data))))
        for start in range(0, 900_000, 100_000):
            wire.send(data[start : start + 100_000])
            self.assertEqual(len(self.temporary()), 1 if start >= 200_000 else 0)
        wire.send(data[900_000:])
        answer = wire.answers("POST")[0]
        self.assertEqual((answer.status, json.loads(answer.body)["size"]), (200, len(data)))
        self.assertEqual(self.temporary(), [])
        self.assertEqual(self.download(json.loads(answer.body)["blobId"]).body, data)

    def test_slow_disk(self) -> None:
        """Octets that come while others are being written are written in their order; the answer waits for all."""
        self.api()
        data = bytes(range(256)) * 3000
        wire = self.http.connect()
        wire.send(self.head("POST", f"/jmap/upload/{self.account_id}/", Content_Length=str(len(data))))
        self.threads.held = True
        for start in range(0, len(data), 90_000):
            wire.send(data[start : start + 90_000])
        self.assertEqual((len(self.threads.waiting), wire.raw()), (1, b""))
        self.threads.release()
        answer = wire.answers("POST")[0]
        self.assertEqual(answer.status, 200, answer.body)
        self.assertEqual(self.download(json.loads(answer.body)["blobId"]).body, data)

    def test_upload_broken_off(self) -> None:
        """Of an upload that breaks off, that is refused at its end, or whose client leaves, nothing stays."""
        head = self.head("POST", f"/jmap/upload/{self.account_id}/", Transfer_Encoding="chunked")
        chunk = b"61a80\r\n" + b"x" * 400_000 + b"\r\n"
        wire = self.http.connect()
        wire.send(head + chunk)
        self.assertEqual(len(self.temporary()), 1)
        wire.hang_up()
        self.assertEqual(self.temporary(), [])
        wire = self.http.connect()
        wire.send(head + chunk * 3)
        self.assertEqual(self.problem(wire.answers("POST")[0], 413, "limit")["limit"], "maxSizeUpload")
        self.assertEqual(self.temporary(), [])
        self.threads.held = True
        wire = self.http.connect()
        wire.send(head + chunk)
        wire.hang_up()
        self.threads.release()
        self.assertEqual(self.temporary(), [])

    def test_disk_full(self) -> None:
        """A disk that fills up while an upload comes is 507, and nothing of it stays."""
        real = os.write

        def write(descriptor: int, data: bytes) -> int:
            if len(data) > 50_000:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(descriptor, data)

        self.api()
        self.patch(os, "write", write)
        for size in (60_000, 600_000):
            self.problem(self.post(f"/jmap/upload/{self.account_id}/", b"x" * size), 507)
            self.assertEqual(self.temporary(), [])

    def temporary(self) -> list[str]:
        """The files of blobs that are being written."""
        return os.listdir(os.path.join(os.path.dirname(self.store.path), "blobs", "tmp"))

    def test_shared_account(self) -> None:
        """To a shared account is uploaded with the right to write; without it, 403 comes before the body."""
        path = f"/jmap/upload/A{self.other.id}/"
        for writing, status in ((False, 403), (True, 200)):
            with self.store.write() as s:
                store.share_account(s, self.other.id, self.account.id, writing=writing)
            if not writing:
                wire = self.http.connect()
                wire.send(self.head("POST", path, Content_Length="10"))
                self.problem(wire.answers("POST")[0], 403)
            answer = self.post(path, b"0123456789")
            self.assertEqual(answer.status, status, answer.body)
        blob = json.loads(answer.body)["blobId"]
        self.assertEqual(self.get(f"/jmap/download/A{self.other.id}/{blob}/x").body, b"0123456789")
        self.problem(self.download(blob), 404)
        with self.store.write() as s:
            store.unshare_account(s, self.other.id, self.account.id)
        self.problem(self.post(path, b"x"), 404)
        self.problem(self.get(f"/jmap/download/A{self.other.id}/{blob}/x"), 404)

    def test_download(self) -> None:
        """RFC 8620 §6.2, rule 43: type and name as asked for, and nothing that a browser would run."""
        blob = self.upload(b"<script>")["blobId"]
        answer = self.download(blob, "/na%C3%AFve%20%22x%22.txt?accept=text/html%3B%20charset%3Dutf-8")
        self.assertEqual((answer.status, answer.body), (200, b"<script>"))
        headers = answer.headers
        self.assertEqual(headers["content-type"], "text/html; charset=utf-8")
        self.assertEqual(
            headers["content-disposition"],
            'attachment; filename="na_ve \\"x\\".txt"; filename*=UTF-8\'\'na%C3%AFve%20%22x%22.txt',
        )
        self.assertEqual(headers["x-content-type-options"], "nosniff")
        self.assertEqual(headers["content-security-policy"], "default-src 'none'; sandbox")
        self.assertEqual(headers["cache-control"], "private, immutable, max-age=31536000")
        self.assertEqual(headers["etag"], f'"{blob}"')
        head = self.download(blob, method="HEAD")
        self.assertEqual((head.status, head.headers["content-length"], head.body), (200, "8", b""))

    def test_types(self) -> None:
        """A type that is none, or none at all, is sent as octets."""
        blob = self.upload(b"x")["blobId"]
        for rest in (
            "/f",
            "/f?accept=",
            "/f?accept=nonsense",
            "/f?accept=text/html%0d%0aX-Bad:1",
            "/f?type=a/b",
            "",
        ):
            answer = self.download(blob, rest)
            self.assertEqual((answer.status, answer.headers["content-type"]), (200, "application/octet-stream"), rest)
            self.assertNotIn("x-bad", answer.headers)

    def test_not_found(self) -> None:
        """Rule 43: unknown and foreign blobs are 404, and not cached as if they were there."""
        foreign = message("Foreign")
        self.deliver(foreign, account=self.other.id)
        for blob in ("b" + store.blob_hash(foreign), "nope", "", "b%2e%2e"):
            answer = self.download(blob)
            self.problem(answer, 404)
            self.assertNotIn("etag", answer.headers)
        for path in (f"/jmap/download/A{self.other.id}/x/y", "/jmap/download", "/jmap/download/A1/b/c/d"):
            self.problem(self.get(path), 404)

    def test_parts(self) -> None:
        """An attachment is downloaded decoded."""
        body = "--m\r\nContent-Transfer-Encoding: base64\r\n\r\nSGVsbG8=\r\n--m--"
        email = self.deliver(message(body=body, Content_Type="multipart/mixed; boundary=m"))
        part = self.email(email, "bodyStructure")["bodyStructure"]["subParts"][0]
        answer = self.download(part["blobId"])
        self.assertEqual((answer.status, answer.body), (200, b"Hello"))

    def test_large_parts(self) -> None:
        """A large encoded part is decoded as it is sent; one account has only so many octets of that in memory."""
        octets = bytes(range(256)) * 6000
        encoded = base64.encodebytes(octets).decode().replace("\n", "\r\n")
        body = f"--m\r\nContent-Transfer-Encoding: base64\r\n\r\n{encoded}--m--"
        email = self.deliver(message(body=body, Content_Type="multipart/mixed; boundary=m"))
        part = self.email(email, "bodyStructure")["bodyStructure"]["subParts"][0]
        path = f"/jmap/download/{self.account_id}/{part['blobId']}/x"
        wires = [self.http.connect() for _ in range(3)]
        for wire in wires:
            self.take_nothing(wire)
            wire.send(self.head("GET", path))
        document = self.problem(wires[2].answers()[0], 429, "limit")
        self.assertEqual(document["limit"], "maxOctetsDecoded")
        turns = self.threads.turns
        head = self.download(part["blobId"], method="HEAD")
        self.assertEqual((head.status, head.headers["content-length"]), (200, str(len(octets))))
        self.assertEqual(self.threads.turns, turns + 1)
        wires[0].hang_up()
        self.assertEqual(read_answers(self.take_all(wires[1]))[0].body, octets)
        ranged = self.download(part["blobId"], Range="bytes=1400000-1400009")
        self.assertEqual((ranged.status, ranged.body), (206, octets[1_400_000:1_400_010]))

    def test_unchanged(self) -> None:
        """RFC 9110 §13.1.2: a copy that the client still has is 304, for who may read it."""
        blob = self.upload(b"data")["blobId"]
        answer = self.download(blob, If_None_Match=f'"x", W/"{blob}"')
        self.assertEqual((answer.status, answer.body), (304, b""))
        self.problem(self.download("bnope", If_None_Match="*"), 404)
        self.assertEqual(self.download(blob, If_None_Match='"other"').status, 200)

    def test_ranges(self) -> None:
        """RFC 9110 §14.2: one range is sent as 206; behind the end is 416; conditions are looked at."""
        blob = self.upload(b"0123456789")["blobId"]
        answer = self.download(blob, Range="bytes=2-4")
        self.assertEqual((answer.status, answer.body), (206, b"234"))
        self.assertEqual(answer.headers["content-range"], "bytes 2-4/10")
        answer = self.download(blob, Range="bytes=10-")
        self.problem(answer, 416)
        self.assertEqual(answer.headers["content-range"], "bytes */10")
        self.assertEqual(self.download(blob, Range="bytes=2-4", If_Range='"other"').status, 200)
        self.assertEqual(self.download(blob, Range="bytes=2-4", If_Range=f'"{blob}"').status, 206)
        self.assertEqual(self.download(blob, Range="bytes=2-4", method="HEAD").status, 200)

    def test_large(self) -> None:
        """A large blob is sent in blocks, each read in a turn of its own."""
        data = bytes(range(256)) * 3000
        blob = self.upload(data)["blobId"]
        answer = self.download(blob)
        self.assertEqual((answer.headers["content-length"], answer.body), (str(len(data)), data))
        answer = self.download(blob, Range="bytes=5-700000")
        self.assertEqual((answer.status, answer.body), (206, data[5:700_001]))


class FieldTests(SynchronousTestCase):
    """Fields of downloads."""

    @given(st.text(max_size=30), st.integers(0, 50))
    @settings(max_examples=200, deadline=None)
    def test_any_range(self, tail: str, size: int) -> None:
        """Any Range field is a range of the content, or the whole, or 416."""
        status, start, length = byte_range("bytes=" + tail, size)
        self.assertIn(status, (200, 206, 416))
        self.assertTrue(0 <= start <= start + length <= size)

    def test_ranges(self) -> None:
        """Each kind of range."""
        for asked, found in (
            ("bytes=0-0", (206, 0, 1)),
            ("bytes=3-", (206, 3, 7)),
            ("bytes=3-99", (206, 3, 7)),
            ("bytes=-3", (206, 7, 3)),
            ("bytes=-99", (206, 0, 10)),
            ("bytes=-0", (416, 0, 0)),
            ("bytes=10-", (416, 0, 0)),
            ("bytes=5-3", (200, 0, 10)),
            ("bytes=0-1,3-4", (200, 0, 10)),
            ("items=0-1", (200, 0, 10)),
            ("", (200, 0, 10)),
        ):
            self.assertEqual(byte_range(asked, 10), found, asked)
        self.assertEqual(byte_range("bytes=-5", 0), (416, 0, 0))

    @given(st.text(max_size=40))
    @settings(max_examples=200, deadline=None)
    def test_any_name(self, name: str) -> None:
        """Whatever the name, the field is one line of printable ASCII with balanced quotes."""
        field = content_disposition(name.encode("utf-8", "replace").decode())
        self.assertTrue(field.isascii() and field.isprintable())
        self.assertEqual(field.replace("\\\\", "").replace('\\"', "").count('"') % 2, 0)

    def test_names(self) -> None:
        """RFC 6266: plain names plainly, others in both ways."""
        self.assertEqual(content_disposition("a b.txt"), 'attachment; filename="a b.txt"')
        self.assertEqual(content_disposition(""), "attachment")
        self.assertEqual(content_disposition("é%"), "attachment; filename=\"__\"; filename*=UTF-8''%C3%A9%25")
        self.assertEqual(content_disposition("a\r\nX: y"), 'attachment; filename="aX: y"')

    def test_media_types(self) -> None:
        """Only what is a media type is sent as one."""
        for asked in ("text/plain", "image/svg+xml", 'text/plain; charset="utf-8"; format=flowed'):
            self.assertEqual(media_type_of(asked), asked)
        for asked in ("text", "text/", "a/b c", "a/b;", "a/b; x", "é/b", "a/" + "b" * 2000):
            self.assertEqual(media_type_of(asked), "application/octet-stream")

    def test_tags(self) -> None:
        """If-None-Match compares weakly, and takes a list."""
        self.assertTrue(matches('W/"a", "b"', '"b"'))
        self.assertTrue(matches("*", '"b"'))
        self.assertFalse(matches("", '"b"'))
        self.assertFalse(matches('"bb"', '"b"'))
