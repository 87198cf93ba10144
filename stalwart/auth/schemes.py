"""Password hashes that other servers made, verified so that their accounts can move here. Pure.

Read are those that Stalwart and Dovecot store: crypt(3)'s `$…$` and `_`, PHC strings, and LDAP's `{SCHEME}`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Any

import bcrypt
from passlib.hash import bsdi_crypt, des_crypt, md5_crypt, sha1_crypt, sha256_crypt, sha512_crypt


class UnusableHash(Exception):
    """A stored hash can't be verified against. The text is for the operator, and never repeats the hash."""


_BRACED = re.compile(r"\{([A-Za-z0-9-]+)(?:\.(b64|hex))?\}(.*)", re.DOTALL)
_PHC_PBKDF2 = re.compile(
    r"\$pbkdf2(?:-(sha1|sha256|sha512))?\$(?:v=1\$)?i=([0-9]{1,9})(?:,l=[0-9]{1,3})?\$([^$]+)\$([^$]+)"
)
_OLD_PBKDF2 = re.compile(r"\$pbkdf2(?:-(sha1|sha256|sha512))?\$([0-9]{1,9})\$([^$]*)\$([^$]+)")
_SCRYPT = re.compile(r"\$scrypt\$ln=([0-9]{1,2}),r=([0-9]{1,3}),p=([0-9]{1,3})\$([^$]+)\$([^$]+)")
_BCRYPT = re.compile(r"\$2[abxy]?\$[0-9]{2}\$[./A-Za-z0-9]{53}")

# What one check may cost at most, two or three seconds: a hash that asks for more would hold up all sign-ins. What
# passlib computes in Python also takes the reactor's time.
_MOST_PBKDF2_ROUNDS = 2_000_000
_MOST_SCRYPT_OCTETS = 256 * 1024 * 1024
_MOST_BCRYPT_COST = 15
_LONGEST = 4096

# LDAP's digests (RFC 2307 §5.3, and what came after it): the algorithm, and whether a salt follows the digest.
_DIGESTS: Mapping[str, tuple[str, bool]] = {
    "MD5": ("md5", False),
    "SHA": ("sha1", False),
    "SHA256": ("sha256", False),
    "SHA512": ("sha512", False),
    "SMD5": ("md5", True),
    "SSHA": ("sha1", True),
    "SSHA256": ("sha256", True),
    "SSHA512": ("sha512", True),
}
_IN_CLEAR = frozenset({"PLAIN", "CLEAR", "CLEARTEXT"})
# The schemes whose own prefix says it again.
_NAMED_TWICE = frozenset({"CRYPT", "PBKDF2", "BLF-CRYPT", "SHA512-CRYPT", "SHA256-CRYPT", "MD5-CRYPT"})
# What passlib reads also where crypt(3) wouldn't, with a warning, is none of these.
# The rounds are the most that are computed.
_CRYPT: tuple[tuple[re.Pattern[str], Any, int], ...] = (
    (re.compile(r"\$6\$(?:rounds=[1-9][0-9]{3,7}\$)?[./A-Za-z0-9]{0,16}\$[./A-Za-z0-9]{86}"), sha512_crypt, 1_000_000),
    (re.compile(r"\$5\$(?:rounds=[1-9][0-9]{3,7}\$)?[./A-Za-z0-9]{0,16}\$[./A-Za-z0-9]{43}"), sha256_crypt, 1_000_000),
    (re.compile(r"\$1\$[./A-Za-z0-9]{0,8}\$[./A-Za-z0-9]{22}"), md5_crypt, 1000),
    (re.compile(r"\$sha1\$[1-9][0-9]{0,7}\$[./A-Za-z0-9]{0,64}\$[./A-Za-z0-9]{28}"), sha1_crypt, 1_000_000),
    (re.compile(r"_[./A-Za-z0-9]{19}"), bsdi_crypt, 50_000),
)
_DES = re.compile(r"[./A-Za-z0-9]{13}")


def is_hash(stored: str) -> bool:
    """Whether a text looks like a stored hash; one that doesn't may be a password in clear."""
    return stored.startswith(("$", "_")) or _BRACED.fullmatch(stored) is not None


def verify(stored: str, password: bytes) -> bool:
    """Whether the password (UTF-8) is the one that `stored` was made of. Raises UnusableHash.

    Hashes by argon2 are not read here: see `Passwords`.
    """
    if braced := _BRACED.fullmatch(stored):
        return _verify_braced(braced[1].upper(), braced[2], braced[3], password)
    if stored.startswith("$2"):
        return _verify_bcrypt(stored, password)
    if stored.startswith("$pbkdf2"):
        return _verify_pbkdf2(stored, password)
    if stored.startswith("$scrypt$"):
        return _verify_scrypt(stored, password)
    for pattern, handler, most in _CRYPT:
        if pattern.fullmatch(stored):
            if _rounds(handler, stored) > most:
                raise UnusableHash(f"the stored {handler.name} hash asks for too many rounds")
            return _verify_crypt(handler, stored, password)
    raise UnusableHash("the stored hash is malformed, or of a scheme that is not known")


