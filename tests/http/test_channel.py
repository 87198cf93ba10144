"""HTTP/1.1 connections: exact octets, keep-alive, pipelining, early refusals, deadlines, draining."""

from __future__ import annotations

from collections.abc import AsyncIterator

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from stalwart.http import Limits, Problem, Response
from tests.http.bed import Bed, read_answers, until

_GET = b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"
_CLOSING = b"GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
_LATER = b"GET /later HTTP/1.1\r\nHost: a\r\n\r\n"


def _post(path: str, body: bytes, *fields: str, length: int | None = None) -> bytes:
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: a",
        f"Content-Length: {len(body) if length is None else length}",
        *fields,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Octets(SynchronousTestCase):
    """What is on the wire."""

    def test_exact(self) -> None:
        """An answer has its own fields, the date, the request's id and its length, and no Server."""
        wire = Bed().connect()
        wire.send(_GET)
        self.assertEqual(
            wire.raw(),
            b"HTTP/1.1 200 OK\r\n"
            b"Content-Type: text/plain\r\n"
            b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
            b"X-Request-Id: ab-1\r\n"
            b"Content-Length: 6\r\n"
            b"\r\n"
            b"hello\n",
        )
        self.assertFalse(wire.closed)

    def test_cuts(self) -> None:
        """Two requests, one with a body, are answered the same wherever the octets are cut."""
        octets = _post("/echo", b"abc") + b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        octets += b"2\r\nde\r\n1\r\nf\r\n0\r\n\r\n" + _GET
        wanted = None
        for cut in range(len(octets) + 1):
            wire = Bed().connect()
            wire.send(*(part for part in (octets[:cut], octets[cut:]) if part))
            got = wire.raw()
            wanted = wanted or got
            self.assertEqual(got, wanted, cut)
        self.assertEqual([answer.body for answer in read_answers(wanted or b"")], [b"abc", b"def", b"hello\n"])

    def test_octet_by_octet(self) -> None:
        """A request may come one octet at a time."""
        wire = Bed().connect()
        wire.send(*(bytes((octet,)) for octet in _post("/echo", b"abc")))
        (answer,) = wire.answers()
        self.assertEqual(answer.body, b"abc")

    def test_date(self) -> None:
        """The date is that of the answer."""
        bed = Bed()
        bed.get("/hello")
        bed.clock.advance(86_400)
        self.assertEqual(bed.get("/hello").headers["date"], "Fri, 02 Jan 1970 00:00:00 GMT")


class Persistence(SynchronousTestCase):
    """When a connection is kept, and when it ends."""

    def test_close_asked(self) -> None:
        """`Connection: close` is answered in kind, and the connection closed."""
        wire = Bed().connect()
        wire.send(_CLOSING + _GET)
        (answer,) = wire.answers()
        self.assertEqual(answer.headers["connection"], "close")
        self.assertTrue(wire.closed)

    def test_old_version(self) -> None:
        """HTTP/1.0 gets one answer, in the words of HTTP/1.1, and the connection closed."""
        wire = Bed().connect()
        wire.send(b"GET /hello HTTP/1.0\r\n\r\n")
        (answer,) = wire.answers()
        self.assertEqual((answer.status, answer.headers["connection"]), (200, "close"))
        self.assertTrue(wire.closed)

    def test_empty_lines(self) -> None:
        """Empty lines before a request are ignored (RFC 9112 §2.2)."""
        wire = Bed().connect()
        wire.send(b"\r\n", b"\r\n\r", b"\n" + _GET + b"\r\n", _GET)
        self.assertEqual([answer.status for answer in wire.answers()], [200, 200])

    def test_pipeline(self) -> None:
        """Requests that come together are answered in order, one after the other."""
        bed = Bed()
        wire = bed.connect()
        wire.send(_LATER + _LATER + _GET)
        self.assertEqual((wire.raw(), len(bed.later.waiting)), (b"", 1))
        bed.later.waiting[0].callback(Response(body=b"first"))
        self.assertEqual(([answer.body for answer in wire.answers()], len(bed.later.waiting)), ([b"first"], 2))
        bed.later.waiting[1].callback(Response(body=b"second"))
        self.assertEqual([answer.body for answer in wire.answers()], [b"second", b"hello\n"])

    def test_long_pipeline(self) -> None:
        """Thousands of requests in one read are answered without going deeper and deeper."""
        wire = Bed().connect()
        wire.send(_GET * 3000)
        self.assertEqual(len(wire.answers()), 3000)

    def test_read_ahead(self) -> None:
        """What comes behind a request that is being answered is taken up to a limit, then left with the client."""
        bed = Bed(limits=Limits(pipeline_size=200))
        wire = bed.connect()
        wire.send(_LATER)
        wire.send(_GET * 5)
        self.assertEqual(wire.transport.producerState, "producing")
        wire.send(_GET * 5)
        self.assertEqual(wire.transport.producerState, "paused")
        bed.later.waiting[0].callback(Response())
        self.assertEqual(len(wire.answers()), 11)
        self.assertEqual(wire.transport.producerState, "producing")


