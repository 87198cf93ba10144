"""One WebSocket that speaks JMAP (RFC 8887 §4.3): requests and their answers, and StateChange messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, TextMessage
from wsproto.frame_protocol import CloseReason

from stalwart.http import Problem, Request
from stalwart.http.exchange import Wire
from stalwart.http.guarding import charge_account, refuse_banned
from stalwart.jmap import push, wire
from stalwart.jmap.errors import NotJson, NotRequest, OverLimit, RequestError
from stalwart.jmap.push import Feed, Told
from stalwart.web.jmap_streams import Streams
from stalwart.web.jmap_surface import problem

_log = Logger(namespace="stalwart.jmap.push")
_CLOSING_SECONDS = 5.0
_SMALL_MESSAGE = 65_536
"""Octets that a socket may hold of a message that is coming in, before that counts as one of the account's requests."""


class _Envelope(msgspec.Struct, frozen=True):
    """What every message from a client has (RFC 8887 §4.3.2)."""

    type: str = msgspec.field(name="@type")
    id: str | None = None


class _PushEnable(msgspec.Struct, frozen=True):
    """RFC 8887 §4.3.5.2."""

    data_types: list[str] | None = msgspec.field(name="dataTypes", default=None)
    push_state: str | None = msgspec.field(name="pushState", default=None)


_read_envelope = msgspec.json.Decoder(_Envelope).decode


