"""Normalization: as Unicode has it, and in a time that does not grow with the square of anything."""

from __future__ import annotations

import time
import unicodedata

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.mail.normal import normalized
from stalwart.mail.terms import fold

_MARKS = "\u0315\u0300\u0f73\u0344\u05b0"


class NormalTests(SynchronousTestCase):
    """RFC 8621 §4.1.2.2 and §2 ask for Normalization Form C."""

    @settings(max_examples=200, deadline=None)
    @given(st.text(st.sampled_from("ab1 éÅ日한e" + _MARKS), max_size=30), st.sampled_from(["NFC", "NFKC", "NFKD"]))
    def test_as_unicode(self, text: str, form: str) -> None:
        """Text with no more marks in a row than any language has is what unicodedata makes of it."""
        self.assertEqual(normalized(form, text), unicodedata.normalize(form, text))  # type: ignore[arg-type]

    def test_long(self) -> None:
        """So is long text, whatever marks are in it."""
        for text in ("e\u0301" * 10_000, "日本" * 10_000, "\u05d1\u05b0\u05bc" * 10_000):
            self.assertEqual(normalized("NFC", text), unicodedata.normalize("NFC", text))

    def test_marks_in_a_row(self) -> None:
        """Marks without end are no work without end, in whatever order and of whatever kind they come."""
        normalized("NFC", "é")
        started = time.thread_time()
        for marks in ("\u0315" * 20_000 + "\u0300" * 20_000, "\u0315\u0300" * 20_000, "\u0f73" * 40_000):
            self.assertIn("\u034f", normalized("NFC", "a" + marks))
            fold("a" + marks)
        self.assertLess(time.thread_time() - started, 2.0)
