"""One connection to a mail server: moves octets between its transport and the engine, and watches over the time.

An answer has its whole time from the moment it is owed: a peer can't stretch it by sending octets one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import msgspec
from OpenSSL import SSL
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall, IHandshakeListener, IPushProducer, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from stalwart.delivery.outgoing import Begun, Outcome, Outgoing
from stalwart.delivery.replies import Reply, reply
from stalwart.delivery.smtp import SmtpEngine
from stalwart.delivery.smtp_events import Closed, Event, Failed, Finished, Ready, SendContent, StartTls
from stalwart.delivery.smtp_replies import one_line
from stalwart.delivery.smtp_states import State

_log = Logger(namespace="stalwart.smtp")
_PIECE = 65_536


class Times(msgspec.Struct, frozen=True, kw_only=True):
    """Time limits in seconds (RFC 5321 §4.5.3.2): for a connection with its handshake, an answer, octets, the last."""

    connect: float = 30.0
    command: float = 300.0
    content: float = 180.0
    final: float = 600.0
    quit: float = 5.0
    # All of an attempt but the wait for the last answer, so that a server with an answer every few minutes doesn't hold
    # a message for hours; a large message has longer, by `least_rate` octets a second.
    attempt: float = 1200.0
    least_rate: float = 16_000.0
    # To find out where a message goes.
    routing: float = 120.0


class SessionFailed(Exception):
    """No message can be sent over this connection. `reply` is the peer's, or says what it did."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(one_line(reply))
        self.reply = reply


CheckPeer = Callable[[Any], str | None]
"""Judges the transport after the handshake: None if the peer is who it should be, else what is wrong."""


