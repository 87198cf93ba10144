"""Message disposition notifications."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.mail.mdn import Notification, parse


def mdn(
    message_id: str = "<one@example.org>",
    final: str = "rfc822; bob@example.net",
    original: str = "rfc822; Sales@example.net",
    disposition: str = "manual-action/MDN-sent-manually; displayed",
    author: str = "Bob <bob@example.net>",
) -> bytes:
    """A notification."""
    return (
        f"From: {author}\r\nMIME-Version: 1.0\r\n"
        "Content-Type: multipart/report; report-type=disposition-notification; boundary=b\r\n\r\n"
        "--b\r\n\r\nread\r\n--b\r\nContent-Type: message/disposition-notification\r\n\r\n"
        f"Reporting-UA: phone; x\r\nOriginal-Recipient: {original}\r\nFinal-Recipient: {final}\r\n"
        f"Original-Message-ID: {message_id}\r\nDisposition: {disposition}\r\n\r\n--b--\r\n"
    ).encode()


class MdnTests(SynchronousTestCase):
    """`parse`."""

    def test_displayed(self) -> None:
        """RFC 8098 §3.2: of which message it is, from whom it may be, and that it was shown."""
        wanted = Notification(
            message_id="one@example.org", recipients=("Sales@example.net", "bob@example.net"), is_displayed=True
        )
        self.assertEqual(parse(mdn()), wanted)

    def test_other_dispositions(self) -> None:
        """RFC 8098 §3.2.6: deleted, processed or dispatched mail wasn't shown to anybody."""
        for text, shown in (
            ("automatic-action/MDN-sent-automatically; displayed/error", True),
            ("manual-action/MDN-sent-manually; deleted", False),
            ("automatic-action/MDN-sent-automatically; processed", False),
            ("displayed", False),
            ("", False),
        ):
            found = parse(mdn(disposition=text))
            assert found is not None
            self.assertEqual(found.is_displayed, shown, text)

    def test_nothing(self) -> None:
        """What names no message, or speaks for another than its author (RFC 8098 §3), is none."""
        self.assertIsNone(parse(mdn(message_id="")))
        self.assertIsNone(parse(mdn(author="eve@example.net")))
        self.assertIsNone(parse(b"From: bob@example.net\r\n\r\nread"))

    @given(st.text(max_size=60), st.text(max_size=60))
    @settings(deadline=None, max_examples=80)
    def test_any(self, first: str, second: str) -> None:
        """Whatever stands in it, reading it raises nothing."""
        parse(mdn(message_id=first, final=second, disposition=second, author=first))
