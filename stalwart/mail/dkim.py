"""DKIM signatures (RFC 6376) with RSA and Ed25519 (RFC 8463), and the DNS records of their keys.

Header and body are canonicalized in the relaxed way, so that relays may fold lines and change white space.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from typing import Final, Literal

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_private_key

__all__ = ["Algorithm", "InvalidKey", "SigningKey", "load_key", "public_key", "record_name", "record_value", "sign"]

Algorithm = Literal["rsa-sha256", "ed25519-sha256"]

_SIGNED: Final = frozenset(
    b"from to cc subject date message-id mime-version reply-to in-reply-to references".split()  # RFC 6376 §5.4.1
)
_SIGNED_PREFIXES: Final = (b"content-", b"list-")
_FIELD: Final = re.compile(rb"([!-9;-~]+)[ \t]*:(.*)", re.DOTALL)
_BARE_LF: Final = re.compile(rb"(?<!\r)\n")
_FIELD_START: Final = re.compile(rb"\r\n(?![ \t])")
_BLANKS: Final = re.compile(rb"[ \t]{2,}|\t")
_KEY_TYPES: Final[dict[Algorithm, str]] = {"rsa-sha256": "rsa", "ed25519-sha256": "ed25519"}
_WIDTH: Final = 72


class InvalidKey(ValueError):
    """Octets that are no private key of an algorithm that DKIM has."""


class SigningKey(msgspec.Struct, frozen=True, kw_only=True):
    """A private key. `domain` is in A-labels; the key's record is at `selector`._domainkey.`domain`."""

    domain: str
    selector: str
    private: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

    @property
    def algorithm(self) -> Algorithm:
        """What the tag a= of its signatures says."""
        return "rsa-sha256" if isinstance(self.private, rsa.RSAPrivateKey) else "ed25519-sha256"


def load_key(domain: str, selector: str, pkcs8: bytes) -> SigningKey:
    """The key in these octets (PKCS #8, DER). InvalidKey."""
    try:
        # What was made here needs no proof that its primes are primes, which takes longer than many signatures.
        private = load_der_private_key(pkcs8, None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InvalidKey(f"the DKIM key {selector} of {domain} is not a private key in PKCS #8: {error}") from error
    if not isinstance(private, rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey):
        raise InvalidKey(f"the DKIM key {selector} of {domain} is neither RSA nor Ed25519")
    return SigningKey(domain=domain, selector=selector, private=private)


def public_key(private: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    """The octets that a key's record has in its tag p=."""
    if isinstance(private, rsa.RSAPrivateKey):
        # RFC 6376 §3.6.1 has an RSAPublicKey; what all the world publishes, and verifiers read, is the
        # SubjectPublicKeyInfo around it (erratum 3017).
        return private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    # RFC 8463 §4: the 32 octets alone
    return private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def record_name(domain: str, selector: str) -> str:
    """Where in the DNS the record of a key belongs (RFC 6376 §3.6.2.1)."""
    return f"{selector}._domainkey.{domain}"


def record_value(algorithm: Algorithm, public: bytes) -> str:
    """The text of a key's TXT record (RFC 6376 §3.6.1); a zone file has it in strings of at most 255 octets."""
    return f"v=DKIM1; k={_KEY_TYPES[algorithm]}; p={base64.b64encode(public).decode('ascii')}"


def sign(message: bytes, keys: Sequence[SigningKey], now: int) -> bytes:
    """The DKIM-Signature fields to be put before the message, one for each key, each with its CRLF.

    `message` is as it will be sent; `now` is in seconds since the epoch.
    """
    if not keys:
        return b""
    header, body = _split(message)
    body_hash = _base64(hashlib.sha256(_relaxed_body(body)).digest())
    names, signed = _signed_fields(header)
    return b"".join(_signature(key, names, signed, body_hash, now) for key in keys)


def _split(message: bytes) -> tuple[bytes, bytes]:
    # RFC 6376 §5.3: line ends as they will be on the wire, which has no others
    if message.count(b"\n") != message.count(b"\r\n"):
        message = _BARE_LF.sub(b"\r\n", message)
    if message.startswith(b"\r\n"):
        return b"", message[2:]
    header, _, body = message.partition(b"\r\n\r\n")
    return header, body


def _signed_fields(header: bytes) -> tuple[list[bytes], bytes]:
    """The names of the tag h=, and the canonical fields that they stand for."""
    fields: dict[bytes, list[bytes]] = {}
    for lines in _FIELD_START.split(header):
        found = _FIELD.fullmatch(lines)
        if found is None:
            continue
        name = found[1].lower()
        if name in _SIGNED or name.startswith(_SIGNED_PREFIXES):
            fields.setdefault(name, []).append(_relaxed_field(name, found[2]))
    names: list[bytes] = []
    canonical: list[bytes] = []
    for name, values in fields.items():
        names += [name] * len(values)
        canonical += reversed(values)  # RFC 6376 §5.4.2: from the last one of a name to the first
    # RFC 6376 §8.15: named once more than it is there, so that another From is seen by verifiers
    names.append(b"from")
    return names, b"".join(canonical)


def _relaxed_field(name: bytes, value: bytes) -> bytes:
    # RFC 6376 §3.4.2
    unfolded = value.replace(b"\r\n", b"")
    return name + b":" + _BLANKS.sub(b" ", unfolded).strip(b" ") + b"\r\n"


def _relaxed_body(body: bytes) -> bytes:
    # RFC 6376 §3.4.4. One blank for many first: else a line of blanks is looked at from each of them.
    body = _BLANKS.sub(b" ", body).replace(b" \r\n", b"\r\n")
    end = len(body)
    if body.endswith(b" "):
        end -= 1
    while body.endswith(b"\r\n", 0, end):
        end -= 2
    return body[:end] + b"\r\n" if end else b""


def _signature(key: SigningKey, names: Sequence[bytes], signed: bytes, body_hash: str, now: int) -> bytes:
    value = (
        f" v=1; a={key.algorithm}; c=relaxed/relaxed; d={key.domain};\r\n"
        f"\ts={key.selector}; t={now};\r\n"
        f"\t{_folded_names(names)};\r\n"
        f"\tbh={body_hash};\r\n"
        f"\tb="
    ).encode("ascii")
    # RFC 6376 §3.7: the field itself comes last, its b= empty, without the last CRLF
    data = signed + _relaxed_field(b"dkim-signature", value).removesuffix(b"\r\n")
    if isinstance(key.private, rsa.RSAPrivateKey):
        octets = key.private.sign(data, padding.PKCS1v15(), SHA256())
    else:
        octets = key.private.sign(hashlib.sha256(data).digest())  # RFC 8463 §3: the hash is what is signed
    text = _base64(octets)
    lines = [text[start : start + _WIDTH] for start in range(0, len(text), _WIDTH)]
    return b"DKIM-Signature:" + value + "\r\n\t ".join(lines).encode("ascii") + b"\r\n"


def _folded_names(names: Sequence[bytes]) -> str:
    lines = ["h="]
    for index, name in enumerate(names):
        text = name.decode("ascii") + (":" if index + 1 < len(names) else "")
        if len(lines[-1]) + len(text) > _WIDTH:
            lines.append(" ")
        lines[-1] += text
    return "\r\n\t".join(lines)


def _base64(octets: bytes) -> str:
    return binascii.b2a_base64(octets, newline=False).decode("ascii")