@implementer(IHandshakeListener, IPushProducer)
class SmtpConnection(Protocol):
    """A connection. Wait for `ready`, then `send` one message after the other, then `close`.

    `tls_options` is what `startTLS` takes; None when TLS begins with the connection, or never.
    """

    transport: Any

    def __init__(
        self,
        engine: SmtpEngine,
        reactor: IReactorTime,
        times: Times,
        *,
        tls_options: Any = None,
        check_peer: CheckPeer | None = None,
        implicit_tls: bool = False,
    ) -> None:
        self.engine = engine
        self.messages = 0
        # Whether the peer was sent any of the last message's content.
        self.content_sent = False
        # When the attempt has taken too long, in seconds of the reactor. Whoever waits for the last answer waits on: to
        # give up then would make doubles.
        self.until = float("inf")
        # Whether `send` was cancelled.
        self.given_up = False
        self._reactor = reactor
        self._times = times
        self._tls_options = tls_options
        self._check_peer = check_peer
        self._implicit_tls = implicit_tls
        self._ready: Deferred[None] = Deferred(self._give_up)
        self._done: Deferred[tuple[Outcome, ...]] | None = None
        self._outcomes: tuple[Outcome, ...] | None = None
        self._outgoing: Outgoing | None = None
        self._begun: Begun | None = None
        self._at = 0
        self._asking = False
        self._sending = False
        self._leaving = False
        self._limit: IDelayedCall | None = None
        self._limited: object = None
        self._closing: IDelayedCall | None = None
        self._connected = False
        self._writable = True
        self._on_lost: Callable[[SmtpConnection], None] | None = None

    # What the owner does

    @property
    def usable(self) -> bool:
        """Whether another message can be sent."""
        return self._connected and self.engine.state is State.READY and self._done is None

    @property
    def peer(self) -> str:
        """How outcomes name the server."""
        return self.engine.peer

    def ready(self) -> Deferred[None]:
        """Fires when a message can be sent; fails with SessionFailed."""
        return self._ready

    def send(self, outgoing: Outgoing, begun: Begun | None = None) -> Deferred[tuple[Outcome, ...]]:
        """Send a message. Never fails; cancelled, it closes the connection and tells what is known then."""
        assert self.usable, self.engine.state
        self.messages += 1
        self.content_sent = False
        self._outgoing = outgoing
        self._begun = begun
        self._at = 0
        done: Deferred[tuple[Outcome, ...]] = Deferred(self._stop_sending)
        self._done = done
        self.engine.send(outgoing)
        self._pump()
        return done

    def when_lost(self, callback: Callable[[SmtpConnection], None]) -> None:
        """Be told when the connection is gone."""
        self._on_lost = callback

    def close(self) -> None:
        """Take leave and close."""
        if self.usable:
            self._leaving = True
            self.engine.quit()
            self._pump()
        else:
            self.abort("given up")

    def abort(self, reason: str) -> None:
        """Close at once."""
        self.engine.lost(reason)
        self._pump()

    # The transport

    def connectionMade(self) -> None:
        """Wait for the greeting."""
        self._connected = True
        self.transport.registerProducer(self, True)
        self._pump()

    def dataReceived(self, data: bytes) -> None:
        """Octets from the peer."""
        self.engine.receive(data)
        self._pump()

    def handshakeCompleted(self) -> None:
        """TLS is there."""
        fault = self._check_peer(self.transport) if self._check_peer is not None else None
        if fault is not None:
            self.engine.refuse(reply(451, "4.7.5", fault))
        elif self._implicit_tls:
            self.engine.secure = True
        elif self.engine.state is State.HANDSHAKE:
            self.engine.secured()
        self._pump()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The peer is gone."""
        self._connected = False
        if self.engine.state is State.HANDSHAKE or (self._implicit_tls and not self.engine.secure):
            self.engine.refuse(reply(451, "4.7.5", _tls_fault(reason)))
        else:
            ended = "it closed the connection" if reason.check(ConnectionDone) else _text(reason)
            self.engine.lost(ended)
        self._pump()
        self._stop_limit()
        if self._closing is not None and self._closing.active():
            self._closing.cancel()
        if self._on_lost is not None:
            self._on_lost(self)

    def pauseProducing(self) -> None:
        """Enough octets are on their way."""
        self._writable = False

    def resumeProducing(self) -> None:
        """The peer took them."""
        self._writable = True
        self._pump()

    def stopProducing(self) -> None:
        """The transport is gone."""
        self._writable = False

    # The engine

    def _pump(self) -> None:
        while True:
            self._flush()
            event = self.engine.next_event()
            if event is None:
                break
            self._heard(event)
        if self.engine.state is State.CONTENT and not self._asking and not self._sending:
            self._sending = True
            self._send_content()
            self._sending = False
        self._set_limit()

    def _flush(self) -> None:
        octets = self.engine.data_to_send()
        if octets and self._connected:
            self.transport.write(octets)

    def _heard(self, event: Event) -> None:
        match event:
            case StartTls():
                self.transport.startTLS(self._tls_options)
            case Ready():
                if not self._ready.called:
                    self._ready.callback(None)
                self._tell()
            case Failed():
                if not self._ready.called:
                    self._ready.errback(SessionFailed(event.reply))
            case SendContent():
                self.content_sent = True
            case Finished():
                # Told when the session is ready for the next message, or over.
                self._outcomes = event.outcomes
            case Closed():
                if self._connected:
                    self._close_transport()
                self._tell()

    def _tell(self) -> None:
        if self._outcomes is None or self._done is None:
            return
        done, outcomes = self._done, self._outcomes
        self._done = self._outcomes = self._outgoing = self._begun = None
        if not done.called:
            done.callback(outcomes)

    def _close_transport(self) -> None:
        self.transport.unregisterProducer()
        if self._leaving:
            self.transport.loseConnection()
            # That waits for what the peer must still take, and for its end of TLS, which it may never send.
            self._closing = self._reactor.callLater(self._times.quit, self.transport.abortConnection)
        else:
            self.transport.abortConnection()

    def _send_content(self) -> None:
        assert self._outgoing is not None
        data = self._outgoing.data
        while self._writable and self._connected and self._at < len(data):
            self.engine.content(data[self._at : self._at + _PIECE])
            self._at += _PIECE
            self._flush()
        if self._at >= len(data) and self._connected:
            self._end_content()

    def _end_content(self) -> None:
        """Tell the owner, then end the message."""
        if self._begun is None:
            self.engine.end_content()
            self._flush()
            return
        self._asking = True
        recipients = self.engine.undecided()
        asked = Deferred.fromCoroutine(self._ask(self._begun, recipients))
        asked.addErrback(lambda failure: _log.failure("an attempt could not be noted", failure=failure))

    async def _ask(self, begun: Begun, recipients: tuple[str, ...]) -> None:
        try:
            await begun(recipients)
        except Exception as error:  # noqa: BLE001 - without the note the message must not be ended
            self.engine.refuse(reply(451, "4.3.0", f"The attempt could not be noted here: {error}"))
        self._asking = False
        if self.engine.state is State.CONTENT and self._connected:
            self.engine.end_content()
        self._pump()

    # Time

    def _set_limit(self) -> None:
        """Give the state its time; what goes on in a state has it anew with each reply, or each piece of content."""
        mark = (self.engine.state, self.engine.progress, self.engine.secure, self._at, self._asking)
        if mark == self._limited:
            return
        self._limited = mark
        self._stop_limit()
        seconds = self._seconds()
        if seconds is not None and (self._connected or not self.engine.closed):
            self._limit = self._reactor.callLater(seconds, self._timed_out, seconds)

    def _seconds(self) -> float | None:
        seconds = self._seconds_of_state()
        if seconds is None or self.engine.state in (State.FINAL, State.QUITTING):
            return seconds
        return max(0.0, min(seconds, self.until - self._reactor.seconds()))

    def _seconds_of_state(self) -> float | None:
        match self.engine.state:
            case State.READY | State.CLOSED:
                return None
            case State.HANDSHAKE | State.RESETTING:
                return self._times.connect
            case State.GREETING if self._implicit_tls and not self.engine.secure:
                return self._times.connect
            case State.CONTENT:
                # Our own note has no limit of the peer's.
                return None if self._asking else self._times.content
            case State.FINAL:
                return self._times.final
            case State.QUITTING:
                return self._times.quit
            case _:
                return self._times.command

    def _stop_limit(self) -> None:
        if self._limit is not None and self._limit.active():
            self._limit.cancel()
        self._limit = None

    def _timed_out(self, seconds: float) -> None:
        if self._reactor.seconds() >= self.until and self.engine.state not in (State.FINAL, State.QUITTING):
            self.abort("the attempt took too long")
            return
        if self.engine.state is State.HANDSHAKE:
            self.engine.refuse(reply(451, "4.7.5", f"TLS failed: no end of the TLS handshake within {seconds:.0f} s"))
            self._pump()
            return
        what = _WAITED[self.engine.state]
        self.abort(f"no {what} within {seconds:.0f} s")

    def _stop_sending(self, cancelled: Deferred[Any]) -> None:
        self.given_up = True
        self.abort("given up")

    def _give_up(self, cancelled: Deferred[Any]) -> None:
        cancelled.errback(CancelledError())
        self.abort("given up")


_WAITED = {
    State.GREETING: "greeting",
    State.EHLO: "answer to EHLO",
    State.HELO: "answer to HELO",
    State.STARTTLS: "answer to STARTTLS",
    State.AUTH: "answer to AUTH",
    State.ENVELOPE: "answer to MAIL, RCPT or DATA",
    State.CONTENT: "octets of the message taken",
    State.FINAL: "answer to the message",
    State.RESETTING: "answer to RSET",
    State.QUITTING: "answer to QUIT",
}


def _text(reason: Failure) -> str:
    return str(reason.getErrorMessage()).rstrip(".")


def _tls_fault(reason: Failure) -> str:
    """What failed in a handshake: what is wrong with the certificate, as OpenSSL or service-identity say it."""
    error = cast(Exception, reason.value)
    if isinstance(error, SSL.Error) and error.args and isinstance(error.args[0], list | tuple) and error.args[0]:
        words = "; ".join(str(each[-1]) for each in error.args[0])
        return f"TLS failed: {words}"
    name = type(error).__name__
    if name == "VerificationError":
        return "TLS failed: the certificate is for another name"
    return f"TLS failed: {_text(reason)}"
