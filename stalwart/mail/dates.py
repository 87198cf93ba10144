"""Dates of header fields (RFC 5322 §3.3 and §4.3) as RFC 3339 writes them."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import Final

from stalwart.mail.comments import strip_comments

__all__ = ["format_date", "parse_date"]

_MONTHS: Final = {
    name: number
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), start=1
    )
}
# RFC 5322 §4.3: the names of the North American zones; other names count as -0000.
_ZONES: Final = {
    "EST": -300,
    "EDT": -240,
    "CST": -360,
    "CDT": -300,
    "MST": -420,
    "MDT": -360,
    "PST": -480,
    "PDT": -420,
}
_DATE: Final = re.compile(
    r"\s*+(?:[A-Za-z]+\s*+[,.]?\s*+)?(\d{1,2})[\s-]\s*+([A-Za-z]{3})[a-z]*+\.?[\s,-]\s*+(\d{2,4})\s++"
    r"(\d{1,2})\s*+[:.]\s*+(\d{2})(?:\s*+[:.]\s*+(\d{2})(?:\.\d{1,9})?)?\s*+(?:([+-])\s?(\d{2}):?(\d{2})(?!\d)|([A-Za-z]+))?"
)
# asctime(3), which is no RFC 5322 date but was sent by old programs: "Tue May 30 10:20:30 2005 +0100".
_ASCTIME: Final = re.compile(
    r"\s*+[A-Za-z]{3}\s++([A-Za-z]{3})\s++(\d{1,2})\s++(\d{1,2}):(\d{2})(?::(\d{2}))?\s++"
    r"(?:[A-Z]{3,4}\s++)?(\d{4})(?:\s++([+-])(\d{2})(\d{2}))?\s*+\Z"
)
_MAX_LENGTH: Final = 500


def parse_date(text: str) -> datetime | None:
    """The moment that a date-time names, with its offset; None for what is no date."""
    text = strip_comments(text[:_MAX_LENGTH])
    if found := _DATE.match(text):
        day, month, year, hour, minute, second, sign, zone_hours, zone_minutes, zone = found.groups()
    elif found := _ASCTIME.match(text):
        month, day, hour, minute, second, year, sign, zone_hours, zone_minutes = found.groups()
        zone = None
    else:
        return None
    number = _MONTHS.get(month.lower())
    if number is None:
        return None
    offset = _ZONES.get(zone.upper(), 0) if zone else 0
    if sign:
        offset = int(zone_hours) * 60 + int(zone_minutes)
        if offset >= 24 * 60:
            offset = 0  # RFC 3339 has no such offset
        offset = -offset if sign == "-" else offset
    try:
        return datetime(
            _full_year(year),
            number,
            int(day),
            int(hour),
            int(minute),
            min(int(second or 0), 59),  # a leap second, RFC 5322 §3.3, is the second before it
            tzinfo=timezone(timedelta(minutes=offset)),
        )
    except ValueError:
        return None


def format_date(moment: datetime) -> str:
    """Date of RFC 8620 §1.4: the offset is kept, UTC is "Z"."""
    text = moment.isoformat()
    return text[:-6] + "Z" if text.endswith("+00:00") else text


def _full_year(digits: str) -> int:
    year = int(digits)
    # RFC 5322 §4.3: two digits up to 49 are of this century; other two and all three count from 1900.
    if len(digits) == 2:
        return year + (2000 if year < 50 else 1900)
    return year + 1900 if len(digits) == 3 else year
