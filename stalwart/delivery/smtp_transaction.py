"""One message in an SMTP session: what is said of it to a peer with such an offer, and what became of everybody."""

from __future__ import annotations

from typing import Literal

import msgspec

from stalwart.delivery import smtp_commands as commands
from stalwart.delivery.outgoing import Kind, Outcome, Outgoing
from stalwart.delivery.replies import Reply, reply
from stalwart.delivery.smtp_commands import Offer
from stalwart.delivery.smtp_replies import one_line


class Asked(msgspec.Struct, frozen=True):
    """A command of a transaction; `recipient` is its place, for RCPT."""

    verb: Literal["MAIL", "RCPT", "DATA", "DISCARD"]
    line: bytes
    recipient: int = 0


class Verdict(msgspec.Struct, frozen=True):
    """What was decided about a recipient, and by which answer."""

    kind: Kind
    reply: Reply


class Transaction:
    """A message on its way to `peer`. Who can't be given to this peer is refused at once."""

    def __init__(self, outgoing: Outgoing, offer: Offer, peer: str) -> None:
        self._outgoing = outgoing
        self._offer = offer
        self._peer = peer
        self._verdicts: list[Verdict | None] = [None] * len(outgoing.recipients)
        self._sender_refused: Verdict | None = None
        self._path = self._judge()

    @property
    def is_wanted(self) -> bool:
        """Whether there is anybody to whom the message may still go."""
        return self._sender_refused is None and None in self._verdicts

    def commands(self) -> list[Asked]:
        """MAIL, the RCPTs of who isn't refused yet, and DATA."""
        addresses = {
            index: commands.encoded_address(recipient.address)
            for index, recipient in enumerate(self._outgoing.recipients)
            if self._verdicts[index] is None
        }
        utf8 = (
            self._outgoing.needs_smtputf8
            or not self._path.isascii()
            or not all(each.isascii() for each in addresses.values())
        )
        line = commands.mail_line(self._outgoing, self._path, self._offer, utf8=utf8)
        said = [Asked("MAIL", line)]
        for index, address in addresses.items():
            line = commands.rcpt_line(self._outgoing.recipients[index], address, self._offer)
            said.append(Asked("RCPT", line, index))
        return [*said, Asked("DATA", b"DATA\r\n")]

    def undecided(self) -> tuple[str, ...]:
        """The recipients about whom nothing is decided."""
        pairs = zip(self._outgoing.recipients, self._verdicts, strict=True)
        return tuple(recipient.address for recipient, verdict in pairs if verdict is None)

    def refuse_sender(self, answer: Reply) -> None:
        """MAIL was refused. RCPTs that were pipelined after it are refused for want of a sender only."""
        self._sender_refused = verdict_of(answer)

    def refuse_recipient(self, index: int, answer: Reply) -> None:
        """A RCPT was refused."""
        # RFC 5321 §4.5.3.1.10: old servers say 552 where they mean 452, too many recipients.
        kind: Kind = "temporary" if answer.code == 552 else verdict_of(answer).kind
        self._verdicts[index] = Verdict(kind, answer)

    def decide(self, verdict: Verdict) -> None:
        """The fate of all recipients that have none yet."""
        self._verdicts = [verdict if each is None else each for each in self._verdicts]

    def outcomes(self) -> tuple[Outcome, ...]:
        """One for each recipient, once all have a verdict or the sender was refused."""
        outcomes = []
        for recipient, verdict in zip(self._outgoing.recipients, self._verdicts, strict=True):
            final = self._sender_refused or verdict
            assert final is not None
            outcomes.append(
                Outcome(
                    recipient=recipient.address,
                    kind=final.kind,
                    reply=one_line(final.reply),
                    enhanced=final.reply.enhanced or None,
                    peer=self._peer,
                    takes_dsn="DSN" in self._offer,
                )
            )
        return tuple(outcomes)

    def _judge(self) -> str:
        """Refuse what this peer can't be given; gives the sender's address as it is sent."""
        outgoing, offer = self._outgoing, self._offer
        path = ""
        refused: Reply | None = None
        if offer.size is not None and outgoing.size > offer.size:
            # RFC 1870 §5: there is no use in trying.
            text = f"The message has {outgoing.size} octets, {self._peer} takes {offer.size}"
            refused = reply(552, "5.3.4", text)
        elif outgoing.is_8bit and "8BITMIME" not in offer:
            refused = commands.NEEDS_8BITMIME
        elif outgoing.needs_smtputf8 and "SMTPUTF8" not in offer:
            refused = commands.NEEDS_SMTPUTF8
        if outgoing.return_path:
            try:
                path = commands.encoded_address(outgoing.return_path)
            except ValueError:
                refused = commands.BAD_SENDER
            if not path.isascii() and "SMTPUTF8" not in offer:
                refused = commands.NEEDS_SMTPUTF8
        for index, recipient in enumerate(outgoing.recipients):
            answer = refused
            try:
                address = commands.encoded_address(recipient.address)
                if not address.isascii() and "SMTPUTF8" not in offer:
                    answer = answer or commands.NEEDS_SMTPUTF8
            except ValueError:
                answer = commands.BAD_ADDRESS
            if answer is not None:
                self._verdicts[index] = Verdict("permanent", answer)
        return path


def verdict_of(answer: Reply) -> Verdict:
    """What an answer means for those it is about."""
    if answer.code < 400:
        return Verdict("accepted", answer)
    # RFC 4954 §6, RFC 3207 §4: 530 wants AUTH or STARTTLS first. That is our settings' fault, and mail waits for them.
    is_final = answer.code >= 500 and answer.code != 530
    return Verdict("permanent" if is_final else "temporary", answer)