class JmapSocket:
    """Provides `Upgraded` to its connection and `Watcher` to the announcer. Compression is never agreed to."""

    def __init__(self, streams: Streams, request: Request, accounts: Mapping[int, Told]) -> None:
        assert request.principal is not None
        self.principal = request.principal
        self._streams = streams
        self._request = request
        self._accounts = accounts
        self._limit = streams.jmap.limits.max_size_request
        self._now = request.site.monotonic
        self._connection = Connection(ConnectionType.SERVER)
        self._wire: Wire | None = None
        self._message = bytearray()
        self._leave: Callable[[], None] | None = None  # while a long message comes in
        self._running = 0
        self._draining = False
        self._heard = self._pinged = self._now()
        self._closing_since: float | None = None
        # Push: a feed from WebSocketPushEnable on, which is told from once the current states are known.
        self._feed: Feed | None = None
        self._settled = False
        self._full = False
        self._last_push = self._now() - streams.settings.web_socket_throttle
        self._next_push: IDelayedCall | None = None

    # `Upgraded`.

    def connected(self, wire: Wire) -> None:
        """The handshake is done."""
        self._wire = wire
        # Also without push: so that it is noticed when the credentials are revoked.
        self._streams.announcer.watch(self, self._accounts)

    def received(self, data: bytes) -> None:
        """Frames, or parts of them."""
        self._heard = self._now()
        if self._is_over():
            return
        self._connection.receive_data(data)
        for event in self._connection.events():
            self._act_on(event)
            if self._is_over():
                return

    def lost(self) -> None:
        """The connection is gone; what still runs is answered to nobody."""
        self._wire = None
        self._forget_message()
        self._stop_pushing()
        self._streams.announcer.unwatch(self)

    def sweep(self, now: float) -> None:
        """Ping a quiet client, give up on one that is gone."""
        if self._wire is None:
            return
        settings = self._streams.settings
        if self._closing_since is not None:
            if now - self._closing_since > _CLOSING_SECONDS:
                self._wire.close()
        elif now - self._heard > settings.web_socket_timeout:
            self._close(CloseReason.GOING_AWAY, "nothing was heard from the client")
        elif now - max(self._heard, self._pinged) >= settings.web_socket_heartbeat:
            self._pinged = now
            self._send(Ping())

    def drain(self) -> None:
        """The server is stopping: answer what runs, then close."""
        self._draining = True
        if not self._running:
            self._close(CloseReason.GOING_AWAY, "the server is stopping")

    def pause(self) -> None:
        """Changes are coalesced until the client takes what it was sent."""
        self._full = True

    def resume(self) -> None:
        """There is room."""
        self._full = False
        self._push()

    # `Watcher`.

    def changed(self, account: int, states: Mapping[str, int]) -> None:
        """Something to be told, perhaps."""
        if self._feed is not None and self._feed.offer(account, states):
            self._push()

    def revoked(self) -> None:
        """RFC 8887 §4.1: a connection whose credentials have expired is closed with 1008."""
        self._close(CloseReason.POLICY_VIOLATION, "the credentials are no longer valid")

    def accounts_changed(self) -> None:
        """An account was shared with the user, or no longer is: the client has to look at its session anew."""
        self._close(CloseReason.GOING_AWAY, "the accounts have changed")

    def closing(self) -> None:
        """The server is stopping."""
        self.drain()

    # Frames.

    def _is_over(self) -> bool:
        return self._wire is None or self._connection.state is ConnectionState.CLOSED

    def _act_on(self, event: Event) -> None:
        if isinstance(event, TextMessage):
            if self._closing_since is None:
                self._text(event)
        elif isinstance(event, BytesMessage):
            # RFC 8887 §4.3.1: data frames are text
            self._close(CloseReason.UNSUPPORTED_DATA, "JMAP is sent in text frames")
        elif isinstance(event, Ping):
            if self._connection.state is ConnectionState.OPEN:
                self._send(event.response())
        elif isinstance(event, CloseConnection):
            self._closed_by_client(event)

    def _closed_by_client(self, event: CloseConnection) -> None:
        """A Close frame, or what breaks the rules of RFC 6455 and is refused with the code that it has for that."""
        if self._connection.state is ConnectionState.REMOTE_CLOSING:
            self._send(event.response())
        elif self._connection.state is ConnectionState.OPEN:
            self._close(event.code, event.reason or "")
        if self._wire is not None:
            self._wire.close()

    def _text(self, event: TextMessage) -> None:
        self._message += event.data.encode("utf-8")
        if len(self._message) > self._limit:
            self._close(CloseReason.MESSAGE_TOO_BIG, f"a message has at most {self._limit} octets")
        elif event.message_finished:
            message = bytes(self._message)
            self._forget_message()
            self._take(message)
        elif len(self._message) > _SMALL_MESSAGE and self._leave is None:
            # As over HTTP, a request counts while its body comes in: else an account could have any number in memory.
            try:
                self._leave = self._streams.jmap.requests.enter(self.principal.account_id)
            except OverLimit as over:
                self._close(CloseReason.TRY_AGAIN_LATER, over.detail)

    def _forget_message(self) -> None:
        self._message.clear()
        leave, self._leave = self._leave, None
        if leave is not None:
            leave()

    def _send(self, event: Event) -> None:
        if self._wire is not None:
            self._wire.write(self._connection.send(event))

    def _send_text(self, text: bytes) -> None:
        if self._wire is not None and self._connection.state is ConnectionState.OPEN:
            self._send(TextMessage(data=text.decode("utf-8")))

    def _close(self, code: int, reason: str) -> None:
        """Begin the closing handshake (RFC 6455 §7.1.2)."""
        if self._wire is None or self._connection.state is not ConnectionState.OPEN:
            return
        self._closing_since = self._now()
        self._forget_message()
        self._stop_pushing()
        self._streams.announcer.unwatch(self)
        self._send(CloseConnection(code=code, reason=reason))

    # Messages.

    def _take(self, message: bytes) -> None:
        """One message from the client (RFC 8887 §4.3.2, §4.3.5)."""
        request_id: str | None = None
        try:
            try:
                envelope = _read_envelope(message)
            except msgspec.ValidationError as error:
                wire.decode(message)  # what is no JSON at all is told so
                raise NotRequest(f"A message is an object with @type, and its id is a string: {error}.") from None
            except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
                raise NotJson(f"The message is not I-JSON (RFC 7493): {error}.") from None
            request_id = envelope.id
            self._admit()
            if envelope.type == "Request":
                leave = self._streams.jmap.requests.enter(self.principal.account_id)
                self._start(self._answer(message, request_id), leave)
            elif envelope.type == "WebSocketPushEnable":
                self._enable(message)
            elif envelope.type == "WebSocketPushDisable":
                self._stop_pushing()
            else:
                raise NotRequest(f"There is no message of @type {envelope.type[:64]!r}.")
        except RequestError as error:
            self._refuse(problem(error), request_id)
        except Problem as refused:
            self._fail(refused, request_id)

    def _admit(self) -> None:
        """What holds for each HTTP request holds for each message. Raises Problem."""
        guard = self._request.site.guard
        if self._draining:
            raise Problem(503, "The server is stopping.")
        if guard is not None:
            refuse_banned(guard, self._request)
            charge_account(guard, self._request, self.principal.account_id)

    def _start(self, coroutine: object, leave: Callable[[], None]) -> None:
        self._running += 1

        def ended(result: object) -> None:
            leave()
            self._running -= 1
            if isinstance(result, Failure):
                _log.failure("a message on a WebSocket of {user} failed", result, user=self.principal.address)
                self._close(CloseReason.INTERNAL_ERROR, "this is the server's fault; its log has the cause")
            elif self._draining:
                self.drain()

        Deferred.fromCoroutine(coroutine).addBoth(ended)  # type: ignore[arg-type]

    async def _answer(self, message: bytes, request_id: str | None) -> None:
        """RFC 8887 §4.3.2: the answer is a Response with the id of the request, or a RequestError."""
        try:
            answer = await self._streams.jmap.answer(self._request, message)
        except Problem as refused:
            self._fail(refused, request_id)
            return
        # The engine's answer is an object with members: two more go before them. RFC 8887 §4.3.3
        head = b'{"@type":"Response",'
        if request_id is not None:
            head += b'"requestId":' + wire.encode(request_id) + b","
        self._send_text(head + answer[1:])

    def _fail(self, refused: Problem, request_id: str | None) -> None:
        if refused.status == 401:
            self.revoked()
        elif refused.status == 403:
            self._close(CloseReason.POLICY_VIOLATION, refused.detail)
        else:
            self._refuse(refused, request_id)

    def _refuse(self, refused: Problem, request_id: str | None) -> None:
        """RFC 8887 §4.3.4: a RequestError is the problem document with the id of the request, null if there is none."""
        document = {"@type": "RequestError", "requestId": request_id, **refused.document()}
        self._send_text(wire.encode(document))

    # Push.

    def _enable(self, message: bytes) -> None:
        try:
            wanted = msgspec.convert(wire.decode(message), _PushEnable)
        except msgspec.ValidationError as error:
            raise NotRequest(f"This is no WebSocketPushEnable (RFC 8887 section 4.3.5.2): {error}.") from None
        leave = self._streams.jmap.requests.enter(self.principal.account_id)
        self._stop_pushing()
        names = push.PUSHED_TYPES if wanted.data_types is None else push.PUSHED_TYPES & set(wanted.data_types)
        self._feed = feed = Feed(self._accounts, names)
        since = None if wanted.push_state is None else push.read_token(wanted.push_state) or {}
        self._start(self._settle(feed, since), leave)

    async def _settle(self, feed: Feed, since: push.Known | None) -> None:
        """Find the current states; what differs from the client's is sent at once (RFC 8887 §4.3.5.2)."""
        try:
            current = await self._streams.current_states(self._request, self._accounts)
        except Problem as refused:
            self._fail(refused, None)
            return
        if self._feed is feed:
            feed.settle(current, since)
            self._settled = True
            self._push()

    def _push(self) -> None:
        """Send what is to be told, unless the last message was a moment ago or the client takes none."""
        feed = self._feed
        if feed is None or not feed or not self._settled or self._full or self._next_push is not None:
            return
        now = self._now()
        wait = self._last_push + self._streams.settings.web_socket_throttle - now
        if wait > 0:
            self._next_push = self._streams.reactor.callLater(wait, self._push_later)
            return
        self._last_push = now
        changed = feed.take()
        self._send_text(push.state_change(changed, pushState=feed.token()))

    def _push_later(self) -> None:
        self._next_push = None
        self._push()

    def _stop_pushing(self) -> None:
        self._feed = None
        self._settled = False
        if self._next_push is not None:
            self._next_push.cancel()
            self._next_push = None
