"""Body lists and body values (RFC 8621 §4.1.4 and §4.2)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from stalwart.mail.bodies import body_lists, body_value
from stalwart.mail.message import Part

_Spec = tuple[str, str] | tuple[str, str, str] | tuple[str, list["_Spec"]]


def leaf(name: str, kind: str, disposition: str | None = None, file_name: str | None = None) -> Part:
    return Part(
        part_id=name,
        type=kind,
        charset=None,
        name=file_name,
        disposition=disposition,
        cid=None,
        language=None,
        location=None,
        encoding="identity",
        size=0,
        header_start=0,
        body_start=0,
        body_end=0,
        sub_parts=None,
    )


def multi(subtype: str, *parts: Part) -> Part:
    return Part(
        part_id=None,
        type=f"multipart/{subtype}",
        charset=None,
        name=None,
        disposition=None,
        cid=None,
        language=None,
        location=None,
        encoding="identity",
        size=0,
        header_start=0,
        body_start=0,
        body_end=0,
        sub_parts=parts,
    )


def lists(root: Part) -> tuple[str, str, str]:
    found = body_lists(root)
    text, html, attachments = (
        "".join(part.part_id or "?" for part in parts) for parts in (found.text, found.html, found.attachments)
    )
    return text, html, attachments


class ListTests(SynchronousTestCase):
    def test_standard_example(self) -> None:
        """The example of RFC 8621 §4.1.4."""
        root = multi(
            "mixed",
            leaf("A", "text/plain", "inline"),
            multi(
                "mixed",
                multi(
                    "alternative",
                    multi(
                        "mixed",
                        leaf("B", "text/plain", "inline"),
                        leaf("C", "image/jpeg", "inline"),
                        leaf("D", "text/plain", "inline"),
                    ),
                    multi("related", leaf("E", "text/html"), leaf("F", "image/jpeg")),
                ),
                leaf("G", "image/jpeg", "attachment"),
                leaf("H", "application/x-excel"),
                leaf("J", "message/rfc822"),
            ),
            leaf("K", "text/plain", "inline"),
        )
        self.assertEqual(lists(root), ("ABCDK", "AEK", "CFGHJ"))

    def test_single(self) -> None:
        """One text is the body in both lists, one file is an attachment."""
        self.assertEqual(lists(leaf("A", "text/plain")), ("A", "A", ""))
        self.assertEqual(lists(leaf("A", "text/html")), ("A", "A", ""))
        self.assertEqual(lists(leaf("A", "application/pdf")), ("", "", "A"))
        self.assertEqual(lists(leaf("A", "text/plain", "attachment")), ("", "", "A"))
        self.assertEqual(lists(leaf("A", "text/calendar")), ("", "", "A"))

    def test_alternative(self) -> None:
        """Each list takes its own alternative; where one is missing the other stands in."""
        plain, html, calendar = leaf("P", "text/plain"), leaf("H", "text/html"), leaf("C", "text/calendar")
        self.assertEqual(lists(multi("alternative", plain, html)), ("P", "H", ""))
        self.assertEqual(lists(multi("alternative", plain, html, calendar)), ("P", "H", "C"))
        self.assertEqual(lists(multi("alternative", html)), ("H", "H", ""))
        self.assertEqual(lists(multi("alternative", plain, calendar)), ("P", "P", "C"))

    def test_related_in_alternative(self) -> None:
        """An image that belongs to the HTML is an attachment, and no body."""
        root = multi(
            "alternative",
            leaf("P", "text/plain"),
            multi("related", leaf("H", "text/html"), leaf("I", "image/png", "inline")),
        )
        self.assertEqual(lists(root), ("P", "H", "I"))

    def test_named_text(self) -> None:
        """A text with a file name that isn't the first part is an attachment."""
        root = multi(
            "mixed",
            leaf("A", "text/plain", None, "a.txt"),
            leaf("B", "text/plain", None, "b.txt"),
            leaf("C", "text/plain"),
        )
        self.assertEqual(lists(root), ("AC", "AC", "B"))

    def test_images_between_texts(self) -> None:
        """Inline images between texts are shown in their place."""
        root = multi(
            "mixed", leaf("A", "text/plain"), leaf("B", "image/png", "inline", "b.png"), leaf("C", "text/plain")
        )
        self.assertEqual(lists(root), ("ABC", "ABC", ""))


def value(
    text: bytes, charset: str = "utf-8", limit: int | None = None, kind: str = "text/plain"
) -> tuple[str, bool, bool]:
    part = leaf("1", kind)
    found = body_value(
        text, Part(**{name: getattr(part, name) for name in part.__struct_fields__} | {"charset": charset}), limit
    )
    return found.value, found.is_encoding_problem, found.is_truncated


class ValueTests(SynchronousTestCase):
    def test_line_endings(self) -> None:
        """CRLF becomes LF; CR alone too where it is the only line ending; NUL is dropped."""
        self.assertEqual(value(b"a\r\nb\nc\x00\r\n"), ("a\nb\nc\n", False, False))
        self.assertEqual(value(b"a\rb\r"), ("a\nb\n", False, False))

    def test_problems(self) -> None:
        """Malformed octets and unknown charsets are problems."""
        self.assertEqual(value("größe ".encode() + b"\xff"), ("größe \ufffd", True, False))
        self.assertEqual(value(b"a", "x-nothing"), ("a", True, False))

    def test_truncation(self) -> None:
        """Octets count, a character is never cut, and 0 or None is no limit."""
        self.assertEqual(value("aüb".encode(), limit=2), ("a", False, True))
        self.assertEqual(value("aüb".encode(), limit=3), ("aü", False, True))
        self.assertEqual(value("aüb".encode(), limit=4), ("aüb", False, False))
        self.assertEqual(value(b"abc", limit=0), ("abc", False, False))
        self.assertEqual(value("🍿🍿".encode(), limit=7), ("🍿", False, True))

    def test_html_truncation(self) -> None:
        """HTML isn't cut inside a tag, a quoted attribute, a comment or a character reference."""
        for html, limit, kept in (
            (b'ab<a href="x">c</a>', 10, "ab"),
            (b'ab<a href="x">c</a>', 14, 'ab<a href="x">'),
            (b'ab<a href="x > y">c', 15, "ab"),
            (b"ab<a title='<b>'>c", 15, "ab"),
            (b"ab<!-- x > y -->c", 12, "ab"),
            (b"a &amp; b", 5, "a "),
            (b"a &amp; b", 7, "a &amp;"),
            (b"a & b and c", 4, "a & "),
            (b"1 < 2 and more", 6, "1 < 2 "),
        ):
            self.assertEqual(value(html, limit=limit, kind="text/html"), (kept, False, True), html)

    def test_plain_truncation(self) -> None:
        """Plain text is cut anywhere between characters."""
        self.assertEqual(value(b"ab<a href>", limit=5)[0], "ab<a ")
