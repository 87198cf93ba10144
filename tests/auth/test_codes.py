"""Codes of a second factor, and API keys and passwords as they come in the Authorization field."""

from __future__ import annotations

import base64

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.auth import AuthMalformed, api_key_token, generate_totp_secret, parse_authorization, totp_uri
from stalwart.auth.codes import split_code, step_of

# RFC 6238 Appendix B: the secret is "12345678901234567890", codes of eight digits end with those of six.
_SECRET = base64.b32encode(b"12345678901234567890").decode()
_VECTORS = (
    (59, "287082"),
    (1111111109, "081804"),
    (1111111111, "050471"),
    (1234567890, "005924"),
    (2000000000, "279037"),
)


class CodeTests(SynchronousTestCase):
    """Which codes fit."""

    def test_vectors(self) -> None:
        """The codes of the standard fit in their time step, the one before and the one after, and no other."""
        for at, code in _VECTORS:
            step = at // 30
            for distance, found in ((-2, None), (-1, step), (0, step), (1, step), (2, None)):
                self.assertEqual(step_of(_SECRET, code, at + 30 * distance), found, (at, distance))

    def test_no_codes(self) -> None:
        """Anything but six ASCII digits is no code, also at the beginning of time."""
        for code in ("", "28708", "2870822", "28708a", "\u0662\u0668\u0667\u0660\u0668\u0662", " 287082", "287082\n"):
            self.assertIsNone(step_of(_SECRET, code, 59))
        self.assertIsNone(step_of(_SECRET, "000000", 0))

    def test_split(self) -> None:
        """A code stands after the last dollar sign; what is no code is part of the password."""
        for secret, parts in (
            ("pass$123456", ("pass", "123456")),
            ("pa$$123456", ("pa$", "123456")),
            ("$123456", ("", "123456")),
            ("pass$12345", ("pass$12345", "")),
            ("pass123456", ("pass123456", "")),
            ("", ("", "")),
        ):
            self.assertEqual(split_code(secret), parts)

    def test_secret(self) -> None:
        """A secret has 160 bits and is never the same; its URI is what apps read."""
        secret = generate_totp_secret()
        self.assertEqual(len(base64.b32decode(secret)), 20)
        self.assertNotEqual(secret, generate_totp_secret())
        self.assertEqual(
            totp_uri("JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP", name="ada@example.org", issuer="mail.example.org"),
            "otpauth://totp/mail.example.org:ada%40example.org?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&issuer=mail.example.org",
        )


class HeaderTests(SynchronousTestCase):
    """What an Authorization field says."""

    def test_basic(self) -> None:
        """Basic credentials are those of anybody."""
        found = parse_authorization(b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")
        self.assertEqual((found.user, found.secret.reveal(), found.is_api_key), ("Aladdin", "open sesame", False))

    def test_api_key(self) -> None:
        """An API key is a Bearer token, in either alphabet of base64, with or without padding."""
        token = api_key_token("phöne>>??", "s:e>c?ret")
        for text in (token, token.rstrip("="), token.replace("+", "-").replace("/", "_")):
            found = parse_authorization(f"bearer  {text} ".encode())
            self.assertEqual((found.user, found.secret.reveal(), found.is_api_key), ("phöne>>??:s", "e>c?ret", True))
        found = parse_authorization(f"Bearer {api_key_token('backup', 'x_y-z')}".encode())
        self.assertEqual((found.user, found.secret.reveal()), ("backup", "x_y-z"))

    def test_refused(self) -> None:
        """Other tokens and schemes, and keys that can't be read."""
        for value in (
            b"",
            b"Bearer",
            b"Bearer a b",
            b"Bearer a,b",
            b"Bearer api_",
            b"Bearer api_!!!!",
            b"Bearer api_" + base64.b64encode(b"nocolon"),
            b"Bearer api_" + base64.b64encode(b":secret"),
            b"Bearer api_" + base64.b64encode(b"\xff:secret"),
            b"Digest username=ada",
        ):
            error = self.assertRaises(AuthMalformed, parse_authorization, value)
            self.assertNotIn("abc", str(error))

    @settings(deadline=None, max_examples=200)
    @given(st.one_of(st.binary(max_size=60), st.binary(max_size=40).map(lambda x: b"Bearer api_" + x)))
    def test_any_octets(self, value: bytes) -> None:
        """Any value is read, or AuthMalformed."""
        try:
            parse_authorization(value)
        except AuthMalformed as error:
            self.assertTrue(str(error))

    @settings(deadline=None, max_examples=100)
    @given(
        st.text(alphabet=st.characters(codec="utf-8", exclude_characters=":"), min_size=1),
        st.text("ab_-", min_size=1),
    )
    def test_round_trip(self, name: str, secret: str) -> None:
        """What was made for a key is read as that key."""
        found = parse_authorization(f"Bearer {api_key_token(name, secret)}".encode())
        self.assertEqual((found.user, found.secret.reveal()), (name, secret))
