"""The queue: what waits, what is begun, what is recorded, and what people do to it."""

from __future__ import annotations

from stalwart.store import (
    RECEIVES,
    Grants,
    InvalidAddress,
    NewMessage,
    NewRecipient,
    NotFound,
    QueueMessageRow,
    Session,
    add_alias,
    create_account,
    delete_account,
    enqueue,
    finish_deletions,
    get_queue_message,
    list_queue,
    principal_of_account,
    queue,
    queue_control,
    queue_figures,
    queue_reports,
    remove_alias,
    set_grants,
    sweep,
)
from stalwart.store.queue_rows import Attempt, QueueStatus
from tests.store.bed import NOW, StoreTestCase

_HOUR = 3600


class QueueTestCase(StoreTestCase):
    """A test with a way to put messages into the queue."""

    def put(
        self, *addresses: str, not_before: int | None = None, is_held: bool = False, return_path: str = "a@b"
    ) -> int:
        """Queue a message."""
        with self.store.write() as s:
            return enqueue(
                s,
                NewMessage(
                    account_id=self.account_id,
                    submission_id=7,
                    blob_hash=self.blobs.put(b"octets"),
                    size=6,
                    return_path=return_path,
                    recipients=tuple(NewRecipient(address=each) for each in addresses),
                    not_before=not_before,
                    is_held=is_held,
                ),
            )

    def get(self, message_id: int) -> QueueMessageRow:
        """The message as it is now."""
        with self.store.read() as s:
            return get_queue_message(s, message_id)

    def due(self, destination: str = "example.net") -> list[int]:
        """The ids of who is due at a destination."""
        with self.store.read() as s:
            return [each.id for each in queue.due(s, int(self.now), destination, 100)]

    def begin(self, s: Session, message: int, recipients: list[int]) -> list[int]:
        """Begin an attempt; gives the ids of those that still waited."""
        begun = queue.begin(s, message, recipients)
        return [] if begun is None else [each.id for each in begun.recipients]

    def finish(self, recipient: int, status: QueueStatus = "relayed", again: int | None = None) -> bool:
        """Record the outcome of an attempt."""
        with self.store.write() as s:
            return queue.record(
                s,
                recipient,
                Attempt(at=int(self.now), status=status, reply="250 ok", peer="mx [192.0.2.1]", next_attempt_at=again),
            )


class EnqueueTests(QueueTestCase):
    """Putting in."""

    def test_destinations(self) -> None:
        """Local domains have one destination; others have theirs in A-labels; literals stay."""
        message = self.get(self.put("nobody@EXAMPLE.org", "x@bücher.example", "y@[192.0.2.9]"))
        self.assertEqual(
            [each.destination for each in message.recipients], ["local", "xn--bcher-kva.example", "[192.0.2.9]"]
        )

    def test_defaults(self) -> None:
        """A message may go at once, is given up after four days, and its sender warned after four hours."""
        message = self.get(self.put("x@example.net"))
        self.assertEqual(
            (message.not_before, message.expires_at, message.warn_at), (NOW, NOW + 96 * _HOUR, NOW + 4 * _HOUR)
        )
        self.assertEqual(len(message.env_id), 32)
        self.assertNotEqual(message.env_id, self.get(self.put("x@example.net")).env_id)

    def test_no_warning_for_reports(self) -> None:
        """Nobody is told that a report is late."""
        self.assertIsNone(self.get(self.put("x@example.net", return_path="")).warn_at)

    def test_refused(self) -> None:
        """An address without a domain, or no recipient at all, is an error, and nothing is queued."""
        for address in ("nobody", "@example.net", "x@", "x@a b"):
            self.assertRaises(InvalidAddress, self.put, address)
        self.assertRaises(ValueError, self.put)
        with self.store.read() as s:
            self.assertEqual(list_queue(s), [])

    def test_wakes_after_commit(self) -> None:
        """Who runs the queue is told after the commit, and not if it failed."""
        told: list[int] = []
        self.store.subscribe_queue(lambda: told.append(len(self.due())))
        self.put("x@example.net")
        self.assertEqual(told, [1])
        self.assertRaises(InvalidAddress, self.put, "nobody")
        self.assertEqual(told, [1])

    def test_not_before(self) -> None:
        """What is to go later isn't due before its time."""
        self.put("x@example.net", not_before=NOW + 60)
        self.assertEqual(self.due(), [])
        self.now += 60
        self.assertEqual(len(self.due()), 1)


