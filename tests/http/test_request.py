"""Requests through the gate and the tree: methods, errors, streams, what is counted and logged."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.iweb import IRequest
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from stalwart.http import Endpoint, PolicyRequest, Problem, Request, Response
from tests.http.bed import Bed


class Verdict:
    """A policy that says what the test says, and keeps what it was asked about."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.asked: list[tuple[bytes, bytes]] = []
        self.error: Exception | None = None

    def decide(self, request: PolicyRequest) -> int:
        """The verdict."""
        self.asked.append((request.method, request.path))
        if self.error is not None:
            raise self.error
        return self.status


class Gate(SynchronousTestCase):
    """The policy stands before everything."""

    def test_asked_for_all(self) -> None:
        """It is asked for every request that can be read, also for paths and methods that aren't there."""
        policy = Verdict()
        bed = Bed(policy=policy)
        for method, path in (
            ("GET", "/hello"),
            ("OPTIONS", "/hello"),
            ("PUT", "/%6eothing/../x"),
            ("OPTIONS", "*"),
        ):
            bed.get(path, method=method)
        self.assertEqual(
            policy.asked, [(b"GET", b"/hello"), (b"OPTIONS", b"/hello"), (b"PUT", b"/x"), (b"OPTIONS", b"*")]
        )

    def test_refuses(self) -> None:
        """Any status but 200 is the refusal, whatever it means elsewhere."""
        for status in (204, 301, 403, 404, 503, 599):
            bed = Bed(policy=Verdict(status))
            answer = bed.get("/hello")
            self.assertEqual(answer.status, status)
            if status != 204:
                self.assertEqual(answer.problem()["status"], status)
            self.assertEqual(bed.count("none", "GET", status), 1)

    def test_fails_closed(self) -> None:
        """A policy that fails refuses."""
        policy = Verdict()
        policy.error = RuntimeError("broken rule")
        self.assertEqual(Bed(policy=policy).get("/hello").status, 500)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_no_status(self) -> None:
        """A number that is no final status refuses, too."""
        for status in (0, 100, 199, 600, 1000, -1):
            self.assertEqual(Bed(policy=Verdict(status)).get("/hello").status, 500)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 6)

    def test_what_it_sees(self) -> None:
        """It sees addresses, the target as sent, the normalised path and the fields."""
        seen: list[object] = []

        class Look:
            def decide(self, request: PolicyRequest) -> int:
                seen.extend((request.listener.id, request.client_address, request.client_port, request.local_address))
                seen.extend((request.local_port, request.uri, request.path, list(request.header_fields)))
                return 200

        Bed(policy=Look()).get("/a%2d?q")
        self.assertEqual(seen, ["test", "192.0.2.7", 40000, "192.0.2.1", 8080, b"/a%2d?q", b"/a-", [(b"host", b"a")]])


