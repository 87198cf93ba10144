"""One attempt to deliver a message to its recipients at one destination, from the mark that it begins to its outcome.

Nothing of the store is open or locked while a peer is talked to. Before the end of the message is sent that is marked,
too: if the server dies after it, the recipients may have the message although nobody heard the answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from stalwart.delivery.local import Mailroom, Place, Pool, Recipient, Transfer, Writer
from stalwart.delivery.outgoing import Begun, Kind, Outcome, Outgoing, OutRecipient
from stalwart.delivery.queue_journal import QueueJournal
from stalwart.delivery.queue_outcomes import Outcomes, Telling
from stalwart.delivery.queue_reports import Result, told_of
from stalwart.delivery.queue_schedule import attempt_of
from stalwart.delivery.replies import LmtpError, Reply, reply
from stalwart.mail.seven_bit import to_seven_bit
from stalwart.store import (
    BlobMissing,
    QueueMessageRow,
    QueueRecipientRow,
    Session,
    Store,
    queue,
)
from stalwart.store.queue_rows import LOCAL, Attempt

_GONE = reply(554, "5.3.0", "The message's octets are lost on this server")
_TROUBLE = reply(451, "4.3.0", "Trouble on this server, tried again later")
_STOPPED = reply(451, "4.3.2", "This server stopped while the answer was awaited")

Sign = Callable[[bytes], bytes]
"""The header lines to put before a message, for what it says in From; in a thread."""


class Sends(Protocol):
    """Who talks to other servers; `stalwart.delivery.smtp_client.Sender` is one."""

    def send(self, outgoing: Outgoing, destination: str, begun: Begun) -> Awaitable[Sequence[Outcome]]:
        """Try once; one outcome per recipient. `begun` is awaited before the end of the message is sent.

        Never raises for what a peer does.
        """


class Attempts:
    """Makes attempts, each on its own. `clock` gives epoch seconds, `chance` numbers from 0 to 1."""

    def __init__(
        self,
        store: Store,
        *,
        pool: Pool,
        writer: Writer,
        mailroom: Mailroom,
        sender: Sends,
        sign: Sign,
        journal: QueueJournal,
        reactor: IReactorTime,
        hostname: str,
        clock: Callable[[], float],
        chance: Callable[[], float],
        random_token: Callable[[], str],
    ) -> None:
        self._store = store
        self._pool = pool
        self._writer = writer
        self._mailroom = mailroom
        self._sender = sender
        self._sign = sign
        self._journal = journal
        self._hostname = hostname
        self._clock = clock
        self._chance = chance
        self._outcomes = Outcomes(
            store,
            pool=pool,
            writer=writer,
            journal=journal,
            reactor=reactor,
            hostname=hostname,
            clock=clock,
            random_token=random_token,
        )
        self._waiting: set[Deferred[Sequence[Outcome]]] = set()  # what `give_up` ends
        self._stopping = False

    async def begin(self, message_id: int, recipient_ids: Sequence[int]) -> QueueMessageRow | None:
        """Mark that an attempt begins; gives the message with the recipients to try, or None if none waits any more."""
        return await self._writer.submit(partial(_begin, message_id, recipient_ids))

    async def make(self, message: QueueMessageRow, destination: str) -> None:
        """Try to reach the message's recipients, all of one destination, and record what came of it."""
        ending: set[int] = set()
        try:
            if destination == LOCAL:
                await self._deliver(message)
            else:
                await self._send(message, destination, ending)
        except CancelledError:
            await self._interrupted(message, ending)
        except Exception:  # noqa: BLE001 - whatever it is, the recipients must not stay as begun
            self._journal.trouble(f"an attempt at message {message.id}", Failure())
            await self._record(message, [_Ended(each, "temporary", str(_TROUBLE), "") for each in message.recipients])

    def give_up(self) -> None:
        """The server stops: end what waits for peers, and give back who can't have got their message."""
        self._stopping = True
        self._outcomes.stop()
        for waiting in list(self._waiting):
            waiting.cancel()

    async def resolve(self) -> None:
        """After a start: give back what a stop or crash has interrupted, and say what may arrive twice for that."""
        for recipient in await self._writer.submit(partial(_resolve, int(self._clock()))):
            self._journal.interrupted(recipient)

    # To other servers

    async def _send(self, message: QueueMessageRow, destination: str, ending: set[int]) -> None:
        rows: dict[str, list[QueueRecipientRow]] = {}
        for each in message.recipients:
            rows.setdefault(each.address, []).append(each)
        try:
            data = await self._pool.run(partial(self._octets, message))
        except BlobMissing:
            await self._lost(message)
            return
        if self._stopping:
            raise CancelledError  # `give_up` came while there was nothing yet to cancel
        outgoing = Outgoing(
            return_path=message.return_path,
            recipients=tuple(
                OutRecipient(address=address, notify=same[0].notify, orcpt=same[0].orcpt)
                for address, same in rows.items()
            ),
            data=data,
            size=len(data),
            env_id=message.env_id,
            ret=message.ret,
            is_8bit=message.is_8bit,
            needs_smtputf8=message.needs_smtputf8,
            seven_bit=partial(self._pool.run, partial(self._seven_bit_octets, message)) if message.is_8bit else None,
        )

        async def begun(addresses: tuple[str, ...]) -> None:
            ids = [each.id for address in addresses for each in rows.get(address, ())]
            await self._writer.submit(partial(_end, ids))
            ending.update(ids)

        said = await self._until_given_up(self._sender.send(outgoing, destination, begun))
        outcomes = {each.recipient: each for each in said}
        ended: list[_Ended] = []
        for address, same in rows.items():
            outcome = outcomes.get(address)
            for each in same:
                if outcome is None:
                    ended.append(_Ended(each, "temporary", str(_TROUBLE), ""))
                else:
                    ended.append(_Ended(each, outcome.kind, outcome.reply, outcome.peer, outcome.takes_dsn))
        await self._record(message, ended)

    async def _until_given_up(self, sending: Awaitable[Sequence[Outcome]]) -> Sequence[Outcome]:
        # Only this is cancelled. What came of an attempt is written down whatever happens.
        waiting = Deferred.fromCoroutine(_awaited(sending))
        self._waiting.add(waiting)
        try:
            return await waiting
        finally:
            self._waiting.discard(waiting)

    def _octets(self, message: QueueMessageRow) -> bytes:
        """In a thread: the message as it goes out."""
        data = self._store.blobs.get(message.blob_hash)
        return self._sign(data) + data

    def _seven_bit_octets(self, message: QueueMessageRow) -> bytes:
        """In a thread: as it goes to the few servers without 8BITMIME. Raises NotConvertible."""
        data = to_seven_bit(self._store.blobs.get(message.blob_hash))
        return self._sign(data) + data

    async def _lost(self, message: QueueMessageRow) -> None:
        self._journal.trouble(f"reading message {message.id}", Failure(BlobMissing(message.blob_hash)))
        await self._record(message, [_Ended(each, "permanent", str(_GONE), "") for each in message.recipients])

    # On this server

    async def _deliver(self, message: QueueMessageRow) -> None:
        found: list[tuple[QueueRecipientRow, Recipient]] = []
        ended: list[_Ended] = []
        for each in message.recipients:
            try:
                found.append((each, await self._mailroom.find(each.address, message.size)))
            except LmtpError as error:
                ended.append(self._refused(each, error.reply))
        if found:
            try:
                ended += await self._store_for(message, found)
            except BlobMissing:
                await self._lost(message)
                return
        if ended:
            await self._record(message, ended)

    async def _store_for(
        self, message: QueueMessageRow, found: Sequence[tuple[QueueRecipientRow, Recipient]]
    ) -> list[_Ended]:
        content = bytearray(await self._pool.run(partial(self._store.blobs.get, message.blob_hash)))
        now = int(self._clock())
        delivery_id = f"q{message.id}"
        stored = str(reply(250, "2.0.0", f"Stored, id {delivery_id}"))
        attempts = {
            each.id: attempt_of(
                message,
                each,
                "accepted",
                reply=stored,
                peer=self._hostname,
                now=now,
                chance=0.0,
                accepted="delivered",
            )
            for each, _ in found
        }

        results: dict[Place, list[Result]] = {}
        for each, recipient in found:
            result = Result(recipient=each, attempt=attempts[each.id])
            results.setdefault(recipient.place, []).append(result)
        tellings = await self._tellings(message, results, now)

        def also(session: Session, place: Place) -> None:
            for result in results[place]:
                queue.record(session, result.recipient.id, result.attempt)
            if place in tellings:
                tellings[place].queue(session)

        transfer = Transfer(
            id=delivery_id,
            sender=message.return_path,
            recipients=tuple(recipient for _, recipient in found),
            client=self._hostname,
            peer="",
            protocol="local",
        )
        outcomes = await self._mailroom.deliver(transfer, content, also)
        ended: list[_Ended] = []
        stored_for: set[Place] = set()
        for (each, recipient), outcome in zip(found, outcomes, strict=True):
            if outcome.reply.positive:
                self._journal.attempted(message, each, attempts[each.id], "accepted")
                stored_for.add(recipient.place)
            else:
                ended.append(self._refused(each, outcome.reply))
        for place in stored_for & tellings.keys():
            tellings[place].log()
        return ended

    async def _tellings(
        self, message: QueueMessageRow, results: Mapping[Place, Sequence[Result]], now: int
    ) -> dict[Place, Telling]:
        """The reports of success, by place: each is queued with the mail itself, so that no crash comes between.

        Raises StoreError if a report can't be kept, such as DiskFull: all of it is tried again later then.
        """
        tellings: dict[Place, Telling] = {}
        for place, some in results.items():
            # RFC 3461 §5.2.3: who asked for it is told of success.
            if told_of(message, some, now):
                telling = await self._outcomes.prepare(message, some)
                if telling is not None:
                    tellings[place] = telling
        return tellings

    def _refused(self, recipient: QueueRecipientRow, answer: Reply) -> _Ended:
        kind: Kind = "permanent" if answer.code >= 500 else "temporary"
        return _Ended(recipient, kind, str(answer), self._hostname)

    # What came of it

    async def _record(self, message: QueueMessageRow, ended: Sequence[_Ended]) -> None:
        now = int(self._clock())
        results: list[Result] = []
        for each in ended:
            attempt = attempt_of(
                message, each.recipient, each.kind, reply=each.reply, peer=each.peer, now=now, chance=self._chance()
            )
            results.append(Result(recipient=each.recipient, attempt=attempt, takes_dsn=each.takes_dsn))
            self._journal.attempted(message, each.recipient, attempt, each.kind)
        await self._outcomes.note(message, results)

    async def _interrupted(self, message: QueueMessageRow, ending: set[int]) -> None:
        """The attempt was given up because the server stops."""
        given_back = [each.id for each in message.recipients if each.id not in ending]
        if given_back:
            await self._writer.submit(partial(_give_back, given_back, int(self._clock())))
        lost = [each for each in message.recipients if each.id in ending]
        if lost:
            await self._record(message, [_Ended(each, "unknown", str(_STOPPED), "") for each in lost])


