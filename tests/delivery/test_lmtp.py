"""The LMTP engine: dialogues in exact octets, without a connection."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

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
from stalwart.delivery.lmtp import Limits, LmtpEngine
from stalwart.delivery.replies import reply
from stalwart.delivery.states import State
from tests.delivery.test_content import cut

_LIMITS = Limits(line=100, message=50, recipients=3, mistakes=5)
_STORED = reply(250, "2.0.0", "Stored")


class Owner:
    """Answers the engine at once: recipients whose name starts with `no` are unknown, everything is stored."""

    def __init__(self, limits: Limits = _LIMITS) -> None:
        numbers = count(1)
        self.engine = LmtpEngine(hostname="mx.example", limits=limits, new_id=lambda: f"id{next(numbers)}")
        self.messages: list[tuple[Envelope, bytes]] = []
        self.dropped: list[Envelope] = []
        self.closed = 0
        self._octets = b""
        self.said = b""
        self.work()
        assert self.said == b"220 mx.example LMTP ready\r\n"
        self.said = b""

    def say(self, *pieces: bytes) -> bytes:
        """Feed the pieces; everything that was answered."""
        before = len(self.said)
        for piece in pieces:
            self.engine.receive(piece)
            self.work()
        return self.said[before:]

    def work(self) -> None:
        """Work off events, and answer them, until the engine wants octets."""
        while (event := self.engine.next_event()) is not None:
            self.answer(event)
        self.said += self.engine.data_to_send()

    def answer(self, event: Event) -> None:
        """Do what an owner does."""
        match event:
            case RecipientAsked():
                unknown = event.address.startswith("no")
                self.engine.answer_recipient(replies.NO_SUCH_USER if unknown else replies.RECIPIENT_OK)
            case MessageOffered():
                self._octets = b""
                self.engine.open_message()
            case MessageOctets():
                self._octets += event.octets
            case MessageDropped():
                self._octets = b""
                self.dropped.append(event.envelope)
            case MessageEnded():
                self.messages.append((event.envelope, self._octets))
                self.engine.answer_message([_STORED] * len(event.envelope.recipients))
            case Closed():
                self.closed += 1


def codes(answers: bytes) -> list[str]:
    """The codes of the answers, with the enhanced ones."""
    lines = answers.decode().splitlines()
    return [" ".join(line.split()[:2]) for line in lines if line[3] == " "]


class DialogueTests(SynchronousTestCase):
    """What a client hears."""

    def test_session(self) -> None:
        """A whole session: greeting, extensions, two recipients with an answer each, goodbye."""
        owner = Owner()
        self.assertEqual(
            owner.say(b"LHLO client.example\r\n"),
            b"250-mx.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-SIZE 50\r\n"
            b"250 ENHANCEDSTATUSCODES\r\n",
        )
        self.assertEqual(owner.say(b"MAIL FROM:<s@example.net> SIZE=20\r\n"), b"250 2.1.0 Sender OK\r\n")
        self.assertEqual(owner.say(b"RCPT TO:<a@example.org>\r\n"), b"250 2.1.5 Recipient OK\r\n")
        self.assertEqual(owner.say(b"RCPT TO:<no@example.org>\r\n"), b"550 5.1.1 No such user here\r\n")
        self.assertEqual(owner.say(b"RCPT TO:<b@example.org>\r\n"), b"250 2.1.5 Recipient OK\r\n")
        self.assertTrue(owner.say(b"DATA\r\n").startswith(b"354 "))
        self.assertEqual(owner.say(b"Subject: x\r\n\r\n..\r\n.\r\n"), b"250 2.0.0 Stored\r\n250 2.0.0 Stored\r\n")
        self.assertEqual(owner.say(b"QUIT\r\n"), b"221 2.0.0 Goodbye\r\n")
        self.assertEqual(owner.closed, 1)
        envelope = Envelope(
            id="id1",
            client="client.example",
            sender="s@example.net",
            recipients=("a@example.org", "b@example.org"),
            size=20,
            body="7BIT",
            smtputf8=False,
        )
        self.assertEqual(owner.messages, [(envelope, b"Subject: x\r\n\r\n.\r\n")])

    def test_pipelining(self) -> None:
        """Commands sent together are answered together and in order, the next message's too."""
        owner = Owner()
        answers = owner.say(
            b"LHLO c\r\nMAIL FROM:<s@x>\r\nRCPT TO:<a@x>\r\nRCPT TO:<no@x>\r\nDATA\r\n",
            b"one\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<b@x>\r\nDATA\r\n",
            b"two\r\n.\r\nRSET\r\nNOOP\r\nQUIT\r\nNOOP\r\n",
        )
        self.assertEqual(
            codes(answers),
            [
                "250 ENHANCEDSTATUSCODES",
                "250 2.1.0",
                "250 2.1.5",
                "550 5.1.1",
                "354 Send",
                "250 2.0.0",
                "250 2.1.0",
                "250 2.1.5",
                "354 Send",
                "250 2.0.0",
                "250 2.0.0",
                "250 2.0.0",
                "221 2.0.0",
            ],
        )
        self.assertEqual([octets for _, octets in owner.messages], [b"one\r\n", b"two\r\n"])
        self.assertEqual([envelope.id for envelope, _ in owner.messages], ["id1", "id2"])

    def test_waiting(self) -> None:
        """While a recipient is looked up nothing behind it is worked off."""
        engine = LmtpEngine(hostname="mx.example", limits=_LIMITS, new_id=lambda: "id")
        engine.receive(b"LHLO c\r\nMAIL FROM:<s@x>\r\nRCPT TO:<a@x>\r\nRCPT TO:<b@x>\r\nNOOP\r\n")
        event = engine.next_event()
        assert isinstance(event, RecipientAsked)
        self.assertEqual(event.address, "a@x")
        self.assertTrue(engine.waiting)
        self.assertIsNone(engine.next_event())
        self.assertEqual(codes(engine.data_to_send())[-1], "250 2.1.0")
        engine.answer_recipient(replies.RECIPIENT_OK)
        self.assertFalse(engine.waiting)
        event = engine.next_event()
        assert isinstance(event, RecipientAsked)
        self.assertEqual(event.address, "b@x")
        engine.answer_recipient(replies.LOCAL_TROUBLE)
        self.assertIsNone(engine.next_event())
        self.assertEqual(codes(engine.data_to_send()), ["250 2.1.5", "451 4.3.0", "250 2.0.0"])

    def test_out_of_turn(self) -> None:
        """Commands in the wrong place get 503 5.5.1 and change nothing."""
        owner = Owner()
        for line in (b"MAIL FROM:<>\r\n", b"RCPT TO:<a@x>\r\n", b"DATA\r\n"):
            self.assertEqual(owner.say(line), b"503 5.5.1 Say LHLO first\r\n")
        owner.say(b"LHLO c\r\n")
        self.assertEqual(codes(owner.say(b"RCPT TO:<a@x>\r\nDATA\r\n")), ["503 5.5.1"] * 2)
        owner.say(b"MAIL FROM:<>\r\n")
        self.assertEqual(codes(owner.say(b"MAIL FROM:<>\r\nDATA\r\n")), ["503 5.5.1"] * 2)
        # RFC 2033 §4.2: DATA after no RCPT that was accepted.
        self.assertEqual(codes(owner.say(b"RCPT TO:<no@x>\r\nDATA\r\n")), ["550 5.1.1", "503 5.5.1"])
        self.assertEqual(codes(owner.say(b"RCPT TO:<a@x>\r\nMAIL FROM:<>\r\nDATA\r\n"))[1:], ["503 5.5.1", "354 Send"])

    def test_smtp_greetings(self) -> None:
        """HELO and EHLO are refused with 500 and a hint (RFC 2033 §4.1)."""
        owner = Owner()
        for line in (b"HELO c\r\n", b"ehlo c\r\n"):
            self.assertEqual(owner.say(line), b"500 5.5.1 This is LMTP, not SMTP: say LHLO\r\n")

    def test_small_commands(self) -> None:
        """NOOP, HELP, VRFY and RSET work before LHLO and after; RSET and a new LHLO forget the transaction."""
        owner = Owner()
        small = b"NOOP ignored\r\nHELP\r\nVRFY jane\r\nRSET\r\n"
        expected = ["250 2.0.0", "214 2.0.0", "252 2.5.2", "250 2.0.0"]
        self.assertEqual(codes(owner.say(small)), expected)
        owner.say(b"LHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@x>\r\n")
        self.assertEqual(codes(owner.say(small)), expected)
        self.assertEqual(codes(owner.say(b"DATA\r\nMAIL FROM:<>\r\nLHLO d\r\nMAIL FROM:<>\r\n"))[0], "503 5.5.1")
        self.assertEqual(
            codes(owner.say(b"VRFY\r\nRSET x\r\nQUIT x\r\nDATA\r\nEXPN x\r\nSTARTTLS\r\n"))[:3],
            ["501 5.5.4"] * 3,
        )

    def test_unknown_commands(self) -> None:
        """Unknown verbs get 500 5.5.1, those of extensions that aren't offered 502 5.5.1."""
        owner = Owner()
        self.assertEqual(codes(owner.say(b"XYZZY\r\n\r\nBDAT 5 LAST\r\n")), ["500 5.5.1", "500 5.5.1", "502 5.5.1"])

    def test_too_many_mistakes(self) -> None:
        """After too many lines that aren't LMTP the session is closed with 421."""
        owner = Owner()
        answers = owner.say(b"GET / HTTP/1.1\r\nHost: x\r\nA: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: 5\r\n")
        self.assertEqual(codes(answers), ["500 5.5.1"] * 6 + ["421 4.7.0"])
        self.assertEqual((owner.closed, owner.engine.state), (1, State.CLOSED))
        self.assertEqual(owner.say(b"NOOP\r\n"), b"")

    def test_refusals_are_no_mistakes(self) -> None:
        """Unknown recipients, and the DATA that was pipelined behind them, never close a session."""
        owner = Owner()
        owner.say(b"LHLO c\r\n")
        for _ in range(20):
            answers = owner.say(b"MAIL FROM:<>\r\nRCPT TO:<no@x>\r\nDATA\r\nRSET\r\n")
            self.assertEqual(codes(answers), ["250 2.1.0", "550 5.1.1", "503 5.5.1", "250 2.0.0"])

    def test_lines(self) -> None:
        """A line that is too long, ends with LF alone or holds control characters is refused; the next one counts."""
        owner = Owner()
        self.assertEqual(codes(owner.say(b"NOOP " + b"x" * 93 + b"\r\n")), ["250 2.0.0"])
        self.assertEqual(codes(owner.say(b"NOOP " + b"x" * 94 + b"\r\nNOOP\r\n")), ["500 5.5.2", "250 2.0.0"])
        self.assertEqual(owner.say(b"x" * 1000, b"y" * 1000), b"")
        self.assertEqual(codes(owner.say(b"z\r\nNOOP\r\n")), ["500 5.5.2", "250 2.0.0"])
        self.assertEqual(codes(owner.say(b"NOOP\nNOOP\r\n")), ["500 5.5.2", "250 2.0.0"])
        self.assertEqual(codes(owner.say(b"NOOP\x00\r\nNOOP\r\n")), ["500 5.5.2", "250 2.0.0"])

    def test_announced_size(self) -> None:
        """SIZE over the limit gets 552 5.3.4 at MAIL, before anything is sent (RFC 1870 §6.1)."""
        owner = Owner()
        owner.say(b"LHLO c\r\n")
        self.assertEqual(
            codes(owner.say(b"MAIL FROM:<> SIZE=51\r\nMAIL FROM:<> SIZE=50\r\n")), ["552 5.3.4", "250 2.1.0"]
        )

    def test_real_size(self) -> None:
        """A message that gets too large is dropped as it comes; each recipient hears 552 5.3.4 after its end."""
        owner = Owner()
        owner.say(b"LHLO c\r\nMAIL FROM:<> SIZE=1\r\nRCPT TO:<a@x>\r\nRCPT TO:<b@x>\r\nDATA\r\n")
        self.assertEqual(owner.say(b"x" * 40), b"")
        self.assertEqual(owner.dropped, [])
        self.assertEqual(owner.say(b"x" * 40), b"")
        self.assertEqual([envelope.recipients for envelope in owner.dropped], [("a@x", "b@x")])
        self.assertEqual(codes(owner.say(b"x" * 9999 + b"\r\n.\r\nNOOP\r\n")), ["552 5.3.4", "552 5.3.4", "250 2.0.0"])
        self.assertEqual(owner.messages, [])

    def test_size_without_stuffing(self) -> None:
        """Stuffed dots and the final dot don't count towards the size (RFC 1870 §5)."""
        owner = Owner()
        owner.say(b"LHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@x>\r\nDATA\r\n")
        self.assertEqual(codes(owner.say(b"..\r\n" * 16 + b"\r\n.\r\n")), ["250 2.0.0"])
        self.assertEqual(owner.messages[0][1], b".\r\n" * 16 + b"\r\n")

    def test_dropped_by_the_owner(self) -> None:
        """A message that the owner drops, even at its last octets, is answered as the owner said and not given out."""
        engine = LmtpEngine(hostname="mx.example", limits=_LIMITS, new_id=lambda: "id")
        engine.receive(b"LHLO c\r\nMAIL FROM:<s@x>\r\nRCPT TO:<a@x>\r\nDATA\r\n")
        self.assertIsInstance(engine.next_event(), RecipientAsked)
        engine.answer_recipient(replies.RECIPIENT_OK)
        self.assertIsInstance(engine.next_event(), MessageOffered)
        engine.open_message()
        engine.receive(b"hi\r\n.\r\nNOOP\r\n")
        self.assertEqual(engine.next_event(), MessageOctets(octets=b"hi\r\n"))
        engine.drop_message(replies.NO_MEMORY)
        self.assertIsNone(engine.next_event())
        self.assertEqual(codes(engine.data_to_send())[-2:], ["452 4.3.1", "250 2.0.0"])

    def test_refused_data(self) -> None:
        """After a refused DATA the transaction is still there, so that the client may try again."""
        engine = LmtpEngine(hostname="mx.example", limits=_LIMITS, new_id=lambda: "id")
        engine.receive(b"LHLO c\r\nMAIL FROM:<s@x>\r\nRCPT TO:<a@x>\r\nDATA\r\nDATA\r\n")
        engine.next_event()
        engine.answer_recipient(replies.RECIPIENT_OK)
        self.assertIsInstance(engine.next_event(), MessageOffered)
        engine.refuse_message(replies.NO_MEMORY)
        self.assertIsInstance(engine.next_event(), MessageOffered)
        engine.open_message()
        self.assertEqual(codes(engine.data_to_send())[-2:], ["452 4.3.1", "354 Send"])

    def test_too_many_recipients(self) -> None:
        """One recipient more than allowed gets 452 4.5.3; those before stay accepted."""
        owner = Owner()
        owner.say(b"LHLO c\r\nMAIL FROM:<>\r\n")
        self.assertEqual(codes(owner.say(b"RCPT TO:<a@x>\r\n" * 4)), ["250 2.1.5"] * 3 + ["452 4.5.3"])
        self.assertEqual(codes(owner.say(b"DATA\r\n", b".\r\n")), ["354 Send"] + ["250 2.0.0"] * 3)

    def test_shutdown_while_idle(self) -> None:
        """A session between commands is told 421 4.3.2 at once."""
        owner = Owner()
        owner.say(b"LHLO c\r\nMAIL FROM:<>\r\n")
        owner.engine.shut_down(replies.SHUTTING_DOWN)
        self.assertEqual(codes(owner.say(b"")), ["421 4.3.2"])
        self.assertEqual(owner.closed, 1)

    def test_shutdown_inside_a_message(self) -> None:
        """A message on its way is taken to its end and answered, then the session ends."""
        owner = Owner()
        owner.say(b"LHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@x>\r\nDATA\r\nfirst")
        owner.engine.shut_down(replies.SHUTTING_DOWN)
        self.assertEqual(owner.say(b" half, "), b"")
        self.assertEqual(codes(owner.say(b"second half\r\n.\r\nMAIL FROM:<>\r\n")), ["250 2.0.0", "421 4.3.2"])
        self.assertEqual(owner.messages[0][1], b"first half, second half\r\n")

    def test_progress(self) -> None:
        """Commands and every 64 KiB of a message count as progress, single octets don't."""
        owner = Owner(Limits())
        owner.say(b"LHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@x>\r\nDATA\r\n")
        before = owner.engine.progress
        owner.say(b"x", b"y", b"z" * 65_000)
        self.assertEqual(owner.engine.progress, before)
        owner.say(b"z" * 1000)
        self.assertEqual(owner.engine.progress, before + 1)
        owner.say(b"z" * 200_000)
        self.assertEqual(owner.engine.progress, before + 4)


