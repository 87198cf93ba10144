"""What is signed with the account's key."""

from __future__ import annotations

import json
from typing import Any

from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st
from josepy.b64 import b64decode
from twisted.trial.unittest import SynchronousTestCase

from stalwart.config import Secret
from stalwart.tls.acme import AcmeError, ExternalAccount, key_authorization, thumbprint
from stalwart.tls.acme.jws import external_account_binding, sign

# RFC 7517 appendix A.1 and A.2: the EC key.
_X, _Y, _D = (
    int.from_bytes(b64decode(text), "big")
    for text in (
        "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
        "870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE",
    )
)
_KEY = ec.EllipticCurvePrivateNumbers(_D, ec.EllipticCurvePublicNumbers(_X, _Y, ec.SECP256R1())).private_key()


def verified(document: dict[str, str]) -> tuple[Any, bytes]:
    """The header and payload of a JWS that this key has signed with ES256, in the form of RFC 7515 §7.2.2."""
    signature = b64decode(document["signature"])
    r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
    octets = f"{document['protected']}.{document['payload']}".encode()
    _KEY.public_key().verify(encode_dss_signature(r, s), octets, ec.ECDSA(hashes.SHA256()))
    return json.loads(b64decode(document["protected"])), b64decode(document["payload"])


class JwsTests(SynchronousTestCase):
    def test_thumbprint(self) -> None:
        """It is the SHA-256 of the key's required members in their order (RFC 7638 §3)."""
        digest = hashes.Hash(hashes.SHA256())
        digest.update(
            b'{"crv":"P-256","kty":"EC","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",'
            b'"y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}'
        )
        self.assertEqual(b64decode(thumbprint(_KEY)), digest.finalize())

    def test_key_authorization(self) -> None:
        """The token, a dot and the thumbprint (RFC 8555 §8.1)."""
        token = "DGyRejmCefe7v4NfDGDKfA"
        self.assertEqual(key_authorization(token, _KEY), f"{token}.{thumbprint(_KEY)}")

    def test_tokens_that_are_none(self) -> None:
        """A token that could be a path, or be guessed, is refused."""
        for token in (None, "", "short", "../../../../etc/passwd..", "a" * 21, "a" * 129, "a" * 22 + "\n", "ä" * 22):
            self.assertRaises(AcmeError, key_authorization, token, _KEY)

    def test_request(self) -> None:
        """Nonce and URL are signed; the account is named by its URL, else the key itself is sent (RFC 8555 §6.2)."""
        known = json.loads(sign(_KEY, "https://ca/a", "n1", {"a": 1}, account_url="https://ca/acct/1"))
        self.assertEqual(
            verified(known),
            ({"alg": "ES256", "kid": "https://ca/acct/1", "nonce": "n1", "url": "https://ca/a"}, b'{"a":1}'),
        )
        header, _ = verified(json.loads(sign(_KEY, "https://ca/a", "n1", {}, account_url=None)))
        self.assertNotIn("kid", header)
        self.assertEqual(set(header["jwk"]), {"kty", "crv", "x", "y"})

    def test_post_as_get(self) -> None:
        """Without a payload it is empty, which is not the same as an empty object (RFC 8555 §6.3)."""
        read = json.loads(sign(_KEY, "https://ca/a", "n1", None, account_url="https://ca/acct/1"))
        self.assertEqual(read["payload"], "")

    def test_external_account(self) -> None:
        """The public key is signed with the CA's MAC key, without a nonce (RFC 8555 §7.3.4)."""
        account = ExternalAccount(kid="kid-1", hmac_key=Secret("c2l4dGVlbiBvY3RldHMuLg"))
        binding = external_account_binding(account, _KEY, "https://ca/new")
        code = hmac.HMAC(b"sixteen octets..", hashes.SHA256())
        code.update(f"{binding['protected']}.{binding['payload']}".encode())
        code.verify(b64decode(binding["signature"]))
        header = json.loads(b64decode(binding["protected"]))
        self.assertEqual(header, {"alg": "HS256", "kid": "kid-1", "url": "https://ca/new"})
        self.assertNotIn("d", json.loads(b64decode(binding["payload"])))

    def test_keys_as_they_are_handed_out(self) -> None:
        """With padding, with the usual alphabet of base64, with blanks around it; anything else is refused unseen."""
        for text in ("-_-_", "+/+/", " -_-_==\n"):
            self.assertEqual(ExternalAccount(kid="k", hmac_key=Secret(text)).mac_key(), b"\xfb\xff\xbf")
        for text in ("", "=", "abcde", "secret!", "geheim ü"):
            account = ExternalAccount(kid="k", hmac_key=Secret(text))
            error = self.assertRaises(AcmeError, account.mac_key)
            self.assertEqual(error.type, "badExternalAccount")
            self.assertNotIn("secret!", str(error))

    @given(st.text(max_size=40))
    @settings(deadline=None, max_examples=100)
    def test_any_key(self, text: str) -> None:
        """Any text is a key or an AcmeError."""
        try:
            ExternalAccount(kid="k", hmac_key=Secret(text)).mac_key()
        except AcmeError as error:
            self.assertEqual(error.type, "badExternalAccount")