class AttemptTests(QueueTestCase):
    """Attempts: begun, recorded, unresolved."""

    def test_due_destinations(self) -> None:
        """Each destination where somebody waits is listed once, with the earliest time."""
        self.put("a@one.example", "b@two.example", not_before=NOW + 50)
        self.put("c@one.example", "d@example.org")
        with self.store.read() as s:
            self.assertEqual(
                queue.due_destinations(s), [("local", NOW), ("one.example", NOW), ("two.example", NOW + 50)]
            )

    def test_begin_once(self) -> None:
        """Who is begun isn't due, and can't be begun again."""
        message = self.put("a@example.net", "b@example.net")
        both = self.due()
        with self.store.write() as s:
            self.assertEqual(self.begin(s, message, both[:1]), both[:1])
            self.assertEqual(self.begin(s, message, both), both[1:])
            queue.end(s, both[1:])
            self.assertEqual(
                [(each.id, each.ending_at) for each in queue.unresolved(s)], [(both[0], None), (both[1], NOW)]
            )
        self.assertEqual(self.due(), [])

    def test_give_back(self) -> None:
        """Who was not tried after all waits again."""
        message = self.put("a@example.net")
        ids = self.due()
        with self.store.write() as s:
            self.begin(s, message, ids)
            queue.give_back(s, ids, NOW)
            self.assertEqual(queue.unresolved(s), [])
        self.assertEqual(self.due(), ids)

    def test_give_back_held(self) -> None:
        """Who was not tried after all doesn't wait if the message was put on hold meanwhile."""
        message = self.put("a@example.net")
        ids = self.due()
        with self.store.write() as s:
            self.begin(s, message, ids)
            queue_control.hold(s, message)
            queue.give_back(s, ids, NOW)
        self.assertEqual(self.due(), [])

    def test_outcomes(self) -> None:
        """A deferred recipient waits until its time; with the last one done the message is done and not listed."""
        message = self.put("a@example.net", "b@example.net")
        first, second = self.due()
        with self.store.write() as s:
            self.begin(s, message, [first, second])
        self.assertFalse(self.finish(first, "relayed"))
        self.assertFalse(self.finish(second, "queued", NOW + 300))
        self.assertEqual(self.due(), [])
        self.now += 300
        self.assertEqual(self.due(), [second])
        self.assertTrue(self.finish(second, "failed"))
        row = self.get(message)
        self.assertEqual(
            [(each.status, each.attempts, each.reply) for each in row.recipients],
            [("relayed", 1, "250 ok"), ("failed", 2, "250 ok")],
        )
        self.assertEqual(row.finished_at, NOW + 300)
        with self.store.read() as s:
            self.assertEqual(list_queue(s), [])
            self.assertEqual([each.id for each in list_queue(s, finished=True)], [message])

    def test_moves_submission(self) -> None:
        """With an outcome the state of the account's submissions moves. RFC 8621 §7"""
        moved: list[dict[str, int]] = []
        self.store.subscribe(lambda states: moved.append(dict(states[self.account_id])))
        self.put("a@example.net")
        self.finish(self.due()[0])
        self.assertEqual([list(each) for each in moved], [["EmailSubmission"]])


