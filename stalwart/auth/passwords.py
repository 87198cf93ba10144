"""Password hashes (argon2id, and what other servers made), new passwords, and new random secrets."""

from __future__ import annotations

import re
import secrets
import threading

import argon2
from argon2.exceptions import HashingError, InvalidHashError, VerificationError, VerifyMismatchError
from argon2.profiles import RFC_9106_LOW_MEMORY

from stalwart.auth import schemes
from stalwart.auth.schemes import UnusableHash
from stalwart.mail.normal import normalized

# No 0/O, 1/l/I: such passwords are read off a screen and typed.
_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
_AT_ONCE = 2
_ARGON2 = re.compile(r"(?:\{ARGON2(?:I|D|ID)?\})?(\$argon2.*)", re.IGNORECASE | re.DOTALL)
# What one check may cost at most: KiB, KiB that are filled in all passes together, and threads.
_MOST_MEMORY = 1024 * 1024
_MOST_FILLED = 4 * 1024 * 1024
_MOST_LANES = 64


class Passwords:
    """Hashes and verifies passwords. Both block for tens of milliseconds and use the profile's memory each.

    At most two run at once, so that a burst of sign-ins can't take all memory; others wait.
    """

    def __init__(self, profile: argon2.Parameters = RFC_9106_LOW_MEMORY) -> None:
        self._hasher = argon2.PasswordHasher.from_parameters(profile)
        self._turn = threading.BoundedSemaphore(_AT_ONCE)
        self._dummy: str | None = None

    def hash(self, password: str) -> str:
        """The argon2id hash of the password in its encoded form, with a new salt."""
        with self._turn:
            return self._hasher.hash(_prepared(password))

    def verify(self, password_hash: str, password: str) -> bool:
        """Whether the password is the one that was hashed. Raises UnusableHash."""
        with self._turn:
            if own := _ARGON2.fullmatch(password_hash):
                return self._verify_argon2(own[1], _prepared(password))
            return schemes.verify(password_hash, _prepared(password))

    def is_dated(self, password_hash: str) -> bool:
        """Whether a password should be hashed anew, by argon2id and the profile, when it is known for a moment."""
        try:
            return self._hasher.check_needs_rehash(password_hash)
        except InvalidHashError:
            return True

    def verify_nobody(self, password: str) -> None:
        """Take as long as `verify` takes, so that the answer's time doesn't tell which users exist."""
        if self._dummy is None:
            self._dummy = self.hash(secrets.token_urlsafe())
        self.verify(self._dummy, password)

    def _verify_argon2(self, password_hash: str, password: bytes) -> bool:
        try:
            parameters = argon2.extract_parameters(password_hash)
            filled = parameters.memory_cost * parameters.time_cost
            if parameters.memory_cost > _MOST_MEMORY or filled > _MOST_FILLED or parameters.parallelism > _MOST_LANES:
                raise UnusableHash("the stored argon2 hash asks for too much memory or time")
            return self._hasher.verify(password_hash, password)
        except VerifyMismatchError:
            return False
        except (VerificationError, InvalidHashError, HashingError, ValueError) as error:
            raise UnusableHash("the stored argon2 hash is malformed") from error


def generate_password() -> str:
    """A random password of 100 bits in four groups of five, easy to read and type."""
    return "-".join("".join(secrets.choice(_ALPHABET) for _ in range(5)) for _ in range(4))


def generate_secret() -> str:
    """A random secret of 256 bits, for programs."""
    return secrets.token_urlsafe(32)


def _prepared(password: str) -> bytes:
    # RFC 8265 §4.2: keyboards differ in how they compose letters; NFC makes them agree.
    return normalized("NFC", password).encode("utf-8", "surrogatepass")
