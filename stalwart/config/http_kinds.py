"""The kinds of values that only the HTTP settings have: response headers, origins, ages and rules."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated

from stalwart.config.errors import KeyPath
from stalwart.config.kinds import HOSTNAME, BadValue, Kind
from stalwart.config.rules import RuleText, SourceText, read_rule, show_rule

# RFC 9110 §5.6.2: token.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
# RFC 9110 §5.5, without TAB and obs-text.
_FIELD_VALUE = re.compile(r"[ -~]*", re.ASCII)
# RFC 9110 §7.6.1 (of one connection only), RFC 9112 §6 (framing), and what describes a single response.
_CONNECTION = frozenset({"connection", "keep-alive", "proxy-connection", "te", "upgrade"})
_FRAMING = frozenset({"content-length", "trailer", "transfer-encoding"})
_OWN = frozenset({"content-encoding", "content-range", "content-type", "date"})


def _read_header(value: object, folder: str) -> tuple[str, str]:
    if not isinstance(value, str):
        raise BadValue
    name, colon, content = value.partition(":")
    name, content = name.strip(" "), content.strip(" ")
    if not colon:
        raise BadValue('a colon between name and value, as in "X-Frame-Options: DENY"')
    if not _TOKEN.fullmatch(name):
        raise BadValue("a header name before the first colon: letters, digits and hyphens, without spaces")
    if not _FIELD_VALUE.fullmatch(content):
        raise BadValue("a header value of printable ASCII, on one line and without control characters")
    lowered = name.lower()
    if lowered in _FRAMING:
        raise BadValue(f"another header: {name} says where a response ends, and the server sets it")
    if lowered in _CONNECTION:
        raise BadValue(f"another header: {name} is about the connection, and the server sets it")
    if lowered in _OWN:
        raise BadValue(f"another header: {name} belongs to each single response, and the server sets it")
    return name, content


def _show_header(value: tuple[str, str]) -> object:
    return f"{value[0]}: {value[1]}"


def _header_from_table(name: str, value: object) -> object:
    if not isinstance(value, str):
        return value
    shown = f'"{name}"' if ":" in name else name  # no part of a name may become value
    return f"{shown}: {value}"


HEADER = Kind(
    name='response header, `"Name: value"`',
    wanted='a response header such as "X-Frame-Options: DENY"',
    read=_read_header,
    show=_show_header,
    from_table=_header_from_table,
)

# RFC 6454 §6.2: scheme "://" host [ ":" port ].
_ORIGIN = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<host>[a-z0-9_.-]+))(?::(?P<port>[0-9]{1,5}))?",
    re.ASCII,
)
_DEFAULT_PORTS = {"http": 80, "https": 443}


def _read_origin(value: object, folder: str) -> str:
    if not isinstance(value, str):
        raise BadValue
    text = value.strip().lower()
    if text == "*":
        raise BadValue("exact origins here; http.permissive-cors is the setting for all of them")
    match = _ORIGIN.fullmatch(text)
    if match is None:
        bare = text.rstrip("/")
        if bare != text and _ORIGIN.fullmatch(bare):
            raise BadValue(f'"{bare}", without a slash at the end: that is how browsers send it')
        raise BadValue
    host = match["host"]
    if host is not None:
        host = _origin_host(host)
    else:
        try:
            host = f"[{ipaddress.IPv6Address(match['v6'])}]"
        except ValueError:
            raise BadValue("an IPv6 address in the brackets") from None
    shortest = f"{match['scheme']}://{host}"
    if match["port"] is None:
        return shortest
    port = int(match["port"])
    if not 1 <= port <= 65535:
        raise BadValue("a port from 1 to 65535")
    if _DEFAULT_PORTS.get(match["scheme"]) == port:
        raise BadValue(f'"{shortest}", without the default port: that is how browsers send it')
    return f"{shortest}:{port}"


def _origin_host(host: str) -> str:
    try:
        name = str(HOSTNAME.read(host, ""))
    except BadValue:
        raise BadValue from None
    if name != host:
        raise BadValue("a host name without a dot at the end")
    return host


ORIGIN = Kind(
    name="origin",
    wanted='an origin such as "https://mail.example.org" or "http://localhost:3000": scheme, host and port, no path',
    read=_read_origin,
)

_AGE = re.compile(r"\s*([0-9]{1,12})\s*(d|h|m|s)\s*", re.ASCII | re.IGNORECASE)
_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def _read_age(value: object, folder: str) -> int:
    if isinstance(value, str) and (match := _AGE.fullmatch(value)):
        seconds = int(match[1]) * _SECONDS[match[2].lower()]
        if seconds < 2**31:  # what recipients can be expected to hold
            return seconds
    raise BadValue


def _show_age(seconds: int) -> object:
    unit = next(unit for unit, size in _SECONDS.items() if seconds % size == 0 and (seconds or size == 1))
    return f"{seconds // _SECONDS[unit]}{unit}"


AGE = Kind(
    name="age, with its unit",
    wanted='an age with its unit such as "365d" or "3600s" (units d, h, m, s); "0s" makes browsers forget',
    read=_read_age,
    show=_show_age,
)


class _NoPlace:
    """The ground of a rule that stands in no document; its first fault ends the reading."""

    def error(self, path: KeyPath, *, found: str | None, wanted: str) -> None:
        raise BadValue(wanted)

    def expand(self, path: KeyPath, text: str) -> str | None:
        return text

    def source(self, path: KeyPath, text: str) -> SourceText:
        return SourceText(text=text, key="")

    def key(self, path: KeyPath) -> str:
        return ""


def _read_rule(value: object, folder: str) -> RuleText | None:
    return read_rule((), value, _NoPlace())


RULE = Kind(
    name="rule (an expression, or clauses with if and then, and an else)",
    wanted="an expression, or clauses with if and then, and an else",
    read=_read_rule,
    show=show_rule,
    build=read_rule,
)

Age = Annotated[int, AGE]
Header = Annotated[tuple[str, str], HEADER]
WebOrigin = Annotated[str, ORIGIN]
Rule = Annotated[RuleText, RULE]