class Methods(SynchronousTestCase):
    """Which methods an endpoint takes."""

    def test_head(self) -> None:
        """HEAD is GET without the content."""
        bed = Bed()
        got, head = bed.get("/hello"), bed.get("/hello", method="HEAD")
        self.assertEqual((head.status, head.body), (200, b""))
        self.assertEqual(head.headers["content-length"], got.headers["content-length"])

    def test_wrong_method(self) -> None:
        """Any other method is refused with Allow, also one that nobody knows, and HEAD where GET isn't."""
        bed = Bed()
        for method in ("POST", "DELETE", "TRACE", "BREW", "get"):
            answer = bed.get("/hello", method=method)
            self.assertEqual((answer.status, answer.headers["allow"]), (405, "GET, HEAD, OPTIONS"), method)
            answer.problem()
        answer = bed.get("/echo", method="HEAD")
        self.assertEqual((answer.status, answer.headers["allow"]), (405, "OPTIONS, POST"))

    def test_options(self) -> None:
        """OPTIONS says what there is, without a body and without signing in."""
        bed = Bed()
        bed.guarded.error = Problem(401)
        for path, allow in (("/hello", "GET, HEAD, OPTIONS"), ("/guarded", "OPTIONS, POST")):
            answer = bed.get(path, method="OPTIONS")
            self.assertEqual((answer.status, answer.headers["allow"], answer.body), (204, allow, b""))
            self.assertNotIn("content-length", answer.headers)

    def test_server_options(self) -> None:
        """`OPTIONS *` asks about the server."""
        answer = Bed().get("*", method="OPTIONS")
        self.assertEqual(answer.status, 204)
        self.assertIn("POST", answer.headers["allow"])

    def test_unknown_path(self) -> None:
        """What isn't there is not found by any method."""
        bed = Bed()
        for path in ("/", "/nothing", "/hello/", "/hello/x", "/Hello", "/hell%C3%B6"):
            for method in ("GET", "HEAD", "POST", "OPTIONS", "BREW"):
                self.assertEqual(bed.get(path, method=method).status, 404, path)

    def test_bad_target(self) -> None:
        """A target that can't be normalised is refused."""
        bed = Bed()
        for target in ("hello", "/../hello", "/%zz", "/a#b", "*"):
            self.assertEqual(bed.get(target).problem()["status"], 400, target)
        self.assertEqual(bed.get("example.org:443", method="CONNECT").status, 400)

    def test_absolute_target(self) -> None:
        """The absolute form is routed like its path, and its host stands in for Host."""
        bed = Bed()
        hosts: list[bytes | None] = []

        class Host(Endpoint):
            async def get(self, request: Request) -> Response:
                hosts.append(request.header(b"host"))
                return Response()

        bed.mount("/host", Host())
        self.assertEqual(bed.get("http://b:80/host").status, 200)
        self.assertEqual(hosts, [b"b:80"])

    def test_bad_host(self) -> None:
        """A Host that is no host is refused, also where the target names another."""
        self.assertEqual(Bed().ask(b"GET /hello HTTP/1.1\r\nHost: a/b\r\n\r\n").status, 400)
        self.assertEqual(Bed().ask(b"GET http://a/hello HTTP/1.1\r\nHost: a/b\r\n\r\n").status, 400)


