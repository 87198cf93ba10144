"""The kinds of values that limits and bans have: rates, lists of networks, patterns of paths."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

import msgspec

from stalwart.config.kinds import NETWORK, BadValue, IPNetwork, Kind, show_duration


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """So many in so long: `count` in `period` seconds."""

    count: int
    period: float


_MOST = 1_000_000
_LONGEST = 366 * 86_400  # seconds
_RATE = re.compile(r"\s*([0-9]{1,9})\s*/\s*([0-9]{1,12})\s*(d|h|m|s|ms)?\s*", re.ASCII | re.IGNORECASE)
_SECONDS = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def _read_rate(value: object, folder: str) -> Rate:
    if isinstance(value, Mapping):
        count, period = _object_rate(value)
    elif isinstance(value, str) and (match := _RATE.fullmatch(value)):
        count, period = int(match[1]), _period(match)
    else:
        raise BadValue
    if not 1 <= count <= _MOST:
        raise BadValue(f'a count from 1 to {_MOST} before the slash; "never" for no limit')
    if not 1 <= period <= _LONGEST:
        raise BadValue("a period from one second to a year")
    return Rate(count=count, period=period)


def _period(match: re.Match[str]) -> float:
    return int(match[2]) * _SECONDS[(match[3] or "ms").lower()]


def _object_rate(value: Mapping[object, object]) -> tuple[int, float]:
    """The form of the object `Http`: the period is in milliseconds, or a text with its unit."""
    count, period = value.get("count"), value.get("period")
    if set(value) != {"count", "period"} or not isinstance(count, int) or isinstance(count, bool):
        raise BadValue("an object with count and period (milliseconds)")
    if isinstance(period, str) and (match := _RATE.fullmatch(f"1/{period}")):
        return count, _period(match)
    if not isinstance(period, int) or isinstance(period, bool):
        raise BadValue("an object with count and period (milliseconds)")
    return count, period / 1000


def _show_rate(value: Rate) -> object:
    return f"{value.count}/{show_duration(value.period)}"


RATE = Kind(
    name="rate, `n/period`",
    wanted='a rate such as "100/1m" (units d, h, m, s; at least a second), or "never" for no limit',
    read=_read_rate,
    show=_show_rate,
)


def _read_listed(value: object, folder: str) -> IPNetwork:
    network: IPNetwork = NETWORK.read(value, folder)
    return network


def _listed_from_table(name: str, value: object) -> object:
    # Stalwart writes presence as an empty text; what else a person writes there is a comment.
    return name if value is True or isinstance(value, str) else value


LISTED_NETWORK = Kind(
    name="IP address or network, listed",
    wanted='an IP address or network such as "192.0.2.7" or "2001:db8::/32", in quotes, as item of an array or as key '
    'of a table (`"192.0.2.7" = ""`)',
    read=_read_listed,
    show=str,
    from_table=_listed_from_table,
)


def _read_glob(value: object, folder: str) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > 1000 or not value.isprintable():
        raise BadValue
    text = value.strip()
    if not text.strip("*?/"):
        raise BadValue("a pattern that says more than wildcards do: this one would ban for every page that isn't there")
    return text


GLOB = Kind(
    name="pattern of paths",
    wanted='a pattern of whole paths such as "*.php*" or "/cgi-bin/*"; "*" is any number of characters, "?" is one',
    read=_read_glob,
)

RateLimit = Annotated[Rate, RATE]
ListedNetwork = Annotated[IPNetwork, LISTED_NETWORK]
Glob = Annotated[str, GLOB]
