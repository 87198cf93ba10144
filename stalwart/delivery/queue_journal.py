"""What is written down about messages that go out: one log line per attempt and recipient, and counts."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger
from twisted.python.failure import Failure

from stalwart.delivery.outgoing import Kind
from stalwart.ops.metrics import Metrics
from stalwart.store import QueueFigures, QueueMessageRow, QueueRecipientRow
from stalwart.store.queue_rows import Attempt

OUTCOMES = ("delivered", "relayed", "deferred", "failed", "expired", "unknown")


class QueueJournal:
    """The log and the metrics of the queue. Lines hold addresses and answers, never content."""

    def __init__(self, metrics: Metrics, clock: Callable[[], float]) -> None:
        self._log = Logger(namespace="stalwart.queue")
        self._attempts = {outcome: metrics.queue_attempts.labels(outcome) for outcome in OUTCOMES}
        self._reports = metrics.queue_reports
        self._messages = {state: metrics.queue_messages.labels(state) for state in ("waiting", "held")}
        self._recipients = metrics.queue_recipients
        self._paused = metrics.queue_paused
        self._oldest_at: int | None = None
        metrics.queue_oldest.set_function(
            lambda: 0.0 if self._oldest_at is None else max(0.0, clock() - self._oldest_at)
        )

    def attempted(self, message: QueueMessageRow, recipient: QueueRecipientRow, attempt: Attempt, kind: Kind) -> None:
        """An attempt to reach a recipient has ended."""
        outcome = "deferred" if attempt.status == "queued" else attempt.status
        self._attempts["unknown" if kind == "unknown" else outcome].inc()
        self._log.info(
            "queue {message_id}: from=<{sender}> to=<{recipient}> peer={peer} attempt={attempts} {outcome}: {reply}",
            message_id=message.id,
            sender=message.return_path,
            recipient=recipient.address,
            peer=attempt.peer or "none",
            attempts=recipient.attempts + 1,
            outcome=outcome,
            reply=attempt.reply,
            destination=recipient.destination,
            next_attempt_at=attempt.next_attempt_at,
        )
        if kind == "unknown":
            self._log.warn(
                "queue {message_id}: to=<{recipient}> was sent whole, and the answer never came: it may be there, "
                "and is sent again, so that it may arrive twice",
                message_id=message.id,
                recipient=recipient.address,
            )

    def interrupted(self, recipient: QueueRecipientRow) -> None:
        """The server had stopped between the end of a message and its answer."""
        self._attempts["unknown"].inc()
        self._log.warn(
            "queue {message_id}: the server stopped while to=<{recipient}> was answered: it may be there, and is sent "
            "again, so that it may arrive twice",
            message_id=recipient.message_id,
            recipient=recipient.address,
        )

    def reported(self, message: QueueMessageRow, report_id: int, actions: set[str]) -> None:
        """The sender of a message is told what became of it."""
        for action in actions:
            self._reports.labels(action).inc()
        self._log.info(
            "queue {message_id}: its sender <{sender}> is told ({actions}) by message {report_id}",
            message_id=message.id,
            sender=message.return_path,
            actions=", ".join(sorted(actions)),
            report_id=report_id,
        )

    def unreported(self, message: QueueMessageRow, reason: str) -> None:
        """The sender of a message can't be told what became of it."""
        self._log.error(
            "queue {message_id}: its sender <{sender}> can't be told what became of it: {reason}",
            message_id=message.id,
            sender=message.return_path,
            reason=reason,
        )

    def gone(self, message: QueueMessageRow) -> None:
        """The message was taken out of the queue during the attempt."""
        self._log.warn(
            "queue {message_id}: its account was deleted while it was being sent; what came of that is not kept",
            message_id=message.id,
        )

    def trouble(self, doing: str, failure: Failure) -> None:
        """Something failed on this side."""
        self._log.failure("queue: {doing} failed", failure, doing=doing)

    def figures(self, figures: QueueFigures) -> None:
        """How the queue stands now."""
        self._oldest_at = figures.oldest_at
        self._messages["waiting"].set(figures.messages - figures.held)
        self._messages["held"].set(figures.held)
        self._recipients.set(figures.recipients)
        self._paused.set(figures.is_paused)
