"""How values are read: kinds, addresses, macros, secrets."""

from __future__ import annotations

import datetime
import json

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.config import Secret, TcpAddress, UnixAddress, http_kinds, kinds
from stalwart.config.addresses import Address, BadAddress, collide, parse_address
from stalwart.config.errors import describe, printable
from stalwart.config.kinds import BadValue, Kind
from stalwart.config.macros import BadMacro, Expanded, expand
from tests.config.support import reader

ANY_VALUE = st.one_of(
    st.text(max_size=20),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.datetimes(),
    st.just(16**5000),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)
ALL_KINDS = [
    http_kinds.AGE,
    http_kinds.HEADER,
    http_kinds.ORIGIN,
    http_kinds.RULE,
    kinds.NETWORK,
    kinds.ADDRESS,
    kinds.BOOLEAN,
    kinds.DURATION,
    kinds.HOSTNAME,
    kinds.PATH,
    kinds.PEM,
    kinds.SECRET_PEM,
    kinds.TEXT,
    kinds.choice("a", "b"),
    kinds.whole(0, 10),
]


class KindTests(SynchronousTestCase):
    """The kinds of values."""

    def accepted(self, kind: Kind, *values: object) -> list[object]:
        return [kind.read(value, "/etc") for value in values]

    def refused(self, kind: Kind, *values: object) -> None:
        for value in values:
            self.assertRaises(BadValue, kind.read, value, "/etc")

    def test_booleans(self) -> None:
        """True and false, bare or as text, and nothing else."""
        self.assertEqual(self.accepted(kinds.BOOLEAN, True, "true", "false"), [True, True, False])
        self.refused(kinds.BOOLEAN, 1, 0, "yes", "True", "", None, [])

    def test_whole_numbers(self) -> None:
        """Whole numbers in their range, also as text; a boolean is none."""
        kind = kinds.whole(1, 10)
        self.assertEqual(self.accepted(kind, 1, 10, " 7 ", "+7"), [1, 10, 7, 7])
        self.refused(kind, 0, 11, True, 1.0, "1.0", "x", "1k", "٣", "9" * 10_000, 16**5000, [1])

    def test_durations(self) -> None:
        """A number and a unit in any case; a bare number is milliseconds; above zero."""
        given = ["5m", "30s", "1500ms", "2h", "1d", " 5 M ", "250", 250]
        seconds = [300, 30, 1.5, 7200, 86400, 300, 0.25, 0.25]
        self.assertEqual(self.accepted(kinds.DURATION, *given), seconds)
        self.refused(kinds.DURATION, 0, "0", "0s", "-1s", "5 minutes", "m", "", True, 1.5, "9" * 100 + "d", [])

    def test_durations_are_shown_short(self) -> None:
        """The largest unit that is exact."""
        shown = [kinds.show_duration(seconds) for seconds in (300, 30, 1.5, 86400, 90)]
        self.assertEqual(shown, ["5m", "30s", "1500ms", "1d", "90s"])

    def test_host_names(self) -> None:
        """Labels of letters, digits and hyphens, in lower case without the final dot."""
        self.assertEqual(self.accepted(kinds.HOSTNAME, "Mail.Example.org."), ["mail.example.org"])
        self.refused(kinds.HOSTNAME, "", "-a.b", "a..b", "a b", "ä.example", "a" * 64, "a." * 200, 3)

    def test_choices(self) -> None:
        """One of the words in any case; a synonym is read as what it means."""
        kind = kinds.choice("http", "lmtp", https="http")
        self.assertEqual(self.accepted(kind, "LMTP", "https"), ["lmtp", "http"])
        self.refused(kind, "smtp", "", 1, [])

    def test_paths(self) -> None:
        """A relative path counts from the folder of the file."""
        self.assertEqual(self.accepted(kinds.PATH, "a/../b", "/x/y/"), ["/etc/b", "/x/y"])
        self.refused(kinds.PATH, "", " ", "a\0b", 1)

    def test_path_in_place_of_pem(self) -> None:
        """A path where PEM belongs is answered with the macro that reads it."""
        error = self.assertRaises(BadValue, kinds.PEM.read, "/tls/cert.pem", "/")
        self.assertIn('"%{file:/tls/cert.pem}%"', str(error))

    @given(st.sampled_from(ALL_KINDS), ANY_VALUE)
    @settings(deadline=None, max_examples=400)
    def test_any_value(self, kind: Kind, value: object) -> None:
        """A value is read and can be shown, or refused with BadValue, whatever it is."""
        try:
            result = kind.read(value, "/etc")
        except BadValue:
            return
        if kind.build is None:
            self.assertIsInstance(kind.show(result), bool | int | float | str)
        else:
            json.dumps(kind.show(result))

    @given(st.integers(1, 10**12))
    @settings(deadline=None)
    def test_durations_round_trip(self, milliseconds: int) -> None:
        """What is shown of a duration reads as the same duration."""
        seconds = milliseconds / 1000
        self.assertEqual(kinds.DURATION.read(kinds.show_duration(seconds), "/"), seconds)


