"""Server-sent events: `GET /jmap/eventsource/?types&closeafter&ping` (RFC 8620 §7.3)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from stalwart.auth import Principal
from stalwart.http import Endpoint, Problem, Request, Response
from stalwart.jmap import push
from stalwart.jmap.push import Feed, UnknownType
from stalwart.web.jmap_announcer import Announcer
from stalwart.web.jmap_streams import Streams

# RFC 8620 §7.3: a minimum of at most 30 and a maximum of at least 300
_SHORTEST_PING, _LONGEST_PING = 30, 300
# Without pings, a comment now and then, so that a connection that is gone is noticed and proxies keep the others.
_COMMENT_SECONDS = 300.0
_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)
_PARAMETERS = ("types", "closeafter", "ping", "ticket")
_HEADERS = (
    ("Cache-Control", "no-store"),
    ("X-Accel-Buffering", "no"),  # nginx would hold events back otherwise
)


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """The parameters of a stream. `ping` is seconds, 0 for none."""

    types: frozenset[str]
    close_after_state: bool
    ping: int


def read_parameters(query: Mapping[str, Sequence[str]]) -> Wanted:
    """The parameters in a query (RFC 8620 §7.3). Raises Problem 400, which says what is wrong."""
    for name in _PARAMETERS:  # others are for nobody here: EventSource libraries add their own, such as lastEventId
        if len(query.get(name, ())) > 1:
            raise Problem(400, f"The parameter {name} is given more than once.")
    types = query.get("types", ("",))[0]
    if types == "*":
        wanted = push.PUSHED_TYPES
    elif not all(types.split(",")):
        raise Problem(400, "The parameter types must be * or names of types with commas between: Email,Mailbox.")
    else:
        try:
            wanted = push.types_named(types.split(","))
        except UnknownType as error:
            raise Problem(400, f"The parameter types: {error}.") from error
    close_after = query.get("closeafter", ("no",))[0]
    if close_after not in ("state", "no"):
        raise Problem(400, "The parameter closeafter must be state or no.")
    ping = query.get("ping", ("0",))[0]
    if not _NUMBER.fullmatch(ping):
        raise Problem(400, "The parameter ping must be a number of seconds, 0 for no pings.")
    seconds = int(ping)
    return Wanted(
        types=wanted,
        close_after_state=close_after == "state",
        ping=max(_SHORTEST_PING, min(seconds, _LONGEST_PING)) if seconds else 0,
    )


class EventSource(Endpoint):
    """`GET /jmap/eventsource/`."""

    surface = "jmap-eventsource"
    isLeaf = True

    def __init__(self, streams: Streams) -> None:
        super().__init__()
        self._streams = streams

    async def admit(self, request: Request) -> None:
        """Sign in: by the Authorization field, a ticket, or the cookie."""
        await self._streams.sign_in(request, "eventsource")

    async def get(self, request: Request) -> Response:
        """The stream of events."""
        streams = self._streams
        wanted = read_parameters(request.query_args)
        since = push.read_token((request.header(b"last-event-id") or b"").decode("ascii", "replace"))
        streams.count(request)
        request.endless = True
        accounts = await streams.accounts(request)
        assert request.principal is not None
        stream = EventStream(
            request.principal,
            Feed(accounts, wanted.types),
            wanted,
            streams.announcer,
            streams.reactor,
            throttle=streams.settings.event_source_throttle,
        )
        # Watching begins before the states are read, so that nothing falls between.
        streams.announcer.watch(stream, accounts)
        try:
            current = await streams.current_states(request, accounts)
        except BaseException:
            streams.announcer.unwatch(stream)
            raise
        stream.begin(current, since)
        return Response(stream=stream, content_type="text/event-stream", headers=_HEADERS)


class EventStream:
    """The events of one client, made when it has room for them: what it can't take is coalesced, not queued."""

    __slots__ = (
        "_announcer",
        "_ended",
        "_feed",
        "_last_event",
        "_last_state",
        "_reactor",
        "_started",
        "_throttle",
        "_timer",
        "_waiting",
        "_wanted",
        "principal",
    )

    def __init__(
        self,
        principal: Principal,
        feed: Feed,
        wanted: Wanted,
        announcer: Announcer,
        reactor: IReactorTime,
        *,
        throttle: float,
    ) -> None:
        self.principal = principal
        self._feed = feed
        self._wanted = wanted
        self._announcer = announcer
        self._reactor = reactor
        self._throttle = throttle
        self._last_event = reactor.seconds()
        self._last_state = self._last_event - throttle
        self._started = False
        self._ended = False
        self._waiting: Deferred[None] | None = None
        self._timer: IDelayedCall | None = None

    def begin(self, current: Mapping[int, Mapping[str, int]], since: push.Known | None) -> None:
        """Start from the current states; the client had `since` when it was last here."""
        self._feed.settle(current, since)

    # `Watcher`.

    def changed(self, account: int, states: Mapping[str, int]) -> None:
        """Something to be told, perhaps."""
        if self._feed.offer(account, states):
            self._wake()

    def revoked(self) -> None:
        """End: the client comes back and is asked who it is."""
        self._ended = True
        self._wake()

    accounts_changed = closing = revoked

    # The answer's stream.

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> bytes:
        """The next event, when there is one."""
        while not self._ended:
            now = self._reactor.seconds()
            if not self._started:
                self._started = True
                if not self._feed:
                    return self._greeting()
            if self._feed and now - self._last_state >= self._throttle:
                return self._state(now)
            ping = self._wanted.ping
            due = self._last_event + (ping or _COMMENT_SECONDS)
            if now >= due:
                self._last_event = now
                return b'event: ping\ndata: {"interval":%d}\n\n' % ping if ping else b":\n\n"
            if self._feed:
                due = min(due, self._last_state + self._throttle)
            await self._wait(due - now)
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """The client is gone, or never wanted the events."""
        self._ended = True
        self._waiting = None
        self._announcer.unwatch(self)
        self._stop_timer()

    def _greeting(self) -> bytes:
        """Nothing has happened: a comment, and the id to go on from should the connection break before the first event.

        A block without data sets the last event id and dispatches no event (WHATWG HTML §9.2.6).
        """
        token = self._feed.token()
        return b": waiting for changes\nid: %s\n\n" % token.encode() if token else b": waiting for changes\n\n"

    def _state(self, now: float) -> bytes:
        self._last_event = self._last_state = now
        changed = push.state_change(self._feed.take())
        if self._wanted.close_after_state:
            self._ended = True
        # RFC 8620 §7.3: the id encodes the entire state visible to the user
        return b"event: state\nid: %s\ndata: %s\n\n" % (self._feed.token().encode(), changed)

    async def _wait(self, seconds: float) -> None:
        self._waiting = Deferred()
        self._timer = self._reactor.callLater(seconds, self._wake)
        await self._waiting

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self._stop_timer()
            waiting.callback(None)

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
