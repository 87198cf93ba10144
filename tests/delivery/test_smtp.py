"""The SMTP client engine, with exact octets."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.delivery.dot_stuffing import DotStuffer
from stalwart.delivery.outgoing import Outgoing, OutRecipient
from stalwart.delivery.smtp import SmtpEngine, Tls
from stalwart.delivery.smtp_commands import Credentials, Offer, encoded_address, rcpt_line, xtext
from stalwart.delivery.smtp_events import Closed, Event, Failed, Finished, Ready, SendContent, StartTls
from stalwart.delivery.smtp_replies import PeerFault, ReplyReader, one_line
from stalwart.delivery.smtp_states import TRANSITIONS, Input, State

GREETING = b"220 mx.example.net ESMTP\r\n"
DATA = b"Subject: x\r\n\r\n.dot\r\n"


def message(*recipients: str, **more: object) -> Outgoing:
    """A message from jane."""
    values = {
        "return_path": "jane@example.org",
        "recipients": tuple(OutRecipient(address=each) for each in recipients or ("a@example.net",)),
        "data": DATA,
        "size": len(DATA),
    } | more
    return Outgoing(**values)  # type: ignore[arg-type]


def offering(*extensions: str) -> bytes:
    """An answer to EHLO."""
    lines = ["mx.example.net", *extensions]
    return "".join(f"250{' ' if n == len(lines) - 1 else '-'}{line}\r\n" for n, line in enumerate(lines)).encode()


class Session:
    """An engine and what came out of it."""

    def __init__(self, tls: Tls = "none", credentials: Credentials | None = None) -> None:
        self.engine = SmtpEngine(hostname="mail.example.org", peer="mx", tls=tls, credentials=credentials)

    def hear(self, *octets: bytes) -> list[Event]:
        """Feed octets; the events they cause."""
        for each in octets:
            self.engine.receive(each)
        return self.events()

    def events(self) -> list[Event]:
        """The events there are."""
        found = []
        while (event := self.engine.next_event()) is not None:
            found.append(event)
        return found

    def said(self) -> bytes:
        """What the engine said."""
        return self.engine.data_to_send()

    def ready(self, *extensions: str) -> Session:
        """A session that can send."""
        assert self.hear(GREETING, offering(*extensions)) == [Ready()]
        assert self.said() == b"EHLO mail.example.org\r\n"
        return self


def kinds(events: list[Event]) -> list[tuple[str, str]]:
    """Kind and reply of each recipient."""
    return [
        (outcome.kind, outcome.reply) for event in events if isinstance(event, Finished) for outcome in event.outcomes
    ]


class TransactionTests(SynchronousTestCase):
    """One message."""

    def test_one_by_one(self) -> None:
        """Without PIPELINING each command waits for its answer; dots are stuffed; the next message can follow."""
        session = Session().ready()
        for _ in range(2):
            session.engine.send(message())
            self.assertEqual(session.said(), b"MAIL FROM:<jane@example.org>\r\n")
            session.hear(b"250 ok\r\n")
            self.assertEqual(session.said(), b"RCPT TO:<a@example.net>\r\n")
            session.hear(b"250 ok\r\n")
            self.assertEqual(session.said(), b"DATA\r\n")
            self.assertEqual(session.hear(b"354 go\r\n"), [SendContent(recipients=("a@example.net",))])
            session.engine.content(DATA)
            session.engine.end_content()
            self.assertEqual(session.said(), b"Subject: x\r\n\r\n..dot\r\n.\r\n")
            events = session.hear(b"250-2.0.0 queued\r\n250 2.0.0 as 7\r\n")
            self.assertEqual(kinds(events), [("accepted", "250 2.0.0 queued as 7")])
            self.assertEqual(events[-1], Ready())
        session.engine.quit()
        self.assertEqual(session.said(), b"QUIT\r\n")
        self.assertEqual(session.hear(b"221 bye\r\n"), [Closed()])

    def test_everything_offered(self) -> None:
        """RFC 1870, 6152, 6531, 3461: parameters of what is offered, all in one go."""
        session = Session().ready("PIPELINING", "SIZE 1000", "8BITMIME", "SMTPUTF8", "DSN")
        recipient = OutRecipient(address="jürgen@example.net", notify="NEVER", orcpt="utf-8;x")
        session.engine.send(
            message(recipients=(recipient,), env_id="a+b=c d", ret="HDRS", is_8bit=True, needs_smtputf8=True)
        )
        self.assertEqual(
            session.said().decode(),
            "MAIL FROM:<jane@example.org> SIZE=20 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+2Bb+3Dc+20d\r\n"
            "RCPT TO:<jürgen@example.net> NOTIFY=NEVER ORCPT=utf-8;x\r\n"
            "DATA\r\n",
        )

    def test_partial_refusal(self) -> None:
        """Those refused have their own answers; RFC 5321 §4.5.3.1.10: 552 for a recipient is only for now."""
        session = Session().ready("PIPELINING")
        session.engine.send(message("a@x", "b@x", "c@x", "d@x"))
        events = session.hear(b"250 ok\r\n550 5.1.1 who?\r\n250 ok\r\n450 4.2.1 later\r\n552 too many\r\n354 go\r\n")
        self.assertEqual(events, [SendContent(recipients=("b@x",))])
        session.engine.end_content()
        self.assertEqual(
            kinds(session.hear(b"250 ok\r\n")),
            [("permanent", "550 5.1.1 who?"), ("accepted", "250 ok"), ("temporary", "450 4.2.1 later"),
             ("temporary", "552 too many")],
        )  # fmt: skip

    def test_none_accepted_but_354(self) -> None:
        """RFC 2920 §3.1: a server that takes a message for nobody is given an empty one; nothing of ours is sent."""
        session = Session().ready("PIPELINING")
        session.engine.send(message("a@x"))
        session.said()
        self.assertEqual(session.hear(b"250 ok\r\n550 no\r\n354 go\r\n"), [])
        self.assertEqual(session.said(), b".\r\n")
        self.assertEqual(kinds(session.hear(b"250 taken\r\n")), [("permanent", "550 no")])
        self.assertEqual(session.said(), b"RSET\r\n")
        self.assertEqual(session.hear(b"250 ok\r\n"), [Ready()])

    def test_sender_refused(self) -> None:
        """The answer to MAIL is that of all recipients, whatever a pipelining server said of them after it."""
        for pipelining in ((), ("PIPELINING",)):
            session = Session().ready(*pipelining)
            session.engine.send(message("a@x", "b@x"))
            rest = b"503 no sender\r\n503 no sender\r\n503 no\r\n" if pipelining else b""
            events = session.hear(b"451 4.7.1 greylisted\r\n" + rest)
            self.assertEqual(kinds(events), [("temporary", "451 4.7.1 greylisted")] * 2)
            self.assertTrue(session.said().endswith(b"RSET\r\n"))

    def test_data_refused(self) -> None:
        """A refusal of DATA is that of the recipients who had been accepted."""
        session = Session().ready("PIPELINING")
        session.engine.send(message("a@x", "b@x"))
        events = session.hear(b"250 ok\r\n250 ok\r\n550 no\r\n451 disk full\r\n")
        self.assertEqual(kinds(events), [("temporary", "451 disk full"), ("permanent", "550 no")])

    def test_final_refusals(self) -> None:
        """4xx and 5xx after the dot, and the only case of which nothing is known: no answer at all."""
        for answer, kind in ((b"451 no\r\n", "temporary"), (b"554 no\r\n", "permanent"), (b"421 bye\r\n", "temporary"),
                             (b"250-half\r\n", "unknown"), (b"rubbish\r\n", "unknown"), (b"354 go\r\n", "unknown"),
                             (b"250-a\r\n251 b\r\n", "unknown")):  # fmt: skip
            session = Session().ready("PIPELINING")
            session.engine.send(message("a@x", "b@x"))
            session.hear(b"250 ok\r\n250 ok\r\n550 no\r\n354 go\r\n")
            session.engine.end_content()
            found = session.hear(answer)
            session.engine.lost("closed")
            found += session.events()
            self.assertEqual([each for each, _ in kinds(found)], [kind, "permanent"], answer)

    def test_lost_before_the_end(self) -> None:
        """Until the dot is sent nothing can have been accepted, whatever the server says."""
        for octets in (b"", b"250 fine already\r\n", b"452 full\r\n", b"552 too large\r\n", b"421 bye\r\n"):
            session = Session().ready()
            session.engine.send(message())
            session.hear(b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n")
            session.engine.content(DATA)
            found = session.hear(octets)
            session.engine.lost("closed")
            found += session.events()
            self.assertEqual([kind for kind, _ in kinds(found)], ["permanent" if b"552" in octets else "temporary"])
            self.assertEqual(found[-1], Closed())

    def test_not_for_this_peer(self) -> None:
        """What the peer can't take is refused here, without a word; the session goes on."""
        cases = (
            ({"size": 1001}, "552 5.3.4"),
            ({"is_8bit": True}, "554 5.6.3"),
            ({"needs_smtputf8": True}, "553 5.6.7"),
            ({"return_path": "jürgen@example.org"}, "553 5.6.7"),
            ({"return_path": "a>b@example.org"}, "553 5.1.7"),
        )
        for more, start in cases:
            session = Session().ready("SIZE 1000")
            session.engine.send(message(**more))
            events = session.events()
            ((kind, reply),) = kinds(events)
            self.assertEqual((kind, reply[:9], events[-1]), ("permanent", start, Ready()))
            self.assertEqual(session.said(), b"")

    def test_addresses(self) -> None:
        """One recipient's address doesn't harm the others; domains become A-labels; nothing breaks out of a line."""
        session = Session().ready("PIPELINING")
        bad = "x@y>\r\nRCPT TO:<z@z"
        session.engine.send(message("jürgen@x", bad, "a@bücher.example", "a@x b", "<@x"))
        self.assertEqual(
            session.said(),
            b"MAIL FROM:<jane@example.org>\r\nRCPT TO:<a@xn--bcher-kva.example>\r\nDATA\r\n",
        )
        session.hear(b"250 ok\r\n250 ok\r\n354 go\r\n")
        session.engine.end_content()
        found = [(kind, reply[:9]) for kind, reply in kinds(session.hear(b"250 ok\r\n"))]
        refused = ("permanent", "553 5.1.3")
        self.assertEqual(found, [("permanent", "553 5.6.7"), refused, ("accepted", "250 ok"), refused, refused])
        for parameter in ("NEVER\r\nDATA", "a b"):
            session = Session().ready("PIPELINING", "DSN")
            session.engine.send(message(recipients=(OutRecipient(address="a@x", notify=parameter, orcpt=parameter),)))
            self.assertNotIn(b"NEVER", session.said())

    def test_nonsense_in_the_envelope(self) -> None:
        """Answers that belong to nothing end the session, for now."""
        for octets in (b"250 ok\r\n334 x\r\n", b"354 go\r\n", b"250 ok\r\n250 ok\r\n250 ok\r\n", b"hello\r\n"):
            session = Session().ready("PIPELINING")
            session.engine.send(message())
            found = session.hear(octets)
            self.assertEqual([kind for kind, _ in kinds(found)], ["temporary"])
            self.assertEqual((found[-1], session.engine.state), (Closed(), State.CLOSED))


