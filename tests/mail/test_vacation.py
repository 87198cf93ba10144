"""Answers while somebody is away: to whom, and what they look like (RFC 3834)."""

from __future__ import annotations

import email
import itertools
from email.message import EmailMessage
from email.policy import default

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.mail.headers import parse_fields
from stalwart.mail.vacation import Answer, Response, compose, sender_key, why_silent

NOW = 1_700_000_000
ANSWER = Answer(
    name="Ada Lovelace",
    sender="ada@example.org",
    recipient="bob@example.net",
    message_id="v1@mail.example.org",
    sent_at=NOW,
)
_CASES = settings(deadline=None, max_examples=80)


def header(**fields: str) -> bytes:
    """Header fields of a mail from Bob to Ada; `_` for `-`."""
    lines = {"From": "bob@example.net", "To": "Ada <ada@example.org>", "Subject": "Hi", "Message_ID": "<1@example.net>"}
    lines |= fields
    return "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items()).encode()


def is_own(address: str) -> bool:
    """Whether it is Ada's."""
    return address.lower() in ("ada@example.org", "countess@example.org")


def composed(response: Response, data: bytes, answer: Answer = ANSWER) -> EmailMessage:
    """The answer as Python's own reader has it."""
    tokens = (f"token{number}" for number in itertools.count())
    octets = compose(response, answer, parse_fields(data), lambda: next(tokens))
    assert octets.count(b"\n") == octets.count(b"\r\n")
    assert max(map(len, octets.split(b"\r\n"))) <= 998
    return email.message_from_bytes(octets, policy=default)


class DecisionTests(SynchronousTestCase):
    """`why_silent`."""

    def reason(self, return_path: str = "bob@example.net", **fields: str) -> str | None:
        """Why there is no answer."""
        return why_silent(parse_fields(header(**fields)), return_path, is_own)

    def test_answered(self) -> None:
        """A mail from a person to the user is answered, whichever field and address of theirs names them."""
        for fields in (
            {},
            {"To": "x@example.net", "Cc": "countess@example.org"},
            {"To": "team: eve@example.org, ADA@example.org;"},
            {"To": "x@example.net", "Resent_To": "ada@example.org"},
            {"Auto_Submitted": "no"},
            {"Auto_Submitted": "No (really)"},
            {"Precedence": "first-class"},
            {"X_Auto_Response_Suppress": "None"},
            {"X_Spam_Flag": "NO"},
        ):
            self.assertIsNone(self.reason(**fields), fields)
        for sender in ("norbert@example.net", "reply@example.net", "bob-no@example.net", "bouncer@example.net"):
            self.assertIsNone(self.reason(sender))

    def test_no_answer(self) -> None:
        """RFC 3834 §2: never to lists, bounces, bulk and machines, and not when the user is not addressed."""
        for fields in (
            {"List_Id": "<l.example.net>"},
            {"List_Unsubscribe": "<https://example.net>"},
            {"List_Post": "NO"},
            {"Mailing_List": "x"},
            {"Precedence": "bulk"},
            {"Precedence": "List (of ours)"},
            {"precedence": " JUNK"},
            {"Auto_Submitted": "auto-replied"},
            {"auto_submitted": "auto-generated; owner-email=x@y"},
            {"Auto_Submitted": "(comment) auto-notified"},
            {"Auto_Submitted": ""},
            {"X_Auto_Response_Suppress": "DR, OOF"},
            {"X_Autoreply": "yes"},
            {"X_Spam_Flag": "YES"},
            {"Content_Type": "multipart/report; report-type=delivery-status"},
            {"To": "eve@example.org"},
            {"To": "undisclosed-recipients:;"},
        ):
            self.assertIsNotNone(self.reason(**fields), fields)

    def test_machines(self) -> None:
        """Null return paths, the user's own address, and names that only programs have get no answer."""
        for sender in (
            "",
            "nobody",
            "@example.net",
            "Ada@example.org",
            "countess@example.org",
            "MAILER-DAEMON@example.net",
            "owner-list@example.net",
            "list-request@example.net",
            "list-bounces@example.net",
            "bounce+x=y@example.net",
            "bounces-1-2@example.net",
            "no-reply@example.net",
            "noreply@example.net",
            "do_not_reply@example.net".replace("_", "-"),
            "shop.noreply@example.net",
            "LISTSERV@example.net",
            "majordomo@example.net",
        ):
            self.assertIsNotNone(self.reason(sender), sender)

    def test_sender_key(self) -> None:
        """Letter case and a tag that changes daily don't make another sender."""
        self.assertEqual(sender_key("prvs=1234567890=Bob@Example.net"), "bob@example.net")

    @_CASES
    @given(st.binary(max_size=300), st.text(max_size=40))
    def test_any_octets(self, octets: bytes, sender: str) -> None:
        """Any header and any return path can be judged."""
        self.assertIsNotNone(why_silent(parse_fields(octets), sender, lambda address: False))


