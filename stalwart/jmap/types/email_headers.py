"""The properties `header:{name}[:as{form}][:all]` of Emails and of body parts (RFC 8621 §4.1.2, §4.1.3)."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from stalwart.jmap.errors import InvalidArguments
from stalwart.mail.headers import Form, HeaderField, allowed_forms, header_form

# RFC 8621 §4.1.3: printable ASCII but the colon; the form before :all
_PROPERTY = re.compile(r"header:([\x21-\x39\x3b-\x7e]+)(?::as([A-Za-z]+))?(:all)?", re.ASCII)

_PRICE = 20
"""Octets that looking at one header field counts for."""

_PRICE_OF_ENTRY = 60
"""Octets that a member of `headers` has beside its value, about."""

_FORMS: dict[str, Form] = {
    "Raw": "raw",
    "Text": "text",
    "Addresses": "addresses",
    "GroupedAddresses": "grouped-addresses",
    "MessageIds": "message-ids",
    "Date": "date",
    "URLs": "urls",
}


class HeaderProperty(msgspec.Struct, frozen=True, kw_only=True):
    """A header property as asked for: the field's name in lower case, the form, and whether every instance is meant."""

    field: str
    form: Form
    every: bool


@functools.lru_cache(maxsize=256)
def header_property(name: str, argument: str = "properties") -> HeaderProperty:
    """The header property that `name` asks for in `argument`. Raises InvalidArguments."""
    match = _PROPERTY.fullmatch(name)
    if match is None:
        raise InvalidArguments(
            f"{argument}: {name[:200]!r} is not of the form header:NAME, header:NAME:asFORM or either with :all.",
            argument,
        )
    form = _FORMS.get(match[2] or "Raw")
    if form is None:
        raise InvalidArguments(
            f"{argument}: {name[:200]!r} asks for a form that is none of {', '.join(_FORMS)}.", argument
        )
    if form not in allowed_forms(match[1]):
        # RFC 8621 §4.2: a form that is forbidden for the field MUST be rejected
        raise InvalidArguments(f"{argument}: {match[1][:200]} can not be had as {match[2]}.", argument)
    return HeaderProperty(field=match[1].lower(), form=form, every=match[3] is not None)


def header_value(
    wanted: HeaderProperty, fields: Sequence[HeaderField], charset: str | None, charge: Callable[[int], None]
) -> Any:
    """The value of a header property over the fields of a message or part; `charset` is that of the message's text.

    `charge` is told what it costs in octets before the work is done: one field may be asked for under many names.
    """
    named = [one.raw for one in fields if one.name.lower() == wanted.field]
    charge(_PRICE * (1 + len(fields)) + sum(map(len, named)))
    if wanted.every:
        return [header_form(raw, wanted.form, charset) for raw in named]
    # RFC 8621 §4.1.3: the last instance, or null if none
    return header_form(named[-1], wanted.form, charset) if named else None


def all_headers(fields: Sequence[HeaderField], charge: Callable[[int], None]) -> list[dict[str, Any]]:
    """The `headers` property: every field in order, in Raw form. `charge` as in `header_value`."""
    charge(sum(_PRICE_OF_ENTRY + len(one.raw) for one in fields))
    return [{"name": one.name, "value": header_form(one.raw, "raw")} for one in fields]
