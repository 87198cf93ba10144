"""Delivery status notifications, built and read."""

from __future__ import annotations

import base64
import email
from email.message import EmailMessage
from email.policy import default

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.mail.dsn import Letter, RecipientReport, Report, build, parse

NOW = 1_700_000_000
ORIGINAL = b"From: ada@example.org\r\nTo: bob@example.net\r\nSubject: Hi\r\n\r\n"
FAILED = RecipientReport(
    address="bob@example.net",
    action="failed",
    status="5.1.1",
    original="bob+x@example.net",
    diagnostic="550 5.1.1 No such user",
    remote="mx.example.net",
    last_attempt_at=NOW,
)
REPORT = Report(reporting_mta="mail.example.org", recipients=(FAILED,), env_id="Q+1", arrived_at=NOW - 60)
LETTER = Letter(
    sender="postmaster@mail.example.org",
    recipient="ada@example.org",
    message_id="n1@mail.example.org",
    sent_at=NOW,
    original=lambda: (ORIGINAL,),
)
_CASES = settings(deadline=None, max_examples=80)


def octets(report: Report, letter: Letter = LETTER) -> bytes:
    """The notification."""
    tokens = iter(("token", "other", "third"))
    return b"".join(build(report, letter, lambda: next(tokens)))


def read(data: bytes) -> EmailMessage:
    """The message as Python's own reader has it."""
    return email.message_from_bytes(data, policy=default)


class BuildTests(SynchronousTestCase):
    """`build`."""

    def test_failure(self) -> None:
        """RFC 3464 §2: text for people, fields for programs and the header of the original; RFC 3834 §5 says whose."""
        data = octets(REPORT)
        message = read(data)
        self.assertEqual(message.get_content_type(), "multipart/report")
        self.assertEqual(message.get_param("report-type"), "delivery-status")
        self.assertEqual(message["Auto-Submitted"], "auto-replied")
        self.assertEqual(message["Subject"], "Mail could not be delivered")
        text, status, original = message.iter_parts()
        self.assertIn("<bob@example.net>", text.as_string())
        self.assertIn("mx.example.net answered: 550 5.1.1 No such user", text.as_string())
        self.assertEqual(status.get_content_type(), "message/delivery-status")
        wanted = (
            b"Original-Envelope-Id: Q+1\r\n"
            b"Reporting-MTA: dns; mail.example.org\r\n"
            b"Arrival-Date: Tue, 14 Nov 2023 22:12:20 +0000\r\n"
            b"\r\n"
            b"Original-Recipient: rfc822; bob+x@example.net\r\n"
            b"Final-Recipient: rfc822; bob@example.net\r\n"
            b"Action: failed\r\n"
            b"Status: 5.1.1\r\n"
            b"Remote-MTA: dns; mx.example.net\r\n"
            b"Diagnostic-Code: smtp; 550 5.1.1 No such user\r\n"
            b"Last-Attempt-Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n"
        )
        self.assertIn(wanted, data)
        self.assertEqual(original.get_content_type(), "text/rfc822-headers")
        self.assertIn(ORIGINAL, data)

    def test_whole(self) -> None:
        """RFC 3461 §4.3: with RET=FULL the message itself comes back."""
        letter = msgspec.structs.replace(LETTER, original=lambda: (ORIGINAL, b"body\r\n"), is_whole=True)
        data = octets(REPORT, letter)
        self.assertIn(b"Content-Type: message/rfc822\r\n\r\n" + ORIGINAL + b"body\r\n", data)

    def test_delay_and_success(self) -> None:
        """A delay says until when it is tried; several recipients share one notification, named for the worst."""
        delayed = RecipientReport(address="a@example.net", action="delayed", status="4.4.1", retry_until=NOW + 3600)
        good = RecipientReport(address="b@example.net", action="delivered", status="2.1.5")
        for recipients, subject in (
            ((good,), "Mail was delivered"),
            ((good, delayed), "Mail is delayed"),
            ((good, delayed, FAILED), "Mail could not be delivered"),
        ):
            data = octets(Report(reporting_mta="m.example.org", recipients=recipients))
            self.assertEqual(read(data)["Subject"], subject)
            found = parse(data)
            assert found is not None
            self.assertEqual([one.action for one in found.recipients], [one.action for one in recipients])
        self.assertIn(b"Will-Retry-Until: Tue, 14 Nov 2023 23:13:20 +0000\r\n", data)
        self.assertIn(b"It is tried until Tue, 14 Nov 2023 23:13:20 +0000.", data)

    def test_beyond_ascii(self) -> None:
        """RFC 6533 §3: an address that isn't ASCII comes in the types made for it, and back as it was."""
        report = Report(
            reporting_mta="m.example.org",
            recipients=(RecipientReport(address="jörg@example.net", action="failed", status="5.1.1"),),
        )
        data = octets(report)
        self.assertIn(b"Content-Type: message/global-delivery-status", data)
        self.assertIn("Final-Recipient: utf-8; jörg@example.net\r\n".encode(), data)
        self.assertIn(b"Content-Type: message/global-headers", data)
        found = parse(data)
        assert found is not None
        self.assertEqual(found.recipients[0].address, "jörg@example.net")

    def test_nobody(self) -> None:
        """A report on nobody is refused."""
        self.assertRaises(ValueError, octets, Report(reporting_mta="m.example.org", recipients=()))

    @_CASES
    @given(st.text(max_size=200), st.text("\r\n :-ab", max_size=60))
    def test_peer_text_stays_in_its_place(self, diagnostic: str, remote: str) -> None:
        """What a peer said begins no line of its own, adds no recipient and no part, and no line is too long."""
        evil = msgspec.structs.replace(
            FAILED,
            diagnostic=diagnostic + "\r\n\r\nFinal-Recipient: rfc822; eve@example.net\r\nAction: failed",
            remote=remote + "\r\n--=_1.token--\r\n" + "x" * 3000,
        )
        data = octets(msgspec.structs.replace(REPORT, recipients=(evil,), env_id="a\r\nReporting-MTA: dns; x"))
        self.assertLessEqual(max(map(len, data.split(b"\r\n"))), 998)
        self.assertEqual(len(list(read(data).iter_parts())), 3)
        found = parse(data)
        assert found is not None
        self.assertEqual([one.address for one in found.recipients], ["bob@example.net"])
        self.assertEqual(found.reporting_mta, "mail.example.org")


