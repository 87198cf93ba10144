"""The server side of an LMTP session (RFC 2033) without I/O: octets in, events and answers out.

`states.TRANSITIONS` is the whole state machine, `events` is what the owner hears.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from stalwart.delivery import replies
from stalwart.delivery.commands import Command, parse_host, parse_line, parse_mail, parse_rcpt
from stalwart.delivery.content import ContentDecoder
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
from stalwart.delivery.replies import LmtpError, Reply, reply
from stalwart.delivery.states import TALKING, TRANSITIONS, WAITING, Input, State

_NOT_HERE = {
    "HELO": replies.SAY_LHLO,
    "EHLO": replies.SAY_LHLO,
    **dict.fromkeys(("EXPN", "BDAT", "STARTTLS", "AUTH", "ETRN", "TURN"), replies.NOT_OFFERED),
}
# RFC 2033 §4.1 and §4.2: 503 before LHLO, and 503 for DATA after no successful RCPT.
_OUT_OF_TURN = {
    State.NEW: reply(503, "5.5.1", "Say LHLO first"),
    State.READY: reply(503, "5.5.1", "Give the sender first: MAIL FROM:<address>"),
    State.SENDER: reply(503, "5.5.1", "Give a recipient that is accepted first: RCPT TO:<address>"),
    State.RECIPIENTS: reply(503, "5.5.1", "The sender is given already: RSET starts again"),
}
_OUT_OF_TURN_MAIL = _OUT_OF_TURN[State.RECIPIENTS]
# Answers that say that the client doesn't speak the protocol, together with 5.5.x. Not 503: with PIPELINING it is the
# proper answer to a DATA after recipients that were all refused.
_MISTAKES = frozenset({500, 501, 502, 555})
_PROGRESS_OCTETS = 65_536


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one session may use. `line` and `message` are octets."""

    # RFC 5321 §4.5.3.1.4 wants 512 and each extension adds to that; a UTF-8 address is longer than it looks.
    line: int = 4096
    message: int = 75_000_000
    # RFC 5321 §4.5.3.1.8: at least 100.
    recipients: int = 1000
    mistakes: int = 20


