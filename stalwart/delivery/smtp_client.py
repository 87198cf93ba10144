"""Sends messages to other servers: finds where they go, keeps connections, and tells what became of them.

Whatever a peer does ends in outcomes; nothing is tried twice here once a peer may have accepted a message.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from twisted.internet import defer
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from stalwart.delivery.dane import tlsa_check
from stalwart.delivery.outgoing import Begun, Kind, Outcome, Outgoing
from stalwart.delivery.replies import Reply, reply
from stalwart.delivery.routes import RouteFailed, Routes, Target
from stalwart.delivery.smtp import SmtpEngine
from stalwart.delivery.smtp_connection import CheckPeer, SessionFailed, SmtpConnection, Times
from stalwart.delivery.smtp_pool import ConnectionPool
from stalwart.delivery.smtp_replies import one_line
from stalwart.delivery.smtp_tls import tls_options
from stalwart.mail.seven_bit import NotConvertible, is_seven_bit

_log = Logger(namespace="stalwart.smtp")

# RFC 5321 §4.5.3.1.8: every server takes so many in one transaction.
MOST_RECIPIENTS = 100
# A message is given up for now when so many addresses failed one after the other.
MOST_ADDRESSES = 6

_TLS_FAILED = "4.7.5"  # RFC 3463 §3.8
# RFC 5321 §2.3.8: CR and LF must not be sent alone; servers disagree about what such lines end.
_BARE_LINE_END = reply(554, "5.6.0", "The message has a CR or LF alone, which can't be sent")
_STOPPED = reply(451, "4.3.2", "This server stopped while sending")
_TROUBLE = reply(451, "4.3.0", "Trouble on this server while sending; its log tells more")


class Sender:
    """Sends messages. Belongs to the reactor thread."""

    def __init__(
        self, *, hostname: str, routes: Routes, reactor: Any, times: Times | None = None, trust_root: Any = None
    ) -> None:
        """`hostname` is said in EHLO; `trust_root` as in `smtp_tls.tls_options`."""
        self._hostname = hostname
        self._routes = routes
        self._reactor = reactor
        self._times = times or Times()
        self._trust_root = trust_root
        self._pool = ConnectionPool(reactor)

    async def send(self, outgoing: Outgoing, destination: str, begun: Begun | None = None) -> list[Outcome]:
        """Send to recipients of one domain (A-labels): one outcome each, in their order.

        Never raises for what a peer does. `begun` is awaited before the end of the message is sent; if
        it fails, the message isn't ended. Cancelled, it raises CancelledError if nothing but temporary
        outcomes is known.
        """
        outcomes: list[Outcome] = []
        try:
            if _has_bare_line_ends(outgoing.data):
                return _all(outgoing, "permanent", _BARE_LINE_END)
            targets = await self._find(destination)
            until = self._reactor.seconds() + self._times.attempt + outgoing.size / self._times.least_rate
            for start in range(0, len(outgoing.recipients), MOST_RECIPIENTS):
                some = outgoing.recipients[start : start + MOST_RECIPIENTS]
                batch = msgspec.structs.replace(outgoing, recipients=some)
                outcomes.extend(await self._send_batch(batch, targets, begun, until))
        except RouteFailed as error:
            return _all(outgoing, error.kind, error.reply)
        except CancelledError:
            if all(outcome.kind == "temporary" for outcome in outcomes):
                raise
            outcomes.extend(_all(_rest(outgoing, outcomes), "temporary", _STOPPED))
        except _GivenUp as given_up:
            outcomes.extend(given_up.outcomes)
            if all(outcome.kind == "temporary" for outcome in outcomes):
                raise CancelledError from None
            outcomes.extend(_all(_rest(outgoing, outcomes), "temporary", _STOPPED))
        except Exception:  # noqa: BLE001 - a fault of ours must not lose what is known of the first batches
            _log.failure("a message to {destination} could not be sent", destination=destination)
            outcomes.extend(_all(_rest(outgoing, outcomes), "temporary", _TROUBLE))
        return outcomes

    def close(self) -> None:
        """Close the connections that are kept."""
        self._pool.close()

    async def _find(self, destination: str) -> Sequence[Target]:
        """Where to go, found within its time. Raises RouteFailed."""
        finding: Deferred[Sequence[Target]] = Deferred.fromCoroutine(_found(self._routes, destination))
        try:
            return await finding.addTimeout(self._times.routing, self._reactor)
        except defer.TimeoutError:
            text = f"No way to {destination} was found within {self._times.routing:.0f} s"
            raise RouteFailed("temporary", reply(451, "4.4.3", text)) from None

    async def _send_batch(
        self, outgoing: Outgoing, targets: Sequence[Target], begun: Begun | None, until: float
    ) -> Sequence[Outcome]:
        """RFC 5321 §5.1: try one address after the other until one takes part in a session."""
        tried = 0
        failed: list[Outcome] = []
        for target in targets:
            kept = self._pool.take(target)
            if kept is not None:
                kept.until = until
                outcomes = await self._send_over(kept, outgoing, target, begun)
                if kept.engine.farewell is None or kept.content_sent:
                    return outcomes
                # It was closed while nobody looked, so that nothing was sent over it.
            for address in target.addresses or (target.host,):
                tried += 1
                try:
                    connection = await self._connect_somehow(target, address, until)
                except SessionFailed as error:
                    kind = _session_kind(error.reply, target)
                    # What is only for now at one server may be well there tomorrow, whatever another one says.
                    if not failed or kind == "temporary" or failed[0].kind == "permanent":
                        failed = _all(outgoing, kind, error.reply, _peer(target, address))
                    if tried >= MOST_ADDRESSES or self._reactor.seconds() >= until:
                        return failed
                    continue
                return await self._send_over(connection, outgoing, target, begun)
        return failed

    async def _send_over(
        self, connection: SmtpConnection, outgoing: Outgoing, target: Target, begun: Begun | None
    ) -> Sequence[Outcome]:
        if outgoing.is_8bit and "8BITMIME" not in connection.engine.offer and outgoing.seven_bit is not None:
            # RFC 6152 §3
            try:
                data = await outgoing.seven_bit()
            except CancelledError:
                connection.abort("given up")
                raise
            except NotConvertible as error:
                self._pool.give_back(target, connection)
                text = f"The server takes only 7-bit messages, and this one can't be made one: {error}"
                return _all(outgoing, "permanent", reply(554, "5.6.3", text), connection.peer)
            if not connection.usable:
                # The peer left while the message was made anew: nothing of it was sent.
                connection.content_sent = False
                gone = connection.engine.farewell or reply(451, "4.4.2", f"{connection.peer}: it closed the connection")
                return _all(outgoing, "temporary", gone, connection.peer)
            outgoing = msgspec.structs.replace(
                outgoing, data=data, size=len(data), is_8bit=not is_seven_bit(data), seven_bit=None
            )
        outcomes = await connection.send(outgoing, begun)
        if connection.given_up:
            raise _GivenUp(outcomes)
        self._pool.give_back(target, connection)
        return outcomes

    async def _connect_somehow(self, target: Target, address: str, until: float) -> SmtpConnection:
        """A session that is ready; in clear where TLS is only offered and doesn't work (RFC 7435 §3)."""
        try:
            return await self._connect(target, address, until)
        except SessionFailed as error:
            if target.tls != "offered" or error.reply.enhanced != _TLS_FAILED:
                raise
        return await self._connect(msgspec.structs.replace(target, tls="none"), address, until)

    async def _connect(self, target: Target, address: str, until: float) -> SmtpConnection:
        """A session that is ready. Raises SessionFailed."""
        try:
            options: Any = None if target.tls == "none" else tls_options(target, self._trust_root)
        except (ValueError, UnicodeError) as error:
            raise SessionFailed(reply(451, _TLS_FAILED, f"No certificate can be for {target.host}: {error}")) from None
        endpoint: Any = HostnameEndpoint(self._reactor, address.encode("ascii"), target.port, self._times.connect)
        if target.tls == "implicit":
            endpoint = wrapClientTLS(options, endpoint)
        factory = _Connections(self._make(target, options, until))
        connecting: Deferred[SmtpConnection] = endpoint.connect(factory)
        try:
            connection = await connecting.addTimeout(self._times.connect + 1, self._reactor)
        except CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - reactors and resolvers raise what they like
            text = f"no connection to {_peer(target, address)} port {target.port}: {_reason(error)}"
            enhanced = "4.4.3" if isinstance(error, DNSLookupError) else "4.4.1"
            raise SessionFailed(reply(451, enhanced, text)) from None
        await connection.ready()
        farewell = connection.engine.farewell
        if farewell is not None:
            raise SessionFailed(farewell)  # it said more than it was asked for
        return connection

    def _make(self, target: Target, options: Any, until: float) -> Any:
        check: CheckPeer | None = tlsa_check(target) if target.tlsa else None

        def make(address: IAddress) -> SmtpConnection:
            host = getattr(address, "host", target.host)
            engine = SmtpEngine(
                hostname=self._hostname,
                peer=_peer(target, host),
                tls="none" if target.tls == "implicit" else target.tls,
                credentials=target.credentials,
            )
            connection = SmtpConnection(
                engine,
                self._reactor,
                self._times,
                tls_options=options,
                check_peer=check,
                implicit_tls=target.tls == "implicit",
            )
            connection.until = until
            return connection

        return make


