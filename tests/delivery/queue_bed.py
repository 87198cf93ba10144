"""What the tests of the queue share: a store, a runner without threads, and a scripted double of the sender."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from stalwart.delivery.local import Mailroom
from stalwart.delivery.outgoing import Begun, Kind, Outcome, Outgoing
from stalwart.delivery.queue_attempt import Attempts
from stalwart.delivery.queue_journal import QueueJournal
from stalwart.delivery.queue_runner import QueueRunner
from stalwart.delivery.queue_slots import Limits
from stalwart.ops.cache import Cache
from stalwart.ops.metrics import Metrics
from stalwart.store import (
    FsBlobs,
    NewMessage,
    NewRecipient,
    QueueMessageRow,
    QueueStatus,
    Store,
    create_account,
    create_domain,
    enqueue,
    get_emails,
    get_queue_message,
    list_email_ids,
)
from stalwart.store.queue_rows import Ret
from tests.delivery.test_local import Here, Together

NOW = 1_700_000_000
MESSAGE = b"From: jane@example.org\r\nSubject: hello\r\n\r\nsecret body\r\n"


class QueueClock(Clock):
    """A clock that is also where threads call from."""

    def callFromThread(self, function: Callable[..., object], /) -> None:
        """See the runner's `Reactor`."""
        self.callLater(0, function)


class Script:
    """A sender that answers as it is told, and remembers what it was given. `wait` keeps answers until `answer`."""

    def __init__(self) -> None:
        self.sent: list[tuple[Outgoing, str]] = []
        self.kinds: dict[str, Kind] = {}
        self.wait = False
        self.hanging: frozenset[str] = frozenset()  # destinations that never answer
        self.says_end = True
        self.takes_dsn = False
        self.fault: Exception | None = None
        self.waiting: list[Deferred[None]] = []
        self.busiest = 0

    async def send(self, outgoing: Outgoing, destination: str, begun: Begun) -> Sequence[Outcome]:
        """See `Sends`."""
        self.sent.append((outgoing, destination))
        if self.fault is not None:
            raise self.fault
        addresses = tuple(each.address for each in outgoing.recipients)
        if self.says_end:
            await begun(addresses)
        if self.wait or destination in self.hanging:
            waiting: Deferred[None] = Deferred()
            self.waiting.append(waiting)
            self.busiest = max(self.busiest, len(self.waiting))
            await waiting
        return [self.outcome(address) for address in addresses]

    def outcome(self, address: str) -> Outcome:
        """What is said of an address."""
        kind = self.kinds.get(address, "accepted")
        said = {"accepted": "250 2.0.0 taken", "temporary": "451 4.7.1 later", "permanent": "550 5.1.1 nobody"}
        return Outcome(
            recipient=address,
            kind=kind,
            reply=said.get(kind, "connection lost"),
            enhanced=None,
            peer="mx.example.net [192.0.2.1]",
            takes_dsn=self.takes_dsn,
        )

    def answer(self) -> None:
        """Let all that wait have their answer."""
        waiting, self.waiting = self.waiting, []
        for each in waiting:
            each.callback(None)

    @property
    def addresses(self) -> list[list[str]]:
        """The recipients of each transaction."""
        return [[each.address for each in outgoing.recipients] for outgoing, _ in self.sent]


class RunnerCase(SynchronousTestCase):
    """A running queue over a store with the account jane@example.org."""

    limits = Limits()

    def setUp(self) -> None:
        """Make all of it."""
        home = os.path.abspath(self.mktemp())
        os.makedirs(home)
        self.clock = QueueClock()
        self.blobs = FsBlobs(f"{home}/blobs", clock=self.now)
        self.path = f"{home}/s.sqlite"
        self.store = Store.open(self.path, self.blobs, clock=self.now, exclusive=True)
        self.addCleanup(self.store.close)
        with self.store.write() as s:
            create_domain(s, "example.org")
            self.jane = create_account(s, "jane@example.org", password_hash="x").id
        self.writer = Together(self.store)
        self.mailroom = Mailroom(
            self.store,
            pool=Here(),
            writer=self.writer,
            recipients=Cache("recipients", octets=100_000, tti=60.0, clock=self.now),
            hostname="mail.example.org",
            clock=self.now,
        )
        self.sender = Script()
        self.metrics = Metrics("test")
        self.runner = self.make_runner()
        self.runner.startService()
        self.addCleanup(self.stop)

    def make_runner(self) -> QueueRunner:
        """A runner over what there is, as after a start."""
        journal = QueueJournal(self.metrics, self.now)
        self.attempts = Attempts(
            self.store,
            pool=Here(),
            writer=self.writer,
            mailroom=self.mailroom,
            sender=self.sender,
            sign=lambda data: b"DKIM-Signature: x\r\n",
            journal=journal,
            reactor=self.clock,
            hostname="mail.example.org",
            clock=self.now,
            chance=lambda: 0.5,
            random_token=iter(f"token{number}" for number in range(1000)).__next__,
        )
        return QueueRunner(
            self.store,
            self.attempts,
            thread=Here(),
            reactor=self.clock,
            journal=journal,
            clock=self.now,
            limits=self.limits,
        )

    def stop(self) -> None:
        """Stop the runner."""
        if self.runner.running:
            stopped = self.runner.stopService()
            self.clock.pump([1.0] * 10)
            self.successResultOf(stopped)
        self.runner.close()

    def now(self) -> float:
        """Epoch seconds."""
        return NOW + self.clock.seconds()

    def put(
        self,
        *addresses: str,
        notify: str | None = None,
        ret: Ret | None = None,
        not_before: int | None = None,
        return_path: str = "jane@example.org",
        store: Store | None = None,
        data: bytes = MESSAGE,
        submission_id: int | None = None,
        header_id: str | None = None,
    ) -> int:
        """Queue a message and let the runner look."""
        with (store or self.store).write() as s:
            message_id = enqueue(
                s,
                NewMessage(
                    account_id=self.jane,
                    submission_id=submission_id,
                    blob_hash=self.blobs.put(data),
                    size=len(data),
                    message_id=header_id,
                    is_8bit=not data.isascii(),
                    return_path=return_path,
                    recipients=tuple(NewRecipient(address=each, notify=notify) for each in addresses),
                    ret=ret,
                    not_before=not_before,
                ),
            )
        self.clock.advance(0)
        return message_id

    def get(self, message_id: int) -> QueueMessageRow:
        """The message as it is now."""
        with self.store.read() as s:
            return get_queue_message(s, message_id)

    def statuses(self, message_id: int) -> list[QueueStatus]:
        """What has become of each recipient."""
        return [each.status for each in self.get(message_id).recipients]

    def inbox(self) -> list[bytes]:
        """The messages in jane's inbox."""
        with self.store.read() as s:
            ids = list_email_ids(s, self.jane, 1000)
            rows = get_emails(s, self.jane, ids)
        return [self.blobs.get(rows[each].blob_hash) for each in ids]

    def pass_hours(self, hours: float) -> None:
        """Let time go by, a minute at a time."""
        self.clock.pump([60.0] * int(hours * 60))
