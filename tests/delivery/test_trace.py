"""The header fields that delivery adds and takes out."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.delivery.trace import trace_fields, without_return_path

_PIECES = st.lists(
    st.sampled_from(
        [b"Return-Path: <a@b>", b"return-path :", b"Subject: x", b" folded", b"\r\n", b"\n", b"\x00", b"R"]
    ),
    max_size=20,
).map(b"".join)


class FieldTests(SynchronousTestCase):
    """`trace_fields`."""

    def test_fields(self) -> None:
        """Return-Path first, then Delivered-To, then Received (RFC 5321 §4.4)."""
        fields = trace_fields(
            delivery_id="5d2f",
            sender="s@example.net",
            recipient="jane+x@example.org",
            client="mx.example.net",
            peer="2001:db8::7",
            hostname="mail.example.org",
            protocol="LMTPS",
            at=1_763_644_560.9,
        )
        self.assertEqual(
            fields,
            b"Return-Path: <s@example.net>\r\n"
            b"Delivered-To: jane+x@example.org\r\n"
            b"Received: from mx.example.net ([IPv6:2001:db8::7])\r\n"
            b"\tby mail.example.org with LMTPS id 5d2f;\r\n"
            b"\tThu, 20 Nov 2025 13:16:00 +0000\r\n",
        )

    def test_bounce_over_a_unix_socket(self) -> None:
        """The sender of a bounce is <>; a Unix socket has no address to name; addresses may be UTF-8."""
        fields = trace_fields(
            delivery_id="5d2f",
            sender="",
            recipient="jürgen@example.org",
            client="mx",
            peer="",
            hostname="mail.example.org",
            protocol="UTF8LMTP",
            at=0,
        )
        self.assertEqual(
            fields.decode(),
            "Return-Path: <>\r\n"
            "Delivered-To: jürgen@example.org\r\n"
            "Received: from mx\r\n"
            "\tby mail.example.org with UTF8LMTP id 5d2f;\r\n"
            "\tThu, 01 Jan 1970 00:00:00 +0000\r\n",
        )


class ReturnPathTests(SynchronousTestCase):
    """`without_return_path`."""

    def test_removed(self) -> None:
        """Every such field of the header goes, with its folded lines and whatever its line ends are."""
        self.assertEqual(
            without_return_path(
                b"RETURN-PATH: <a@b>\r\nSubject: x\r\nReturn-Path:\r\n\t<c@d>\r\n"
                b"return-path : <e@f>\nTo: y\r\n\r\nbody\r\n"
            ),
            b"Subject: x\r\nTo: y\r\n\r\nbody\r\n",
        )
        self.assertEqual(without_return_path(b"Return-Path: <a@b>"), b"")

    def test_left_alone(self) -> None:
        """Other fields, folded lines that look like one, and the body are not touched."""
        for message in (
            b"",
            b"Subject: x\r\n\r\nReturn-Path: <a@b>\r\n",
            b"\r\nReturn-Path: <a@b>\r\n",
            b"Subject: x\r\n Return-Path: <a@b>\r\nX-Return-Path: y\r\n\r\n",
            b"not a field\r\nReturn-Path: <a@b>\r\n\r\n",
        ):
            self.assertEqual(without_return_path(message), message)

    def test_many(self) -> None:
        """A header of nothing else takes linear time."""
        self.assertEqual(without_return_path(b"Return-Path: <a@b>\r\n" * 100_000 + b"\r\nx"), b"\r\nx")

    @settings(deadline=None, max_examples=200)
    @given(_PIECES)
    def test_any_octets(self, message: bytes) -> None:
        """Whatever comes in, only pieces of the header go out of it, and doing it again changes nothing."""
        cleaned = without_return_path(message)
        self.assertLessEqual(len(cleaned), len(message))
        self.assertEqual(without_return_path(cleaned), cleaned)