class _GivenUp(Exception):
    """The sending of a message was cancelled while it was under way."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        super().__init__("given up")
        self.outcomes = outcomes


async def _found(routes: Routes, destination: str) -> Sequence[Target]:
    return await routes.find(destination)


class _Connections(Factory[SmtpConnection]):
    noisy = False

    def __init__(self, make: Any) -> None:
        self._make = make

    def buildProtocol(self, addr: IAddress | None) -> SmtpConnection:
        connection: SmtpConnection = self._make(addr)
        return connection


def _has_bare_line_ends(data: bytes) -> bool:
    pairs = data.count(b"\r\n")
    return data.count(b"\r") != pairs or data.count(b"\n") != pairs


def _peer(target: Target, address: str) -> str:
    """How a server is named in outcomes."""
    return target.host if address == target.host else f"{target.host} [{address}]"


def _session_kind(answer: Reply, target: Target) -> Kind:
    """What a session that never began means for the messages.

    A relay that refuses us, or a password, is a matter of our settings: mail waits until they are right.
    """
    # RFC 7504 §4: 521 and 556, like RFC 5321 §3.1's 554, say that there is no mail service for us.
    return "permanent" if answer.code >= 500 and target.credentials is None and target.addresses else "temporary"


def _rest(outgoing: Outgoing, outcomes: Sequence[Outcome]) -> Outgoing:
    """The message for those recipients of whom nothing is known."""
    return msgspec.structs.replace(outgoing, recipients=outgoing.recipients[len(outcomes) :])


def _all(outgoing: Outgoing, kind: Kind, answer: Reply, peer: str = "") -> list[Outcome]:
    """The same outcome for all recipients."""
    return [
        Outcome(
            recipient=recipient.address,
            kind=kind,
            reply=one_line(answer),
            enhanced=answer.enhanced or None,
            peer=peer,
        )
        for recipient in outgoing.recipients
    ]


def _reason(error: Exception) -> str:
    return str(error).rstrip(".") or type(error).__name__