class SessionTests(SynchronousTestCase):
    """The way to READY."""

    def failure(self, session: Session, *octets: bytes) -> str:
        """The reply of the failure that these octets cause."""
        failed, closed = session.hear(*octets)
        assert isinstance(failed, Failed)
        self.assertEqual(closed, Closed())
        return one_line(failed.reply)

    def test_refused(self) -> None:
        """Greetings and answers to EHLO and HELO that refuse; RFC 5321 §3.8: 421 at any time."""
        self.assertEqual(self.failure(Session(), b"554 no mail here\r\n"), "554 no mail here")
        self.assertEqual(self.failure(Session(), GREETING, b"421 busy\r\n"), "421 busy")
        self.assertEqual(self.failure(Session(), GREETING, b"502 what\r\n", b"550 no\r\n"), "550 no")
        self.assertIn("no reply of SMTP", self.failure(Session(), b"HTTP/1.1 400 Bad Request\r\n"))

    def test_helo(self) -> None:
        """RFC 5321 §3.2: HELO after a server that doesn't know EHLO, but not where TLS or a sign-in is wanted."""
        session = Session("offered")
        self.assertEqual(session.hear(GREETING, b"502 what\r\n", b"250 hi\r\n"), [Ready()])
        self.assertEqual(session.said(), b"EHLO mail.example.org\r\nHELO mail.example.org\r\n")
        self.assertEqual(self.failure(Session("required"), GREETING, b"502 what\r\n"), "502 what")

    def test_starttls(self) -> None:
        """RFC 3207 §4.2: EHLO again after the handshake, and what was offered in clear is forgotten."""
        session = Session("required")
        self.assertEqual(session.hear(GREETING, offering("STARTTLS", "AUTH PLAIN"), b"220 go\r\n"), [StartTls()])
        session.said()
        session.engine.secured()
        self.assertEqual(session.said(), b"EHLO mail.example.org\r\n")
        self.assertEqual(session.hear(offering("SIZE 0")), [Ready()])
        self.assertEqual((session.engine.offer.auth, session.engine.offer.size), (frozenset(), None))

    def test_starttls_missing_or_refused(self) -> None:
        """Required: nothing is sent. Offered: it goes on in clear."""
        self.assertIn("offers no STARTTLS", self.failure(Session("required"), GREETING, offering("SIZE 1")))
        refusal = (GREETING, offering("STARTTLS"), b"454 4.7.0 not now\r\n")
        self.assertEqual(self.failure(Session("required"), *refusal), "454 4.7.0 not now")
        self.assertEqual(Session("offered").hear(*refusal), [Ready()])

    def test_starttls_injection(self) -> None:
        """RFC 3207 §6: what comes in clear after the answer to STARTTLS ends the session."""
        text = self.failure(Session("offered"), GREETING, offering("STARTTLS"), b"220 go\r\n250 injected\r\n")
        self.assertIn("in clear", text)

    def test_auth(self) -> None:
        """RFC 4954: PLAIN with its response at once, LOGIN step by step; the secret is never shown."""
        jane = Credentials(username="jane", secret="s3cret")
        session = Session(credentials=jane)
        session.hear(GREETING, offering("AUTH LOGIN PLAIN"))
        self.assertEqual(session.said().splitlines()[1], b"AUTH PLAIN AGphbmUAczNjcmV0")
        self.assertEqual(session.hear(b"235 ok\r\n"), [Ready()])
        session = Session(credentials=jane)
        session.hear(GREETING, offering("AUTH=LOGIN"), b"334 VXNlcm5hbWU6\r\n", b"334 UGFzc3dvcmQ6\r\n")
        self.assertEqual(session.said().splitlines()[1:], [b"AUTH LOGIN", b"amFuZQ==", b"czNjcmV0"])
        self.assertEqual(session.hear(b"235 ok\r\n"), [Ready()])
        self.assertNotIn("s3cret", repr(jane))
        long = Session(credentials=Credentials(username="jane", secret="x" * 600))
        long.hear(GREETING, offering("AUTH PLAIN"))
        self.assertEqual(long.said().splitlines()[1], b"AUTH PLAIN")

    def test_auth_refused(self) -> None:
        """A wrong password, no mechanism of ours, and answers that don't fit."""
        jane = Credentials(username="jane", secret="s3cret")
        start = (GREETING, offering("AUTH PLAIN"))
        self.assertEqual(self.failure(Session(credentials=jane), *start, b"535 5.7.8 no\r\n"), "535 5.7.8 no")
        self.assertIn("4.5.0", self.failure(Session(credentials=jane), *start, b"334 more\r\n"))
        self.assertIn(
            "it offers CRAM-MD5", self.failure(Session(credentials=jane), GREETING, offering("AUTH CRAM-MD5"))
        )

    def test_idle_end(self) -> None:
        """A session that ends while nothing is asked of it takes no message with it."""
        self.assertEqual(Session().ready().hear(b"421 idle\r\n"), [Closed()])
        self.assertEqual(Session().ready().hear(b"250 what\r\n"), [Closed()])