class ComposeTests(SynchronousTestCase):
    """`compose`."""

    def test_text(self) -> None:
        """RFC 3834 §3.1: who, to whom, about what and to which message; and that a program wrote it."""
        answer = composed(
            Response(subject="Away", text_body="Back in May."), header(References="<0@example.net> <1@example.net>")
        )
        self.assertEqual(answer["From"], "Ada Lovelace <ada@example.org>")
        self.assertEqual(answer["To"], "bob@example.net")
        self.assertEqual(answer["Subject"], "Away")
        self.assertEqual(answer["Auto-Submitted"], "auto-replied")
        self.assertEqual(answer["In-Reply-To"], "<1@example.net>")
        self.assertEqual(answer["References"], "<0@example.net> <1@example.net>")
        self.assertEqual(answer["Message-ID"], "<v1@mail.example.org>")
        self.assertEqual(answer["Date"], "Tue, 14 Nov 2023 22:13:20 +0000")
        self.assertEqual(answer.get_content_type(), "text/plain")
        self.assertEqual(answer.get_content().rstrip(), "Back in May.")

    def test_both(self) -> None:
        """With HTML there is a text beside it: the one given, or one made from the HTML."""
        for response, text in (
            (Response(text_body="Grüße", html_body="<p>Hi &amp; bye</p>"), "Grüße"),
            (Response(html_body="<p>Hi &amp; bye</p>"), "Hi & bye"),
        ):
            answer = composed(response, header())
            self.assertEqual(answer.get_content_type(), "multipart/alternative")
            plain, html = answer.iter_parts()
            assert isinstance(plain, EmailMessage)
            assert isinstance(html, EmailMessage)
            self.assertEqual(plain.get_content().rstrip(), text)
            self.assertEqual(html.get_content_type(), "text/html")
            self.assertEqual(html.get_content().rstrip(), "<p>Hi &amp; bye</p>")

    def test_defaults(self) -> None:
        """RFC 3834 §3.1.5: without a subject, that of the mail after "Auto:"; a default text."""
        answer = composed(Response(), header(Subject="=?utf-8?q?Gr=C3=BC=C3=9Fe?="))
        self.assertEqual(answer["Subject"], "Auto: Grüße")
        self.assertIn("I am away", answer.get_content())
        bare = composed(Response(), b"To: ada@example.org\r\n")
        self.assertEqual(bare["Subject"], "Automatic reply")
        self.assertIsNone(bare["In-Reply-To"])
        self.assertIsNone(bare["References"])

    @_CASES
    @given(st.text(max_size=200), st.text("\r\n =?_:<>@ab\0\x0b\x85\u2028é", max_size=80), st.binary(max_size=120))
    def test_nothing_breaks_out(self, text: str, line: str, octets: bytes) -> None:
        """Subjects, names, bodies and the mail that is answered add no field and no part, whatever is in them."""
        evil = line + "\r\nBcc: eve@example.net\r\n\r\n--=_1.token0--"
        data = b"To: ada@example.org\r\nSubject: " + octets + b"\r\n X\r\nMessage-ID: <" + octets + b"@x>\r\n"
        for response in (
            Response(subject=evil, text_body=text + evil, html_body=evil),
            Response(text_body=evil),
        ):
            answer = composed(response, data, msgspec.structs.replace(ANSWER, name=evil))
            known = {"from", "to", "subject", "date", "message-id", "auto-submitted", "in-reply-to", "references"}
            known |= {"mime-version", "content-type", "content-transfer-encoding"}
            self.assertLessEqual({name.lower() for name in answer}, known)
            self.assertEqual(answer["To"], "bob@example.net")
            self.assertEqual(len(list(answer.iter_parts())), 2 if response.html_body else 0)
