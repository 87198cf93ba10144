"""Text of HTML bodies, and previews."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.mail.html import html_to_text
from stalwart.mail.preview import preview_of_html, preview_of_text


class HtmlTests(SynchronousTestCase):
    def check(self, html: str, text: str) -> None:
        self.assertEqual(html_to_text(html), text)

    def test_blocks(self) -> None:
        """Blocks are lines, inline elements join words, cells are set apart."""
        self.check("<p>One <b>t</b>wo</p><p>three<br>four", "One two\nthree\nfour")
        self.check("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a b\nc")

    def test_white_space(self) -> None:
        """White space of the source collapses, no-break spaces too."""
        self.check("a\r\n  b&nbsp;\t c", "a b c")

    def test_references(self) -> None:
        """Character references are decoded, also those beyond all bounds."""
        self.check("&lt;b&gt; &eacute;&#233;&#xe9; &amp;amp; &nosuch;", "<b> ééé &amp; &nosuch;")
        self.check("&#" + "9" * 5000 + ";", "\ufffd")

    def test_unseen(self) -> None:
        """Head, style, script and comments are not text."""
        self.check(
            "<html><head><title>T</title><style>p > a {}</style></head><body>a<script>if (x<y) '</p>'</script>"
            "<!-- c <b> > -->b<!---->c<!doctype x><?php y ?>d</body>",
            "a\nbcd",
        )

    def test_head_without_end(self) -> None:
        """The body begins even where the head isn't closed."""
        self.check("<head><meta x><body>text", "text")

    def test_hidden(self) -> None:
        """Elements that are hidden are left out with all that is in them."""
        self.check('a<div style="display: none">b<div>c</div>d</div>e', "a\ne")
        self.check("a<span hidden>b</span>c<i style='mso-hide:all'>d</i>e", "a\nc\ne")
        self.check('<p hidden>a<p>b<img style="display:none">c', "b c")
        self.check('<td width="5" class="hidden-x">a', "a")

    def test_attributes(self) -> None:
        """What alt and title say counts for search only."""
        html = "<img alt='A logo' src=x><a title=\"T &amp; U\" href=y>link</a>"
        self.assertEqual(html_to_text(html, attributes=True), "A logo T & U link")
        self.check(html, "link")

    def test_signs(self) -> None:
        """A sign that starts no tag is text; a quote that isn't closed loses no text after the tag."""
        self.check("1 < 2 && 3 <4", "1 < 2 && 3 <4")
        self.check('<a href="x>text</a> <b>more</b>', "text more")
        self.check('<a title="1 > 0">x</a>', "x")

    def test_blockquotes(self) -> None:
        """Quotes can be left out."""
        self.assertEqual(
            html_to_text("a<blockquote>b<blockquote>c</blockquote></blockquote>d", quotes=False), "a\n>\nd"
        )

    @settings(deadline=None, max_examples=200)
    @given(st.text(alphabet="<>/!-\"'=&;#ab \npdivhead", max_size=200))
    def test_anything(self, html: str) -> None:
        """Any text is accepted; lines are never empty and never padded."""
        text = html_to_text(html, attributes=True)
        for line in text.split("\n") if text else []:
            self.assertEqual(line, line.strip())
            self.assertTrue(line)


class PreviewTests(SynchronousTestCase):
    def test_plain(self) -> None:
        """White space is single spaces; rules and the signature are left out."""
        self.assertEqual(preview_of_text("Hi  Bob,\n\n\tall\u00a0well.\n=====\nBye\n-- \nBob"), "Hi Bob, all well. Bye")

    def test_quotes(self) -> None:
        """Quoted lines and the line that introduces them are left out, unless there is nothing else."""
        self.assertEqual(preview_of_text("On Monday, Al <a@b> wrote:\n> old\n> older\nnew text"), "new text")
        self.assertEqual(preview_of_text("new\n\nAm 3.9. schrieb Al:\n\n> old"), "new")
        self.assertEqual(preview_of_text("> only\n> quotes"), "> only > quotes")

    def test_length(self) -> None:
        """At most 256 characters."""
        self.assertEqual(preview_of_text("x" * 5000), "x" * 256)
        self.assertLessEqual(len(preview_of_text("ü🍿 word " * 1000)), 256)

    def test_invisible(self) -> None:
        """Characters that newsletters pad with, and controls, are not shown."""
        self.assertEqual(preview_of_text("Sale\u200c\u00ad\u034f \u200b\ufeff!\x07\x1bend"), "Sale ! end")

    def test_html(self) -> None:
        """Of HTML what is seen, quotes left out unless there is nothing else."""
        self.assertEqual(preview_of_html("<p>new</p><blockquote>old</blockquote>"), "new")
        self.assertEqual(preview_of_html("<blockquote>old</blockquote>"), "old")
        self.assertEqual(preview_of_html("<style>x</style>"), "")

    def test_attribution(self) -> None:
        """What introduces the quote goes with it, folded or in HTML."""
        folded = "Thanks!\n\nOn Mon, 1 Jan 2024 at 10:00, Bob\n<bob@example.org> wrote:\n\n> hello\n"
        self.assertEqual(preview_of_text(folded), "Thanks!")
        self.assertEqual(preview_of_text("Yes, at 10.\nOn 1 Jan Bob wrote:\n> hello\n"), "Yes, at 10.")
        html = "<div>Yes</div><div><div>On Mon, Bob wrote:<br></div><blockquote>old</blockquote></div>"
        self.assertEqual(preview_of_html(html), "Yes")
        self.assertEqual(preview_of_html("<blockquote>old</blockquote>"), "old")
