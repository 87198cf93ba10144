"""Event streams over HTTP/2 (RFC 8620 §7.3): several on one connection, each with its own end."""

from __future__ import annotations

import base64

from stalwart import store
from tests.http.test_http2 import Client
from tests.web.streams import StreamBed
from tests.web.test_jmap import PASSWORD

TOKEN = base64.b64encode(f"ada@example.org:{PASSWORD}".encode()).decode()


class Http2StreamTests(StreamBed):
    """`GET /jmap/eventsource/` as a stream of HTTP/2."""

    def open(self, client: Client) -> int:
        """An open event stream."""
        return client.ask("/jmap/eventsource/?types=*", fields=[("authorization", f"Basic {TOKEN}")])

    def told(self, client: Client, stream: int) -> int:
        """How many events came since the last look."""
        client.pump()
        return client.body.pop(stream, b"").count(b"event: state")

    def test_state(self) -> None:
        """Each stream is told, also after another one on the connection was reset by the client."""
        client = Client(self.http)
        one, other = self.open(client), self.open(client)
        self.assertEqual(client.status, {one: 200, other: 200})
        self.mail()
        self.assertEqual((self.told(client, one), self.told(client, other)), (1, 1))
        client.h2.reset_stream(one)
        client.pump()
        self.assertEqual(len(self.announcer._watched), 1)
        self.clock.advance(2)
        self.mail()
        self.assertEqual(self.told(client, other), 1)

    def test_slow_client(self) -> None:
        """What a closed window can't take is told together when it opens; who never opens it is dropped."""
        client = Client(self.http, window=400)
        client.take = False
        stream = self.open(client)
        for _ in range(20):
            self.mail()
            self.clock.advance(2)
            client.pump()
        self.assertLess(self.told(client, stream), 4)
        client.h2.increment_flow_control_window(100_000, stream)
        client.pump()
        self.assertLess(self.told(client, stream), 4)
        self.mail()
        self.clock.advance(2)
        self.assertEqual(self.told(client, stream), 1)
        stuck = Client(self.http, window=10)
        stuck.take = False
        self.open(stuck)
        self.mail()
        self.clock.pump([1] * 130)
        self.assertTrue(stuck.transport.aborted)

    def test_password_changed(self) -> None:
        """A new password ends the stream, and nothing is left of it."""
        client = Client(self.http)
        stream = self.open(client)
        with self.store.write() as s:
            store.set_password_hash(s, self.account.id, "other")
        self.clock.advance(1)
        client.pump()
        self.assertIn(stream, client.ended)
        self.assertEqual(len(self.announcer._watched), 0)

    def test_stopping(self) -> None:
        """At the stop the streams end, and the connection with them."""
        client = Client(self.http)
        streams = {self.open(client) for _ in range(3)}
        self.announcer.close()
        client.pump()
        self.assertEqual(client.ended, streams)
        self.http.site.drain()
        client.pump()
        self.assertTrue(client.transport.disconnecting)
        self.assertEqual(self.streams._open._running, {})
