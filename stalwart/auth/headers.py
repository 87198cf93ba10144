"""What an Authorization field says: Basic credentials, or as a Bearer token an API key or an access token. Pure."""

from __future__ import annotations

import base64
import binascii
import re

import msgspec

from stalwart.auth.basic import AuthMalformed, parse_basic
from stalwart.config.secret import Secret

# RFC 6750 §2.1: one b64token. Base64's own alphabet is part of it, URL-safe or not.
_API_KEY = re.compile(rb"[ \t]*bearer +api_([A-Za-z0-9+/_-]+={0,2})[ \t]*", re.IGNORECASE)
_TOKEN = re.compile(rb"[ \t]*bearer +([A-Za-z0-9._~+/-]{1,500}=*)[ \t]*", re.IGNORECASE)
_BEARER = re.compile(rb"[ \t]*bearer(?: .*)?", re.IGNORECASE | re.DOTALL)


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody says who they are, before anybody checked it. Without `is_api_key` it may be anybody's.

    With `is_token` the secret is an access token of OAuth, and says itself for whom; `user` is empty then.
    """

    user: str
    secret: Secret
    is_api_key: bool = False
    is_token: bool = False


def parse_authorization(authorization: bytes) -> Credentials:
    """Read an Authorization field's value. Raises AuthMalformed, whose text never repeats the value."""
    match = _API_KEY.fullmatch(authorization)
    if match is not None:
        return _api_key(match[1])
    match = _TOKEN.fullmatch(authorization)
    if match is not None and not match[1].startswith(b"api_"):
        return Credentials(user="", secret=Secret(match[1].decode("ascii")), is_token=True)
    if _BEARER.fullmatch(authorization):
        raise AuthMalformed("the Bearer token is neither an API key nor an access token")
    basic = parse_basic(authorization)
    return Credentials(user=basic.user, secret=basic.password)


def is_bearer(authorization: bytes) -> bool:
    """Whether the scheme of the field is Bearer, whatever follows."""
    return _BEARER.fullmatch(authorization) is not None


def api_key_token(name: str, secret: str) -> str:
    """The Bearer token of an API key."""
    return "api_" + base64.b64encode(f"{name}:{secret}".encode()).decode("ascii")


def _api_key(token: bytes) -> Credentials:
    bare = token.translate(bytes.maketrans(b"-_", b"+/")).rstrip(b"=")
    try:
        text = base64.b64decode(bare + b"=" * (-len(bare) % 4), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        raise AuthMalformed("the API key is not base64 of UTF-8") from None
    name, colon, secret = text.rpartition(":")
    if not colon or not name:
        raise AuthMalformed("the API key holds no colon between name and secret")
    return Credentials(user=name, secret=Secret(secret), is_api_key=True)
