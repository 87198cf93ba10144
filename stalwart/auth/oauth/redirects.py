"""Redirect URIs: which may be registered, which is the one that was, and how an answer is put into one. Pure.

RFC 6749 §3.1.2, RFC 8252 §7 and RFC 9700 §2.1: compared as they stand, but for the port of loopback.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import urlencode, urlsplit

_MOST = 2000
_PLAIN = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@%/?\[\]-]+")
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_DOTS = re.compile(r"(?:^|/)(?:\.|%2e){1,2}(?:/|$)", re.IGNORECASE)
_HOST = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?|\[[0-9a-f:.]+\]", re.IGNORECASE)
_LOOPBACK = re.compile(r"http://(127\.0\.0\.1|\[::1\]|localhost)(?::[0-9]{1,5})?(?=[/?]|$)(.*)")
# RFC 8252 §7.1: a domain name of its owner, the other way round; many write an authority behind it, which is nobody's
_PRIVATE = re.compile(r"[a-z][a-z0-9+-]*(?:\.[a-z0-9+-]+)+:/{0,2}[^/].*")


class BadRedirect(ValueError):
    """What can't be a redirect URI; the text says why."""


def is_native(uri: str) -> bool:
    """Whether it leads to a program on the user's own machine: loopback, or a private-use scheme. RFC 8252 §7"""
    return _LOOPBACK.fullmatch(uri) is not None or _PRIVATE.fullmatch(uri) is not None


def check_redirect(uri: str) -> None:
    """Raise BadRedirect unless codes may be sent there: https, http on loopback, or a private-use scheme with a dot."""
    if len(uri) > _MOST:
        raise BadRedirect(f"it has more than {_MOST} characters")
    if not _PLAIN.fullmatch(uri) or _BAD_PERCENT.search(uri):  # also no fragment: RFC 6749 §3.1.2
        raise BadRedirect("it has a fragment, or a character that a URI can't have unless it is percent-encoded")
    if is_native(uri):
        if _DOTS.search(uri.partition(":")[2]):
            raise BadRedirect("its path has a segment of dots")
        return
    if uri.startswith("http://"):
        raise BadRedirect("http is for loopback only (127.0.0.1, [::1], localhost); use https")
    if not uri.startswith("https://"):
        raise BadRedirect("its scheme must be https, http on loopback, or a private-use scheme with a dot in its name")
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        raise BadRedirect("it is no URI") from None
    if "@" in parts.netloc or not _HOST.fullmatch(parts.netloc.removesuffix(f":{port}") if port else parts.netloc):
        raise BadRedirect("it must have a host name after https://, and neither a user nor a password")
    if _DOTS.search(parts.path):
        raise BadRedirect("its path has a segment of dots")


def matches(registered: Sequence[str], uri: str) -> bool:
    """Whether it is one of those registered: the same characters, and on loopback any port. RFC 8252 §7.3"""
    return uri in registered or (
        (wanted := _without_port(uri)) is not None and any(wanted == _without_port(each) for each in registered)
    )


def with_parameters(uri: str, parameters: Mapping[str, str | None]) -> str:
    """The URI with an answer in its query, which keeps what it has already. RFC 6749 §4.1.2"""
    answer = urlencode({name: value for name, value in parameters.items() if value is not None})
    return f"{uri}{'&' if '?' in uri else '?'}{answer}"


def _without_port(uri: str) -> tuple[str, str] | None:
    match = _LOOPBACK.fullmatch(uri)
    return None if match is None else (match[1], match[2])
