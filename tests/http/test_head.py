"""Request heads, as octets."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.http.head import Head, find_end, parse_head
from stalwart.http.limits import Limits
from stalwart.http.problem import Problem

_LIMITS = Limits(target_size=100, head_size=400, head_fields=5)


def _read(head: bytes) -> Head:
    return parse_head(head, _LIMITS)


class Accepted(SynchronousTestCase):
    """Heads that are taken, and what is read from them."""

    def test_plain(self) -> None:
        """A GET with a Host has no body, is kept alive, and its fields keep their order."""
        head = _read(b"GET /a?b HTTP/1.1\r\nHost: x\r\nA:1\r\nB: \t 2 \r\nA: 3\r\n\r\n")
        self.assertEqual((head.method, head.target, head.version), (b"GET", b"/a?b", b"HTTP/1.1"))
        self.assertEqual(head.fields, [(b"host", b"x"), (b"a", b"1"), (b"b", b"2"), (b"a", b"3")])
        self.assertEqual((head.length, head.keep_alive, head.expects_continue), (0, True, False))

    def test_close(self) -> None:
        """`close` counts wherever it stands in Connection, in any case."""
        for field in (b"close", b"CLOSE", b"x, close", b"close ,x"):
            self.assertFalse(_read(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: " + field + b"\r\n\r\n").keep_alive)
        self.assertFalse(_read(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: a\r\nConnection: close\r\n\r\n").keep_alive)
        self.assertTrue(_read(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: closed\r\n\r\n").keep_alive)

    def test_old(self) -> None:
        """HTTP/1.0 needs no Host, is never kept alive, and expects nothing."""
        head = _read(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\nExpect: 100-continue\r\n\r\n")
        self.assertEqual((head.keep_alive, head.expects_continue), (False, False))

    def test_framing(self) -> None:
        """A body is as long as Content-Length says, or chunked."""
        self.assertEqual(_read(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 007\r\n\r\n").length, 7)
        self.assertIsNone(_read(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\n").length)

    def test_latin(self) -> None:
        """Values may have octets above 127 (RFC 9110 §5.5: obs-text)."""
        self.assertIn((b"a", b"\xe4"), _read(b"GET / HTTP/1.1\r\nHost: x\r\nA: \xe4\r\n\r\n").fields)


class Refused(SynchronousTestCase):
    """Heads that are not taken, each with its status."""

    def refused(self, head: bytes) -> int:
        """The status that a head is refused with."""
        problem: Problem = self.assertRaises(Problem, _read, head)
        return problem.status

    def test_request_line(self) -> None:
        """The request line is three parts with one space between them, and of a version that is spoken here."""
        for line, status in (
            (b"GET /", 400),
            (b"GET  / HTTP/1.1", 400),
            (b"GET / HTTP/1.1 ", 400),
            (b"GET\t/\tHTTP/1.1", 400),
            (b"GET / HTTP/1", 400),
            (b"GET / http/1.1", 400),
            (b"GET / HTTP/1.1x", 400),
            (b"G(T / HTTP/1.1", 400),
            (b"GET / HTTP/2.0", 505),
            (b"GET / HTTP/1.2", 505),
            (b"GET /\x00 HTTP/1.1", 400),
        ):
            self.assertEqual(self.refused(line + b"\r\nHost: x\r\n\r\n"), status, line)

    def test_fields(self) -> None:
        """Whatever two servers could read in two ways is refused."""
        for field in (
            b"A : 1",
            b" A: 1",
            b"A",
            b": 1",
            b"A: 1\r\n folded",
            b"A: 1\n B: 2",
            b"A: 1\rB: 2",
            b"A: \x00",
            b"A: \x7f",
            b"A\xe4: 1",
            b"Host: y",
            b"Content-Length: 1\r\nContent-Length: 1",
            b"Content-Length: 1, 1",
            b"Content-Length: +1",
            b"Content-Length: 1_0",
            b"Content-Length: 0x1",
            b"Content-Length: -1",
            b"Content-Length:",
            b"Content-Length: 1\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: chunked\r\nContent-Length: 1",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        ):
            self.assertEqual(self.refused(b"POST / HTTP/1.1\r\nHost: x\r\n" + field + b"\r\n\r\n"), 400, field)

    def test_codings(self) -> None:
        """A transfer coding other than chunked is not implemented; HTTP/1.0 has none."""
        for coding in (
            b"gzip",
            b"gzip, chunked",
            b"chunked, gzip",
            b"identity",
            b"xchunked",
            b"",
            b"chunked;a=b",
        ):
            field = b"Transfer-Encoding: " + coding
            self.assertEqual(self.refused(b"POST / HTTP/1.1\r\nHost: x\r\n" + field + b"\r\n\r\n"), 501, coding)
        self.assertEqual(self.refused(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400)

    def test_host(self) -> None:
        """HTTP/1.1 needs a Host."""
        self.assertEqual(self.refused(b"GET / HTTP/1.1\r\n\r\n"), 400)

    def test_expectation(self) -> None:
        """An expectation other than 100-continue can't be met."""
        self.assertEqual(self.refused(b"GET / HTTP/1.1\r\nHost: x\r\nExpect: tea\r\n\r\n"), 417)

    def test_huge_length(self) -> None:
        """A length beyond any number is too large, not an overflow."""
        self.assertEqual(self.refused(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\n"), 413)

    def test_too_many_fields(self) -> None:
        """One field more than allowed is refused."""
        fine = b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: 1\r\n" * 4
        self.assertEqual(len(_read(fine + b"\r\n").fields), 5)
        self.assertEqual(self.refused(fine + b"A: 1\r\n\r\n"), 431)


class Ends(SynchronousTestCase):
    """Where a head ends, and when waiting for its end is of no use."""

    def end(self, octets: bytes) -> int:
        """The end that is found, or the status of the refusal, for every way to cut the octets in two."""
        results = set()
        for cut in range(1, len(octets) + 1):
            try:
                result = find_end(octets[:cut], 0, _LIMITS)
                if not result and cut < len(octets):
                    result = find_end(octets, cut, _LIMITS)
            except Problem as problem:
                result = -problem.status
            results.add(result)
        self.assertEqual(len(results), 1, (octets, results))
        return results.pop()

    def test_found(self) -> None:
        """The end is behind the empty line, wherever the octets were cut."""
        head = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        self.assertEqual(self.end(head), len(head))
        self.assertEqual(self.end(head + b"body\r\n\r\n"), len(head))
        self.assertEqual(self.end(head[:-1]), 0)

    def test_request_line_limit(self) -> None:
        """A request line may have as many octets as the limit says, and not one more."""
        line = b"GET /".ljust(91, b"a") + b" HTTP/1.1"
        self.assertEqual(len(line), 100)
        self.assertEqual(self.end(line + b"\r\nA: b\r\n\r\n"), len(line) + 10)
        self.assertEqual(self.end(b"X" + line + b"\r\nA: b\r\n\r\n"), -414)
        self.assertEqual(self.end(b"X" * 200), -414)

    def test_head_limit(self) -> None:
        """A head may have as many octets as the limit says, and not one more."""
        start = b"GET / HTTP/1.1\r\nA: "
        self.assertEqual(self.end(start.ljust(396, b"a") + b"\r\n\r\n"), 400)
        self.assertEqual(self.end(start.ljust(397, b"a") + b"\r\n\r\n"), -431)
        self.assertEqual(self.end(start.ljust(900, b"a")), -431)

    def test_not_http(self) -> None:
        """A TLS ClientHello and a bare line feed are refused at once, not waited for."""
        self.assertEqual(self.end(b"\x16\x03\x01\x02\x00"), -400)
        self.assertEqual(self.end(b"GET / HTTP/1.1\n\n"), -400)

    @settings(deadline=None, max_examples=300)
    @given(st.binary(min_size=1, max_size=600))
    def test_any_octets(self, octets: bytes) -> None:
        """Any octets are a head, no head yet, or a Problem."""
        for prefix in (
            b"",
            b"GET / HTTP/1.1\r\nHost: x\r\n",
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: ",
        ):
            data = prefix + octets + b"\r\n\r\n"
            try:
                end = find_end(data, 0, _LIMITS)
                if end:
                    parse_head(data[:end], _LIMITS)
            except Problem:
                pass
