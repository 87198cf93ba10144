"""The Basic authentication scheme: one header value in, user and password out. RFC 7617."""

from __future__ import annotations

import base64
import binascii
import re

import msgspec

from stalwart.config.secret import Secret
from stalwart.mail.normal import normalized

# RFC 9110 §11.4: the scheme is compared without case; RFC 7617 §2: credentials are one token68.
_BASIC = re.compile(rb"[ \t]*basic +([A-Za-z0-9+/]+={0,2})[ \t]*", re.IGNORECASE)
# RFC 7617 §2: user-id and password must not hold control characters (RFC 5234's CTL).
_CONTROL = re.compile("[\x00-\x1f\x7f]")


class AuthMalformed(Exception):
    """The Authorization header is not one of the Basic scheme, or its content can't be read."""


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """What a Basic header says, before anybody checked it. The password is in Unicode's NFC."""

    user: str
    password: Secret


def parse_basic(authorization: bytes) -> Credentials:
    """Read an Authorization header's value. Raises AuthMalformed, whose text never repeats the value."""
    match = _BASIC.fullmatch(authorization)
    if match is None:
        raise AuthMalformed("the Authorization header is not of the form: Basic <base64>")
    token = match[1].rstrip(b"=")
    try:
        octets = base64.b64decode(token + b"=" * (-len(token) % 4), validate=True)
        text = octets.decode("utf-8")  # RFC 7617 §2.1: we announce charset="UTF-8"
    except binascii.Error:
        raise AuthMalformed("the Basic credentials are not base64") from None
    except UnicodeDecodeError:
        raise AuthMalformed("the Basic credentials are not UTF-8") from None
    if _CONTROL.search(text):
        raise AuthMalformed("the Basic credentials hold a control character")
    user, colon, password = text.partition(":")  # RFC 7617 §2: a user-id can't contain a colon
    if not colon:
        raise AuthMalformed("the Basic credentials hold no colon between user and password")
    return Credentials(user=user.strip(), password=Secret(normalized("NFC", password)))
