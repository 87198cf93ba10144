"""What is wrong with a configuration: every error, with its line, its key, what was found and what was wanted."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from stalwart.config import ConfigErrors, load
from tests.config.support import FILE, Pair, errors_of, listener, load_text

LONG_BAD = """\
log-level = "verbose"
hostname = "x"

[server]
hostname = 3
max_connections = 3

[server.listener.http]
protocol = "htp"
bind = ["127.0.0.1:80", "localhost:80",
        "nowhere"]
tls.implcit = true

[server.listener.other]
protocol = "lmtp"
bind = "0.0.0.0:80"
socket.ttl = 900

[certificate.main]
cert = "%{file:/missing.pem}%"
private-key = "hunter2"

[storage]
data = "mian"

[store.main]
type = "sqlite"
"""


class AllAtOnceTests(SynchronousTestCase):
    """A file with many errors."""

    def test_every_error_is_reported(self) -> None:
        """All errors of all sorts, in the order of the file, each with line and key."""
        errors = errors_of(LONG_BAD)
        self.assertEqual({error.file for error in errors}, {FILE})
        self.assertEqual(
            [(error.line, error.key) for error in errors],
            [
                (1, "log-level"),
                (2, "hostname"),
                (5, "server.hostname"),
                (6, "server.max_connections"),
                (9, "server.listener.http.protocol"),
                (10, "server.listener.http.bind[1]"),
                (11, "server.listener.http.bind[2]"),
                (12, "server.listener.http.tls.implcit"),
                (16, "server.listener.other.bind"),
                (17, "server.listener.other.socket.ttl"),
                (20, "certificate.main.cert"),
                (21, "certificate.main.private-key"),
                (24, "storage.data"),
                (26, "store.main.path"),
            ],
        )

    def test_list_for_people(self) -> None:
        """The exception prints as one line for each error, with the place first."""
        error = self.assertRaises(ConfigErrors, load_text, 'log-level = "x"\nworker-pool-size = 0\n')
        self.assertEqual(
            str(error),
            "The configuration has 2 errors:\n"
            f'  {FILE}:1: log-level: found "x"; wanted "error", "warn", "info", "debug" or "trace"\n'
            f"  {FILE}:2: worker-pool-size: found 0; wanted a whole number from 1 to 1024",
        )

    def test_no_secret_is_printed(self) -> None:
        """Keys, passwords and unknown values are never quoted, wherever they were put."""
        key = Pair().key.decode()
        for text in (
            'certificate.a.private-key = "hunter2"',
            'certificate.a.private-key = "hunter2 %{env:MISSING}%"',
            'certificate.a.cert = "hunter2"',
            'certificate.a = "hunter2"',
            'certificate = "hunter2"',
            'certificat.a.private-key = "hunter2"',
            'certificate.a.privatekey = "hunter2"',
            'certificate.a.private-key = ["hunter2"]',
            f"certificate.a.cert = '''hunter2{key}'''",
            f"certificate.a.private-key = '''{key.replace('MI', 'hunter2')}'''",
            'server.hostname = "%{file:/secret}%"',
            'storage.data = "%{file:/secret}%"',
        ):
            error = self.assertRaises(ConfigErrors, load_text, text, {}, {"/secret": b"hunter2!"})
            self.assertNotIn("hunter2", str(error) + repr(error), text)
            self.assertNotIn("MIG", str(error), text)


class FileTests(SynchronousTestCase):
    """Files that cannot be read at all."""

    def sole_error(self, data: bytes | str) -> tuple[int | None, str]:
        (error,) = errors_of(data)
        self.assertEqual(error.file, FILE)
        return error.line, str(error)

    def test_syntax(self) -> None:
        """A syntax error carries line and column."""
        line, text = self.sole_error('a = 1\nb = \nc = "\n')
        self.assertEqual(line, 2)
        self.assertIn("column 5", text)
        line, text = self.sole_error("a = 1\nb = [1,\n")
        self.assertEqual(line, 3)
        self.assertIn("end of the file", text)

    def test_key_twice(self) -> None:
        """A key or table that is there twice is an error of its line."""
        self.assertEqual(self.sole_error("[server]\nhostname='a'\nhostname='b'\n")[0], 3)
        self.assertEqual(self.sole_error("[server]\n\n[server]\n")[0], 3)

    def test_not_utf8(self) -> None:
        """An octet that is no UTF-8 is named with its line."""
        line, text = self.sole_error(b"# ok\nlog-level = 'caf\xe9'\n")
        self.assertEqual(line, 2)
        self.assertIn("0xE9", text)

    def test_nul(self) -> None:
        """NUL is a syntax error of its line."""
        self.assertEqual(self.sole_error(b"a = 1\n\0\n")[0], 2)
        self.assertEqual(self.sole_error(b"\n# \0\n")[0], 2)

    def test_too_large(self) -> None:
        """More than 1 MiB is no configuration."""
        self.assertIn("1048576", self.sole_error(b"#" * (1024 * 1024 + 1))[1])
        self.assertEqual(errors_of(b"#" * (1024 * 1024)), ())

    def test_nested_too_deeply(self) -> None:
        """Nesting that exhausts the parser is an error, not a crash."""
        self.sole_error("a = " + "[" * 100_000)
        self.sole_error("a = " + "[" * 3000 + "]" * 3000)

    def test_huge_numbers(self) -> None:
        """Numbers of thousands of digits are errors."""
        self.sole_error("worker-pool-size = " + "9" * 5000)
        self.sole_error("worker-pool-size = 0x" + "f" * 5000)

    def test_missing_file(self) -> None:
        """A file that was named and is not there is an error that says so."""
        path = os.path.abspath(self.mktemp())
        error = self.assertRaises(ConfigErrors, load, path, {})
        self.assertIn(f"{path}: wanted a file that can be read (No such file or directory)", str(error))

    def test_folder(self) -> None:
        """A folder is no file."""
        error = self.assertRaises(ConfigErrors, load, os.getcwd(), {})
        self.assertIn("Is a directory", str(error))

    def test_unreadable_file(self) -> None:
        """Missing permission is an error that says so."""

        def read(path: str) -> bytes:
            raise PermissionError(13, "Permission denied", path)

        error = self.assertRaises(ConfigErrors, load, "/x.toml", {}, read=read)
        self.assertIn("/x.toml: wanted a file that can be read (Permission denied)", str(error))

    def test_odd_names(self) -> None:
        """Empty names and names with NUL are errors like others."""
        self.assertRaises(ConfigErrors, load, "", {})
        self.assertRaises(ConfigErrors, load, "a\0b", {})


class UnknownKeyTests(SynchronousTestCase):
    """Keys that do not exist."""

    def test_nearest_name(self) -> None:
        """The nearest known name is given, also from elsewhere in the tree and for other spellings."""
        for text, nearest in [
            ("log_level = 1", "log-level"),
            ("logLevel = 1", "log-level"),
            ("worker-pool-szie = 1", "worker-pool-size"),
            ("hostname = 'x'", "server.hostname"),
            ("server.hostnme = 'x'", "server.hostname"),
            ("server.listener.a.bnid = 'x'", "server.listener.a.bind"),
            ("server.listener.a.max_connections = 1", "server.listener.a.max-connections"),
            ("server.listener.a.tls.implict = true", "server.listener.a.tls.implicit"),
            ("server.listener.a.implicit = true", "server.listener.a.tls.implicit"),
            ("server.listener.a.socket.noDelay = true", "server.listener.a.socket.nodelay"),
            ("certificate.a.key = 'x'", "certificate.a.private-key"),
            ("certificates.a.cert = 'x'", "certificate"),
            ("listener.http.bind = 'x'", "server.listener"),
            ("'server.hostname' = 'x'", "server.hostname"),
            ("storage.blobs = 'x'", "storage.blob"),
            ("store.a.pth = 'x'", "store.a.path"),
        ]:
            wanted = [error.wanted for error in errors_of(text) if error.found == "an unknown key"]
            self.assertEqual(wanted, [f"a known one, perhaps {nearest}"], text)

    def test_nothing_near(self) -> None:
        """Otherwise the keys that would be known there are listed."""
        (error,) = errors_of("xyzzy = 1")
        self.assertEqual(
            error.wanted,
            "one of acme, authentication, autoconfig, cache, certificate, http, jmap, log-format, log-level, lookup, "
            "oauth, object-quota, relay, server, session, storage, store, submission, well-known, worker-pool-size",
        )

    def test_unknown_table_is_one_error(self) -> None:
        """An unknown table is reported once, not for each of its keys."""
        self.assertEqual(len(errors_of("[xyzzy]\na = 1\nb = 2\n[xyzzy.c]\nd = 1\n")), 1)

    def test_odd_keys(self) -> None:
        """Empty, long and control-character keys are reported without harm."""
        for key in ('""', '"\\u0000\\u001b[2J"', '"' + "k" * 100_000 + '"', '"a.b"'):
            (error,) = errors_of(f"{key} = 1")
            self.assertTrue(str(error).isprintable())
            self.assertLess(len(str(error)), 400)


class ShapeTests(SynchronousTestCase):
    """Values and tables in the wrong place."""

    def test_value_where_a_table_belongs(self) -> None:
        """Each level says that it is a table."""
        for text, key, found in [
            ("server = 3", "server", "a number"),
            ("server = true", "server", "a boolean"),
            ("server = []", "server", "an empty array"),
            ("[[server]]\n", "server", "an array of tables"),
            ("server.listener = 'x'", "server.listener", "a text"),
            ("server.listener.http = 2020-01-01", "server.listener.http", "a date or time"),
            ("server.listener.http.tls = true", "server.listener.http.tls", "a boolean"),
            ("server.socket = 1", "server.socket", "a number"),
            ("[[store.a]]\n", "store.a", "an array of tables"),
        ]:
            places = [(error.key, error.found) for error in errors_of(text)]
            self.assertIn((key, found), places, text)

    def test_table_where_a_value_belongs(self) -> None:
        """A table in place of a value is an error of its kind."""
        (error,) = errors_of("[log-level]\nx = 1\n")
        self.assertEqual((error.line, error.found), (1, "a table"))

    def test_wrong_type(self) -> None:
        """The value as it stands, and the kind that was wanted."""
        for text, found in [
            ("worker-pool-size = 1.5", "1.5"),
            ("worker-pool-size = true", "true"),
            ("worker-pool-size = 'many'", '"many"'),
            ("worker-pool-size = [1]", "an array of 1"),
            ("log-format = 1", "1"),
            ("server.hostname = ''", '""'),
        ]:
            (error,) = errors_of(text)
            self.assertEqual(error.found, found)

    def test_value_from_the_environment(self) -> None:
        """Both the macro and what it gave are told."""
        (error,) = errors_of('worker-pool-size = "%{env:N}%"', {"N": "many"})
        self.assertEqual(error.found, '"%{env:N}%", which gives "many"')

    def test_fallbacks_are_read_without_listeners_using_them(self) -> None:
        """An error under [server] shows once, whether listeners use the key or not."""
        unused = listener("a", '"127.0.0.1:1"', more="max-connections = 1") + "[server]\nmax-connections = 0\n"
        for text in ("server.max-connections = 0", unused):
            self.assertEqual([error.key for error in errors_of(text)], ["server.max-connections"])

    def test_required_keys(self) -> None:
        """A listener needs protocol and bind, a certificate both halves, a store type and path."""
        keys = [
            error.key for error in errors_of("[server.listener.a]\n[certificate.b]\n[store.c]\n[store.d]\ntype='fs'")
        ]
        self.assertEqual(
            keys,
            [
                "server.listener.a.protocol",
                "server.listener.a.bind",
                "certificate.b.cert",
                "certificate.b.private-key",
                "store.c.type",
                "store.d.path",
            ],
        )

    def test_names(self) -> None:
        """The name of a listener is something that can be printed in a log."""
        for name in ('""', '"a\\nb"', '" a"', '"\\u001b"', '"' + "a" * 101 + '"'):
            (error,) = errors_of(listener(name, '"127.0.0.1:1"'))
            self.assertIn("1 to 100 printable characters", error.wanted)


class AddressTests(SynchronousTestCase):
    """Two listeners on one address."""

    def test_same_address(self) -> None:
        """The second one is the error, and names the first."""
        (error,) = errors_of(listener("a", '"127.0.0.1:80"') + listener("b", '["[::1]:80", "127.0.0.1:80"]'))
        self.assertEqual((error.key, error.line), ("server.listener.b.bind[1]", 7))
        self.assertEqual(
            (error.found, error.wanted),
            ('"127.0.0.1:80"', "an address of its own; server.listener.a.bind (line 3) has it"),
        )

    def test_wildcard(self) -> None:
        """A wildcard takes the port of the specific address."""
        (error,) = errors_of(listener("a", '"127.0.0.1:80"') + listener("b", '"[::]:80"', "lmtp"))
        self.assertIn('has "127.0.0.1:80", which takes the same port', error.wanted)

    def test_within_one_listener(self) -> None:
        """One listener cannot have an address twice."""
        (error,) = errors_of(listener("a", '["unix:a", "unix:/etc/test/a"]'))
        self.assertEqual(error.key, "server.listener.a.bind[1]")

    def test_empty_list(self) -> None:
        """A listener without an address is no listener."""
        (error,) = errors_of(listener("a", "[]"))
        self.assertEqual(error.found, "an empty array")


class StorageTests(SynchronousTestCase):
    """Stores that are not there or not right."""

    def test_unknown_store(self) -> None:
        """The nearest name is given."""
        text = 'storage.data = "mian"\n[store.main]\ntype = "sqlite"\npath = "/x"\n'
        (error,) = errors_of(text)
        self.assertEqual((error.line, error.found), (1, '"mian"'))
        self.assertIn('perhaps "main"', error.wanted)

    def test_wrong_type(self) -> None:
        """Data needs a database, files are for blobs only."""
        (error,) = errors_of('storage.data = "files"\n[store.files]\ntype = "fs"\npath = "/x"\n')
        self.assertEqual(error.found, '"files", a store of type "fs"')
        self.assertEqual(error.wanted, 'one of type "sqlite"')

    def test_unknown_type(self) -> None:
        """A store of an unknown type is one error, also when it is used."""
        (error,) = errors_of('storage.data = "a"\n[store.a]\ntype = "rocksdb"\npath = "/x"\n')
        self.assertEqual((error.key, error.wanted), ("store.a.type", '"sqlite" or "fs"'))

    def test_full_text_elsewhere(self) -> None:
        """The full-text index lies with the data."""
        (error,) = errors_of(
            '[storage]\ndata = "a"\nfts = "b"\n[store.a]\ntype = "sqlite"\npath = "/a"\n'
            '[store.b]\ntype = "sqlite"\npath = "/b"\n'
        )
        self.assertEqual((error.key, error.wanted), ("storage.fts", 'the store of storage.data, "a"'))

    def test_two_stores_in_one_place(self) -> None:
        """Two stores cannot share a path."""
        (error,) = errors_of(
            '[storage]\ndata = "a"\nblob = "b"\n[store.a]\ntype = "sqlite"\npath = "/a"\n'
            '[store.b]\ntype = "fs"\npath = "/x/../a"\n'
        )
        self.assertEqual((error.key, error.line), ("store.b.path", 9))
