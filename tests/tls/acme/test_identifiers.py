"""Names as a CA wants them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.tls.acme import AcmeError, identifier


class IdentifierTests(SynchronousTestCase):
    def test_hosts(self) -> None:
        """Lower case, without a dot at the end, in A-labels (RFC 8555 §7.1.4)."""
        for name, value in (
            ("mail.example.org", "mail.example.org"),
            ("Mail.Example.ORG.", "mail.example.org"),
            ("BÜCHER.example.org", "xn--bcher-kva.example.org"),
            ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
            ("*.example.org", "*.example.org"),
        ):
            found = identifier(name)
            self.assertEqual((found.type, found.value), ("dns", value))

    def test_addresses(self) -> None:
        """In the form of RFC 5952 (RFC 8738 §3)."""
        for name, value in (
            ("192.0.2.1", "192.0.2.1"),
            ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
        ):
            found = identifier(name)
            self.assertEqual((found.type, found.value), ("ip", value))

    def test_no_names(self) -> None:
        """What no certificate can be for is refused with the name in the text."""
        long = ".".join(["a" * 63] * 4)
        for name in ("", ".", "*", "*.", "a..b", "-a.b", "a-.b", "a b", "a/b", "a_b.c", "fe80::1%eth0", "1.2.3", long):
            error = self.assertRaises(AcmeError, identifier, name)
            self.assertEqual(error.type, "badName")
            self.assertIn(repr(name), str(error))

    @given(st.text(max_size=80))
    @settings(deadline=None, max_examples=200)
    def test_any_text(self, name: str) -> None:
        """Any text is a name in ASCII or an AcmeError."""
        try:
            found = identifier(name)
        except AcmeError as error:
            self.assertEqual(error.type, "badName")
        else:
            self.assertTrue(found.value.isascii() and found.value == found.value.lower())
            self.assertEqual(identifier(found.value), found)