class Refusals(SynchronousTestCase):
    """Requests that can't be read: a problem document, and the end of the connection."""

    def test_malformed(self) -> None:
        """Each kind of malformed request has its status, an id, a length, and closes the connection."""
        for octets, status in (
            (b"GET\r\n", 0),
            (b"GET /hello\r\n\r\n", 400),
            (b"GET /hello HTTP/1.1\r\n\r\n", 400),
            (b"GET /hello HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
            (b"GET /hello HTTP/1.1\r\nHost: a\r\nbad\r\n\r\n", 400),
            (b"GET /hello HTTP/3.0\r\nHost: a\r\n\r\n", 505),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
            (b"\x16\x03\x01\x02\x00\x01", 400),
            (b"GET /" + b"a" * 9000, 414),
            (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 6000, 431),
            (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * 100 + b"\r\n", 431),
            (
                b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
                400,
            ),
            (b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\nabc", 501),
            (b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\nabc", 400),
            (b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
            (b"POST /echo HTTP/1.1\r\nHost: a\r\nExpect: tea\r\nContent-Length: 3\r\n\r\n", 417),
        ):
            wire = Bed().connect()
            wire.send(octets)
            if not status:
                self.assertEqual(wire.raw(), b"")
                continue
            (answer,) = wire.answers()
            self.assertEqual((answer.status, answer.version), (status, "HTTP/1.1"), octets)
            self.assertEqual(answer.problem()["status"], status)
            self.assertEqual(answer.headers["connection"], "close")
            self.assertEqual(answer.headers["x-request-id"], "ab-1")
            wire.send(_GET)
            self.assertEqual(wire.raw(), b"", octets)
            self.assertEqual(wire.seconds_until_closed(10), 6)

    def test_noted(self) -> None:
        """A request that can't be read is counted and logged like any other."""
        bed = Bed()
        bed.ask(b"GET /hello\r\n\r\n")
        self.assertEqual(bed.count("none", "other", 400), 1)
        (line,) = bed.log.lines
        self.assertEqual((line["request_id"], line["method"], line["path"], line["status"]), ("ab-1", "-", "-", 400))

    def test_no_smuggling(self) -> None:
        """What follows a request whose end is in doubt is never read as a request."""
        bed = Bed()
        wire = bed.connect()
        wire.send(
            b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + _GET
        )
        self.assertEqual([answer.status for answer in wire.answers()], [400])

    def test_endless_refused_body(self) -> None:
        """A client that goes on sending after its refusal is cut off."""
        wire = Bed(limits=Limits(drain_size=1000)).connect()
        wire.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n")
        for _ in range(17):
            self.assertFalse(wire.closed)
            wire.send(b"x" * 1000)
        self.assertTrue(wire.closed)


class Bodies(SynchronousTestCase):
    """Bodies: limits while they come, refusals before they come."""

    def test_told_too_large(self) -> None:
        """A body whose length is over the limit is refused before an octet of it came."""
        wire = Bed().connect()
        wire.send(_post("/echo", b"", length=1001))
        (answer,) = wire.answers()
        self.assertEqual(answer.problem()["status"], 413)

    def test_grows_too_large(self) -> None:
        """A chunked body is refused at the octet that goes over, and the connection ends."""
        wire = Bed().connect()
        wire.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n" + b"x" * 1000)
        self.assertEqual(wire.raw(), b"")
        wire.send(b"\r\n1\r\nx")
        (answer,) = wire.answers()
        self.assertEqual((answer.status, answer.headers["connection"]), (413, "close"))

    def test_small_rest(self) -> None:
        """A small body that isn't wanted is read and dropped, and the connection kept."""
        wire = Bed().connect()
        wire.send(_post("/nothing", b"", length=300))
        (answer,) = wire.answers()
        self.assertEqual(answer.status, 404)
        self.assertNotIn("connection", answer.headers)
        wire.send(b"x" * 299, b"x" + _GET)
        self.assertEqual([answer.status for answer in wire.answers()], [200])

    def test_large_rest(self) -> None:
        """A large one is not waited for."""
        wire = Bed().connect()
        wire.send(_post("/nothing", b"", length=100_000))
        (answer,) = wire.answers()
        self.assertEqual((answer.status, answer.headers["connection"]), (404, "close"))
        self.assertFalse(wire.closed)

    def test_no_body_wanted(self) -> None:
        """An endpoint takes no body unless it says so; an empty one is none."""
        bed = Bed()
        self.assertEqual(bed.ask(b"GET /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx").status, 413)
        self.assertEqual(bed.ask(b"GET /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").status, 200)
        chunked = b"GET /hello HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.assertEqual(bed.ask(chunked + b"0\r\n\r\n").status, 200)
        self.assertEqual(bed.ask(chunked + b"1\r\nx\r\n").status, 413)

    def test_continue(self) -> None:
        """`Expect: 100-continue` is answered once the request is let in, then the body is taken."""
        bed = Bed()
        wire = bed.connect()
        wire.send(_post("/echo", b"", "Expect: 100-continue", length=3))
        self.assertEqual(wire.raw(), b"HTTP/1.1 100 Continue\r\n\r\n")
        wire.send(b"abc")
        (answer,) = wire.answers()
        self.assertEqual(answer.body, b"abc")

    def test_continue_not_needed(self) -> None:
        """No 100 is sent to a client that has begun to send."""
        wire = Bed().connect()
        wire.send(_post("/echo", b"abc", "Expect: 100-continue"))
        self.assertEqual([answer.status for answer in wire.answers()], [200])

    def test_refused_instead_of_continue(self) -> None:
        """A refusal takes the place of 100, and the connection ends: nobody knows whether the body follows."""
        for path, length, status in (("/echo", 1001, 413), ("/nothing", 3, 404), ("/hello", 3, 405)):
            wire = Bed().connect()
            wire.send(_post(path, b"", "Expect: 100-continue", length=length))
            (answer,) = wire.answers()
            self.assertEqual((answer.status, answer.headers["connection"]), (status, "close"))

    def test_admission(self) -> None:
        """A body isn't asked for before the endpoint has admitted the request."""
        bed = Bed()
        gate: Deferred[None] = Deferred()
        bed.guarded.gate = gate
        wire = bed.connect()
        wire.send(_post("/guarded", b"", "Expect: 100-continue", length=3))
        self.assertEqual(wire.raw(), b"")
        gate.callback(None)
        self.assertEqual(wire.raw(), b"HTTP/1.1 100 Continue\r\n\r\n")
        wire.send(b"abc")
        (answer,) = wire.answers()
        self.assertEqual(answer.body, b"3")

    def test_admission_holds_back(self) -> None:
        """What a client sends meanwhile waits, a little here and the rest with the client, and is not lost."""
        bed = Bed()
        gate: Deferred[None] = Deferred()
        bed.guarded.gate = gate
        wire = bed.connect()
        wire.send(_post("/guarded", b"x" * 20_000) + _GET)
        self.assertEqual((wire.raw(), wire.transport.producerState), (b"", "paused"))
        gate.callback(None)
        self.assertEqual([answer.body for answer in wire.answers()], [b"20000", b"hello\n"])
        self.assertEqual(wire.transport.producerState, "producing")

    def test_not_admitted(self) -> None:
        """A request that isn't admitted is refused without its body."""
        bed = Bed()
        bed.guarded.error = Problem(401, "Who are you?")
        wire = bed.connect()
        wire.send(_post("/guarded", b"", length=100_000))
        (answer,) = wire.answers()
        self.assertEqual(answer.problem()["detail"], "Who are you?")
        self.assertEqual(answer.headers["connection"], "close")


class Deadlines(SynchronousTestCase):
    """The sweep ends what takes too long."""

    def test_idle(self) -> None:
        """A connection without a request is closed without a word, a new one and a kept one."""
        bed = Bed(limits=Limits(idle_seconds=60))
        new, kept = bed.connect(), bed.connect()
        bed.clock.advance(1)
        kept.send(_GET)
        kept.raw()
        self.assertEqual(until(bed.clock, lambda: new.closed, 70), 60)
        self.assertFalse(kept.closed)
        self.assertEqual(until(bed.clock, lambda: kept.closed, 70), 1)
        self.assertEqual(new.raw() + kept.raw(), b"")

    def test_slow_head(self) -> None:
        """The whole head has one deadline; octets that trickle in don't move it."""
        bed = Bed(limits=Limits(head_seconds=10))
        wire = bed.connect()
        octets = iter(b"GET /hello HTTP/1.1\r\nHost: aaaaaaaaaaaaaaaaaaaaaaaaaaa")

        def refused() -> bool:
            wire.send(bytes((next(octets),)))
            return bool(wire.transport.value())

        self.assertEqual(until(bed.clock, refused, 20), 11)
        (answer,) = wire.answers()
        self.assertEqual((answer.problem()["status"], answer.headers["connection"]), (408, "close"))

    def test_slow_body(self) -> None:
        """A body has some seconds and then a least rate."""
        bed = Bed(limits=Limits(body_seconds=10, body_rate=100))
        wire = bed.connect()
        wire.send(_post("/later", b"x" * 1000, length=9000))
        self.assertEqual(until(bed.clock, lambda: bool(wire.transport.value()), 30), 21)
        (answer,) = wire.answers()
        self.assertEqual((answer.problem()["status"], answer.headers["connection"]), (408, "close"))

    def test_slow_enough_body(self) -> None:
        """A body at the least rate comes through."""
        bed = Bed(limits=Limits(body_seconds=10, body_rate=100))
        wire = bed.connect()
        wire.send(_post("/guarded", b"", length=9000))
        for _ in range(90):
            bed.clock.advance(1)
            wire.send(b"x" * 100)
        (answer,) = wire.answers()
        self.assertEqual(answer.body, b"9000")

    def test_running(self) -> None:
        """A request that is being answered has no deadline here."""
        bed = Bed()
        wire = bed.connect()
        wire.send(_LATER)
        bed.clock.pump([1.0] * 1000)
        self.assertFalse(wire.closed)
        bed.later.waiting[0].callback(Response())
        self.assertEqual(len(wire.answers()), 1)

    def test_taken_too_slowly(self) -> None:
        """A client that takes nothing of its answer is cut off."""
        bed = Bed(limits=Limits(stall_seconds=60))
        wire = bed.connect()
        wire.send(_LATER)
        wire.channel.pauseProducing()
        self.assertEqual(until(bed.clock, lambda: wire.transport.aborted, 70), 61)

    def test_never_closing(self) -> None:
        """A closed connection whose client doesn't take what is left is cut off."""
        bed = Bed(limits=Limits(stall_seconds=60))
        wire = bed.connect()
        wire.send(_CLOSING)
        self.assertEqual(until(bed.clock, lambda: wire.transport.aborted, 70), 61)

    def test_no_timer_without_connections(self) -> None:
        """The sweep runs only while there are connections."""
        bed = Bed()
        wires = [bed.connect() for _ in range(3)]
        self.assertEqual(len(bed.clock.getDelayedCalls()), 1)
        for wire in wires:
            wire.hang_up()
        self.assertEqual(bed.clock.getDelayedCalls(), [])

    def test_no_further_request_while_full(self) -> None:
        """Requests aren't worked off for a client that doesn't take the answers."""
        bed = Bed()
        wire = bed.connect()
        wire.channel.pauseProducing()
        wire.send(_GET * 2)
        self.assertEqual(wire.raw(), b"")
        wire.channel.resumeProducing()
        self.assertEqual(len(wire.answers()), 2)


class Draining(SynchronousTestCase):
    """The end of the service."""

    def test_idle_at_once(self) -> None:
        """Idle connections are closed, and draining is done when they are gone."""
        bed = Bed()
        wire = bed.connect()
        wire.send(_GET)
        drained = bed.site.drain()
        self.assertTrue(wire.closed)
        self.assertNoResult(drained)
        wire.hang_up()
        self.successResultOf(drained)

    def test_nothing_there(self) -> None:
        """Without connections it is done at once."""
        self.successResultOf(Bed().site.drain())

    def test_running_request(self) -> None:
        """A running request is answered, told that this was the last, and the connection closed."""
        bed = Bed()
        wire = bed.connect()
        wire.send(_LATER + _GET)
        bed.site.drain()
        self.assertFalse(wire.closed)
        bed.later.waiting[0].callback(Response(body=b"done"))
        (answer,) = wire.answers()
        self.assertEqual((answer.body, answer.headers["connection"]), (b"done", "close"))
        self.assertTrue(wire.closed)

    def test_running_stream(self) -> None:
        """An answer whose head is out already ends the connection all the same."""
        bed = Bed()
        wire = bed.connect()
        wire.send(_LATER)
        room: Deferred[bytes] = Deferred()

        async def blocks() -> AsyncIterator[bytes]:
            yield await room

        bed.later.waiting[0].callback(Response(stream=blocks(), length=1))
        bed.site.drain()
        self.assertFalse(wire.closed)
        room.callback(b"x")
        (answer,) = wire.answers()
        self.assertEqual(answer.body, b"x")
        self.assertTrue(wire.closed)

    def test_half_a_body(self) -> None:
        """A request whose body is coming in may finish, too."""
        bed = Bed()
        wire = bed.connect()
        wire.send(_post("/echo", b"ab", length=3))
        bed.site.drain()
        wire.send(b"c")
        (answer,) = wire.answers()
        self.assertEqual((answer.body, answer.headers["connection"]), (b"abc", "close"))


class HalfClosed(SynchronousTestCase):
    """Clients that send no more and still read, as `printf … | nc -N` does."""

    def test_answered(self) -> None:
        """What was asked is answered, later too, in order and whole; then the connection is closed."""
        bed = Bed()
        wire = bed.connect()
        wire.send(_LATER + _GET)
        wire.channel.readConnectionLost()
        self.assertFalse(wire.closed)
        bed.later.waiting[0].callback(Response(body=b"done"))
        self.assertEqual([answer.body for answer in wire.answers()], [b"done", b"hello\n"])
        self.assertTrue(wire.closed)

    def test_admitted_later(self) -> None:
        """A body that is all there is taken when its request is admitted."""
        bed = Bed()
        bed.guarded.gate = Deferred()
        wire = bed.connect()
        wire.send(_post("/guarded", b"abc"))
        wire.channel.readConnectionLost()
        self.assertFalse(wire.closed)
        bed.guarded.gate.callback(None)
        self.assertEqual([answer.body for answer in wire.answers()], [b"3"])
        self.assertTrue(wire.closed)

    def test_admitted_in_vain(self) -> None:
        """A body that can't come any more isn't waited for."""
        bed = Bed()
        bed.guarded.gate = Deferred()
        wire = bed.connect()
        wire.send(_post("/guarded", b"abc", length=4))
        wire.channel.readConnectionLost()
        bed.guarded.gate.callback(None)
        self.assertTrue(wire.closed)

    def test_slow_reader(self) -> None:
        """Requests that wait for the client to take the answers before them are answered when it has."""
        bed = Bed()
        wire = bed.connect()
        wire.channel.pauseProducing()
        wire.send(_GET * 2)
        wire.channel.readConnectionLost()
        self.assertFalse(wire.closed)
        wire.channel.resumeProducing()
        self.assertEqual(len(wire.answers()), 2)
        self.assertTrue(wire.closed)

    def test_nothing_asked(self) -> None:
        """Between requests, inside one, and after a refusal it is the end at once."""
        for octets in (b"", _GET, _GET[:-1], _post("/echo", b"ab", length=3), b"\0", b"\r\n"):
            wire = Bed().connect()
            if octets:
                wire.send(octets)
            wire.channel.readConnectionLost()
            self.assertTrue(wire.closed, octets)
            wire.hang_up()


class Leaving(SynchronousTestCase):
    """Clients that go away."""

    def test_while_running(self) -> None:
        """The endpoint is cancelled, and the request noted with 499; nothing is logged as an error."""
        bed = Bed()
        wire = bed.connect()
        wire.send(_LATER)
        wire.hang_up()
        self.assertEqual(bed.later.cancelled, 1)
        self.assertEqual([line["status"] for line in bed.log.lines], [499])
        self.assertEqual(bed.count("later", "GET", 499), 1)

    def test_inside_a_body(self) -> None:
        """Half a request is noted and forgotten."""
        bed = Bed()
        wire = bed.connect()
        wire.send(_post("/echo", b"ab", length=3))
        wire.hang_up()
        self.assertEqual([line["status"] for line in bed.log.lines], [499])

    def test_inside_a_head(self) -> None:
        """Half a head was no request."""
        bed = Bed()
        wire = bed.connect()
        wire.send(_GET[:-1])
        wire.hang_up()
        self.assertEqual(bed.log.lines, [])