_REPLIES = [
    GREETING,
    offering("PIPELINING", "STARTTLS", "AUTH PLAIN LOGIN", "SMTPUTF8"),
    offering(),
    b"250 ok\r\n",
    b"354 go\r\n",
    b"334 x\r\n",
    b"235 ok\r\n",
    b"220 go\r\n",
    b"450 later\r\n",
    b"550 no\r\n",
    b"421 bye\r\n",
    b"221 bye\r\n",
    b"250-",
    b"x\r\n",
]


class AnyPeerTests(SynchronousTestCase):
    """Peers that answer anything."""

    @settings(deadline=None, max_examples=300)
    @given(
        st.sampled_from(["required", "offered", "none"]),
        st.booleans(),
        st.booleans(),
        st.lists(st.sampled_from(_REPLIES), max_size=14),
    )
    def test_one_outcome_each(self, tls: Tls, signs_in: bool, is_friendly: bool, replies: list[bytes]) -> None:
        """Each message has one outcome for each recipient, accepted or unknown only after its end was sent."""
        session = Session(tls, Credentials(username="a", secret="b") if signs_in else None)
        engine = session.engine
        sent = finished = ended = 0
        if is_friendly:
            replies = [GREETING, offering("PIPELINING"), *replies]
        for octets in [*replies, None]:
            if octets is None:
                engine.lost("closed")
            else:
                engine.receive(octets)
            for event in session.events():
                match event:
                    case StartTls():
                        engine.secured()
                    case Ready() if engine.state is State.READY and sent < 5:
                        engine.send(message("a@x", "ü@x", "b@x"))
                        sent += 1
                    case SendContent():
                        engine.content(DATA)
                        engine.end_content()
                        ended += 1
                    case Finished(outcomes=outcomes):
                        finished += 1
                        self.assertEqual([each.recipient for each in outcomes], ["a@x", "ü@x", "b@x"])
                        if any(each.kind in ("accepted", "unknown") for each in outcomes):
                            self.assertGreater(ended, 0)
                    case _:
                        pass
            finished += sum(isinstance(event, Finished) for event in session.events())
        self.assertEqual((finished, engine.state), (sent, State.CLOSED))