def _rounds(handler: Any, stored: str) -> int:
    try:
        return int(getattr(handler.from_string(stored), "rounds", 0))
    except ValueError as error:
        raise UnusableHash(f"the stored {handler.name} hash is malformed") from error


def _verify_braced(scheme: str, encoding: str | None, rest: str, password: bytes) -> bool:
    if scheme in _IN_CLEAR:
        return hmac.compare_digest(rest.encode("utf-8", "surrogatepass"), password)
    if scheme in _NAMED_TWICE:
        if scheme == "CRYPT" and _DES.fullmatch(rest):
            return _verify_crypt(des_crypt, rest, password)
        if rest.startswith("{"):
            raise UnusableHash("the stored hash names its scheme more than twice")
        return verify(rest, password)
    if scheme not in _DIGESTS:
        raise UnusableHash(f"the scheme {{{scheme}}} of the stored hash is not known")
    algorithm, salted = _DIGESTS[scheme]
    octets = _hex(rest) if encoding == "hex" else _base64(rest)
    length = hashlib.new(algorithm).digest_size
    if len(octets) < length or (len(octets) > length) is not salted:
        raise UnusableHash(f"the stored hash of the scheme {{{scheme}}} has the wrong length")
    return hmac.compare_digest(hashlib.new(algorithm, password + octets[length:]).digest(), octets[:length])


def _verify_bcrypt(stored: str, password: bytes) -> bool:
    if not _BCRYPT.fullmatch(stored) or int(stored.split("$")[2]) > _MOST_BCRYPT_COST:
        raise UnusableHash("the stored bcrypt hash is malformed, or costs too much")
    try:
        # bcrypt has always looked at 72 octets, and at none from a NUL on.
        return bcrypt.checkpw(password.partition(b"\0")[0][:72], stored.encode("ascii"))
    except ValueError as error:
        raise UnusableHash("the stored bcrypt hash is malformed") from error


def _verify_pbkdf2(stored: str, password: bytes) -> bool:
    if (found := _PHC_PBKDF2.fullmatch(stored)) or (found := _OLD_PBKDF2.fullmatch(stored)):
        algorithm, rounds, salt, digest = found[1], int(found[2]), found[3], found[4]
    else:
        raise UnusableHash("the stored PBKDF2 hash is malformed")
    if not 0 < rounds <= _MOST_PBKDF2_ROUNDS:
        raise UnusableHash("the stored PBKDF2 hash asks for too many rounds, or for none")
    wanted = _base64(digest)
    if not 10 <= len(wanted) <= 64:
        raise UnusableHash("the stored PBKDF2 hash has the wrong length")
    got = hashlib.pbkdf2_hmac(algorithm or "sha1", password, _base64(salt), rounds, len(wanted))
    return hmac.compare_digest(got, wanted)


def _verify_scrypt(stored: str, password: bytes) -> bool:
    found = _SCRYPT.fullmatch(stored)
    if found is None:
        raise UnusableHash("the stored scrypt hash is malformed")
    log_n, r, p = (int(found[number]) for number in (1, 2, 3))
    if not (0 < log_n < 32 and r and p and 128 * r * p * (2**log_n + p + 2) <= _MOST_SCRYPT_OCTETS):
        raise UnusableHash("the stored scrypt hash asks for too much memory or time")
    salt, wanted = _base64(found[4]), _base64(found[5])
    if not 10 <= len(wanted) <= 64:
        raise UnusableHash("the stored scrypt hash has the wrong length")
    try:
        got = hashlib.scrypt(
            password, salt=salt, n=2**log_n, r=r, p=p, maxmem=2 * _MOST_SCRYPT_OCTETS, dklen=len(wanted)
        )
    except ValueError as error:
        raise UnusableHash("the parameters of the stored scrypt hash don't fit") from error
    return hmac.compare_digest(got, wanted)


def _verify_crypt(handler: Any, stored: str, password: bytes) -> bool:
    # crypt(3) sees nothing from a NUL on; passlib takes no more than 4096 octets, which nobody ever set.
    seen = password.partition(b"\0")[0]
    try:
        return len(seen) <= _LONGEST and bool(handler.verify(seen, stored))
    except ValueError as error:
        raise UnusableHash(f"the stored {handler.name} hash is malformed") from error


def _hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise UnusableHash("the stored hash is not hexadecimal") from error


def _base64(text: str) -> bytes:
    """Base64 with or without padding; passlib writes `.` for `+`."""
    bare = text.replace(".", "+").rstrip("=")
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise UnusableHash("the stored hash is not base64") from error
