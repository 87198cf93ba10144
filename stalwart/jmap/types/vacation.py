"""The VacationResponse (RFC 8621 §8): what those who write to an account are answered while its user is away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from msgspec import Meta

from stalwart import store
from stalwart.jmap.arguments import Id, SetArguments, UTCDate
from stalwart.jmap.call import Call
from stalwart.jmap.declare import DataType, Property, Write, field, table
from stalwart.jmap.errors import invalid_properties
from stalwart.jmap.types.identity import Line
from stalwart.mail.dates import format_date
from stalwart.store import VacationRow

URI = "urn:ietf:params:jmap:vacationresponse"

Body = Annotated[str, Meta(max_length=65_536)]

_COLUMNS = {
    "isEnabled": "is_enabled",
    "fromDate": "from_date",
    "toDate": "to_date",
    "subject": "subject",
    "textBody": "text_body",
    "htmlBody": "html_body",
}


def _fetch(call: Call, rows: Sequence[int] | None) -> Mapping[int, VacationRow]:
    # RFC 8621 §8: there is always one
    return {0: store.get_vacation(call.session, call.account.row)} if rows is None or 0 in rows else {}


def _update(
    call: Call, row: VacationRow, changed: Mapping[str, Any], arguments: SetArguments
) -> Mapping[str, object] | None:
    values: dict[str, Any] = {}
    otherwise: dict[str, object] = {}
    for name, value in changed.items():
        if name in ("fromDate", "toDate") and value is not None:
            values[_COLUMNS[name]] = seconds = _seconds(name, value)
            if _date(seconds) != value:
                otherwise[name] = _date(seconds)  # fractions of a second are not kept
        else:
            values[_COLUMNS[name]] = value
    store.set_vacation(call.session, call.account.row, values)
    return otherwise or None


def _seconds(name: str, date: str) -> int:
    try:
        return int(datetime.fromisoformat(date.partition(".")[0].removesuffix("Z") + "+00:00").timestamp())
    except ValueError:
        raise invalid_properties(f"{name}: {date!r} is not a date.", [name]) from None


def _date(seconds: int | None) -> str | None:
    return None if seconds is None else format_date(datetime.fromtimestamp(seconds, UTC))


VACATION_RESPONSE: DataType[VacationRow, None] = DataType(
    name="VacationResponse",
    capability=URI,
    prefix="",
    properties=table(
        Property(name="id", type=Id, read=lambda row: "singleton", set_by="server", immutable=True),
        Property(name="isEnabled", type=bool, read=field("is_enabled"), default=False),
        Property(name="fromDate", type=UTCDate | None, read=lambda row: _date(row.from_date), default=None),
        Property(name="toDate", type=UTCDate | None, read=lambda row: _date(row.to_date), default=None),
        Property(name="subject", type=Line | None, read=field("subject"), default=None),
        Property(name="textBody", type=Body | None, read=field("text_body"), default=None),
        Property(name="htmlBody", type=Body | None, read=field("html_body"), default=None),
    ),
    fetch=_fetch,
    write=Write(update=_update),
    singleton=True,
)