class AddressTests(SynchronousTestCase):
    """Addresses of listeners."""

    def test_forms(self) -> None:
        """IPv4, IPv6 in brackets and Unix sockets, in canonical form, and back to text."""
        for text, address, shown in [
            ("127.0.0.1:8080", TcpAddress(host="127.0.0.1", port=8080), None),
            ("[::]:443", TcpAddress(host="::", port=443), None),
            ("[2001:DB8:0::1]:0", TcpAddress(host="2001:db8::1", port=0), "[2001:db8::1]:0"),
            ("unix:/run/a.sock", UnixAddress(path="/run/a.sock"), None),
            ("unix:a.sock", UnixAddress(path="/etc/a.sock"), "unix:/etc/a.sock"),
        ]:
            self.assertEqual(parse_address(text, "/etc"), address)
            self.assertEqual(str(address), shown or text)

    def test_bad_addresses_are_explained(self) -> None:
        """The error says what is missing, and how it is written."""
        for text, hint in [
            ("localhost:80", "an IPv4 address, not a name"),
            ("::1:8080", "in brackets"),
            ("127.0.0.1", '"127.0.0.1:8080"'),
            ("[::1]", '"[::1]:8080"'),
            ("::1", "in brackets"),
            ("*:80", '"[::]:80"'),
            (":80", '"[::]:80"'),
            ("127.0.0.1:65536", "0 to 65535"),
            ("127.0.0.1:-1", "an IP address and a port"),
            ("127.0.0.1:http", "an IP address and a port"),
            ("256.0.0.1:80", "an IPv4 address"),
            ("[127.0.0.1]:80", "an IPv6 address"),
            ("/run/a.sock", '"unix:/run/a.sock"'),
            ("unix:", "the path"),
            ("unix:@stalwart", "a socket in a folder"),
            ("unix:/" + "a" * 107, "107 octets"),
            ("unix:/a\0b", "the path"),
            ("127.0.0.1:٨٠", "an IP address and a port"),
            ("", "an IP address and a port"),
        ]:
            error = self.assertRaises(BadAddress, parse_address, text, "/etc")
            self.assertIn(hint, str(error), text)

    def test_collisions(self) -> None:
        """Same address, or a wildcard of the family on the same port; [::] takes IPv4 too; port 0 is always free."""

        def address(text: str) -> Address:
            return parse_address(text, "/")

        for one, other, expected in [
            ("127.0.0.1:80", "127.0.0.1:80", True),
            ("127.0.0.1:80", "127.0.0.1:81", False),
            ("127.0.0.1:80", "127.0.0.2:80", False),
            ("0.0.0.0:80", "127.0.0.1:80", True),
            ("0.0.0.0:80", "[::1]:80", False),
            ("0.0.0.0:80", "[::]:80", True),
            ("[::]:80", "[::1]:80", True),
            ("[::]:80", "127.0.0.1:80", True),
            ("[::1]:80", "[0:0::1]:80", True),
            ("[::ffff:127.0.0.1]:80", "127.0.0.1:80", True),
            ("127.0.0.1:0", "127.0.0.1:0", False),
            ("unix:/a", "unix:/a", True),
            ("unix:/a", "unix:/b/../a", True),
            ("unix:/a", "127.0.0.1:80", False),
        ]:
            self.assertEqual(collide(address(one), address(other)), expected, (one, other))
            self.assertEqual(collide(address(other), address(one)), expected, (other, one))

    @given(st.text(alphabet="0123456789.:[]abfx%unix/ ", max_size=30))
    @settings(deadline=None, max_examples=300)
    def test_any_text(self, text: str) -> None:
        """Any text is an address that survives the way back to text, or a BadAddress."""
        try:
            address = parse_address(text, "/etc")
        except BadAddress:
            return
        self.assertEqual(parse_address(str(address), "/etc"), address)


