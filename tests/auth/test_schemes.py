"""Hashes of other servers: each scheme verified, whatever is no hash refused."""

from __future__ import annotations

import base64
import hashlib

import bcrypt
from argon2.profiles import CHEAPEST
from hypothesis import given, settings
from hypothesis import strategies as st
from passlib.hash import bsdi_crypt, des_crypt, md5_crypt, pbkdf2_sha256, scrypt, sha1_crypt, sha256_crypt, sha512_crypt
from twisted.trial.unittest import SynchronousTestCase

from stalwart.auth import Passwords, UnusableHash
from stalwart.auth.schemes import is_hash, verify

_PASSWORD = "Grüße"
_OCTETS = _PASSWORD.encode()


def _b64(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


def _phc(octets: bytes) -> str:
    return _b64(octets).rstrip("=")


def _braced(name: str, algorithm: str, salt: bytes = b"") -> str:
    return f"{{{name}}}" + _b64(hashlib.new(algorithm, _OCTETS + salt).digest() + salt)


def hashes() -> dict[str, str]:
    """One of each kind, cheap."""
    argon2 = Passwords(CHEAPEST).hash(_PASSWORD)
    crypt6 = sha512_crypt.using(rounds=1000).hash(_PASSWORD)
    derived = hashlib.pbkdf2_hmac("sha512", _OCTETS, b"saltsalt", 10, 64)
    return {
        "argon2": argon2,
        "{ARGON2ID}": "{ARGON2ID}" + argon2,
        "bcrypt": bcrypt.hashpw(_OCTETS, bcrypt.gensalt(4)).decode(),
        "bcrypt y": bcrypt.hashpw(_OCTETS, bcrypt.gensalt(4)).decode().replace("$2b$", "$2y$"),
        "sha512": crypt6,
        "{CRYPT}": "{CRYPT}" + crypt6,
        "{SHA512-CRYPT}": "{SHA512-CRYPT}" + crypt6,
        "sha256": sha256_crypt.using(rounds=1000).hash(_PASSWORD),
        "sha1": sha1_crypt.using(rounds=10).hash(_PASSWORD),
        "md5": md5_crypt.hash(_PASSWORD),
        "bsdi": bsdi_crypt.using(rounds=11).hash(_PASSWORD),
        "{CRYPT} of DES": "{CRYPT}" + des_crypt.hash(_PASSWORD),
        "scrypt": scrypt.using(rounds=4).hash(_PASSWORD),
        "pbkdf2 of passlib": pbkdf2_sha256.using(rounds=10).hash(_PASSWORD),
        "pbkdf2 in PHC": f"$pbkdf2-sha512$i=10,l=64${_phc(b'saltsalt')}${_phc(derived)}",
        "{PBKDF2}": f"{{PBKDF2}}$pbkdf2-sha512$i=10${_phc(b'saltsalt')}${_phc(derived)}",
        "{SHA}": _braced("SHA", "sha1"),
        "{ssha}": _braced("ssha", "sha1", b"salt"),
        "{SHA256}": _braced("SHA256", "sha256"),
        "{SSHA256}": _braced("SSHA256", "sha256", b"saltysalt"),
        "{SHA512}": _braced("SHA512", "sha512"),
        "{SSHA512}": _braced("SSHA512", "sha512", b"s"),
        "{MD5}": _braced("MD5", "md5"),
        "{SHA256.hex}": "{SHA256.hex}" + hashlib.sha256(_OCTETS).hexdigest(),
        "{PLAIN}": "{PLAIN}" + _PASSWORD,
        "{CLEAR}": "{CLEAR}" + _PASSWORD,
    }


class SchemeTests(SynchronousTestCase):
    """What is verified."""

    def test_each(self) -> None:
        """The right password fits, another doesn't; all but our own argon2id are dated."""
        passwords = Passwords(CHEAPEST)
        for name, stored in hashes().items():
            self.assertTrue(passwords.verify(stored, _PASSWORD), name)
            for wrong in ("", "Grusse", _PASSWORD + "x", "\ud800", "a\0b"):
                self.assertFalse(passwords.verify(stored, wrong), name)
            self.assertEqual(passwords.is_dated(stored), name != "argon2", name)
            self.assertTrue(is_hash(stored), name)

    def test_known_answers(self) -> None:
        """Hashes that others have published: crypt's test vectors, RFC 7914 §12, and Dovecot's page of schemes."""
        for stored, password in (
            (
                "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
                b"Hello world!",
            ),
            ("$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5", b"Hello world!"),
            ("$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", b"U*U"),
            ("{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", b"password"),
        ):
            self.assertTrue(verify(stored, password), stored)

    def test_long_passwords(self) -> None:
        """Of a long password bcrypt has always seen 72 octets; the others see it whole."""
        long = "x" * 100
        self.assertTrue(verify(bcrypt.hashpw(long[:72].encode(), bcrypt.gensalt(4)).decode(), long.encode()))
        crypt6 = sha512_crypt.using(rounds=1000).hash(long)
        self.assertTrue(verify(crypt6, long.encode()))
        self.assertFalse(verify(crypt6, long[:99].encode()))
        self.assertFalse(verify(crypt6, b"x" * 100_000))

    def test_refused(self) -> None:
        """What is no hash, is cut off, or asks for more than one check may cost, can't be used; nothing repeats it."""
        for stored in (
            "",
            "secret",
            "{NTLM}0123",
            "{SHA}",
            "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9==",
            "{SHA}####",
            "{SSHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=",
            "$2b$31$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
            "$2b$05$CCCC",
            "$6$",
            "$6$salt",
            "$6$rounds=999999999$salt$" + "a" * 86,
            "$scrypt$ln=30,r=8,p=1$c2FsdA$" + "a" * 43,
            "$scrypt$ln=4,r=8,p=1$c2FsdA$YQ",
            "$pbkdf2-sha256$i=999999999$c2FsdHNhbHQ$" + "a" * 43,
            "$pbkdf2-sha256$0$c2FsdHNhbHQ$" + "a" * 43,
            "$pbkdf2-md5$10$c2FsdHNhbHQ$" + "a" * 43,
            "$argon2id$v=19$m=4294967295,t=3,p=4$c2FsdHNhbHQ$" + "a" * 43,
            "$argon2id$v=19$m=8",
            "$argon2id$v=19$m=1048576,t=100,p=1$c2FsdHNhbHQ$" + "a" * 43,
            "$argon2id$v=19$m=65536,t=3,p=4096$c2FsdHNhbHQ$" + "a" * 43,
            "$6$rounds=9999999$salt$" + "a" * 86,
            "$5$rounds=9999999$salt$" + "a" * 43,
            "$sha1$9999999$salt$" + "a" * 28,
            "$pbkdf2-sha256$i=9999999$c2FsdHNhbHQ$" + "a" * 43,
            "$scrypt$ln=17,r=8,p=16$c2FsdHNhbHQ$" + "a" * 43,
            "_zzzzsalt...........",
            "{CRYPT}" * 2000 + "x",
            "_short",
            "$7$unknown",
        ):
            error = self.assertRaises(UnusableHash, Passwords(CHEAPEST).verify, stored, "x")
            if len(stored) > 12:
                self.assertNotIn(stored, str(error))

    @settings(deadline=None, max_examples=150)
    @given(
        st.one_of(
            st.text(max_size=60),
            st.builds(
                lambda stored, at, what: stored[:at] + what + stored[at + 1 :],
                st.sampled_from([text for name, text in sorted(hashes().items()) if "argon" not in name.lower()]),
                st.integers(0, 60),
                st.text(alphabet="$,={}./abc019 \n\0é", max_size=2),
            ),
        ),
        st.binary(max_size=80),
    )
    def test_any_text(self, stored: str, password: bytes) -> None:
        """Whatever lies in the database, the answer is yes, no, or that it can't be used."""
        try:
            self.assertIn(verify(stored, password), (True, False))
        except UnusableHash as error:
            self.assertTrue(str(error))
