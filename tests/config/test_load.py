"""What configurations mean: defaults, listeners, stores, and where each value comes from."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from stalwart.config import (
    FsStore,
    Listener,
    Origin,
    Settings,
    SocketOptions,
    SqliteStore,
    TcpAddress,
    UnixAddress,
    find_config,
    load,
)
from tests.config.support import FILE, listener, load_text


def origin(settings: Settings, key: str) -> Origin:
    """Where the value of a key comes from."""
    return {entry.key: entry.origin for entry in settings.entries}[key]


def shown(settings: Settings, key: str) -> object:
    """What is shown of a key."""
    return {entry.key: entry.value for entry in settings.entries}[key]


class FindTests(SynchronousTestCase):
    """Which file is read."""

    def test_order(self) -> None:
        """The argument, then $STALWART_CONFIG, then the system's file if it is there, then none."""
        environ = {"STALWART_CONFIG": "/from/environment"}
        here, missing = __file__, "/nonexistent/stalwart.toml"
        self.assertEqual(find_config("/argument", environ, system_file=here), "/argument")
        self.assertEqual(find_config("", environ, system_file=here), "")
        self.assertEqual(find_config(None, environ, system_file=here), "/from/environment")
        self.assertEqual(find_config(None, {"STALWART_CONFIG": ""}, system_file=here), here)
        self.assertIs(find_config(None, {}, system_file=missing), None)

    def test_system_file_out_of_sight(self) -> None:
        """A system's file in a folder that can't be looked into is not taken for missing: its reading fails."""
        folder = self.mktemp()
        os.symlink(os.path.basename(folder), folder)
        hidden = os.path.join(folder, "stalwart.toml")
        self.assertEqual(find_config(None, {}, system_file=hidden), hidden)


class DefaultTests(SynchronousTestCase):
    """No file, or one that says nothing."""

    def test_no_file(self) -> None:
        """HTTP on 8080 and LMTP on 8024 of loopback, data below the working directory."""
        settings = load(None, {}, hostname="here.example", cpus=3)
        self.assertEqual(
            settings.listeners,
            (
                Listener(id="http", protocol="http", bind=(TcpAddress(host="127.0.0.1", port=8080),)),
                Listener(id="lmtp", protocol="lmtp", bind=(TcpAddress(host="127.0.0.1", port=8024),)),
            ),
        )
        home = os.path.join(os.getcwd(), "stalwart-data")
        self.assertEqual(settings.data.path, os.path.join(home, "stalwart.sqlite"))
        self.assertEqual(settings.blob, FsStore(id="built-in-blobs", path=os.path.join(home, "blobs")))
        self.assertEqual(settings.fts, settings.data)
        self.assertEqual(
            (settings.source, settings.hostname, settings.log_level, settings.log_format),
            (None, "here.example", "info", "text"),
        )
        self.assertEqual((settings.worker_pool_size, settings.certificates, settings.warnings), (3, (), ()))
        self.assertEqual({entry.origin.kind for entry in settings.entries}, {"default"})

    def test_empty_file(self) -> None:
        """A file that sets nothing is the same as no file."""
        empty, none = load_text(""), load(None, {}, hostname="here.example", cpus=4)
        self.assertEqual((empty.listeners, empty.data), (none.listeners, none.data))
        self.assertEqual(empty.source, FILE)

    def test_byte_order_mark(self) -> None:
        """The mark that some editors put first is no error."""
        self.assertEqual(load_text(b'\xef\xbb\xbflog-level = "debug"\r\n').log_level, "debug")

    def test_home(self) -> None:
        """$STALWART_HOME holds the built-in stores, and is named as the source."""
        settings = load(None, {"STALWART_HOME": "/srv/mail"}, hostname="h")
        self.assertEqual(settings.data, SqliteStore(id="built-in-data", path="/srv/mail/stalwart.sqlite"))
        self.assertEqual(settings.blob.path, "/srv/mail/blobs")
        self.assertEqual(
            origin(settings, "store.built-in-data.path"),
            Origin(kind="environment", variables=("STALWART_HOME",)),
        )

    def test_own_listener_replaces_the_built_in_ones(self) -> None:
        """A file with a listener has that one only."""
        settings = load_text(listener("only", '"127.0.0.1:1"'))
        self.assertEqual([each.id for each in settings.listeners], ["only"])

    def test_server_keys_apply_to_built_in_listeners(self) -> None:
        """What [server] sets counts for the built-in listeners too."""
        settings = load_text("[server]\nmax-connections = 5\n")
        self.assertEqual([each.max_connections for each in settings.listeners], [5, 5])