class OperatorTests(QueueTestCase):
    """What people do to the queue."""

    def test_hold_release(self) -> None:
        """A held message isn't due, also if an attempt was under way; released it is."""
        message = self.put("a@example.net", "b@example.net")
        first, second = self.due()
        with self.store.write() as s:
            self.begin(s, message, [first])
            queue_control.hold(s, message)
        self.finish(first, "queued", NOW)
        self.assertEqual(self.due(), [])
        with self.store.write() as s:
            queue_control.release(s, message)
        self.assertEqual(self.due(), [first, second])

    def test_release_keeps_time(self) -> None:
        """A released message still waits for the time it was to go at; `retry` doesn't."""
        message = self.put("a@example.net", not_before=NOW + 60, is_held=True)
        with self.store.write() as s:
            queue_control.release(s, message)
        self.assertEqual(self.due(), [])
        with self.store.write() as s:
            queue_control.retry(s, message)
        self.assertEqual(len(self.due()), 1)

    def test_cancel(self) -> None:
        """Canceling gives up who waits; an attempt under way is the last, and what it has reached it has reached."""
        message = self.put("a@example.net", "b@example.net", "c@example.net")
        first, second, _ = self.due()
        with self.store.write() as s:
            self.begin(s, message, [first, second])
            self.assertEqual(queue_control.cancel(s, message), 3)
        self.assertIsNone(self.get(message).finished_at)
        again = Attempt(at=NOW, status="queued", reply="451 later", peer="", next_attempt_at=NOW + 60)
        with self.store.write() as s:
            self.assertFalse(queue.record(s, second, again))
        self.assertTrue(self.finish(first))
        self.assertEqual([each.status for each in self.get(message).recipients], ["relayed", "canceled", "canceled"])
        with self.store.write() as s:
            self.assertRaises(NotFound, queue_control.cancel, s, message)

    def test_cancel_interrupted(self) -> None:
        """Whoever was canceled while a stop or crash interrupted the attempt isn't tried again."""
        message = self.put("a@example.net")
        with self.store.write() as s:
            self.begin(s, message, self.due())
            queue_control.cancel(s, message)
            queue.give_back(s, [each.id for each in self.get(message).recipients], NOW)
        self.assertEqual((self.due(), [each.status for each in self.get(message).recipients]), ([], ["canceled"]))
        self.assertIsNotNone(self.get(message).finished_at)

    def test_unsend(self) -> None:
        """A message is unsent whole as long as nothing of it was tried."""
        untouched, touched = self.put("a@example.net", "b@example.net"), self.put("c@example.com")
        with self.store.write() as s:
            self.begin(s, touched, self.due("example.com"))
        with self.store.write() as s:
            self.assertTrue(queue_control.unsend(s, untouched))
            self.assertFalse(queue_control.unsend(s, touched))
        self.assertEqual(self.due(), [])
        self.assertIsNotNone(self.get(untouched).finished_at)

    def test_pause(self) -> None:
        """While the queue is paused nothing is begun."""
        message = self.put("a@example.net")
        ids = self.due()
        with self.store.write() as s:
            queue_control.set_paused(s, True)
            self.assertEqual(self.begin(s, message, ids), [])
            queue_control.set_paused(s, False)
            self.assertEqual(self.begin(s, message, ids), ids)

    def test_unknown(self) -> None:
        """Whatever is done to a message that isn't there is NotFound."""
        with self.store.write() as s:
            for action in (
                queue_control.hold,
                queue_control.release,
                queue_control.retry,
                queue_control.cancel,
                queue_control.unsend,
            ):
                self.assertRaises(NotFound, action, s, 99)

    def test_figures(self) -> None:
        """Counted is what isn't done; the oldest is the one that waits longest and isn't held."""
        self.put("a@example.net", is_held=True)
        self.now += 10
        self.put("b@example.net", "c@example.net")
        self.put("d@example.net", not_before=NOW + 999)
        with self.store.read() as s:
            figures = queue_figures(s)
        self.assertEqual(
            (figures.messages, figures.recipients, figures.held, figures.oldest_at, figures.is_paused),
            (3, 4, 1, NOW + 10, False),
        )


