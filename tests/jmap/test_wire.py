"""Octets to Request objects: only I-JSON of the right shape gets through."""

from __future__ import annotations

import contextlib
import json
import tracemalloc
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.jmap import wire
from stalwart.jmap.errors import NotJson, NotRequest
from tests.jmap.bed import Anything


class _Members:
    """An object as its members, so that a name can be there twice."""

    def __init__(self, members: list[tuple[str, Any]]) -> None:
        self.members = members

    def __repr__(self) -> str:
        return f"_Members({self.members!r})"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(st.sampled_from('ab:"\\{}[],é\n'), max_size=6),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(st.tuples(st.text(st.sampled_from('ab:\\"'), max_size=2), inner), max_size=4).map(_Members)
    ),
    max_leaves=20,
)


def _write(value: Any, escape: bool) -> str:
    if isinstance(value, _Members):
        return "{" + ",".join(f"{_text(name, escape)} :{_write(one, escape)}" for name, one in value.members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_write(one, escape) for one in value) + "]"
    if isinstance(value, str):
        return _text(value, escape)
    return json.dumps(value)


def _text(value: str, escape: bool) -> str:
    written = json.dumps(value, ensure_ascii=escape)
    return written.replace(":", "\\u003A") if escape else written


def _has_duplicate(value: Any) -> bool:
    if isinstance(value, _Members):
        names = [name for name, _ in value.members]
        return len(set(names)) != len(names) or any(_has_duplicate(one) for _, one in value.members)
    return isinstance(value, list) and any(map(_has_duplicate, value))


class DecodingTests(SynchronousTestCase):
    """`decode` and `decode_request`."""

    def refused(self, body: bytes) -> str:
        """The detail of the notJSON error."""
        return self.failureResultOfCall(NotJson, body)

    def failureResultOfCall(self, kind: type[Exception], body: bytes) -> str:
        """The text of the error that decoding ends with."""
        return str(self.assertRaises(kind, wire.decode_request, body))

    def test_not_json(self) -> None:
        """RFC 8620 §1.5, rule 10: no I-JSON is notJSON: syntax, NaN, bad UTF-8, surrogates, text after the end."""
        for body in (
            b"",
            b" ",
            b"{",
            b"{}x",
            b"{} {}",
            b'{"a":NaN}',
            b'{"a":Infinity}',
            b'{"a":-Infinity}',
            b'{"a":1e999}',
            b'{"a":01}',
            b'{"a":1,}',
            b"{'a':1}",
            b"\xef\xbb\xbf{}",
            b'{"a":"\xff"}',
            b'{"a":"\xed\xa0\x80"}',
            b'{"a":"\xc0\x80"}',
            b'{"a":"\\ud800"}',
            b'{"a":"\\ud800\\ud800"}',
            b'{"a":"\\udc00x"}',
            b'{"a":"\n"}',
            b'{"a":' + b"9" * 100_000 + b"}",
            '{"a":"x"}'.encode("utf-16"),
        ):
            self.refused(body)

    def test_noncharacters(self) -> None:
        """RFC 7493 §2.1: no noncharacters, escaped or not; their neighbours are fine."""
        for bad in ("\ufffe", "\uffff", "\ufdd0", "\ufdef", "\U0001fffe", "\U0010ffff", "\U0008fffe"):
            self.refused(f'{{"a":"{bad}"}}'.encode())
            self.refused(json.dumps({"a": bad}).encode())
        for good in ("\ufffd", "\ufdcf", "\ufdf0", "\U0001fffd", "\U00020000"):
            self.assertEqual(wire.decode(json.dumps(good).encode()), good)

    def test_duplicate_keys(self) -> None:
        """Rule 10: a name twice in one object is notJSON, at any depth, however it is written."""
        for body in (
            b'{"using":[],"methodCalls":[],"using":[]}',
            b'{"using":[],"methodCalls":[["Core/echo",{"a":{"b":1,"b":1}},"0"]]}',
            b'{"a":1,"\\u0061":2}',
            b'{":":1,"\\u003a":2}',
            b'{"x":[{"":1,"":2}]}',
            b'{"a":"\\u003a","a":"::"}',
        ):
            self.assertIn("same name", self.refused(body))

    def test_same_name_in_different_objects(self) -> None:
        """A name may be in two objects, and colons may be in texts, escaped or not."""
        for text in (
            '[{"a":1},{"a":{"a":1}}]',
            '{"a:":":","b":"\\u003a\\u003A","c":"\\\\u003a","\\u0039":"\\\\:"}',
        ):
            self.assertEqual(wire.decode(text.encode()), json.loads(text))

    def test_depth(self) -> None:
        """RFC 8620 §8.4: nesting is bounded, and the bound doesn't depend on how deep the caller's stack is."""
        deepest = b"[" * wire.MAX_DEPTH + b"]" * wire.MAX_DEPTH
        wire.decode(deepest)
        self.assertIn("deep", str(self.assertRaises(NotJson, wire.decode, b"[" + deepest + b"]")))
        self.assertRaises(NotJson, wire.decode, b'{"a":' * 500 + b"1" + b"}" * 500)
        self.assertRaises(NotJson, wire.decode, b"[" * 1_000_000)
        wire.decode(b"[" + b",".join([b"[]"] * 10_000) + b"]")

    def test_wrong_shapes(self) -> None:
        """RFC 8620 §3.2, rule 10: JSON of the wrong shape is notRequest."""
        values: Anything = (
            [],
            None,
            1,
            "x",
            {},
            {"using": []},
            {"methodCalls": []},
            {"using": "x", "methodCalls": []},
            {"using": [1], "methodCalls": []},
            {"using": [], "methodCalls": {}},
            {"using": [], "methodCalls": [[]]},
            {"using": [], "methodCalls": [["Core/echo", {}]]},
            {"using": [], "methodCalls": [["Core/echo", {}, "0", 1]]},
            {"using": [], "methodCalls": [["Core/echo", [], "0"]]},
            {"using": [], "methodCalls": [["Core/echo", None, "0"]]},
            {"using": [], "methodCalls": [["Core/echo", {}, 0]]},
            {"using": [], "methodCalls": [[1, {}, "0"]]},
            {"using": [], "methodCalls": [], "createdIds": None},
            {"using": [], "methodCalls": [], "createdIds": {"a": 1}},
        )
        for value in values:
            self.failureResultOfCall(NotRequest, json.dumps(value).encode())

    def test_unknown_properties(self) -> None:
        """Rule 14: properties that the Request object doesn't have are ignored."""
        request = wire.decode_request(b'{"using":["a"],"methodCalls":[],"x":{"y":[1]}}')
        self.assertEqual(request.using, ["a"])

    @given(JSON, st.booleans())
    @settings(max_examples=300, deadline=None)
    def test_duplicates_are_found_by_counting(self, value: Any, escape: bool) -> None:
        """Whatever is in names and texts: duplicate names are found, and nothing else is taken for them."""
        body = _write(value, escape).encode()
        if _has_duplicate(value):
            self.assertRaises(NotJson, wire.decode, body)
        else:
            self.assertEqual(wire.decode(body), json.loads(body))

    @given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
    @settings(max_examples=300, deadline=None)
    def test_any_octets(self, body: bytes) -> None:
        """Any octets are a Request object, or end in one of the two errors."""
        with contextlib.suppress(NotJson, NotRequest):
            wire.decode_request(body)


