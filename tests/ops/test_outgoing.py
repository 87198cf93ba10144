"""What HTTP clients have in common."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.ops.outgoing import LONGEST_WAIT, http_date, retry_after_seconds

_NOW = 1_798_761_600.0  # 2027-01-01 00:00:00 UTC


class RetryAfterTests(SynchronousTestCase):
    def test_seconds_and_dates(self) -> None:
        """Both forms of RFC 9110 §10.2.3; the past is now, and a day is the longest."""
        for text, expected in (
            ("120", 120.0),
            (" 0 ", 0.0),
            ("Fri, 01 Jan 2027 00:01:00 GMT", 60.0),
            ("Friday, 01-Jan-27 00:01:00 GMT", 60.0),
            ("Thu, 31 Dec 2026 00:00:00 GMT", 0.0),
            ("999999999999999999", LONGEST_WAIT),
            ("Fri, 01 Jan 2100 00:00:00 GMT", LONGEST_WAIT),
        ):
            self.assertEqual(retry_after_seconds(text, _NOW), expected, text)

    def test_neither(self) -> None:
        """What can't be read is as if it weren't there."""
        for text in ("", "soon", "-1", "1.5", "²", "Fri, 01 Foo 2027 00:00:00 GMT"):
            self.assertIsNone(retry_after_seconds(text, _NOW), text)

    @given(st.text(max_size=40))
    @settings(deadline=None, max_examples=150)
    def test_any_text(self, text: str) -> None:
        """Any text is a bounded wait or none."""
        found = retry_after_seconds(text, _NOW)
        self.assertTrue(found is None or 0 <= found <= LONGEST_WAIT)

    def test_date(self) -> None:
        """A date is seconds since the epoch."""
        self.assertEqual(http_date("Fri, 01 Jan 2027 00:00:00 GMT"), _NOW)
        self.assertIsNone(http_date("never"))
