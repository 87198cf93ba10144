"""The Forwarded field as RFC 7239 has it, and X-Forwarded-For as it is found."""

from __future__ import annotations

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.http.forwarded import BadForwarded, Element, Node, parse_forwarded, parse_node
from stalwart.http.x_forwarded import list_items, parse_forwarded_for

_V4 = st.ip_addresses(v=4).map(str)
_V6 = st.ip_addresses(v=6).map(str).filter(lambda address: not address.startswith("::ffff:"))
_PORTS = st.none() | st.integers(0, 65_535)
_HIDDEN = st.from_regex(r"_[A-Za-z0-9._-]{1,10}", fullmatch=True)


@st.composite
def _nodes(draw: st.DrawFn) -> tuple[str, Node]:
    """A node as it may be written, and what it means."""
    kind = draw(st.sampled_from(("v4", "v6", "unknown", "hidden")))
    port = draw(_PORTS)
    after = "" if port is None else f":{port}"
    if kind == "v4":
        address = draw(_V4)
        return address + after, Node(address=address, port=port)
    if kind == "v6":
        address = draw(_V6)
        return f"[{address}]{after}", Node(address=address, port=port)
    text = draw(st.sampled_from(("unknown", "UNKNOWN", "Unknown"))) if kind == "unknown" else draw(_HIDDEN)
    return text + after, Node(address=None, port=port)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class ForwardedTests(SynchronousTestCase):
    """`parse_forwarded`."""

    def test_examples(self) -> None:
        """The examples of RFC 7239 §4 and §6, and what is often sent though it lacks its quotes."""
        client = Node(address="192.0.2.43")
        for value, elements in (
            (b'for="_gazonk"', [Element(for_=Node(address=None))]),
            (b'For="[2001:db8:cafe::17]:4711"', [Element(for_=Node(address="2001:db8:cafe::17", port=4711))]),
            (
                b"for=192.0.2.60;proto=http;by=203.0.113.43",
                [Element(for_=Node(address="192.0.2.60"), proto="http", by=Node(address="203.0.113.43"))],
            ),
            (b"for=192.0.2.43, for=198.51.100.17", [Element(for_=client), Element(for_=Node(address="198.51.100.17"))]),
            (b'for=_hidden, for=_SEVKISEK, for="unknown:_x"', [Element(for_=Node(address=None))] * 3),
            (b'for="192.0.2.43:47011"', [Element(for_=Node(address="192.0.2.43", port=47_011))]),
            (
                b"for=192.0.2.43:47011;Host=a:8080",
                [Element(for_=Node(address="192.0.2.43", port=47_011), host="a:8080")],
            ),
            (b"for=[2001:DB8::1]:_p", [Element(for_=Node(address="2001:db8::1"))]),
            (b"for=2001:db8::1", [Element(for_=Node(address="2001:db8::1"))]),
            (b'for="::ffff:192.0.2.43"', [Element(for_=client)]),
            (b'host="a\\"b,c;d"', [Element(host='a"b,c;d')]),
            (b" ,, for=192.0.2.43 ; ;proto=https\t,", [Element(for_=client, proto="https")]),
            (b"secret=x", [Element()]),
            (b"", []),
        ):
            self.assertEqual(parse_forwarded([value]), elements, value)

    def test_every_cut(self) -> None:
        """A field that ends early loses nothing before its last element, or is refused; two lines are one list."""
        value = b'for=192.0.2.1;by="[2001:db8::2]:80", for="_ab";host="x,\\"y";by=unknown, for="[2001:db8::3]"'
        whole = parse_forwarded([value])
        self.assertEqual(len(whole), 3)
        for at in range(len(value) + 1):
            with contextlib.suppress(BadForwarded):
                cut = parse_forwarded([value[:at]])
                self.assertEqual(cut[:-1], whole[: max(len(cut) - 1, 0)], value[:at])
            if value[at : at + 2] == b", ":
                self.assertEqual(parse_forwarded([value[:at], value[at + 2 :]]), whole)

    def test_lines(self) -> None:
        """Several lines are one list, in their order."""
        elements = parse_forwarded([b"for=192.0.2.1, for=192.0.2.2", b"for=192.0.2.3"])
        self.assertEqual(
            [element.for_ and element.for_.address for element in elements], ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
        )

    def test_bad(self) -> None:
        """What isn't of that form is refused, also where a node or a port is none."""
        for value in (
            b'for="192.0.2.1',
            b'for="192.0.2.1\\"',
            b"for",
            b"for=",
            b"for = 192.0.2.1",
            b"for=192.0.2.1 proto=http",
            b"for=192.0.2.1;for=192.0.2.2",
            b"=x",
            b"for=192.0.2.256",
            b"for=example.org",
            b"for=_",
            b'for="[2001:db8::1"',
            b'for="[2001:db8::1]4711"',
            b'for="[192.0.2.1]"',
            b"for=192.0.2.1:65536",
            b"for=192.0.2.1:",
            b"for=192.0.2.1:http",
            b'"x", for=192.0.2.1',
            b"for=\xff",
        ):
            with self.assertRaises(BadForwarded, msg=value):
                parse_forwarded([value])

    @settings(deadline=None, max_examples=200)
    @given(st.lists(st.binary(max_size=60) | st.text('for=by;,"\\[]:._1a \t', max_size=60).map(str.encode), max_size=3))
    def test_anything(self, values: list[bytes]) -> None:
        """Any octets give elements or BadForwarded."""
        try:
            elements = parse_forwarded(values)
        except BadForwarded:
            return
        self.assertLessEqual(len(elements), sum(map(len, values)))

    @settings(deadline=None, max_examples=200)
    @given(st.lists(_nodes(), min_size=1, max_size=5), st.booleans(), st.text('ab,;\\" .:[]', max_size=8))
    def test_round_trip(self, nodes: list[tuple[str, Node]], one_line: bool, host: str) -> None:
        """What is written by the rules is read as it was meant, in one line or many, whatever stands in quotes."""
        values = [f"for={_quoted(text)};host={_quoted(host)}".encode() for text, _ in nodes]
        elements = parse_forwarded([b", ".join(values)] if one_line else values)
        self.assertEqual(elements, [Element(for_=node, host=host) for _, node in nodes])

    @settings(deadline=None, max_examples=100)
    @given(_nodes())
    def test_node(self, node: tuple[str, Node]) -> None:
        """A node is read as it was meant."""
        self.assertEqual(parse_node(node[0]), node[1])


class ForwardedFor(SynchronousTestCase):
    """`parse_forwarded_for`."""

    def test_forms(self) -> None:
        """Addresses with and without ports and brackets; what is none stays a place in the row."""
        nodes = parse_forwarded_for([b"192.0.2.1,192.0.2.2:80 , [2001:db8::1]:80", b'2001:db8::2, "unknown",,x y'])
        self.assertEqual(
            [(node.address, node.port) for node in nodes],
            [
                ("192.0.2.1", None),
                ("192.0.2.2", 80),
                ("2001:db8::1", 80),
                ("2001:db8::2", None),
                (None, None),
                (None, None),
            ],
        )

    @settings(deadline=None, max_examples=100)
    @given(st.lists(st.binary(max_size=40), max_size=3))
    def test_anything(self, values: list[bytes]) -> None:
        """Any octets give a node for every item."""
        self.assertEqual(len(parse_forwarded_for(values)), len(list_items(values)))
