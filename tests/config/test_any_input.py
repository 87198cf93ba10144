"""Whatever a file contains, loading it gives settings or `ConfigErrors`."""

from __future__ import annotations

import json
import tomllib

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.config import ConfigErrors, Settings
from stalwart.config.reference import reference
from stalwart.config.schema import ID, every_setting
from stalwart.config.settings import Declared
from stalwart.config.show import as_text, as_values
from tests.config.support import FILE, Pair, load_text

PAIR = Pair()
VALID = f"""\
log-level = "debug"
log-format = "json"
worker-pool-size = "%{{env:THREADS}}%"

[server]
hostname = "mail.example.org"
max-connections = 100
socket = {{ backlog = 5, linger = "5s" }}

[server.listener.http]
protocol = "http"
bind = ["127.0.0.1:80", '[::1]:81',  # two
  "unix:/run/x.sock"]
tls.implicit = true

[server.listener."the other".socket]
nodelay = false
[server.listener."the other"]
protocol = "lmtp"
bind = "0.0.0.0:24"

[server.http]
allowed-endpoint = [{{ if = "is_tls", then = 200 }},
  {{ else = "404" }}]
headers.X-A = "b"
[http]
cors.allowed-origins = ["https://a.example"]

[certificate.main]
cert = '''{PAIR.cert.decode()}'''
private-key = "%{{file:/key.pem}}%"

[storage]
data = "db"
blob = "files"

[store]
db = {{ type = "sqlite", path = "/data/db" }}
files.type = "fs"
files.path = "files"
"""
ENVIRON = {"THREADS": "3", "ODD": "\udcff\n%{env:ODD}%"}
FILES = {"/key.pem": PAIR.key, "/odd": b"\xff"}
PIECES = [
    *(".".join("a" if part == ID else part for part in setting.path) for setting in every_setting(Declared)),
    *("[", "]", "[[", "]]", "{", "}", "=", ".", ",", '"', "'", '"""', "'''", "\n", "#", "\\", "%{env:", "}%"),
    *("%{env:ODD}%", "%{file:/odd}%", "%{file:", "a", "1", "-1", "true", '"x"', "1979-05-27", "inf", "nan"),
    *('"127.0.0.1:1"', '"[::]:1"', "[1]", "{a=1}", "[{a=1}]", "0x" + "f" * 4000, "\0", "\udcff", "\ufeff"),
]


def check(case: SynchronousTestCase, data: bytes) -> Settings | None:
    """Load; errors must be complete and printable, settings must be showable."""
    try:
        found = load_text(data, ENVIRON, FILES)
    except ConfigErrors as errors:
        case.assertTrue(errors.errors)
        lines = data.count(b"\n") + 1
        for error in errors.errors:
            case.assertEqual(error.file, FILE)
            case.assertTrue(error.wanted)
            case.assertTrue(str(error).isprintable())
            case.assertTrue(error.line is None or 1 <= error.line <= lines)
        return None
    json.dumps(list(as_values(found)))
    as_text(found).encode("ascii", "replace")
    return found


class AnyInputTests(SynchronousTestCase):
    """Random, damaged and rearranged files."""

    def test_the_example_is_right(self) -> None:
        """What is damaged below is right to begin with."""
        found = check(self, VALID.encode())
        assert found is not None
        self.assertEqual([listener.id for listener in found.listeners], ["http", "the other"])

    @given(st.binary(max_size=200))
    @settings(deadline=None, max_examples=200)
    def test_random_octets(self, data: bytes) -> None:
        """Random octets."""
        check(self, data)

    @given(st.lists(st.sampled_from(PIECES), max_size=12))
    @settings(deadline=None, max_examples=400)
    def test_random_pieces(self, pieces: list[str]) -> None:
        """Pieces of TOML in random order."""
        check(self, "".join(pieces).encode("utf-8", "surrogateescape"))

    @given(st.lists(st.tuples(st.sampled_from(PIECES), st.sampled_from(PIECES)), min_size=1, max_size=5))
    @settings(deadline=None, max_examples=300)
    def test_random_statements(self, pairs: list[tuple[str, str]]) -> None:
        """Known keys with values of every kind."""
        check(self, "".join(f"{key} = {value}\n" for key, value in pairs).encode("utf-8", "surrogateescape"))

    @given(st.data())
    @settings(deadline=None, max_examples=300)
    def test_damaged_file(self, data: st.DataObject) -> None:
        """A right file with a stretch replaced."""
        text = VALID.encode()
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 40)))
        middle = data.draw(st.one_of(st.binary(max_size=4), st.sampled_from(PIECES).map(_encode)))
        check(self, text[:start] + middle + text[end:])

    @given(st.lists(st.sampled_from(VALID.split("\n")), max_size=30))
    @settings(deadline=None, max_examples=300)
    def test_rearranged_file(self, lines: list[str]) -> None:
        """Lines of a right file left out, doubled and in another order."""
        check(self, "\n".join(lines).encode())

    @given(st.integers(0, len(PAIR.cert) - 1), st.binary(min_size=1, max_size=3), st.booleans())
    @settings(deadline=None, max_examples=200)
    def test_damaged_certificates(self, place: int, octets: bytes, in_key: bool) -> None:
        """A certificate or key with some octets replaced."""
        cert, key = PAIR.cert, PAIR.key
        if in_key:
            key = key[:place] + octets + key[place + len(octets) :]
        else:
            cert = cert[:place] + octets + cert[place + len(octets) :]
        text = '[certificate.a]\ncert = "%{file:/c}%"\nprivate-key = "%{file:/k}%"\n'
        try:
            load_text(text, {}, {"/c": cert, "/k": key})
        except ConfigErrors as errors:
            self.assertNotIn("BEGIN PRIVATE", str(errors))

    def test_cut_anywhere(self) -> None:
        """A right file that ends early, at any place."""
        data = VALID.encode()
        for end in range(0, len(data), 3):
            check(self, data[:end])

    def test_right_values_stay_right(self) -> None:
        """What show prints of a file is TOML with the effective values."""
        found = check(self, VALID.encode())
        assert found is not None
        shown = tomllib.loads(as_text(found))
        self.assertEqual(shown["worker-pool-size"], 3)
        self.assertEqual(shown["certificate"]["main"]["private-key"], "********")
        self.assertEqual(
            shown["server"]["listener"]["the other"]["socket"],
            {"reuse-addr": True, "reuse-port": False, "linger": "5s", "backlog": 5, "nodelay": False},
        )
        self.assertNotIn("PRIVATE", as_text(found) + repr(found) + reference())


def _encode(piece: str) -> bytes:
    return piece.encode("utf-8", "surrogateescape")
