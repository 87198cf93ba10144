"""The parameters of OAuth requests, from a query or a form. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from stalwart.auth.oauth.errors import OAuthError

_MOST = 64
_BAD_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile("[\x00-\x1f\x7f]")
# RFC 8707 §2: the one parameter that may be there several times.
_RESOURCE = "resource"


class Parameters(msgspec.Struct, frozen=True, kw_only=True):
    """What a request says. Parameters without a value count as left out (RFC 6749 §3.1)."""

    values: Mapping[str, str]
    resources: tuple[str, ...] = ()
    repeated: frozenset[str] = frozenset()
    """What was there more than once; `values` doesn't have it."""

    def get(self, name: str) -> str | None:
        """The value; None if it is missing."""
        return self.values.get(name)

    def refuse_repeated(self) -> None:
        """RFC 6749 §3.2: no parameter may be there more than once. Raises OAuthError."""
        if self.repeated:
            raise OAuthError("invalid_request", "A parameter is there more than once.")

    def require(self, name: str) -> str:
        """The value. Raises OAuthError invalid_request."""
        value = self.values.get(name)
        if value is None:
            raise OAuthError("invalid_request", f"The parameter {name} is missing.")
        return value


def parse_parameters(octets: bytes) -> Parameters:
    """Take a query, or a body of the type application/x-www-form-urlencoded, apart.

    Raises OAuthError invalid_request for what is not percent-encoded UTF-8 (RFC 6749 appendix B), for control
    characters, and for more than 64 parameters.
    """
    values: dict[str, str] = {}
    resources: list[str] = []
    repeated: set[str] = set()
    pairs = [pair for pair in octets.split(b"&") if pair]
    if len(pairs) > _MOST:
        raise OAuthError("invalid_request", f"There are more than {_MOST} parameters.")
    for pair in pairs:
        name, _, value = (_decode(part) for part in pair.partition(b"="))
        if not value:
            continue
        if name == _RESOURCE:
            resources.append(value)
        elif name in values:
            repeated.add(name)
        else:
            values[name] = value
    for name in repeated:
        del values[name]
    return Parameters(values=values, resources=tuple(resources), repeated=frozenset(repeated))


def _decode(part: bytes) -> str:
    if not part.isascii() or _BAD_PERCENT.search(part):
        raise OAuthError("invalid_request", "The parameters are not percent-encoded.")
    octets = re.sub(rb"%([0-9A-Fa-f]{2})", lambda match: bytes([int(match[1], 16)]), part.replace(b"+", b" "))
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        raise OAuthError("invalid_request", "The parameters are not UTF-8.") from None
    if _CONTROL.search(text):
        raise OAuthError("invalid_request", "The parameters have a control character.")
    return text
