"""Addresses and domains in their one form."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.store import InvalidAddress
from stalwart.store.addresses import normalise_address, normalise_domain, without_tag


class AddressTests(SynchronousTestCase):
    """What is the same address, and what is none."""

    def test_domains(self) -> None:
        """Case, a final dot and the spelling of an IDN don't matter."""
        for text, wanted in (
            ("Example.ORG", "example.org"),
            ("example.org.", "example.org"),
            ("localhost", "localhost"),
            ("Müller.example", "xn--mller-kva.example"),
            ("XN--MLLER-KVA.example", "xn--mller-kva.example"),
            ("straße.example", "xn--strae-oqa.example"),
            ("例え.テスト", "xn--r8jz45g.xn--zckzah"),
            ("a" * 63 + ".example", "a" * 63 + ".example"),
        ):
            self.assertEqual(normalise_domain(text), wanted)

    def test_no_domains(self) -> None:
        """What can't be a host name is InvalidAddress, and named."""
        for text in (
            "",
            ".",
            "a..b",
            "-a.example",
            "a_b.example",
            "a b",
            "[127.0.0.1]",
            "a" * 64,
            "a." * 127 + "org",
            "xn--a.example",
            "\u2028.example",
            "é" * 70,
            "a/b",
            "a\nb.example",
            "\ud800.example",
        ):
            error = self.assertRaises(InvalidAddress, normalise_domain, text)
            self.assertIn(repr(text), str(error))

    def test_addresses(self) -> None:
        """The local part is compared without case and in NFC; needless quotes go."""
        for text, wanted in (
            ("Bob.Smith@Example.org", "bob.smith@example.org"),
            (' "bob"@example.org ', "bob@example.org"),
            ('"b\\ob"@example.org', "bob@example.org"),
            ("JOSE\u0301@example.org", "jos\u00e9@example.org"),
            ("用户@例え.テスト", "用户@xn--r8jz45g.xn--zckzah"),
            ("a+b=c/d@example.org", "a+b=c/d@example.org"),
        ):
            self.assertEqual(normalise_address(text), wanted)

    def test_no_addresses(self) -> None:
        """What this server can't use is InvalidAddress."""
        for text in (
            "",
            "bob",
            "@example.org",
            "bob@",
            "b ob@example.org",
            ".bob@example.org",
            "b..ob@example.org",
            "bob.@example.org",
            '"b ob"@example.org',
            "b\0ob@example.org",
            "b\u00a0ob@example.org",
            "b\u200bob@example.org",
            "x" * 65 + "@example.org",
            "é" * 33 + "@example.org",
            '"@example.org',
            "bob@exa mple.org",
            "\udcff@example.org",
            "<bob@example.org>",
        ):
            self.assertRaises(InvalidAddress, normalise_address, text)

    def test_tags(self) -> None:
        """The tag begins at the first plus sign that has something before it."""
        self.assertEqual(without_tag("bob+a+b@example.org"), "bob@example.org")
        self.assertEqual(without_tag("bob+@example.org"), "bob@example.org")
        self.assertIsNone(without_tag("bob@example.org"))
        self.assertIsNone(without_tag("+a@example.org"))

    @settings(deadline=None, max_examples=300)
    @given(st.text() | st.text(alphabet='a.+@"\\-é\u0301ßI ') | st.emails())
    def test_settled(self, text: str) -> None:
        """Any text is refused with InvalidAddress or has a form that is its own form."""
        try:
            address = normalise_address(text)
        except InvalidAddress:
            return
        self.assertEqual(normalise_address(address), address)
