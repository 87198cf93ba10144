"""Full text: what is found, in which fields, and that user text is never syntax."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from stalwart.store import (
    AllOf,
    InMailbox,
    Text,
    create_account,
    destroy_email,
    ids_with_header,
    query_emails,
)
from stalwart.store.filters import TextField
from tests.store.bed import StoreTestCase, message

_queries = st.text() | st.text(alphabet="\"'\\*^+-(){}: foxANDORNT日é\0\ud800")


class SearchTests(StoreTestCase):
    """Text conditions over a few messages."""

    def setUp(self) -> None:
        """One message with text in every field."""
        super().setUp()
        self.found = self.add(
            message(
                "Grüße aus Köln: don't panic",
                "The quick brown fox — ﬁve foxes at crème-brûlée.example; O'Brien\r\n日本語のメール テスト, "
                "ภาษาไทย 한국어",
                From="=?utf-8?q?J=C3=B6rg_M=C3=BCller?= <joerg@example.org>",
                To="Bob <bob@example.net>",
                Cc="Carol Danvers <carol@cc.example>",
                Bcc="dave@bcc.example",
                MIME_Version="1.0",
                Content_Type="text/plain; charset=utf-8",
                Content_Transfer_Encoding="8bit",
            )
        ).id

    def search(self, query: str, field: TextField = "any") -> bool:
        """Whether the message is found; nothing else ever is."""
        with self.store.read() as s:
            result = query_emails(
                s,
                self.account_id,
                Text(field=field, query=query),
                [],
                collapse_threads=False,
                position=0,
                limit=None,
                calculate_total=True,
            )
        self.assertEqual(result.total, len(result.ids))
        return result.ids == [self.found]

    def assert_found(self, *queries: str, field: TextField = "any") -> None:
        """All are found."""
        for query in queries:
            self.assertTrue(self.search(query, field), query)

    def assert_not_found(self, *queries: str, field: TextField = "any") -> None:
        """None is found."""
        for query in queries:
            self.assertFalse(self.search(query, field), query)

    def test_words(self) -> None:
        """All words must be there, in any order and case; accents don't count."""
        self.assert_found("fox", "FOX quick", "köln", "koln", "KÖLN", "Ko\u0308ln", "creme", "brulee", "grüße")
        self.assert_not_found("fox wolf", "wolf", "uick")

    def test_header_names(self) -> None:
        """A field's name is found in any case, in the account that has it only, and is no text."""
        with self.store.write() as s:
            other = create_account(s, "eve@example.org", password_hash="x").id
        for name, account, found in (
            ("subject", self.account_id, [self.found]),
            ("MIME-Version", self.account_id, [self.found]),
            ("x-mailer", self.account_id, []),
            ('a" OR "b', self.account_id, []),
            ("日本\ud800", self.account_id, []),
            ("subject", other, []),
        ):
            with self.store.read() as s:
                self.assertEqual(ids_with_header(s, account, name, 10), found, name)
        self.assert_not_found("mime")

    def test_beginnings(self) -> None:
        """A word of three letters or more also finds what begins with it; shorter ones don't."""
        self.assert_found("bro", "brow", "exam")
        self.assert_not_found("br", "rown")

    def test_phrases(self) -> None:
        """Quoted words must follow each other, as whole words; quotes and backslashes can be escaped."""
        self.assert_found('"quick brown fox"', "'quick brown'", '"brown" quick', r'"o\'brien"', '"Quick  BROWN"')
        self.assert_not_found('"brown quick"', '"quick bro"', '"quick fox"', '"bro"')

    def test_quotes_in_words(self) -> None:
        """An apostrophe or a lone quote is punctuation."""
        self.assert_found("don't", "o'brien", '"quick', "'quick", 'quick"brown', "don\u2019t")

    def test_fields(self) -> None:
        """Each field finds its own text: names and addresses, and nothing of the others."""
        self.assert_found("jörg", "muller", "joerg@example.org", "joerg", "Jörg joerg@example.org", field="from")
        self.assert_found("bob", "bob@example.net", field="to")
        self.assert_found("carol danvers", "cc.example", field="cc")
        self.assert_found("dave@bcc.example", field="bcc")
        self.assert_found("panic", field="subject")
        self.assert_found("fox", field="body")
        self.assert_found("jörg bob carol dave panic fox")
        self.assert_not_found("fox", "bob", "carol", field="from")
        self.assert_not_found("fox", field="subject")
        self.assert_not_found("panic", "bob", field="body")

    def test_unspaced_scripts(self) -> None:
        """Any run of letters of a script without spaces is found, and only as a run."""
        self.assert_found(
            "日本語", "本語", "語", "メール", "テスト", "日本語 テスト", "ภาษาไทย", "ไทย", "한국", "한국어"
        )
        self.assert_not_found("本日", "語日本", "メテ", "英語")

    def test_compatible_forms(self) -> None:
        """Ligatures and full-width letters are the letters they stand for."""
        self.assert_found("five", "\uff46\uff49\uff56\uff45", "ﬁve")

    def test_marks(self) -> None:
        """Accents of any alphabet, vowel points, sharp s, soft hyphens and characters of no width don't count."""
        self.found = self.add(
            message(
                body="Ἑλληνικὰ Ёлка Straße GROẞ مُحَمَّد שָׁלוֹם Zusammen\u00adarbeit zero\u200bwidth が ﱞ",
                MIME_Version="1.0",
                Content_Type="text/plain; charset=utf-8",
            )
        ).id
        self.assert_found("ελληνικα", "Ελληνικά", "елка", "ЁЛКА", "strasse", "STRASSE", "straße", "gross", "محمد")
        self.assert_found("שלום", "zusammenarbeit", "Zusammen\u00adarbeit", "zerowidth", "が")
        self.assert_not_found("か", "ﱞ")

    def test_case(self) -> None:
        """Letter case doesn't count in any alphabet, those that FTS5 doesn't know among them."""
        utf8 = "text/plain; charset=utf-8"
        self.found = self.add(message(body="Ꮳꮃꭹ 𞤀𞤁𞤂 𐐀𐐨 ΟΔΌΣ", MIME_Version="1.0", Content_Type=utf8)).id
        self.assert_found("ꮳꮃꭹ", "ᏣᎳᎩ", "𞤢𞤣𞤤", "𐐨𐐨", "𐐀𐐀", "οδος", "ΟΔΟΣ")

    def test_nothing_to_look_for(self) -> None:
        """An empty query holds for all; one of punctuation alone for none."""
        self.assert_found("", "  \t")
        self.assert_not_found("!", '""', "''", "— …", '"', "*")

    def test_not_syntax(self) -> None:
        """FTS5's operators, columns and wildcards are words or punctuation like others."""
        self.assert_not_found(
            "fox OR wolf",
            "fox AND wolf",
            "NOT wolf",
            "fox NOT quick",
            "NEAR(fox quick)",
            "account",
            "a1 wolf",
            "body:wolf",
            "^wolf",
            'x" OR "fox',
            "fox) OR (wolf",
            "{body}: fox",
            f"a{self.account_id}",
        )
        self.assert_found("fox*", "^fox", "+fox", "-fox", "(fox)", "fox;")

    def test_other_accounts(self) -> None:
        """Another account's mail is never found, nor does its text matter."""
        mine, found = self.account_id, self.found
        with self.store.write() as s:
            self.account_id = create_account(s, "bob@example.org", password_hash="h").id
        self.add(message("fox fox fox", body=f"account a{mine} a{mine} fox", From=f"a{mine} <a{mine}@example.org>"))
        self.account_id = mine
        self.assert_found("fox")
        self.assertEqual(self.found, found)

    def test_combined(self) -> None:
        """Text goes together with other conditions."""
        with self.store.read() as s:
            for mailbox_id, wanted in ((self.mailbox_id(), [self.found]), (self.mailbox_id("trash"), [])):
                condition = AllOf(children=(Text(field="any", query="fox"), InMailbox(id=mailbox_id)))
                result = query_emails(
                    s, self.account_id, condition, [], collapse_threads=True, position=0, limit=9, calculate_total=True
                )
                self.assertEqual(result.ids, wanted)

    def test_destroyed(self) -> None:
        """What was destroyed is not found, and the index is sound."""
        with self.store.write() as s:
            destroy_email(s, self.account_id, self.found)
            s.driver.execute("INSERT INTO email_search (email_search) VALUES ('integrity-check')")
        self.assert_not_found("fox", "日本")

    def test_long(self) -> None:
        """A very long query is answered."""
        self.assert_found("fox " * 5000, '"quick brown" ' * 3000)
        self.assert_not_found(" ".join(f"word{number}" for number in range(5000)), "x" * 1_000_000)

    @settings(deadline=None, max_examples=300)
    @given(_queries, st.sampled_from(["any", "from", "body"]))
    def test_any_text(self, query: str, field: TextField) -> None:
        """Any text is a query."""
        self.search(query, field)