class KeepingTests(QueueTestCase):
    """Blobs, reports, and the past."""

    def test_sweep_keeps_queued(self) -> None:
        """The blob of a message stays as long as somebody waits for it."""
        self.put("a@example.net")
        self.now += 48 * _HOUR
        self.assertEqual(sweep(self.store), 0)
        self.finish(self.due()[0])
        self.assertEqual(sweep(self.store), 1)

    def test_deleted_account(self) -> None:
        """What a deleted account has queued isn't sent; what was done is kept for a time, and then forgotten."""
        done, waits = self.put("a@example.net"), self.put("b@example.net", "c@example.com")
        self.finish(self.get(done).recipients[0].id)
        under_way = self.get(waits).recipients[0].id
        with self.store.write() as s:
            queue.begin(s, waits, [under_way])
            delete_account(s, self.account_id)
        with self.store.write() as s:
            self.assertEqual(queue.due_destinations(s), [])
            self.assertRaises(NotFound, get_queue_message, s, waits)
            self.assertRaises(NotFound, queue.record, s, under_way, Attempt(at=NOW, status="queued", reply="", peer=""))
            queue.give_back(s, [under_way], NOW)
            self.assertEqual(queue.unresolved(s), [])
        finish_deletions(self.store)
        self.assertIsNone(self.get(done).account_id)
        with self.store.write() as s:
            self.assertEqual(queue.forget_finished(s, NOW), 0)
            self.assertEqual(queue.forget_finished(s, NOW + 1), 1)
            self.assertRaises(NotFound, get_queue_message, s, done)

    def test_freed_address(self) -> None:
        """Who got an address that was another's is told nothing of what that one has sent."""
        sent = self.get(self.put("a@example.net", return_path="ada@example.org"))
        with self.store.write() as s:
            self.assertTrue(queue_reports.may_be_told(s, sent))
            delete_account(s, self.account_id)
            create_account(s, sent.return_path, password_hash="x")
            self.assertFalse(queue_reports.may_be_told(s, sent))

    def test_moved_alias(self) -> None:
        """So with an alias that went to another account."""
        with self.store.write() as s:
            add_alias(s, self.account_id, "sales@example.org")
            other = create_account(s, "bob@example.org", password_hash="x").id
        sent = self.get(self.put("a@example.net", return_path="sales@example.org"))
        with self.store.write() as s:
            self.assertTrue(queue_reports.may_be_told(s, sent))
            remove_alias(s, self.account_id, "sales@example.org")
            self.assertFalse(queue_reports.may_be_told(s, sent))
            add_alias(s, other, "sales@example.org")
            self.assertFalse(queue_reports.may_be_told(s, sent))

    def test_sender_who_receives_nothing(self) -> None:
        """Nobody is told of a message whose sender may receive no mail."""
        sent = self.get(self.put("a@example.net", return_path="ada@example.org"))
        with self.store.write() as s:
            principal = principal_of_account(s, self.account_id).id
            self.assertTrue(queue_reports.may_be_told(s, sent))
            set_grants(s, principal, Grants(disabled=frozenset({RECEIVES})))
            self.assertFalse(queue_reports.may_be_told(s, sent))

    def test_many_reports(self) -> None:
        """The list of reports about one message has an end; what further ones say is noted all the same."""
        self.patch(queue_reports, "MOST_REPORTS", 2)
        message = self.get(self.put("a@example.net"))
        (recipient,) = message.recipients
        self.finish(recipient.id)
        with self.store.write() as s:
            for number in range(3):
                found = queue_reports.find_sent(s, self.account_id, message.env_id)
                assert found is not None
                queue_reports.record_report(
                    s, found, f"blob{number}", {recipient.id: "delivered"} if number == 2 else {}
                )
            self.assertEqual(queue_reports.list_reports(s, message.id), ["blob0", "blob1"])
        self.assertEqual(self.get(message.id).recipients[0].status, "delivered")

    def test_detached(self) -> None:
        """What was done is kept as long as its submission, and goes on without it."""
        message = self.put("a@example.net")
        self.finish(self.due()[0])
        with self.store.write() as s:
            self.assertEqual(queue.forget_finished(s, NOW + 1), 0)
            queue.detach_submission(s, 7)
            self.assertIsNone(get_queue_message(s, message).submission_id)
            self.assertEqual(queue.forget_finished(s, NOW + 1), 1)

    def test_reports(self) -> None:
        """A report changes what became of relayed recipients only, and only the sender's account has it."""
        message = self.get(self.put("a@example.net", "b@example.net"))
        first, second = message.recipients
        self.finish(first.id)
        with self.store.write() as s:
            self.assertIsNone(queue_reports.find_sent(s, self.account_id + 1, message.env_id))
            self.assertIsNone(queue_reports.find_sent(s, self.account_id, "other"))
            found = queue_reports.find_sent(s, self.account_id, message.env_id)
            assert found is not None
            queue_reports.record_report(s, found, "blob", {first.id: "delivered", second.id: "failed"})
            self.assertEqual(queue_reports.list_reports(s, message.id), ["blob"])
        self.assertEqual([each.status for each in self.get(message.id).recipients], ["delivered", "queued"])
