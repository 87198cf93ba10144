"""Address lists (RFC 5322 §3.4, RFC 8621 §4.1.2.3 and §4.1.2.4)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from stalwart.mail.headers import header_form


def pairs(raw: bytes) -> list[tuple[object, object]]:
    value = header_form(raw, "addresses")
    assert isinstance(value, list)
    return [(one["name"], one["email"]) for one in value if isinstance(one, dict)]


class AddressTests(SynchronousTestCase):
    def check(self, raw: bytes, *expected: tuple[str | None, str]) -> None:
        self.assertEqual(pairs(raw), list(expected))

    def test_standard_example(self) -> None:
        """The example of RFC 8621 §4.1.2.3."""
        self.check(
            b' "  James Smythe" <james@example.com>, Friends:\r\n  jane@example.com,'
            b" =?UTF-8?Q?John_Sm=C3=AEth?=\r\n  <john@example.com>;",
            ("James Smythe", "james@example.com"),
            (None, "jane@example.com"),
            ("John Smîth", "john@example.com"),
        )

    def test_mail_standard_examples(self) -> None:
        """The examples of RFC 5322 appendix A.1.2, A.1.3, A.5 and A.6."""
        self.check(
            b" Mary Smith <mary@x.test>, jdoe@example.org, Who? <one@y.test>",
            ("Mary Smith", "mary@x.test"),
            (None, "jdoe@example.org"),
            ("Who?", "one@y.test"),
        )
        self.check(
            b' <boss@nil.test>, "Giant; \\"Big\\" Box" <sysservices@example.net>',
            (None, "boss@nil.test"),
            ('Giant; "Big" Box', "sysservices@example.net"),
        )
        self.check(b" Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>", ("Pete", "pete@silly.test"))
        self.check(
            b"Mary Smith <@node.test:mary@example.net>, , jdoe@test  . example",
            ("Mary Smith", "mary@example.net"),
            (None, "jdoe@test.example"),
        )
        self.check(b"Joe Q. Public <john.q.public@example.com>", ("Joe Q. Public", "john.q.public@example.com"))

    def test_comment_as_name(self) -> None:
        """A comment after the address stands in for the name, its encoded words decoded."""
        self.check(b"jane@example.com (Jane =?utf-8?q?D=C3=B6e?=)", ("Jane Döe", "jane@example.com"))
        self.check(b"<jane@example.com> (Jane (J.) Doe)", ("Jane (J.) Doe", "jane@example.com"))
        self.check(b"Jane <jane@example.com> (home)", ("Jane", "jane@example.com"))
        self.check(b"(before) jane@example.com", (None, "jane@example.com"))

    def test_quoted_local_part(self) -> None:
        """A quoted local part keeps its quotes and blanks."""
        self.check(b'"john doe"@example.com', (None, '"john doe"@example.com'))
        self.check(b'J <"john > doe"@example.com>', ("J", '"john > doe"@example.com'))

    def test_domain_literal(self) -> None:
        """A domain literal may hold colons."""
        self.check(b"foo@[IPv6:2001:db8::1], x@y", (None, "foo@[IPv6:2001:db8::1]"), (None, "x@y"))

    def test_encoded_word_in_quotes(self) -> None:
        """RFC 2047 §5: an encoded word within a quoted-string is not one."""
        self.check(b'"=?utf-8?q?a?=" <a@b>', ("=?utf-8?q?a?=", "a@b"))

    def test_encoded_words_in_name(self) -> None:
        """Adjacent encoded words join; a comma inside a word doesn't end the address."""
        self.check(b"=?utf-8?q?J=C3=BC?=\r\n =?utf-8?q?rgen?= M. <a@b>", ("Jürgen M.", "a@b"))
        self.check(b"=?utf-8?q?Doe,_J?= <a@b>", ("Doe, J", "a@b"))

    def test_utf_8(self) -> None:
        """RFC 6532: names and addresses in UTF-8."""
        self.check("Jöhn <jdöe@mächine.example>".encode(), ("Jöhn", "jdöe@mächine.example"))

    def test_unquoted_specials(self) -> None:
        """A name with an at sign that should have been quoted is a name still."""
        self.check(b"Mikel@Lindsaar <raasdnil@gmail.com>", ("Mikel@Lindsaar", "raasdnil@gmail.com"))

    def test_name_before_bare_address(self) -> None:
        """Brackets that were forgotten around the address are thought in."""
        self.check(b"John Doe jd@example.com", ("John Doe", "jd@example.com"))

    def test_missing_comma(self) -> None:
        """Two addresses without the comma between are two."""
        self.check(b"a <b@x> c <d@x>", ("a", "b@x"), ("c", "d@x"))

    def test_unclosed(self) -> None:
        """Marks that are never closed don't swallow the rest."""
        self.check(b"Foo <foo@bar, bar@x", ("Foo", "foo@bar"), (None, "bar@x"))
        self.check(b'"Foo <foo@bar>', ("Foo", "foo@bar"))
        self.check(b"Foo (bar <foo@bar>", ("Foo (bar", "foo@bar"))

    def test_no_address(self) -> None:
        """What is no address is given as it stands; nothing gives nothing."""
        self.check(b"undisclosed-recipients", (None, "undisclosed-recipients"))
        self.check(b"Foo <>", ("Foo", ""))
        for raw in (b"", b" ", b",,;", b"<>", b"Undisclosed recipients:;"):
            self.check(raw)

    def test_bound(self) -> None:
        """No more than so many addresses are read."""
        self.assertEqual(len(pairs(b"a@b," * 20_000)), 10_000)


class GroupTests(SynchronousTestCase):
    def test_groups(self) -> None:
        """Addresses outside groups are gathered under a group without name, in the order of the list."""
        self.assertEqual(
            header_form(b"a@b, c@d, Friends (x): e@f, G <g@h>;, i@j, =?utf-8?q?N=C3=B6?=:;", "grouped-addresses"),
            [
                {"name": None, "addresses": [{"name": None, "email": "a@b"}, {"name": None, "email": "c@d"}]},
                {
                    "name": "Friends",
                    "addresses": [{"name": None, "email": "e@f"}, {"name": "G", "email": "g@h"}],
                },
                {"name": None, "addresses": [{"name": None, "email": "i@j"}]},
                {"name": "Nö", "addresses": []},
            ],
        )

    def test_standard_example(self) -> None:
        """The obsolete and commented groups of RFC 5322 appendix A.5."""
        self.assertEqual(
            header_form(b"(Empty list)(start)Hidden recipients  :(nobody(that I know))  ;", "grouped-addresses"),
            [{"name": "Hidden recipients", "addresses": []}],
        )

    def test_unclosed_group(self) -> None:
        """A group that isn't closed ends with the field."""
        self.assertEqual(
            header_form(b"Team: a@b, c@d", "grouped-addresses"),
            [{"name": "Team", "addresses": [{"name": None, "email": "a@b"}, {"name": None, "email": "c@d"}]}],
        )