class LmtpEngine:
    """One session. Feed `receive`, then take `next_event` until None and send `data_to_send`.

    While `waiting` is true nothing more is worked off, so that answers keep their order under PIPELINING
    (RFC 2920 §3.2); the owner then does best to stop reading.
    """

    def __init__(self, *, hostname: str, limits: Limits, new_id: Callable[[], str]) -> None:
        self.state = State.NEW
        # Grows with each command carried out and each 64 KiB of content: what a time limit looks at.
        self.progress = 0
        self._hostname = hostname
        self._limits = limits
        self._new_id = new_id
        self._inbox = bytearray()
        self._line_overflow = False
        self._outbox: list[bytes] = []
        self._events: deque[Event] = deque()
        self._mistakes = 0
        self._client = ""
        self._envelope: Envelope | None = None
        self._recipients: list[str] = []
        self._asked = ""
        self._content = ContentDecoder()
        self._content_ended = False
        self._size = 0
        self._dropped: Reply | None = None
        self._farewell: Reply | None = None
        # RFC 2034 §4: the greeting has no enhanced code.
        self._say(reply(220, "", f"{hostname} LMTP ready"))

    @property
    def waiting(self) -> bool:
        """Whether the session waits for an answer of ours, so that octets from the client only pile up."""
        return self.state in WAITING

    @property
    def backlog(self) -> bool:
        """Whether there are octets from the client that haven't been worked off."""
        return bool(self._inbox)

    @property
    def envelope(self) -> Envelope:
        """The transaction under way with the recipients accepted so far."""
        assert self._envelope is not None, f"no transaction in {self.state}"
        return msgspec.structs.replace(self._envelope, recipients=tuple(self._recipients))

    def receive(self, data: bytes) -> None:
        """Take in octets from the client."""
        if self.state is not State.CLOSED:
            self._inbox += data

    def data_to_send(self) -> bytes:
        """The answers that have come up since the last call."""
        sent = b"".join(self._outbox)
        self._outbox.clear()
        return sent

    def next_event(self) -> Event | None:
        """Work off what came in, up to the next thing that the owner has to know."""
        while not self._events:
            if self._farewell is not None and self.state in TALKING:
                self._close(self._farewell)
            elif self.waiting or self.state is State.CLOSED:
                return None
            elif self.state is State.CONTENT:
                # Its end is looked at after the owner has seen the last octets, and perhaps dropped the message.
                if self._content_ended:
                    self._end_content()
                elif not self._inbox:
                    return None
                else:
                    self._take_content()
            elif not self._take_command():
                return None
        return self._events.popleft()

    # Answers of our side

    def answer_recipient(self, answer: Reply) -> None:
        """Accept (2xx) or refuse the recipient of the last `RecipientAsked`."""
        if answer.positive:
            self._recipients.append(self._asked)
        self._say(answer)
        self._move(Input.YES if answer.positive else Input.NO)

    def open_message(self) -> None:
        """Let the client send its message."""
        self._content = ContentDecoder()
        self._content_ended = False
        self._size = 0
        self._dropped = None
        self._say(replies.SEND_MESSAGE)
        self._move(Input.YES)

    def refuse_message(self, answer: Reply) -> None:
        """Refuse the message before it is sent. The client may try DATA again, or RSET."""
        self._say(answer)
        self._move(Input.NO)

    def drop_message(self, answer: Reply) -> None:
        """Take no more octets of the message that is arriving; after its end each recipient gets this answer."""
        assert self.state is State.CONTENT, self.state
        if self._dropped is None:
            self._dropped = answer

    def answer_message(self, answers: Sequence[Reply]) -> None:
        """RFC 2033 §4.2: one answer for each accepted recipient, in the order of the RCPTs."""
        assert len(answers) == len(self._recipients), (len(answers), len(self._recipients))
        for answer in answers:
            self._say(answer)
        self._forget()
        self._move(Input.DONE)

    def shut_down(self, answer: Reply) -> None:
        """Say so and close before the next command; a message on its way is received and answered first."""
        self._farewell = answer

    def close(self, answer: Reply) -> None:
        """Say so and close at once, whatever is under way."""
        if self.state is not State.CLOSED:
            self._close(answer)

    # The client's octets

    def _take_command(self) -> bool:
        """Carry out the next command, if its line is there."""
        end = self._inbox.find(b"\n")
        if end < 0:
            if len(self._inbox) > self._limits.line:
                # Longer than any command: forget it as it comes, and complain at its end.
                self._line_overflow = True
            if self._line_overflow:
                self._inbox.clear()
            return False
        line = bytes(self._inbox[: end + 1])
        del self._inbox[: end + 1]
        self.progress += 1
        try:
            self._obey(line)
        except LmtpError as error:
            if error.reply.code in _MISTAKES and error.reply.enhanced.startswith("5.5."):
                self._mistakes += 1
            self._say(error.reply)
            if self._mistakes > self._limits.mistakes:
                self._close(replies.TOO_MANY_MISTAKES)
        return True

    def _obey(self, line: bytes) -> None:
        overflow, self._line_overflow = self._line_overflow, False
        if overflow or len(line) > self._limits.line:
            raise LmtpError(replies.LINE_TOO_LONG)
        if not line.endswith(b"\r\n"):
            # RFC 5321 §2.3.8: LF alone ends no line. It is taken as the end, so that the next command is found.
            raise LmtpError(replies.LINE_END)
        command = parse_line(line[:-2])
        if command.verb in _NOT_HERE:
            raise LmtpError(_NOT_HERE[command.verb])
        given = _COMMANDS.get(command.verb)
        if given is None:
            raise LmtpError(replies.UNKNOWN_COMMAND)
        if (self.state, given) not in TRANSITIONS:
            raise LmtpError(_OUT_OF_TURN_MAIL if given is Input.MAIL and self._envelope else _OUT_OF_TURN[self.state])
        _ACTIONS[given](self, command)
        self._move(given)

    def _take_content(self) -> None:
        octets, rest = self._content.feed(bytes(self._inbox))
        self._inbox = bytearray(rest or b"")
        before = self._size
        # RFC 1870 §5: the size is counted without stuffed dots.
        self._size += len(octets)
        self.progress += self._size // _PROGRESS_OCTETS - before // _PROGRESS_OCTETS
        if self._size > self._limits.message and self._dropped is None:
            self._dropped = replies.TOO_LARGE
            self._events.append(MessageDropped(envelope=self.envelope, reply=self._dropped))
        if octets and self._dropped is None:
            self._events.append(MessageOctets(octets=octets))
        self._content_ended = rest is not None

    def _end_content(self) -> None:
        self.progress += 1
        self._move(Input.END)
        if self._dropped is None:
            self._events.append(MessageEnded(envelope=self.envelope))
        else:
            self.answer_message([self._dropped] * len(self._recipients))

    # The commands. Each does its work or raises; the table then says where the session is.

    def _lhlo(self, command: Command) -> None:
        self._client = parse_host(command.argument)
        self._forget()
        self._say(
            reply(
                250,
                "",
                self._hostname,
                "PIPELINING",
                "8BITMIME",
                "SMTPUTF8",
                f"SIZE {self._limits.message}",
                "ENHANCEDSTATUSCODES",
            )
        )

    def _mail(self, command: Command) -> None:
        mail = parse_mail(command.argument)
        if mail.size is not None and mail.size > self._limits.message:
            raise LmtpError(replies.TOO_LARGE)  # RFC 1870 §6.1
        self._envelope = Envelope(
            id=self._new_id(),
            client=self._client,
            sender=mail.sender,
            size=mail.size,
            body=mail.body,
            smtputf8=mail.smtputf8,
        )
        self._say(replies.SENDER_OK)

    def _rcpt(self, command: Command) -> None:
        envelope = self.envelope
        address = parse_rcpt(command.argument, smtputf8=envelope.smtputf8)
        if len(self._recipients) >= self._limits.recipients:
            raise LmtpError(replies.TOO_MANY_RECIPIENTS)  # RFC 5321 §4.5.3.1.10
        self._asked = address
        self._events.append(RecipientAsked(envelope=envelope, address=address))

    def _data(self, command: Command) -> None:
        self._no_argument(command)
        self._events.append(MessageOffered(envelope=self.envelope))

    def _rset(self, command: Command) -> None:
        self._no_argument(command)
        self._forget()
        self._say(replies.RESET)

    def _noop(self, command: Command) -> None:
        self._say(replies.OK)

    def _vrfy(self, command: Command) -> None:
        if not command.argument:
            raise LmtpError(reply(501, "5.5.4", "Write VRFY and an address"))
        self._say(replies.CANNOT_VERIFY)

    def _help(self, command: Command) -> None:
        self._say(replies.HELP)

    def _quit(self, command: Command) -> None:
        self._no_argument(command)
        self._say(replies.GOODBYE)
        self._events.append(Closed())

    @staticmethod
    def _no_argument(command: Command) -> None:
        if command.argument:
            raise LmtpError(replies.NO_ARGUMENT)

    # Bookkeeping

    def _move(self, given: Input) -> None:
        self.state = TRANSITIONS[self.state, given]
        if self.state is State.CLOSED:
            self._inbox.clear()

    def _say(self, answer: Reply) -> None:
        self._outbox.append(answer.encode())

    def _close(self, answer: Reply) -> None:
        self._say(answer)
        self._events.append(Closed())
        self._move(Input.CLOSE)

    def _forget(self) -> None:
        """End the transaction."""
        self._envelope = None
        self._recipients = []
        self._asked = ""


_ACTIONS: dict[Input, Callable[[LmtpEngine, Command], None]] = {
    Input.LHLO: LmtpEngine._lhlo,
    Input.MAIL: LmtpEngine._mail,
    Input.RCPT: LmtpEngine._rcpt,
    Input.DATA: LmtpEngine._data,
    Input.RSET: LmtpEngine._rset,
    Input.NOOP: LmtpEngine._noop,
    Input.VRFY: LmtpEngine._vrfy,
    Input.HELP: LmtpEngine._help,
    Input.QUIT: LmtpEngine._quit,
}
_COMMANDS = {verb.name: verb for verb in _ACTIONS}