class ListenerTests(SynchronousTestCase):
    """Listeners of a file."""

    def test_every_key(self) -> None:
        """All keys, in the spellings that are allowed for them."""
        settings = load_text(
            '[server.listener."my own"]\n'
            'protocol = "HTTPS"\n'
            'bind = ["192.0.2.1:443", "[::1]:443", "unix:run/http.sock"]\n'
            'tls.implicit = "true"\n'
            'max-connections = "10"\n'
            '[server.listener."my own".socket]\n'
            "reuse-addr = false\nreuse-port = true\nsend-buffer-size = 1000\nrecv-buffer-size = 2000\n"
            'tos = 0\nttl = 64\nlinger = "1500ms"\nbacklog = 7\nnodelay = false\n'
        )
        self.assertEqual(
            settings.listeners,
            (
                Listener(
                    id="my own",
                    protocol="http",
                    bind=(
                        TcpAddress(host="192.0.2.1", port=443),
                        TcpAddress(host="::1", port=443),
                        UnixAddress(path="/etc/test/run/http.sock"),
                    ),
                    tls_implicit=True,
                    max_connections=10,
                    socket=SocketOptions(
                        reuse_addr=False,
                        reuse_port=True,
                        send_buffer_size=1000,
                        recv_buffer_size=2000,
                        tos=0,
                        ttl=64,
                        linger=1.5,
                        backlog=7,
                        nodelay=False,
                    ),
                ),
            ),
        )

    def test_fallback(self) -> None:
        """A listener's key, then the same key of [server], then the default."""
        settings = load_text(
            "server.max-connections = 1\nserver.tls.implicit = true\nserver.socket.backlog = 2\n"
            "server.socket.linger = 100\n"
            + listener("a", '"127.0.0.1:1"')
            + listener("b", '"127.0.0.1:2"', more='max-connections = 3\nsocket.linger = "never"')
        )
        first, second = settings.listeners
        self.assertEqual((first.max_connections, second.max_connections), (1, 3))
        self.assertEqual((first.socket.linger, second.socket.linger), (0.1, None))
        self.assertEqual((first.tls_implicit, first.socket.backlog, first.socket.nodelay), (True, 2, True))
        self.assertEqual(
            origin(settings, "server.listener.a.max-connections"),
            Origin(kind="file", file=FILE, line=1, key="server.max-connections"),
        )
        self.assertEqual(origin(settings, "server.listener.b.max-connections"), Origin(kind="file", file=FILE, line=12))

    def test_switched_off(self) -> None:
        """Optional settings are switched off in each of Stalwart's ways."""
        for off in ('""', "false", '"disable"', '"Disabled"', '"never"', "0", '"0"'):
            settings = load_text(listener("a", '"127.0.0.1:1"', more=f"socket.linger = {off}"))
            self.assertIs(settings.listeners[0].socket.linger, None)

    def test_any_free_port_twice(self) -> None:
        """Port 0 is never taken."""
        self.assertEqual(len(load_text(listener("a", '["127.0.0.1:0", "127.0.0.1:0"]')).listeners), 1)

    def test_tls_without_certificate(self) -> None:
        """TLS without any certificate works, with a warning at the key that asks for it."""
        settings = load_text(listener("a", '"127.0.0.1:1"', more="tls.implicit = true"))
        (warning,) = settings.warnings
        self.assertIn("self-signed", str(warning))
        self.assertEqual((warning.line, warning.key), (4, "server.listener.a.tls.implicit"))


class StorageTests(SynchronousTestCase):
    """Which stores are used."""

    STORES = '[store.db]\ntype = "sqlite"\npath = "/data/db"\n[store.files]\ntype = "fs"\npath = "files"\n[storage]\n'

    def test_named_stores(self) -> None:
        """The stores that [storage] names; relative paths count from the file's folder."""
        settings = load_text(self.STORES + 'data = "db"\nblob = "files"\nfts = "db"\n')
        self.assertEqual(settings.data, SqliteStore(id="db", path="/data/db"))
        self.assertEqual(settings.blob, FsStore(id="files", path="/etc/test/files"))
        self.assertEqual(settings.fts, settings.data)
        self.assertEqual(settings.warnings, ())

    def test_blobs_in_sqlite(self) -> None:
        """Blobs may lie in a SQLite store."""
        settings = load_text(self.STORES + 'data = "db"\nblob = "db"\n')
        self.assertEqual(settings.blob, SqliteStore(id="db", path="/data/db"))

    def test_blobs_lie_beside_the_database(self) -> None:
        """Without storage.blob, the folder blobs beside the named database."""
        settings = load_text(self.STORES + 'data = "db"\n')
        self.assertEqual(settings.blob.path, "/data/blobs")
        self.assertEqual(shown(settings, "storage.blob"), "built-in-blobs")

    def test_unused_store(self) -> None:
        """A store that nothing names is warned of."""
        settings = load_text(self.STORES + 'data = "db"\n')
        (warning,) = settings.warnings
        self.assertEqual((warning.key, warning.line), ("store.files", 4))


class SourceTests(SynchronousTestCase):
    """Where values come from."""

    def test_file_and_environment(self) -> None:
        """The file's line, and the variables that took part."""
        settings = load_text('\nlog-level = "debug"\nworker-pool-size = "%{env:THREADS}%"\n', {"THREADS": "7"})
        self.assertEqual((settings.log_level, settings.worker_pool_size), ("debug", 7))
        self.assertEqual(origin(settings, "log-level"), Origin(kind="file", file=FILE, line=2))
        self.assertEqual(
            origin(settings, "worker-pool-size"),
            Origin(kind="environment", file=FILE, line=3, variables=("THREADS",)),
        )

    def test_each_key_once(self) -> None:
        """No key is listed twice."""
        keys = [entry.key for entry in load_text(StorageTests.STORES + 'data = "db"\n').entries]
        self.assertEqual(len(keys), len(set(keys)))
