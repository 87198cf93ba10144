"""Codes of a second factor: time-based one-time passwords (RFC 6238)."""

from __future__ import annotations

import hmac
import re

import pyotp
import segno

_CODE = re.compile(r"[0-9]{6}", re.ASCII)
_STEP_SECONDS = 30
# RFC 6238 §5.2: one step of delay; clocks may also be ahead by as much.
_WINDOW = 1


def generate_totp_secret() -> str:
    """A random secret of 160 bits in base32 (RFC 4226 §4, R6)."""
    return pyotp.random_base32()


def totp_uri(secret: str, *, name: str, issuer: str) -> str:
    """The `otpauth:` URI that authenticator apps read, as text or from a QR code."""
    return pyotp.TOTP(secret).provisioning_uri(name=name, issuer_name=issuer)


def qr_code(text: str, *, is_sized: bool = True) -> str:
    """A QR code of this text as an SVG element, black on white with the margin that scanners need.

    It is as large as there is room where it isn't to have a size of its own.
    """
    code = segno.make(text, error="m", micro=False)
    return code.svg_inline(scale=5, border=4, light="#fff", dark="#000", omitsize=not is_sized)


def step_of(secret: str, code: str, at: float) -> int | None:
    """The time step that a code belongs to, None if it is none of those around `at` (epoch seconds)."""
    if not _CODE.fullmatch(code):
        return None
    codes = pyotp.TOTP(secret)
    now = int(at) // _STEP_SECONDS
    found = None
    for step in range(max(0, now - _WINDOW), now + _WINDOW + 1):
        if hmac.compare_digest(codes.generate_otp(step), code):
            found = step
    return found


def split_code(secret: str) -> tuple[str, str]:
    """Password and code out of `password$123456`; the code is empty where there is none."""
    password, dollar, code = secret.rpartition("$")
    return (password, code) if dollar and _CODE.fullmatch(code) else (secret, "")


def plain_recovery_code(typed: str) -> str:
    """A recovery code as it was typed, without what stands between its groups."""
    return typed.replace("-", "").replace(" ", "").lower()
