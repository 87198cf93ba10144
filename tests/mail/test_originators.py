"""Who a message says it is from."""

from __future__ import annotations

from email import policy
from email.parser import BytesParser

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.mail.headers import as_addresses
from stalwart.mail.originators import Ambiguous, mailboxes

_OURS = "ada@example.org"
#: What a person would see as from ceo@v.com in one program or the other.
AMBIGUOUS = (
    "ceo@v.com ada@example.org",
    "ceo@v.com <ada@example.org>",
    "<ada@example.org>ceo@v.com",
    "<ada@example.org> <ceo@v.com>",
    "<ada@example.org> ceo@v.com",
    "<ceo@v.com<ada@example.org>>",
    "ceo@v.com, ",
    "Board: ada@example.org;",
    "Board: ceo@v.com; ada@example.org",
    "undisclosed:;",
    "<@v.com:ada@example.org>",
    "ada@example.org (<ceo@v.com>)",
    "ada(ceo@v.com)@example.org",
    'ada@example.org ("ceo@v.com)',
    "ada @ example.org",
    "ada@example.org@v.com",
    "ada+=?utf-8?q?=3E_ceo=40v.com?=@example.org",
    "=?utf-8?q?ceo=40v.com=0A?= <ada@example.org>",
    "=?utf-8?b?Y2VvQHYuY29tAA==?= <ada@example.org>",
    "ada+\u202emoc.v@example.org",
    "ada+\u00a0ceo@example.org",
    '"ada\x0bb" <ada@example.org>',
    "ada@example.org\rceo@v.com",
    "ada\\@v.com@example.org",
    "[ada@example.org]",
    "'ceo@v.com' <ada@example.org",
    '"ceo@v.com <ada@example.org>',
    "ada",
    "",
    ",",
)


class MailboxTests(SynchronousTestCase):
    """Lists of mailboxes."""

    def test_read(self) -> None:
        """RFC 5322 §3.4: addresses alone, with names in all their forms, and several of them."""
        for text, wanted in (
            (" ada@example.org", (_OURS,)),
            ("Ada <ada@example.org>", (_OURS,)),
            ("<ada@example.org>", (_OURS,)),
            ('"Ada, \\"the\\" ceo@v.com" <ada@example.org>', (_OURS,)),
            ("Ada Q. Public\r\n <ada@example.org> (at home)", (_OURS,)),
            ("ada@example.org (Ada Public)", (_OURS,)),
            ("=?utf-8?q?Ada_=40_home?= <ada@example.org>, bob@[192.0.2.1]", (_OURS, "bob@[192.0.2.1]")),
            ("=?iso-2022-jp?b?GyRCOzNFRBsoQg==?= <ada@example.org>", (_OURS,)),
            ("Zoë <zoë@bücher.example>", ("zoë@bücher.example",)),
            ('"a.b"@example.org', ('"a.b"@example.org',)),
        ):
            self.assertEqual(mailboxes(text.encode()), wanted, text)

    def test_refused(self) -> None:
        """What programs read differently, or what is no mailbox-list, is no answer."""
        for text in AMBIGUOUS:
            self.assertRaises(Ambiguous, mailboxes, text.encode())
        self.assertRaises(Ambiguous, mailboxes, b"Ad\xe4 <ada@example.org>")

    def test_many(self) -> None:
        """Every address counts, however many there are; long nonsense is refused at once."""
        self.assertEqual(len(mailboxes(b", ".join([b"ada@example.org"] * 20_000))), 20_000)
        for text in (b'"\\' * 100_000, b"(" * 100_000, b"a " * 100_000, b"<" * 100_000, b"=?q?" * 100_000):
            self.assertRaises(Ambiguous, mailboxes, text)

    @given(st.text(st.sampled_from('ab@.<>,:;() "\\=?\t\r\n\0é[]'), max_size=30) | st.sampled_from(AMBIGUOUS))
    @settings(deadline=None, max_examples=400)
    def test_agree(self, text: str) -> None:
        """Whatever is accepted, this server's lenient reader and Python's see the same addresses."""
        raw = text.encode()
        try:
            found = mailboxes(raw)
        except Ambiguous:
            return
        self.assertEqual(tuple(one.email for one in as_addresses(raw)), found)
        if raw.isascii() and not {b"\r", b"\n", b"\0"} & {raw[i : i + 1] for i in range(len(raw))}:
            shown = BytesParser(policy=policy.default).parsebytes(b"From: " + raw + b"\r\n\r\n")["From"]
            self.assertEqual(tuple(str(one.addr_spec) for one in shown.addresses), found)
