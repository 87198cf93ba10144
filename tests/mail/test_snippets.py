"""Search terms, and texts with the matches marked."""

from __future__ import annotations

import itertools
import re
import time
from html import unescape

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.mail.snippets import MAX_PREVIEW, Marker
from stalwart.mail.terms import parse_terms, words

_CASES = settings(deadline=None, max_examples=100)
_TEXT = st.text(max_size=200) | st.text(" fox&<>'\"é\u0301日本ß\n", max_size=400)


def marked(query: str, text: str) -> str | None:
    """The whole text with its matches marked."""
    return Marker(parse_terms(query)).whole(text)


class MarkerTests(SynchronousTestCase):
    """What is marked, and how."""

    def test_whole(self) -> None:
        """RFC 8621 §5: words are marked whatever their case and accents, beginnings as the search finds them."""
        for query, text, expected in (
            ("foo", "The Foosball competition", "The <mark>Foosball</mark> competition"),
            ("KOLN gruesse", "Aus Köln", "Aus <mark>Köln</mark>"),
            ("straße", "STRASSE & Co", "<mark>STRASSE</mark> &amp; Co"),
            ("cafe", "Cafe\u0301 <b>", "<mark>Café</mark> &lt;b&gt;"),
            ('"quick brown"', "quick fox, quick  brown!", "quick fox, <mark>quick  brown</mark>!"),
            ("brown-fox", "a brown fox; fox brown", "a <mark>brown fox</mark>; fox brown"),
            ("日本", "東日本語", "東<mark>日本</mark>語"),
            ("quick 'quick brown'", "quick brown", "<mark>quick brown</mark>"),
            ("five", "\ufb01ve", "<mark>\ufb01ve</mark>"),
            ('"foo"', "foosball", None),
            ("nothing", "at all", None),
            ("", "anything", None),
            ("!?", "!?", None),
        ):
            self.assertEqual(marked(query, text), expected, query)

    def test_excerpt(self) -> None:
        """The first match is shown with a little before it, white space collapsed, what is left out marked by dots."""
        text = "word " * 100 + "the needle\nhere <i> & " + "more " * 100
        found = Marker(parse_terms("needle")).excerpt(text)
        assert found is not None
        self.assertTrue(found.startswith("…word"))
        self.assertIn("the <mark>needle</mark> here &lt;i&gt; &amp; more", found)
        self.assertTrue(found.endswith("…"))
        self.assertEqual(Marker(parse_terms("needle")).excerpt("a needle"), "a <mark>needle</mark>")
        self.assertIsNone(Marker(parse_terms("haystack")).excerpt(text))

    def test_cost(self) -> None:
        """Many words are looked for in one pass, and a letter of an unspaced script is folded once."""
        text = "".join(map(chr, range(0x4E00, 0x9E00))) * 5
        marker = Marker(parse_terms(" ".join(f"word{number}" for number in range(90)) + " \u9dff"))
        start = time.process_time()
        self.assertIsNotNone(marker.excerpt(text))
        self.assertLess(time.process_time() - start, 1.3)  # a multiple of that otherwise

    @_CASES
    @given(_TEXT, _TEXT)
    def test_any_text(self, query: str, text: str) -> None:
        """Any text: at most 255 octets, a mark in every answer, no markup but marks, no text that isn't there."""
        marker = Marker(parse_terms(query))
        whole, excerpt = marker.whole(text), marker.excerpt(text)
        for found in (whole, excerpt):
            if found is not None:
                self.assertIn("<mark>", found)
                self.assertEqual(found.count("<mark>"), found.count("</mark>"))
                self.assertNotRegex(re.sub("</?mark>", "", found), "[<>]")
        if excerpt is not None:
            self.assertLessEqual(len(excerpt.encode()), MAX_PREVIEW)
            self.assertIsNotNone(marker.whole(" ".join(text.split())))

    @_CASES
    @given(st.integers(1, 400), st.sampled_from(["x", "é", "日", "\U0001f600", "&"]))
    def test_bounds(self, length: int, character: str) -> None:
        """A match longer than a preview, or after long words, is cut and still shown."""
        for text in (
            f"needle{character * length} {character * length}",
            f"{character * length} needle {character * length}",
        ):
            found = Marker(parse_terms("needle")).excerpt(text)
            assert found is not None
            self.assertLessEqual(len(found.encode()), MAX_PREVIEW)
            self.assertIn("<mark>needle", found)
            self.assertIn(unescape(re.sub("</?mark>", "", found)).strip("…"), text)


class WordTests(SynchronousTestCase):
    """Words of texts."""

    @_CASES
    @given(_TEXT)
    def test_in_order(self, text: str) -> None:
        """Words lie in the text one after the other, and hold no upper case."""
        found = words(text)
        for before, after in itertools.pairwise(found):
            self.assertLessEqual(before.start, after.start)
        for word in found:
            self.assertTrue(0 <= word.start < word.end <= len(text))
            self.assertEqual(word.text, word.text.casefold())
