"""Request targets: checked and normalised once, before policy and routing look at them. Pure."""

from __future__ import annotations

import re
from urllib.parse import quote_from_bytes, unquote_to_bytes

import msgspec

from stalwart.http.problem import Problem

# RFC 3986 §3.3: pchar without "%", and "/".
_PLAIN = re.compile(rb"/[A-Za-z0-9._~!$&'()*+,;=:@/-]*\Z")
_SAFE = "~!$&'()*+,;=:@"
_TARGET = re.compile(rb"[\x21-\x22\x24-\x7e]+\Z")  # visible ASCII without "#"
_BAD_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
# RFC 3986 §3.2.2 less the sub-delims, which no host has.
_AUTHORITY = re.compile(rb"(?:[A-Za-z0-9._~%-]*|\[[0-9A-Za-z.:]+\])(?::[0-9]{0,5})?\Z")


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A request target taken apart."""

    path: bytes
    """Canonical: dot segments resolved, slashes merged, only what must be percent-encoded is, in upper case.

    It is b"*" for OPTIONS *.
    """

    segments: list[bytes]
    """The path's segments behind the first slash, decoded. An encoded slash stays inside its segment."""

    query: bytes
    authority: bytes | None
    """From a target in absolute form, which replaces Host (RFC 9112 §3.2.2)."""


def is_authority(value: bytes) -> bool:
    """Whether a Host value is a host with an optional port (RFC 9110 §7.2)."""
    return _AUTHORITY.match(value) is not None


def parse_target(method: bytes, target: bytes) -> Target:
    """Take a request target apart; raises Problem 400."""
    plain, mark, query = target.partition(b"?")
    if not mark and b"/." not in plain and b"//" not in plain and _PLAIN.match(plain):
        return Target(path=plain, segments=plain[1:].split(b"/"), query=b"", authority=None)
    if not _TARGET.match(target):
        raise Problem(400, "The request target must be visible ASCII: percent-encode anything else.")
    if target == b"*" and method == b"OPTIONS":
        # RFC 9112 §3.2.4: asterisk-form.
        return Target(path=b"*", segments=[b"*"], query=b"", authority=None)
    authority = None
    if not plain.startswith(b"/"):
        scheme, mark, rest = plain.partition(b"://")
        if not mark or scheme.lower() not in (b"http", b"https"):
            raise Problem(400, "The request target must be a path that starts with a slash.")
        authority, slash, path = rest.partition(b"/")
        if not authority or not is_authority(authority):
            raise Problem(400, "The request target names no valid host.")
        plain = slash + path or b"/"
    segments = _segments(plain)
    path = b"/" + b"/".join(quote_from_bytes(segment, _SAFE).encode("ascii") for segment in segments)
    return Target(path=path, segments=segments, query=query, authority=authority)


def _segments(path: bytes) -> list[bytes]:
    if _BAD_PERCENT.search(path):
        raise Problem(400, "A percent sign in the path must be followed by two hexadecimal digits.")
    segments: list[bytes] = []
    raw = path[1:].split(b"/")
    for number, part in enumerate(raw):
        segment = unquote_to_bytes(part) if b"%" in part else part
        if _CONTROL.search(segment):
            raise Problem(400, "The path has an encoded control character.")
        # `//jmap` and `/jmap` name the same page, so that a rule about one can't be walked around by the other.
        if not segment and number < len(raw) - 1:
            continue
        # RFC 3986 §5.2.4: remove dot segments, encoded ones too, so that no rule can be walked around.
        if segment in (b".", b".."):
            if segment == b"..":
                if not segments:
                    raise Problem(400, "The path leads above its root.")
                segments.pop()
            if number == len(raw) - 1:
                segments.append(b"")
            continue
        try:
            segment.decode("utf-8")
        except UnicodeDecodeError:
            raise Problem(400, "The path must be UTF-8 when it is decoded.") from None
        segments.append(segment)
    return segments or [b""]
