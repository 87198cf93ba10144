"""Password hashes (argon2id) and new passwords."""

from __future__ import annotations

import secrets
import threading

import argon2
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.profiles import RFC_9106_LOW_MEMORY

from stalwart.mail.normal import normalized

# No 0/O, 1/l/I: such passwords are read off a screen and typed.
_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
_AT_ONCE = 2


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
        """Whether the password is the one that was hashed; False too if the hash can't be read."""
        with self._turn:
            try:
                return self._hasher.verify(password_hash, _prepared(password))
            except (VerificationError, InvalidHashError):
                return False

    def verify_nobody(self, password: str) -> None:
        """Take as long as `verify` takes, so that the answer's time doesn't tell which users exist."""
        if self._dummy is None:
            self._dummy = self.hash(secrets.token_urlsafe())
        self.verify(self._dummy, password)


def generate_password() -> str:
    """A random password of 100 bits in four groups of five, easy to read and type."""
    return "-".join("".join(secrets.choice(_ALPHABET) for _ in range(5)) for _ in range(4))


def _prepared(password: str) -> bytes:
    # RFC 8265 §4.2: keyboards differ in how they compose letters; NFC makes them agree.
    return normalized("NFC", password).encode("utf-8", "surrogatepass")