class MacroTests(SynchronousTestCase):
    """Macros in texts."""

    def expand(self, text: str) -> Expanded:
        files = {"/etc/key": b"secret\n", "/tls/big": b"x" * (1024 * 1024 + 1), "/bad": b"\xff"}
        return expand(text, {"NAME": "value", "NESTED": "%{env:NAME}%"}, "/etc", reader(files))

    def test_expansion(self) -> None:
        """Variables and files, several in one text; a relative path counts from the folder."""
        self.assertEqual(
            self.expand("a %{env:NAME}% b %{file:key}%%{file:/etc/key}%"),
            Expanded(value="a value b secretsecret", variables=("NAME",), files=("key", "/etc/key")),
        )

    def test_nothing_to_expand(self) -> None:
        """Other text with percent signs and braces stays as it is."""
        for text in ("", "100%", "%{", "%{env:NAME", "{env:NAME}", "%{no macro}%"):
            self.assertEqual(self.expand(text), Expanded(value=text))

    def test_result_is_not_expanded_again(self) -> None:
        """What a variable holds is text, whatever it looks like."""
        self.assertEqual(self.expand("%{env:NESTED}%").value, "%{env:NAME}%")

    def test_what_cannot_be_expanded(self) -> None:
        """A missing variable, a missing, large or binary file, and an unknown macro are errors that name it."""
        for text, hint in [
            ("%{env:MISSING}%", "variable MISSING to be set"),
            ("%{file:/missing}%", '"/missing" that can be read (No such file or directory)'),
            ("%{file:/tls/big}%", "at most 1048576 octets"),
            ("%{file:/bad}%", "UTF-8"),
            ("%{cfg:server.hostname}%", "%{env:NAME}% and %{file:/path}%"),
        ]:
            self.assertIn(hint, str(self.assertRaises(BadMacro, self.expand, text)))


class TextTests(SynchronousTestCase):
    """How errors quote what they found."""

    def test_secret_is_hidden(self) -> None:
        """A secret shows itself to reveal() only."""
        secret = Secret("hunter2")
        for text in (repr(secret), str(secret), f"{secret}", f"{secret!r}", repr([secret])):
            self.assertNotIn("hunter2", text)
        self.assertEqual(secret.reveal(), "hunter2")
        self.assertEqual((secret == Secret("hunter2"), secret == Secret("x")), (True, False))
        self.assertEqual(hash(secret), hash(Secret("hunter2")))

    def test_descriptions(self) -> None:
        """Values are named shortly, on one line."""
        for value, text in [
            ('a"b\n\x1b', '"a\\"b\\n\\u001B"'),
            ("x" * 100, '"' + "x" * 59 + '…"'),
            (True, "true"),
            (3, "3"),
            (16**5000, "a whole number of 20001 bits"),
            ([], "an empty array"),
            ([1, 2], "an array of 2"),
            ([{}], "an array of tables"),
            ({}, "a table"),
            (datetime.date(2020, 1, 2), "2020-01-02"),
            (1.5, "1.5"),
        ]:
            self.assertEqual(describe(value), text)

    @given(st.text(alphabet=st.characters(), max_size=20))
    @settings(deadline=None)
    def test_terminal_is_safe(self, text: str) -> None:
        """No control character, lone surrogate or bidi mark reaches a terminal."""
        self.assertTrue(describe(text).isprintable())
        self.assertTrue(printable(text).isprintable())