class Failures(SynchronousTestCase):
    """Errors in endpoints."""

    def test_bug(self) -> None:
        """An exception is answered with 500 and the request's id, and logged once with that id."""

        class Broken(Endpoint):
            async def get(self, request: Request) -> Response:
                raise ValueError("secret detail")

        bed = Bed()
        bed.mount("/broken", Broken())
        answer = bed.get("/broken")
        self.assertEqual((answer.status, answer.problem()["requestId"]), (500, answer.headers["x-request-id"]))
        self.assertNotIn(b"secret", answer.body)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_bug_after_waiting(self) -> None:
        """The same when it comes later, and the connection goes on."""
        bed = Bed()
        wire = bed.connect()
        wire.send(b"GET /later HTTP/1.1\r\nHost: a\r\n\r\nGET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
        bed.later.waiting[0].errback(ValueError())
        self.assertEqual([answer.status for answer in wire.answers()], [500, 200])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_problem(self) -> None:
        """A Problem is the answer, with its members and fields."""

        class Refuses(Endpoint):
            async def get(self, request: Request) -> Response:
                raise Problem(429, "Wait.", type="urn:x", headers=(("Retry-After", "5"),), extra={"limit": "x"})

        bed = Bed()
        bed.mount("/refuses", Refuses())
        answer = bed.get("/refuses")
        self.assertEqual(answer.headers["retry-after"], "5")
        self.assertEqual(
            answer.problem(),
            {"type": "urn:x", "status": 429, "title": "Too Many Requests", "detail": "Wait.", "limit": "x"},
        )

    def test_head_of_problem(self) -> None:
        """A problem that answers HEAD has no content either."""
        answer = Bed().get("/nothing", method="HEAD")
        self.assertEqual((answer.status, answer.body), (404, b""))

    def test_unsendable(self) -> None:
        """A Response that can't be sent is a bug like any other."""

        class Odd(Endpoint):
            async def get(self, request: Request) -> Response:
                return Response(headers=(("Näme", "x"),))

        bed = Bed()
        bed.mount("/odd", Odd())
        self.assertEqual(bed.get("/odd").status, 500)
        self.assertEqual(len(self.flushLoggedErrors(UnicodeEncodeError)), 1)

    def test_no_header_injection(self) -> None:
        """Line ends in a value can't end the field."""

        class Splits(Endpoint):
            async def get(self, request: Request) -> Response:
                return Response(headers=(("Location", "/a\r\nX: y\0"),), content_type="text/plain\r\nZ: y")

        bed = Bed()
        bed.mount("/splits", Splits())
        answer = bed.get("/splits")
        self.assertEqual(answer.headers["location"], "/a  X: y ")
        self.assertTrue({"x", "z"}.isdisjoint(answer.headers))


class Streams(SynchronousTestCase):
    """Answers in blocks."""

    def stream(self, response: Response) -> Bed:
        """A bed with `response` at /stream."""

        class Stream(Endpoint):
            async def get(self, request: Request) -> Response:
                return response

        bed = Bed()
        bed.mount("/stream", Stream())
        return bed

    def test_known_length(self) -> None:
        """A stream of known length is sent as it is."""
        answer = self.stream(Response(stream=[b"ab", b"", b"c"], length=3)).get("/stream")
        self.assertEqual((answer.body, answer.headers["content-length"]), (b"abc", "3"))

    def test_unknown_length(self) -> None:
        """One of unknown length is chunked, and the connection kept."""
        bed = self.stream(Response(stream=[b"ab", b"c"]))
        wire = bed.connect()
        wire.send(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
        first, second = wire.answers()
        self.assertEqual((first.body, second.body), (b"abc", b"abc"))

    def test_old_client(self) -> None:
        """For HTTP/1.0 the end of the connection is the end of it."""
        answer = self.stream(Response(stream=[b"ab", b"c"])).ask(b"GET /stream HTTP/1.0\r\n\r\n")
        self.assertEqual((answer.body, answer.headers["connection"]), (b"abc", "close"))

    def test_head(self) -> None:
        """HEAD doesn't read the stream, and closes it."""
        closed: list[bool] = []

        def blocks() -> Iterator[bytes]:
            yield b"x"

        class File:
            def __iter__(self) -> Iterator[bytes]:
                return blocks()

            def close(self) -> None:
                closed.append(True)

        answer = self.stream(Response(stream=File(), length=1)).get("/stream", method="HEAD")
        self.assertEqual((answer.headers["content-length"], answer.body, closed), ("1", b"", [True]))

    def test_back_pressure(self) -> None:
        """The next block is asked for only when the transport has room."""
        read: list[int] = []

        def blocks() -> Iterator[bytes]:
            for number in range(5):
                read.append(number)
                if number == 2:
                    wire.channel.pauseProducing()
                yield b"%d" % number

        bed = self.stream(Response(stream=blocks(), length=5))
        wire = bed.connect()
        wire.send(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual(read, [0, 1, 2])
        wire.channel.resumeProducing()
        self.assertEqual(read, [0, 1, 2, 3, 4])
        (answer,) = wire.answers()
        self.assertEqual(answer.body, b"01234")

    def test_large_body(self) -> None:
        """A large body that is at hand goes out as the client takes it, not all into the transport."""
        body = bytes(range(256)) * 4096
        bed = self.stream(Response(body=body, content_type="a/b"))
        wire = bed.connect()
        write, takes, most = wire.transport.write, 0, 0

        def full(octets: bytes) -> None:
            nonlocal most
            most = max(most, len(octets))
            write(octets)
            wire.channel.pauseProducing()

        self.patch(wire.transport, "write", full)
        wire.send(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
        while not bed.log.lines:
            bed.clock.pump([1.0] * 50)  # slow, but steady
            wire.channel.resumeProducing()
            takes += 1
        self.assertFalse(wire.closed)
        self.assertLess(most, 100_000)
        self.assertGreater(takes, 10)
        (answer,) = wire.answers()
        self.assertEqual((answer.body, answer.headers["content-length"]), (body, str(len(body))))
        self.assertEqual(bed.get("/stream", method="HEAD").headers["content-length"], str(len(body)))

    def test_asynchronous(self) -> None:
        """Blocks may take their time."""
        ready: list[Deferred[bytes]] = [Deferred(), Deferred()]

        async def blocks() -> AsyncIterator[bytes]:
            for block in ready:
                yield await block

        bed = self.stream(Response(stream=blocks(), length=2))
        wire = bed.connect()
        wire.send(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
        ready[0].callback(b"a")
        ready[1].callback(b"b")
        (answer,) = wire.answers()
        self.assertEqual(answer.body, b"ab")
        self.assertEqual([line["octets"] for line in bed.log.lines], [2])

    def test_client_leaves(self) -> None:
        """When the client goes away in the middle the stream is closed, without an error in the log."""
        closed: list[bool] = []

        async def blocks() -> AsyncIterator[bytes]:
            try:
                yield b"a"
                await Deferred()
            finally:
                closed.append(True)

        bed = self.stream(Response(stream=blocks(), length=2))
        wire = bed.connect()
        wire.send(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
        wire.hang_up()
        self.assertEqual(closed, [True])
        self.assertEqual([(line["status"], line["octets"]) for line in bed.log.lines], [(200, 1)])

    def test_client_leaves_while_full(self) -> None:
        """The same while the stream waits for room."""
        closed: list[bool] = []

        def blocks() -> Iterator[bytes]:
            try:
                wire.channel.pauseProducing()
                yield b"a"
                yield b"b"
            finally:
                closed.append(True)

        bed = self.stream(Response(stream=blocks(), length=2))
        wire = bed.connect()
        wire.send(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
        wire.hang_up()
        self.assertEqual(closed, [True])

    def test_wrong_length(self) -> None:
        """A stream that is not as long as was said breaks the connection off and is logged."""
        for blocks in ([b"a"], [b"abc"]):
            bed = self.stream(Response(stream=blocks, length=2))
            wire = bed.connect()
            wire.send(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
            self.assertTrue(wire.transport.aborted)
            self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_failing(self) -> None:
        """A stream that fails breaks the connection off, since the status is out already."""

        def blocks() -> Iterator[bytes]:
            yield b"a"
            raise OSError("disk")

        wire = self.stream(Response(stream=blocks())).connect()
        wire.send(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertTrue(wire.transport.aborted)
        self.assertNotIn(b"\r\n0\r\n\r\n", wire.raw())
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)


class Twisteds(SynchronousTestCase):
    """Plain resources of Twisted."""

    def test_resource(self) -> None:
        """A resource that renders is served, with what it set on the request."""

        class Page(Resource):
            def render_GET(self, request: Request) -> bytes:
                request.setHeader(b"content-type", b"text/x")
                request.setResponseCode(203)
                return request.path + b" " + request.args[b"a"][0]

        bed = Bed()
        bed.root.putChild(b"page", Page())
        answer = bed.get("/page?a=%41")
        self.assertEqual((answer.status, answer.headers["content-type"], answer.body), (203, "text/x", b"/page A"))
        self.assertEqual(bed.get("/page?a=b", method="HEAD").headers["content-length"], "7")
        self.assertEqual(bed.get("/page", method="OPTIONS").status, 204)
        answer = bed.get("/page", method="POST")
        self.assertEqual((answer.status, answer.headers["allow"]), (405, "GET, HEAD, OPTIONS"))

    def test_tree(self) -> None:
        """What a resource doesn't have is not found, and its inner nodes are not pages."""
        bed = Bed()
        folder = Resource()

        class Page(Resource):
            isLeaf = True

            def render_GET(self, request: IRequest) -> bytes:
                request.setHeader(b"content-length", b"4")
                return b"text"

        folder.putChild(b"page", Page())
        bed.root.putChild(b"folder", folder)
        self.assertEqual(bed.get("/folder/page").body, b"text")
        for path in ("/folder", "/folder/nothing"):
            for method in ("GET", "HEAD", "POST"):
                self.assertEqual(bed.get(path, method=method).status, 404, (path, method))
        self.flushWarnings()  # Twisted's own page for what isn't found is one that Twisted calls outdated

    def test_writes_itself(self) -> None:
        """A resource may answer by writing to the request."""
        requests: list[Request] = []

        class Page(Resource):
            def render_GET(self, request: Request) -> int:
                requests.append(request)
                return NOT_DONE_YET

        bed = Bed()
        bed.root.putChild(b"page", Page())
        wire = bed.connect()
        wire.send(b"GET /page HTTP/1.1\r\nHost: a\r\n\r\n")
        finished = requests[0].notifyFinish()
        requests[0].write(b"a")
        requests[0].write(b"b")
        requests[0].finish()
        self.successResultOf(finished)
        (answer,) = wire.answers()
        self.assertEqual((answer.body, answer.headers["transfer-encoding"]), (b"ab", "chunked"))

    def test_error_page(self) -> None:
        """An error status becomes a problem document."""

        class Page(Resource):
            def render_GET(self, request: IRequest) -> bytes:
                request.setResponseCode(503)
                return b"<html>no</html>"

        bed = Bed()
        bed.root.putChild(b"page", Page())
        self.assertEqual(bed.get("/page").problem()["status"], 503)


class Noted(SynchronousTestCase):
    """Metrics and the log."""

    def test_line(self) -> None:
        """A request is logged with what happened, without its query."""
        bed = Bed()
        bed.clock.advance(5)
        wire = bed.connect()
        wire.send(b"GET /later?token=secret HTTP/1.1\r\nHost: a\r\nUser-Agent: x y\r\n\r\n")
        bed.clock.advance(0.25)
        bed.later.waiting[0].callback(Response(body=b"abc"))
        self.assertEqual(
            bed.log.lines,
            [
                {
                    "request_id": "ab-1",
                    "listener": "test",
                    "client": "192.0.2.7",
                    "peer": "192.0.2.7",
                    "method": "GET",
                    "path": "/later",
                    "protocol": "HTTP/1.1",
                    "status": 200,
                    "octets": 3,
                    "seconds": 0.25,
                    "user": None,
                    "agent": "x y",
                }
            ],
        )

    def test_bounded_labels(self) -> None:
        """Methods that nobody knows share one label."""
        bed = Bed()
        for method in ("BREW", "X", "get"):
            bed.get("/hello", method=method)
        self.assertEqual(bed.count("hello", "other", 405), 3)

    def test_duration(self) -> None:
        """The time from head to answer is in the histogram."""
        bed = Bed()
        bed.connect().send(b"GET /later HTTP/1.1\r\nHost: a\r\n\r\n")
        bed.clock.advance(3)
        bed.later.waiting[0].callback(Response())
        labels = {"listener": "test", "surface": "later"}
        self.assertEqual(bed.metrics.registry.get_sample_value("stalwart_http_request_seconds_sum", labels), 3.0)

    def test_ids_differ(self) -> None:
        """Each request has an id of its own, also on one connection."""
        wire = Bed().connect()
        wire.send(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n" * 3)
        self.assertEqual(len({answer.headers["x-request-id"] for answer in wire.answers()}), 3)

    def test_id_of_client(self) -> None:
        """An id that the client sends is neither taken over nor sent back."""
        bed = Bed()
        answer = bed.get("/hello", headers="X-Request-Id: evil\r\n")
        self.assertEqual(answer.headers["x-request-id"], "ab-1")
        self.assertEqual(bed.log.lines[0]["request_id"], "ab-1")

    def test_query(self) -> None:
        """Parameters are decoded; a query that isn't well formed is refused where they are asked for."""

        class Query(Endpoint):
            async def get(self, request: Request) -> Response:
                return Response(body=repr(request.query_args).encode())

        bed = Bed()
        bed.mount("/query", Query())
        self.assertEqual(bed.get("/query?a=1&a=%C3%A4&b").body.decode(), "{'a': ['1', 'ä'], 'b': ['']}")
        self.assertEqual(bed.get("/query?a=%ff").status, 400)
        self.assertEqual(bed.get("/query?" + "a&" * 101).status, 400)
