"""What is written down about deliveries: one log line per recipient and answer, counts and times."""

from __future__ import annotations

from twisted.logger import Logger
from twisted.python.failure import Failure

from stalwart.delivery.events import Envelope
from stalwart.delivery.local import Outcome
from stalwart.delivery.replies import LmtpError, Reply
from stalwart.ops.metrics import Metrics
from stalwart.store import StoreError


class Journal:
    """The log and the metrics of one LMTP listener. Lines hold addresses and sizes, never content."""

    def __init__(self, listener: str, metrics: Metrics) -> None:
        # Of the instance: as a class attribute it would take the class's name for its namespace.
        self._log = Logger(namespace="stalwart.delivery")
        self._listener = listener
        self._answers = {kind: metrics.lmtp_deliveries.labels(listener, kind) for kind in ("2xx", "4xx", "5xx")}
        self._seconds = metrics.lmtp_seconds.labels(listener)
        self._octets = metrics.lmtp_octets.labels(listener)

    def answered(
        self,
        envelope: Envelope,
        address: str,
        peer: str,
        answer: Reply,
        *,
        reason: str = "",
        **fields: int | float | None,
    ) -> None:
        """A recipient got their final answer, at RCPT or after the message. `peer` is empty for a Unix socket."""
        self._answers[answer.kind].inc()
        self._log.info(
            "lmtp {delivery_id}: from=<{sender}> to=<{recipient}> peer={peer} {answer}{because}",
            delivery_id=envelope.id,
            sender=envelope.sender,
            recipient=address,
            peer=peer or "unix",
            answer=str(answer),
            because=f" ({reason})" if reason else "",
            listener=self._listener,
            code=answer.code,
            **fields,
        )

    def worked_off(self, envelope: Envelope, peer: str, outcomes: list[Outcome], octets: int, seconds: float) -> None:
        """A whole message was stored, or couldn't be, for each of its recipients."""
        self._octets.inc(octets)
        self._seconds.observe(seconds)
        for outcome in outcomes:
            error = outcome.error
            if error is not None and not isinstance(error, StoreError | LmtpError):
                self.trouble(envelope, "storing a message", Failure(error))
            self.answered(
                envelope,
                outcome.recipient.address,
                peer,
                outcome.reply,
                reason="" if error is None else str(error),
                account_id=outcome.recipient.account_id,
                list_id=outcome.recipient.list_id,
                email_id=outcome.email_id,
                size=octets,
                seconds=round(seconds, 6),
            )

    def hung_up(self, envelope: Envelope, peer: str, octets: int) -> None:
        """A client left in the middle of a message."""
        self._log.info(
            "lmtp {delivery_id}: {peer} hung up after {octets} octets of a message, nothing was stored",
            delivery_id=envelope.id,
            peer=peer or "unix",
            octets=octets,
            listener=self._listener,
        )

    def trouble(self, envelope: Envelope, doing: str, failure: Failure) -> None:
        """Something raised what nobody foresaw."""
        self._log.failure(
            "lmtp {delivery_id}: {doing} failed",
            failure,
            delivery_id=envelope.id,
            doing=doing,
            listener=self._listener,
        )

    def broken(self, failure: Failure) -> None:
        """A session, or the watch over the time limits, ended in an error."""
        self._log.failure("lmtp: unexpected trouble on listener {listener}", failure, listener=self._listener)