_LINES = st.sampled_from(
    [
        b"LHLO c\r\n",
        b"MAIL FROM:<s@x>\r\n",
        b"MAIL FROM:<s@x> SIZE=60\r\n",
        b"RCPT TO:<a@x>\r\n",
        b"RCPT TO:<no@x>\r\n",
        b"DATA\r\n",
        b".\r\n",
        b"..\r\n",
        b"text\r\n",
        b"text\n.\n",
        b"\r",
        b"\n",
        b"x" * 70,
        b"RSET\r\n",
        b"NOOP\r\n",
        b"\x00\xff\r\n",
        b"QUIT\r\n",
    ]
)
_OPENING = b"LHLO c\r\nMAIL FROM:<s@x>\r\nRCPT TO:<a@x>\r\nDATA\r\n"


class CuttingTests(SynchronousTestCase):
    """The octets of a session may come in any pieces."""

    def check(self, data: bytes, pieces: Sequence[bytes]) -> None:
        """Whole and in pieces: the same answers, messages and end."""
        whole, parts = Owner(), Owner()
        self.assertEqual(parts.say(*pieces), whole.say(data))
        self.assertEqual(parts.messages, whole.messages)
        self.assertEqual(parts.dropped, whole.dropped)
        self.assertEqual(parts.closed, whole.closed)
        self.assertEqual(parts.engine.state, whole.engine.state)

    @settings(deadline=None, max_examples=300)
    @given(
        st.lists(_LINES, max_size=20),
        st.booleans(),
        st.lists(st.integers(min_value=0, max_value=500), max_size=8),
    )
    def test_cut_anywhere(self, lines: list[bytes], opened: bool, places: list[int]) -> None:
        """Likely sessions, cut anywhere."""
        data = (_OPENING if opened else b"") + b"".join(lines)
        self.check(data, cut(data, places))

    @settings(deadline=None, max_examples=100)
    @given(st.lists(_LINES, max_size=20))
    def test_octet_by_octet(self, lines: list[bytes]) -> None:
        """Likely sessions, one octet at a time."""
        data = b"".join(lines)
        self.check(data, [data[place : place + 1] for place in range(len(data))])

    @settings(deadline=None, max_examples=200)
    @given(st.binary(max_size=300), st.booleans())
    def test_any_octets(self, data: bytes, opened: bool) -> None:
        """Any octets at all: every answer is a line with a code, and nothing raises."""
        owner = Owner()
        answers = owner.say((_OPENING if opened else b"") + data)
        for line in answers.splitlines(keepends=True):
            self.assertRegex(line, rb"\A[2345][0-9][0-9][ -][^\r\n]+\r\n\Z")
