"""Clients of streams, for tests: events of an EventSource, messages of a WebSocket."""

from __future__ import annotations

import json
from typing import Any

from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage

from stalwart import store
from tests.http.bed import Answer, Wire
from tests.jmap.bed import message
from tests.web.test_jmap import PASSWORD, WebBed

MAIL_TYPES = ("Email", "EmailDelivery", "Mailbox", "Thread")
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


class Events:
    """The client's end of an event stream over HTTP/1.1."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.head: bytes | None = None
        self.ended = False
        self.last_id = ""
        self.comments = 0

    def read(self) -> list[tuple[str, Any]]:
        """The events (name, decoded data) that came since the last look."""
        octets = self.wire.raw()
        if self.head is None:
            self.head, _, octets = octets.partition(b"\r\n\r\n")
            assert self.head.startswith(b"HTTP/1.1 200 "), self.head + octets
        text = b""
        while octets:
            size, _, octets = octets.partition(b"\r\n")
            length = int(size, 16)
            text += octets[:length]
            octets = octets[length + 2 :]
            self.ended = self.ended or length == 0
        return self._parse(text.decode())

    def _parse(self, text: str) -> list[tuple[str, Any]]:
        events: list[tuple[str, Any]] = []
        *blocks, rest = text.split("\n\n")
        assert not rest, text
        for block in blocks:
            fields: dict[str, str] = {}
            for line in block.split("\n"):
                name, _, value = line.partition(":")
                if name:
                    fields[name] = value.removeprefix(" ")
                else:
                    self.comments += 1
            self.last_id = fields.get("id", self.last_id)
            if "data" in fields:
                events.append((fields["event"], json.loads(fields["data"])))
        return events


class Socket:
    """The client's end of a WebSocket."""

    def __init__(self, wire: Wire, answer: Answer) -> None:
        self.wire = wire
        self.answer = answer
        self.connection = Connection(ConnectionType.CLIENT)

    def send(self, event: Event) -> None:
        """Send a frame."""
        self.wire.send(self.connection.send(event))

    def tell(self, **value: Any) -> None:
        """Send a message; `type` is its @type."""
        self.send(TextMessage(data=json.dumps({"@type": value.pop("type"), **value})))

    def events(self) -> list[Event]:
        """The frames that came since the last look."""
        if octets := self.wire.raw():
            self.connection.receive_data(octets)
        return list(self.connection.events())

    def messages(self) -> list[Any]:
        """The messages that came since the last look, and nothing else."""
        events = self.events()
        assert all(isinstance(event, TextMessage) and event.message_finished for event in events), events
        return [json.loads(event.data) for event in events if isinstance(event, TextMessage)]

    def closed_with(self) -> int | None:
        """The code of the Close frame that came, None if there was none."""
        return next((event.code for event in self.events() if isinstance(event, CloseConnection)), None)


class StreamBed(WebBed):
    """An account whose changes are streamed."""

    def setUp(self) -> None:
        """Wait for no thread."""
        super().setUp()
        self.clock = self.http.clock
        self.clock.advance(100)

    def events(
        self, query: str = "types=*&closeafter=no&ping=0", password: str | None = PASSWORD, **fields: str
    ) -> Events:
        """An open event stream, its greeting read."""
        wire = self.http.connect()
        wire.send(self.head("GET", f"/jmap/eventsource/?{query}", password, **fields))
        return Events(wire)

    def handshake(
        self, path: str = "/jmap/ws", password: str | None = PASSWORD, **fields: str | None
    ) -> tuple[Wire, Answer]:
        """Ask for a WebSocket; a field that is None is left out."""
        wire = self.http.connect()
        wire.send(self.handshake_head(path, password, **fields))
        octets = wire.raw()
        head, _, rest = octets.partition(b"\r\n\r\n")
        status_line, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        return wire, Answer("HTTP/1.1", int(status_line.split(" ")[1]), "", headers, rest)

    def handshake_head(self, path: str = "/jmap/ws", password: str | None = PASSWORD, **fields: str | None) -> bytes:
        """The request that asks for a WebSocket."""
        wanted: dict[str, str | None] = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec_WebSocket_Key": KEY,
            "Sec_WebSocket_Version": "13",
            "Sec_WebSocket_Protocol": "jmap",
        }
        wanted.update(fields)
        return self.head("GET", path, password, **{name: value for name, value in wanted.items() if value is not None})

    def socket(self, path: str = "/jmap/ws", password: str | None = PASSWORD, **fields: str | None) -> Socket:
        """An open WebSocket."""
        wire, answer = self.handshake(path, password, **fields)
        assert answer.status == 101, (answer.status, answer.body)
        return Socket(wire, answer)

    def mail(self) -> None:
        """A mail arrives."""
        self.deliver(message())

    def states(self, *types: str) -> dict[str, str]:
        """The states of these types (if none, of those that a mail moves) as clients get them."""
        with self.store.read() as s:
            found = store.states(s, [self.account.id])[self.account.id]
        return {name: str(found[name]) for name in types or MAIL_TYPES}

    def ticket(self, purpose: str) -> str:
        """A ticket."""
        answer = self.post(f"/jmap/ticket?for={purpose}", b"")
        self.assertEqual(answer.status, 201, answer.body)
        given: str = json.loads(answer.body)["ticket"]
        return given


__all__ = ["KEY", "BytesMessage", "CloseConnection", "Events", "Ping", "Pong", "Socket", "StreamBed", "TextMessage"]