class EncodingTests(SynchronousTestCase):
    """`encode`."""

    def test_noncharacters_are_replaced(self) -> None:
        """What a message brings along that I-JSON forbids is sent as U+FFFD."""
        self.assertEqual(json.loads(wire.encode({"a": "x\ufffey\U0001ffffz\ufdd0"})), {"a": "x\ufffdy\ufffdz\ufffd"})
        self.assertEqual(json.loads(wire.encode("\u7fbe\ufffd")), "\u7fbe\ufffd")

    def test_every_noncharacter(self) -> None:
        """Each of the 66 is replaced, and their neighbours aren't."""
        codes = [*range(0xFDD0, 0xFDF0), *(code for code in range(0x110000) if code & 0xFFFE == 0xFFFE)]
        self.assertEqual(len(codes), 66)
        for code in codes:
            text = "é" + chr(code) + "b"
            self.assertEqual(wire.encode(text).decode(), '"é\N{REPLACEMENT CHARACTER}b"', hex(code))
            self.assertRaises(NotJson, wire.decode, f'"{text}"'.encode())
            for near in (code - 1, code + 1):
                if near not in codes and near < 0x110000:
                    self.assertEqual(wire.encode(chr(near)).decode(), f'"{chr(near)}"')

    def test_many_noncharacters(self) -> None:
        """A body full of them takes no more memory than a few times its size."""
        text = "\uffffé" * 1_000_000
        tracemalloc.start()
        try:
            encoded = wire.encode(text)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        self.assertEqual(encoded.count("\N{REPLACEMENT CHARACTER}".encode()), 1_000_000)
        self.assertLess(peak, 5 * len(encoded))
