"""One LMTP connection: moves octets between its transport and the engine, and messages into the mailroom."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, cast
from typing import Protocol as Shape

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IPushProducer, ISSLTransport
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from stalwart.delivery import replies
from stalwart.delivery.events import (
    Closed,
    Envelope,
    Event,
    MessageDropped,
    MessageEnded,
    MessageOctets,
    MessageOffered,
    RecipientAsked,
)
from stalwart.delivery.lmtp import LmtpEngine
from stalwart.delivery.local import Outcome, Recipient, Transfer
from stalwart.delivery.replies import LmtpError, Reply
from stalwart.delivery.states import State

if TYPE_CHECKING:
    from stalwart.delivery.lmtp_server import LmtpFactory


class _Wire(Shape):
    """What a session needs of its transport."""

    def write(self, data: bytes) -> None: ...
    def loseConnection(self) -> None: ...
    def abortConnection(self) -> None: ...
    def pauseProducing(self) -> None: ...
    def resumeProducing(self) -> None: ...
    def registerProducer(self, producer: object, streaming: bool) -> None: ...
    def unregisterProducer(self) -> None: ...
    def getPeer(self) -> IAddress: ...


@implementer(IPushProducer)
class LmtpSession(Protocol):
    """One connection."""

    factory: LmtpFactory
    _wire: _Wire

    def __init__(self, factory: LmtpFactory) -> None:
        self.factory = factory
        self._engine = LmtpEngine(hostname=factory.hostname, limits=factory.limits, new_id=factory.new_id)
        self._peer = ""
        self._recipients: list[Recipient] = []
        self._content = bytearray()
        self._pumping = False
        self._working = False
        self._connected = False
        self._reading = True
        # The client doesn't fetch our answers, so nothing more is answered.
        self._choked = False
        self._progress = -1
        self._deadline = 0.0

    # The connection

    def connectionMade(self) -> None:
        """Greet."""
        self._wire = cast(_Wire, self.transport)
        peer = self._wire.getPeer()
        self._peer = peer.host if isinstance(peer, IPv4Address | IPv6Address) else ""
        self._connected = True
        self._wire.registerProducer(self, True)
        self.factory.joined(self)
        self._pump()

    def dataReceived(self, data: bytes) -> None:
        """Octets from the client."""
        self._engine.receive(data)
        self._pump()

    def connectionLost(self, reason: Failure | None = None) -> None:
        """The client is gone. A message that was not whole is forgotten, a whole one is stored all the same."""
        self._connected = False
        if self._engine.state is State.CONTENT:
            self.factory.journal.hung_up(self._engine.envelope, self._peer, len(self._content))
            self._forget_octets()
        self._leave_if_over()

    def pauseProducing(self) -> None:
        """The transport holds enough answers that the client hasn't fetched."""
        self._choked = True

    def resumeProducing(self) -> None:
        """The client fetched them."""
        self._choked = False
        self._pump()

    def stopProducing(self) -> None:
        """The transport is gone."""
        self._choked = True

    # What the factory asks for

    def shut_down(self) -> None:
        """Close before the next command, after the answers for a message that is on its way."""
        self._engine.shut_down(replies.SHUTTING_DOWN)
        self._pump()

    def check_time(self, now: float) -> None:
        """Close if the client has had its time."""
        if self._engine.waiting or self._progress != self._engine.progress:
            self._progress = self._engine.progress
            self._deadline = now + self.factory.times.progress
        elif now >= self._deadline:
            if self._engine.state is State.CLOSED:
                self._wire.abortConnection()
                return
            self._engine.close(replies.TIMED_OUT)
            self._choked = False
            self._pump()

    # The engine

    def _pump(self) -> None:
        """Work off events until the engine needs octets or an answer, then send and read as fits."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._connected and not self._choked and (event := self._engine.next_event()) is not None:
                self._handle(event)
        finally:
            self._pumping = False
        answers = self._engine.data_to_send()
        if not self._connected:
            return
        if answers:
            self._wire.write(answers)
        if self._engine.state is State.CLOSED:
            return
        # Only when something piles up: a client that waits for its answer needs no pausing, which is a system call.
        reading = not self._choked and not (self._engine.waiting and self._engine.backlog)
        if reading is not self._reading:
            self._reading = reading
            if reading:
                self._wire.resumeProducing()
            else:
                self._wire.pauseProducing()

    def _handle(self, event: Event) -> None:
        match event:
            case RecipientAsked():
                self._work(self._look_up(event.envelope, event.address))
            case MessageOffered():
                self._offered(event.envelope)
            case MessageOctets():
                self._keep(event.octets)
            case MessageDropped():
                self._dropped(event.envelope, event.reply)
            case MessageEnded():
                self._work(self._deliver(event.envelope))
            case Closed():
                self._hang_up()

    def _hang_up(self) -> None:
        if not self._connected:
            return
        answers = self._engine.data_to_send()
        if answers:
            self._wire.write(answers)
        self._forget_octets()
        self._progress = self._engine.progress
        self._deadline = self.factory.now() + self.factory.times.farewell
        self._wire.unregisterProducer()
        self._wire.loseConnection()

    async def _look_up(self, envelope: Envelope, address: str) -> None:
        reason = ""
        try:
            if not envelope.recipients:
                self._recipients = []
            self._recipients.append(await self.factory.mailroom.find(address, envelope.size))
            answer = replies.RECIPIENT_OK
        except LmtpError as error:
            answer, reason = error.reply, error.reason
        except Exception:  # noqa: BLE001 - whatever it is, the client must get an answer
            self.factory.journal.trouble(envelope, "looking up a recipient", Failure())
            answer = replies.LOCAL_TROUBLE
        if not answer.positive:
            self.factory.journal.answered(envelope, address, self._peer, answer, reason=reason)
        self._engine.answer_recipient(answer)

    def _offered(self, envelope: Envelope) -> None:
        if self.factory.draining:
            refusal = replies.SHUTTING_DOWN
        elif self.factory.memory.free < (envelope.size or 1):
            refusal = replies.NO_MEMORY
        else:
            self._engine.open_message()
            return
        self._dropped(envelope, refusal)
        self._engine.refuse_message(refusal)

    def _keep(self, octets: bytes) -> None:
        if self.factory.memory.take(len(octets)):
            self._content += octets
        else:
            self._engine.drop_message(replies.NO_MEMORY)
            self._dropped(self._engine.envelope, replies.NO_MEMORY)

    def _dropped(self, envelope: Envelope, answer: Reply) -> None:
        self._forget_octets()
        for address in envelope.recipients:
            self.factory.journal.answered(envelope, address, self._peer, answer)

    async def _deliver(self, envelope: Envelope) -> None:
        started = self.factory.now()
        content, self._content = self._content, bytearray()
        size = len(content)
        transfer = Transfer(
            id=envelope.id,
            sender=envelope.sender,
            recipients=tuple(self._recipients),
            client=envelope.client,
            peer=self._peer,
            protocol=self._protocol(envelope),
        )
        try:
            outcomes = await self.factory.mailroom.deliver(transfer, content)
        except Exception:  # noqa: BLE001 - whatever it is, the client must get its answers
            self.factory.journal.trouble(envelope, "storing a message", Failure())
            outcomes = [Outcome(recipient=recipient, reply=replies.LOCAL_TROUBLE) for recipient in transfer.recipients]
        finally:
            self.factory.memory.give_back(size)
        seconds = self.factory.now() - started
        self.factory.journal.worked_off(envelope, self._peer, outcomes, size, seconds)
        self._engine.answer_message([outcome.reply for outcome in outcomes])

    def _work(self, coroutine: Coroutine[Deferred[object], object, None]) -> None:
        """Run a coroutine that ends with an answer given to the engine."""
        self._working = True
        done = Deferred.fromCoroutine(coroutine)
        done.addErrback(self._broken)
        done.addCallback(self._worked)

    def _worked(self, _: object) -> None:
        self._working = False
        self._pump()
        self._leave_if_over()

    def _broken(self, failure: Failure) -> None:
        self.factory.journal.broken(failure)
        self._engine.close(replies.LOCAL_TROUBLE_CLOSING)

    def _leave_if_over(self) -> None:
        if not (self._connected or self._working):
            self.factory.left(self)

    def _forget_octets(self) -> None:
        self.factory.memory.give_back(len(self._content))
        self._content = bytearray()

    def _protocol(self, envelope: Envelope) -> str:
        """RFC 3848 and RFC 6531 §4.3: LMTP, with UTF8 in front and S for TLS behind."""
        secure = "S" if ISSLTransport.providedBy(self.transport) else ""
        return f"{'UTF8' if envelope.smtputf8 else ''}LMTP{secure}"