class PartsTests(SynchronousTestCase):
    """Replies, dots and addresses by themselves."""

    def test_replies(self) -> None:
        """RFC 8621 §7: several lines become one; codes of the wrong class are text; a bare code is a reply."""
        for octets, line in (
            (b"250-2.1.5 a\r\n250 2.1.5 b\r\n", "250 2.1.5 a b"),
            (b"550 2.1.5 a\r\n", "550 2.1.5 a"),
            (b"250\r\n", "250"),
            (b"550 \x1b[1m\xff\n", "550 ?[1m\ufffd"),
        ):
            reader = ReplyReader()
            reader.receive(octets)
            reply = reader.next()
            assert reply is not None
            self.assertEqual(one_line(reply), line)

    def test_reply_bounds(self) -> None:
        """RFC 5321 §4.5.3.1.5: endless lines and endless replies end the session."""
        for octets in (b"250 " + b"x" * 5000, b"250-x\r\n" * 300, b"2500 x\r\n", b"150 x\r\n", b"250-a\r\n550 b\r\n"):
            reader = ReplyReader()
            reader.receive(octets)
            with self.assertRaises(PeerFault):
                while reader.next() is not None:
                    pass

    @settings(deadline=None, max_examples=60)
    @given(st.binary(max_size=200), st.integers(1, 7))
    def test_any_reply(self, octets: bytes, step: int) -> None:
        """Any octets, cut at any place: replies or PeerFault, and the same whole and in pieces."""

        def read(pieces: list[bytes]) -> list[str]:
            reader, found = ReplyReader(), []
            try:
                for piece in pieces:
                    reader.receive(piece)
                    while (reply := reader.next()) is not None:
                        found.append(one_line(reply))
            except PeerFault:
                found.append("fault")
            return found

        octets = b"250-a\r\n250 " + octets
        self.assertEqual(read([octets]), read([octets[at : at + step] for at in range(0, len(octets), step)]))

    @settings(deadline=None, max_examples=60)
    @given(st.lists(st.sampled_from([b"\r\n", b".", b"\r", b"\n", b"a", b"\r\n."]), max_size=20), st.integers(1, 5))
    def test_dots(self, parts: list[bytes], step: int) -> None:
        """RFC 5321 §4.5.2: what a server reads is what was given, however it was cut."""
        octets = b"".join(parts)
        stuffer = DotStuffer()
        sent = b"".join(stuffer.feed(octets[at : at + step]) for at in range(0, len(octets), step)) + stuffer.end()
        self.assertEqual((b"\r\n" + sent).find(b"\r\n.\r\n") + 3, len(sent))
        self.assertEqual(sent.count(b"\r\n.\r\n") if sent != b".\r\n" else 1, 1)
        whole = octets if octets.endswith(b"\r\n") or not octets else octets + b"\r\n"
        self.assertEqual((b"\r\n" + sent[:-3]).replace(b"\r\n.", b"\r\n")[2:], whole)

    def test_repeated_secret(self) -> None:
        """A server that repeats what it was sent, in whatever form and answer, shows the password to nobody."""
        plain, login = "AGphbmUAczNjcmV0cyBhcmU=", "czNjcmV0cyBhcmU="
        for offer, said in (
            ("PLAIN", f"501 5.5.2 what <{plain}>\r\n"),
            ("PLAIN", f"501-5.5.2 {plain[:12]}\r\n501 5.5.2 {plain[12:]}\r\n"),
            ("PLAIN", "501-s3cr\r\n501 ets are\r\n"),
            ("PLAIN", "535 S3CRETS\r\n"),
            ("PLAIN", f"421 bye {plain}\r\n"),
            ("PLAIN", f"{plain}\r\n"),
            ("PLAIN", f"334 {plain}\r\n334 {plain}\r\n"),
            ("PLAIN", f"235 ok\r\n250 {plain}\r\n"),
            ("PLAIN", f"501-no\r\n{plain}\r\n"),
            ("LOGIN", f"334 user\r\n334 pass\r\n535 {login}\r\n"),
            ("LOGIN", f"334 user\r\n334 pass\r\n{login}\r\n"),
        ):
            session = Session(credentials=Credentials(username="jane", secret="s3crets are"))
            session.hear(GREETING, offering(f"AUTH {offer}"))
            session.hear(said.encode())
            farewell = session.engine.farewell
            assert farewell is not None, said
            shown = one_line(farewell)
            self.assertIn("[not shown, it repeats the password]", shown)
            self.assertEqual(
                shown[:3], "451" if farewell.enhanced == "4.5.0" else said[:3] if offer == "PLAIN" else "535"
            )
        session = Session(credentials=Credentials(username="jane", secret="s3crets are"))
        session.hear(GREETING, offering("AUTH PLAIN"))
        session.hear(b"535 5.7.8 Authentication credentials invalid\r\n")
        assert session.engine.farewell is not None
        self.assertEqual(one_line(session.engine.farewell), "535 5.7.8 Authentication credentials invalid")

    def test_settings_at_fault(self) -> None:
        """RFC 4954 §6: 530 wants AUTH first; mail waits until the settings are right."""
        session = Session().ready()
        session.engine.send(message())
        self.assertEqual(
            kinds(session.hear(b"530 5.7.0 Authentication required\r\n", b"250 ok\r\n")),
            [("temporary", "530 5.7.0 Authentication required")],
        )

    def test_original_recipient(self) -> None:
        """ORCPT is sent as xtext (RFC 3461 §4.2), as servers refuse "+" and "=" in it; what doesn't fit is left out."""
        for orcpt, sent in (
            ("rfc822;bob+lists@x=y", " ORCPT=rfc822;bob+2Blists@x+3Dy"),
            ("rfc822;a b@x", " ORCPT=rfc822;a+20b@x"),
            ("utf-8;zoë@x", ""),
            ("rfc822;" + "+" * 300, ""),
        ):
            line = rcpt_line(OutRecipient(address="a@x", orcpt=orcpt), "a@x", Offer(extensions=frozenset({"DSN"})))
            self.assertEqual(line.decode(), f"RCPT TO:<a@x>{sent}\r\n")

    def test_addresses(self) -> None:
        """Quoted local parts stay; ENVID is xtext (RFC 3461 §4)."""
        self.assertEqual(encoded_address('"a b"@x.example'), '"a b"@x.example')
        for bad in ("a", "@x", "a@", "a b@x", "a\x00@x", "a@\udcff", "\udcff@x"):
            with self.assertRaises(ValueError):
                encoded_address(bad)
        self.assertEqual(xtext("ü+"), "+C3+BC+2B")


class DrawingTests(SynchronousTestCase):
    """The drawing against the table."""

    def test_drawing(self) -> None:
        """Every transition but CLOSE is drawn, and nothing else is."""
        page = Path(__file__).resolve().parents[2] / "docs" / "sending-states.md"
        drawn = {
            (State[start], Input[given]): State[end]
            for start, end, given in re.findall(r"^ +(\w+) --> (\w+): (\w+)$", page.read_text(), re.MULTILINE)
        }
        self.assertEqual(drawn, {key: end for key, end in TRANSITIONS.items() if key[1] is not Input.CLOSE})