class _Ended(msgspec.Struct, frozen=True):
    """How the attempt ended for a recipient: the answer, who gave it, and whether they report success themselves."""

    recipient: QueueRecipientRow
    kind: Kind
    reply: str
    peer: str
    takes_dsn: bool = False


async def _awaited(sending: Awaitable[Sequence[Outcome]]) -> Sequence[Outcome]:
    return await sending


# In a transaction


def _begin(message_id: int, recipient_ids: Sequence[int], session: Session) -> QueueMessageRow | None:
    return queue.begin(session, message_id, recipient_ids)


def _end(recipient_ids: Sequence[int], session: Session) -> None:
    queue.end(session, recipient_ids)


def _give_back(recipient_ids: Sequence[int], at: int, session: Session) -> None:
    queue.give_back(session, recipient_ids, at)


def _resolve(now: int, session: Session) -> list[QueueRecipientRow]:
    rows = queue.unresolved(session)
    maybe_sent = [each for each in rows if each.ending_at is not None]
    again = Attempt(at=now, status="queued", reply=str(_STOPPED), peer="", next_attempt_at=now)
    for each in maybe_sent:
        queue.record(session, each.id, again)
    queue.give_back(session, [each.id for each in rows if each.ending_at is None], now)
    return [each for each in maybe_sent if each.status == "queued"]  # who was canceled meanwhile isn't tried again
