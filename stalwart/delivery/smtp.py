"""The client side of an SMTP session (RFC 5321) without I/O: replies in, commands and events out.

`smtp_states.TRANSITIONS` is the whole state machine. A session carries any number of messages, one after the other.
"""

from __future__ import annotations

from collections import deque
from typing import Literal

from stalwart.delivery import smtp_commands as commands
from stalwart.delivery.dot_stuffing import DotStuffer
from stalwart.delivery.outgoing import Outgoing
from stalwart.delivery.replies import Reply, reply
from stalwart.delivery.smtp_commands import Credentials, Offer
from stalwart.delivery.smtp_events import Closed, Event, Failed, Finished, Ready, SendContent, StartTls
from stalwart.delivery.smtp_replies import PeerFault, ReplyReader, one_line
from stalwart.delivery.smtp_states import LISTENING, TRANSITIONS, Input, State
from stalwart.delivery.smtp_transaction import Asked, Transaction, Verdict, verdict_of

Tls = Literal["required", "offered", "none"]
"""STARTTLS: without it nothing is sent; if it is offered; never (also when TLS is there from the first octet on)."""


class SmtpEngine:
    """One session. Feed `receive`, then take `next_event` until None and send `data_to_send`.

    `peer` is how outcomes name the server. Credentials are used only where `tls` isn't "offered".
    """

    def __init__(self, *, hostname: str, peer: str, tls: Tls = "none", credentials: Credentials | None = None) -> None:
        self.state = State.GREETING
        self.offer = Offer()
        self.secure = False
        # Why the session ended, if it wasn't by QUIT.
        self.farewell: Reply | None = None
        # Grows with each reply: what a time limit looks at.
        self.progress = 0
        self._hostname = hostname
        self.peer = peer
        self._tls = tls
        self._credentials = credentials
        self._reader = ReplyReader()
        self._outbox: list[bytes] = []
        self._events: deque[Event] = deque()
        self._auth_lines: deque[bytes] = deque()
        self._said_secret = False
        self._transaction: Transaction | None = None
        self._to_say: deque[Asked] = deque()
        self._pending: deque[Asked] = deque()
        self._stuffer = DotStuffer()

    @property
    def listening(self) -> bool:
        """Whether the peer owes an answer."""
        return self.state in LISTENING

    @property
    def closed(self) -> bool:
        """Whether the session is over."""
        return self.state is State.CLOSED

    def receive(self, data: bytes) -> None:
        """Take in octets from the peer."""
        self._reader.receive(data)
        try:
            while not self.closed and (answer := self._reader.next()) is not None:
                self.progress += 1
                self._answered(self._shown(answer))
        except PeerFault as fault:
            self.refuse(self._shown(reply(451, "4.5.0", f"{self.peer}: {fault}")))

    def data_to_send(self) -> bytes:
        """What was said since the last call."""
        sent = b"".join(self._outbox)
        self._outbox.clear()
        return sent

    def next_event(self) -> Event | None:
        """What the owner has to know next."""
        return self._events.popleft() if self._events else None

    # What the owner does

    def secured(self) -> None:
        """The handshake is done and the peer is who it should be. RFC 3207 §4.2: what it offered is forgotten."""
        self.secure = True
        self.offer = Offer()
        self._say_ehlo()

    def send(self, outgoing: Outgoing) -> None:
        """Begin a transaction in state READY; it ends with `Finished`, also when nothing had to be said for that."""
        self._transaction = Transaction(outgoing, self.offer, self.peer)
        self._stuffer = DotStuffer()
        if not self._transaction.is_wanted:
            self._finish()
            self._events.append(Ready())
            return
        self._to_say.extend(self._transaction.commands())
        self._move(Input.SAY_MAIL)
        self._say_next()

    def content(self, octets: bytes) -> None:
        """The next octets of the message, in state CONTENT."""
        assert self.state is State.CONTENT, self.state
        self._outbox.append(self._stuffer.feed(octets))

    def end_content(self) -> None:
        """End the message. From here on the peer may have accepted it."""
        self._outbox.append(self._stuffer.end())
        self._move(Input.SAY_DOT)

    def quit(self) -> None:
        """Take leave, in state READY."""
        self._outbox.append(b"QUIT\r\n")
        self._move(Input.SAY_QUIT)

    def lost(self, reason: str) -> None:
        """The connection is gone, or was given up: nothing more comes from the peer."""
        self.refuse(reply(451, "4.4.2", f"{self.peer}: {reason}"))

    def refuse(self, answer: Reply) -> None:
        """End the session with an answer of our side, such as one about its certificate."""
        if not self.closed:
            if self.state is State.FINAL:
                # The whole message is there, and nobody knows what the peer thinks of it.
                self._under_way().decide(Verdict("unknown", answer))
            self._end(answer)

    # The peer's answers

    def _answered(self, answer: Reply) -> None:
        if answer.code == 421 and self.state is not State.QUITTING:
            # RFC 5321 §3.8: it may come in place of any answer, and unasked.
            self._end(answer)
            return
        match self.state:
            case State.GREETING:
                if answer.code == 220:
                    self._say_ehlo()
                else:
                    self._end(answer)
            case State.EHLO:
                self._heard_offer(answer)
            case State.HELO:
                if answer.code == 250:
                    self._settle()
                else:
                    self._end(answer)
            case State.STARTTLS:
                self._heard_starttls(answer)
            case State.AUTH:
                self._heard_auth(answer)
            case State.ENVELOPE:
                self._heard_envelope(answer)
            case State.FINAL:
                self._heard_final(answer)
            case State.RESETTING:
                if answer.code == 250:
                    self._settle()
                else:
                    self._end(answer)
            case State.QUITTING:
                self._close()
            case State.CONTENT if answer.code >= 400:
                # It refuses before the end: without the end it has accepted nothing.
                self._end(answer)
            case _:
                raise PeerFault(f"an answer that nobody asked for: {one_line(answer)[:80]}")

    def _shown(self, answer: Reply) -> Reply:
        """An answer as it may be logged and told to senders: some servers repeat what they were sent."""
        if self._credentials is None or not self._said_secret:
            return answer
        return commands.without_secret(answer, self._credentials)

    def _say_ehlo(self) -> None:
        self._outbox.append(f"EHLO {self._hostname}\r\n".encode())
        self._move(Input.SAY_EHLO)

    def _heard_offer(self, answer: Reply) -> None:
        if answer.code == 250:
            self.offer = commands.read_offer(answer)
        elif answer.code >= 500 and self._credentials is None and self._tls != "required":
            # RFC 5321 §3.2: old servers know only HELO.
            self._outbox.append(f"HELO {self._hostname}\r\n".encode())
            self._move(Input.SAY_HELO)
            return
        else:
            self._end(answer)
            return
        if self._tls != "none" and not self.secure:
            if "STARTTLS" in self.offer:
                self._outbox.append(b"STARTTLS\r\n")
                self._move(Input.SAY_STARTTLS)
                return
            if self._tls == "required":
                self._end(reply(451, "4.7.4", f"{self.peer} offers no STARTTLS, without which nothing is sent"))
                return
        if self._credentials is not None:
            self._say_auth(self._credentials)
        else:
            self._settle()

    def _heard_starttls(self, answer: Reply) -> None:
        if answer.code == 220:
            if self._reader.pending:
                # What was said before the handshake is anybody's: RFC 3207 §6 and CVE-2011-0411.
                raise PeerFault("it went on in clear after its answer to STARTTLS")
            self._move(Input.SHAKE)
            self._events.append(StartTls())
        elif self._tls == "offered":
            self._settle()
        else:
            self._end(answer)

    def _say_auth(self, credentials: Credentials) -> None:
        self._auth_lines = deque(commands.auth_lines(credentials, self.offer))
        if not self._auth_lines:
            offered = ", ".join(sorted(self.offer.auth)) or "none"
            text = f"{self.peer} offers neither AUTH PLAIN nor AUTH LOGIN (it offers {offered})"
            self._end(reply(451, "4.7.4", text))
            return
        self._said_secret = True
        self._outbox.append(self._auth_lines.popleft())
        self._move(Input.SAY_AUTH)

    def _heard_auth(self, answer: Reply) -> None:
        if answer.code == 334 and self._auth_lines:
            self._outbox.append(self._auth_lines.popleft())
        elif answer.code == 235 and not self._auth_lines:
            self._settle()
        elif answer.code < 400:
            raise PeerFault(f"this doesn't belong to AUTH: {one_line(answer)[:80]}")
        else:
            self._end(answer)

    def _settle(self) -> None:
        self._move(Input.SETTLE)
        self._events.append(Ready())

    # A transaction

    def _say_next(self) -> None:
        """RFC 2920 §3.1: MAIL, RCPT and DATA in one go where that is offered, else one by one."""
        while self._to_say and ("PIPELINING" in self.offer or not self._pending):
            asked = self._to_say.popleft()
            if asked.verb == "DATA" and not self._pending and not self._under_way().is_wanted:
                continue
            self._outbox.append(asked.line)
            self._pending.append(asked)
        if not self._pending and self.state is State.ENVELOPE:
            self._finish()
            self._reset()

    def _heard_envelope(self, answer: Reply) -> None:
        asked, transaction = self._pending.popleft(), self._under_way()
        if asked.verb == "DISCARD":
            pass
        elif answer.code == 354 and asked.verb == "DATA":
            if transaction.is_wanted:
                recipients = transaction.undecided()
                self._move(Input.GO_AHEAD)
                self._events.append(SendContent(recipients=recipients))
                return
            # RFC 2920 §3.1: a server that takes a message for nobody gets an empty one.
            self._to_say.append(Asked("DISCARD", b".\r\n"))
        elif 300 <= answer.code < 400 or (asked.verb == "DATA" and answer.code < 400):
            raise PeerFault(f"this is no answer to {asked.verb}: {one_line(answer)[:80]}")
        elif asked.verb == "MAIL" and answer.code >= 400:
            transaction.refuse_sender(answer)
            self._to_say.clear()
        elif asked.verb == "RCPT":
            if answer.code >= 400:
                transaction.refuse_recipient(asked.recipient, answer)
        elif asked.verb == "DATA":
            transaction.decide(verdict_of(answer))
        self._say_next()

    def _heard_final(self, answer: Reply) -> None:
        if 300 <= answer.code < 400:
            raise PeerFault(f"this is no answer to a message: {one_line(answer)[:80]}")
        self._under_way().decide(verdict_of(answer))
        self._finish()
        self._settle()

    def undecided(self) -> tuple[str, ...]:
        """The recipients of the message under way about whom nothing is decided."""
        return self._under_way().undecided()

    def _under_way(self) -> Transaction:
        assert self._transaction is not None
        return self._transaction

    def _finish(self) -> None:
        """Tell the outcomes; all recipients have one, or the sender was refused."""
        outcomes = self._under_way().outcomes()
        self._transaction = None
        self._events.append(Finished(outcomes=outcomes))

    def _reset(self) -> None:
        self._outbox.append(b"RSET\r\n")
        self._move(Input.SAY_RSET)

    # The end

    def _end(self, answer: Reply) -> None:
        """Nothing more can be had from this peer."""
        self.farewell = answer
        self._to_say.clear()
        self._pending.clear()
        if self._transaction is not None:
            self._transaction.decide(verdict_of(answer))
            self._finish()
        elif self.state not in (State.READY, State.RESETTING, State.QUITTING):
            self._events.append(Failed(reply=answer))
        self._close()

    def _close(self) -> None:
        self._events.append(Closed())
        self._move(Input.CLOSE)

    def _move(self, given: Input) -> None:
        self.state = TRANSITIONS[self.state, given]