class ParseTests(SynchronousTestCase):
    """`parse`."""

    def test_own(self) -> None:
        """A notification of ours says what it was made from, but for times."""
        wanted = msgspec.structs.replace(
            REPORT, recipients=(msgspec.structs.replace(FAILED, last_attempt_at=None),), arrived_at=None
        )
        self.assertEqual(parse(octets(REPORT)), wanted)

    def test_foreign(self) -> None:
        """Comments, other cases of letters, LF alone, base64, brackets, missing types and fields are understood."""
        status = (
            b"reporting-mta: DNS;mx.example.net\nOriginal-Envelope-ID: Q+1\n"
            b"Final-recipient: <bob@example.net>\nACTION: Failed (no such user)\nStatus: 5.1.1 (bad address)\n"
            b" \n\n"
            b"Original-Recipient: rfc822;c@example.net\nAction: delayed\n"
            b"\n"
            b"Final-Recipient: rfc822;d@example.net\nAction: exploded\nStatus: 5.0.0\n"
        )
        for octets_of_status, encoding in (
            (status, b"7bit"),
            (base64.encodebytes(status), b"base64"),
        ):
            message = (
                b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\nSorry.\n--b\n"
                b"Content-Type: message/delivery-status\nContent-Transfer-Encoding: "
                + encoding
                + b"\n\n"
                + octets_of_status
                + b"\n--b--\n"
            )
            found = parse(message)
            assert found is not None
            self.assertEqual((found.reporting_mta, found.env_id), ("mx.example.net", "Q+1"))
            self.assertEqual(
                [(one.address, one.action, one.status) for one in found.recipients],
                [("bob@example.net", "failed", "5.1.1"), ("c@example.net", "delayed", "4.0.0")],
            )

    def test_none(self) -> None:
        """Ordinary mail, and notifications that say nothing, are none."""
        for data in (
            b"",
            ORIGINAL + b"Final-Recipient: rfc822; bob@example.net\r\nAction: failed\r\n",
            b"Content-Type: message/delivery-status\r\n\r\n",
            b"Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; x\r\n\r\nAction: failed\r\n",
            # one that was forwarded is about somebody else's mail
            b"Content-Type: multipart/mixed; boundary=f\r\n\r\n--f\r\nContent-Type: message/rfc822\r\n\r\n"
            + octets(REPORT)
            + b"\r\n--f--\r\n",
        ):
            self.assertIsNone(parse(data))

    def test_bounded(self) -> None:
        """A report on a million recipients is read as far as a thousand of them."""
        group = b"Final-Recipient: rfc822; a@x\r\nAction: failed\r\n\r\n"
        found = parse(b"Content-Type: message/delivery-status\r\n\r\n" + group * 20_000)
        assert found is not None
        self.assertLessEqual(len(found.recipients), 1001)

    @_CASES
    @given(
        st.binary(max_size=300)
        | st.lists(
            st.sampled_from(
                [b"Final-Recipient: rfc822;a@x", b"Action: failed", b"\r\n", b"\n", b" ", b"\r", b"Status: 5", b":"]
            ),
            max_size=30,
        ).map(b"".join)
    )
    def test_any_octets(self, junk: bytes) -> None:
        """Any octets are a report or none, never an error."""
        for data in (junk, b"Content-Type: message/delivery-status\r\n\r\n" + junk):
            found = parse(data)
            self.assertTrue(found is None or found.recipients)
