"""The kinds of values that settings have: how each is read from TOML, named in the reference, and shown.

Reading is as lenient as Stalwart's: numbers and booleans may also stand in a text, so that macros can give them.
A type alias here (`Duration`, `Hostname`, ...) ties the Python type of a field to its kind.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import msgspec

from stalwart.config.addresses import Address, BadAddress, parse_address
from stalwart.config.errors import KeyPath
from stalwart.config.rules import Ground
from stalwart.config.secret import MASK, Secret


class BadValue(Exception):
    """The value is not of the kind; the message, if any, is a closer word on what was wanted."""


def _as_is(value: Any) -> object:
    return value


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """How one sort of value is read, named and shown.

    `read` takes the TOML value, macros expanded, and the folder that relative paths count from; it raises
    `BadValue`. `show` gives back a value for JSON. `stand_in` lets the loader go on to further errors.
    """

    name: str
    wanted: str
    read: Callable[[object, str], Any]
    show: Callable[[Any], object] = _as_is
    stand_in: object = None
    opaque: bool = False  # errors and `show` must not quote the content
    # An item of a list that is written as a table: its key and value, as `read` takes them.
    from_table: Callable[[str, object], object] | None = None
    # For values with parts: reads them with the place of each; None if there were faults.
    build: Callable[[KeyPath, object, Ground], Any] | None = None


def _read_boolean(value: object, folder: str) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return value == "true"
    raise BadValue


BOOLEAN = Kind(name="boolean", wanted="true or false", read=_read_boolean)


def _read_text(value: object, folder: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise BadValue
    return value


TEXT = Kind(name="text", wanted="a text that is not empty", read=_read_text)


def whole(least: int, most: int, unit: str = "") -> Kind:
    """Whole numbers from `least` to `most`, both included."""

    def read(value: object, folder: str) -> int:
        if isinstance(value, str) and re.fullmatch(r"\s*[+-]?[0-9]{1,18}\s*", value, re.ASCII):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise BadValue
        return value

    of = f" of {unit}" if unit else ""
    return Kind(
        name=f"whole number{of}, {least} to {most}",
        wanted=f"a whole number{of} from {least} to {most}",
        read=read,
        stand_in=least,
    )


def choice(*values: str, **synonyms: str) -> Kind:
    """One of some words, in any case; a synonym is read as the word it stands for."""
    meaning: Mapping[str, str] = {value: value for value in values} | synonyms
    words = ", ".join(f'"{value}"' for value in values[:-1]) + f' or "{values[-1]}"'

    def read(value: object, folder: str) -> str:
        if not isinstance(value, str) or value.strip().lower() not in meaning:
            raise BadValue
        return meaning[value.strip().lower()]

    return Kind(name=words, wanted=words, read=read, stand_in=values[0])


_DURATION = re.compile(r"\s*([0-9]{1,12})\s*(d|h|m|s|ms)?\s*", re.ASCII | re.IGNORECASE)
_MOST_MILLISECONDS = 10_000_000 * 86_400_000  # what is later than that has no date
_MILLISECONDS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}


def _read_duration(value: object, folder: str) -> float:
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < _MOST_MILLISECONDS:
        return value / 1000
    if isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        milliseconds = int(match[1]) * _MILLISECONDS[(match[2] or "ms").lower()]
        if milliseconds >= _MOST_MILLISECONDS:
            raise BadValue("a duration of less than 10000000d")
        if milliseconds > 0:
            return milliseconds / 1000
    raise BadValue


def show_duration(seconds: float) -> str:
    """Seconds as the shortest exact text, such as "5m" or "1500ms"."""
    milliseconds = round(seconds * 1000)
    unit = next(unit for unit, size in _MILLISECONDS.items() if milliseconds % size == 0)
    return f"{milliseconds // _MILLISECONDS[unit]}{unit}"


DURATION = Kind(
    name="duration",
    wanted='a duration above zero such as "5m", "30s" or "500ms" (units d, h, m, s, ms; a bare number is milliseconds)',
    read=_read_duration,
    show=show_duration,
)


def bounded_duration(least: float, most: float) -> Kind:
    """Durations from `least` to `most` seconds, both included."""
    between = f'from "{show_duration(least)}" to "{show_duration(most)}"'

    def read(value: object, folder: str) -> float:
        seconds = _read_duration(value, folder)
        if not least <= seconds <= most:
            raise BadValue
        return seconds

    return Kind(
        name=f"duration, {between}",
        wanted=f"a duration {between} (units d, h, m, s, ms; a bare number is milliseconds)",
        read=read,
        show=show_duration,
        stand_in=least,
    )


_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.ASCII)


def _read_hostname(value: object, folder: str) -> str:
    if not isinstance(value, str):
        raise BadValue
    name = value.strip().rstrip(".").lower()
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise BadValue
    return name


HOSTNAME = Kind(
    name="host name",
    wanted='a host name such as "mail.example.org" (an international one in its xn-- form)',
    read=_read_hostname,
)


def _read_address(value: object, folder: str) -> Address:
    if not isinstance(value, str):
        raise BadValue
    try:
        return parse_address(value, folder)
    except BadAddress as error:
        raise BadValue(str(error)) from None


ADDRESS = Kind(
    name="address",
    wanted='an address such as "127.0.0.1:8080", "[::]:443" or "unix:/run/stalwart/lmtp.sock"',
    read=_read_address,
    show=str,
)


IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

# Bits of the shortest prefix: a slip must not mean everybody. fc00::/7 is all that is private (RFC 4193).
_WIDEST = {4: 8, 6: 7}
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


def _read_network(value: object, folder: str) -> IPNetwork:
    if not isinstance(value, str) or "%" in value:
        raise BadValue
    text = value.strip()
    try:
        network: IPNetwork = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise BadValue from None
    if str(network.network_address) != str(_first_address(text)):
        raise BadValue(f'"{network}" (the address has bits beyond the prefix), or the single address')
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
        # Addresses of connections are compared in their IPv4 form.
        mapped = network.network_address.ipv4_mapped
        assert mapped is not None
        network = ipaddress.IPv4Network((mapped, network.prefixlen - _MAPPED.prefixlen))
    widest = _WIDEST[network.version]
    if network.prefixlen < widest:
        raise BadValue(f"a network with a prefix of at least /{widest}")
    return network


def _first_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(text.partition("/")[0])


NETWORK = Kind(
    name="IP address or network",
    wanted='an IP address or network such as "192.0.2.7", "10.0.0.0/8" or "2001:db8::/32"',
    read=_read_network,
    show=str,
)


def _read_path(value: object, folder: str) -> str:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise BadValue
    return os.path.normpath(os.path.join(folder, value))


PATH = Kind(name="path", wanted="a path (a relative one counts from the file's folder)", read=_read_path)


def _read_pem(value: object, folder: str) -> str:
    if not isinstance(value, str):
        raise BadValue
    if "-----BEGIN " not in value:
        if value.startswith(("/", "./", "../")) and "\n" not in value:
            raise BadValue(f'the file\'s content: "%{{file:{value}}}%"')
        raise BadValue
    return value


def _show_pem(value: str) -> str:
    return f"PEM, {value.count('-----BEGIN ')} block(s), {len(value)} characters"


PEM = Kind(
    name="PEM text",
    wanted='PEM text ("-----BEGIN …"), most easily as "%{file:/path/to/file.pem}%"',
    read=_read_pem,
    show=_show_pem,
    opaque=True,
)


def _read_secret_pem(value: object, folder: str) -> Secret:
    return Secret(_read_pem(value, folder))


def _mask(value: Secret) -> str:
    return MASK


SECRET_PEM = Kind(name="PEM text, secret", wanted=PEM.wanted, read=_read_secret_pem, show=_mask, opaque=True)


def _read_secret(value: object, folder: str) -> Secret:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise BadValue
    return Secret(value.rstrip("\r\n"))  # files end in a line break


SECRET_TEXT = Kind(
    name="text, secret",
    wanted='a text that is not empty, most safely as "%{file:/path/to/file}%"',
    read=_read_secret,
    show=_mask,
    opaque=True,
)


def _read_host_address(value: object, folder: str) -> str:
    if not isinstance(value, str) or "%" in value:
        raise BadValue
    try:
        return str(ipaddress.ip_address(value.strip()))
    except ValueError:
        raise BadValue from None


HOST_ADDRESS = Kind(
    name="IP address", wanted='an IP address such as "127.0.0.1" or "::1", without port', read=_read_host_address
)


LogLevel = Literal["error", "warn", "info", "debug", "trace"]
LogFormat = Literal["text", "json"]
Protocol = Annotated[Literal["http", "lmtp"], choice("http", "lmtp", https="http")]
Duration = Annotated[float, DURATION]
Hostname = Annotated[str, HOSTNAME]
ListenAddress = Annotated[Address, ADDRESS]
Network = Annotated[IPNetwork, NETWORK]
Path = Annotated[str, PATH]
Pem = Annotated[str, PEM]
SecretPem = Annotated[Secret, SECRET_PEM]
SecretText = Annotated[Secret, SECRET_TEXT]
HostAddress = Annotated[str, HOST_ADDRESS]
