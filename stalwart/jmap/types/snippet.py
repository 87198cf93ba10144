"""SearchSnippet/get (RFC 8621 §5): where the words of a filter are in the subject and the body of messages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from stalwart import store
from stalwart.jmap.arguments import AccountArguments, Id
from stalwart.jmap.call import Call
from stalwart.jmap.declare import FilterCondition, Method
from stalwart.jmap.errors import RequestTooLarge
from stalwart.jmap.filters import decode_filter
from stalwart.jmap.ids import row_of
from stalwart.jmap.types import mail
from stalwart.jmap.types.email_body import body_of
from stalwart.jmap.types.email_query import QUERY, HeaderTest
from stalwart.jmap.types.email_source import Source
from stalwart.mail.bodies import body_value
from stalwart.mail.html import html_to_text
from stalwart.mail.message import Part
from stalwart.mail.snippets import Marker
from stalwart.mail.terms import Term, parse_terms
from stalwart.store import AllOf, AnyOf, EmailRow, Filter, Text

_MOST_OCTETS = 131_072
"""Of one message's text, that are searched for a preview."""

_PRICE = 3
"""How many times an octet counts that is searched: looking for words takes longer than reading."""

# What a header filter finds isn't shown, so it isn't looked for.
_SHOWN = msgspec.structs.replace(
    QUERY,
    filters={
        **QUERY.filters,
        "header": FilterCondition(type=HeaderTest, build=lambda call, value: AllOf(children=())),
    },
)


class SnippetArguments(AccountArguments, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """RFC 8621 §5.1."""

    filter: dict[str, Any] | None = None
    email_ids: list[Id]


class SearchSnippet(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """RFC 8621 §5."""

    email_id: str
    subject: str | None
    preview: str | None


def _get(call: Call, arguments: SnippetArguments) -> dict[str, Any]:
    asked = dict.fromkeys(arguments.email_ids)
    most = call.limits.max_snippets
    if len(asked) > most:
        raise RequestTooLarge(f"Snippets of {len(asked)} Emails in one call, and {most} are allowed.")
    wanted = None if arguments.filter is None else decode_filter(arguments.filter, _SHOWN, call)
    subject, body = Marker(tuple(_terms(wanted, "subject"))), Marker(tuple(_terms(wanted, "body")))
    numbers = {text: row_of("E", call.resolve(text)) for text in asked}
    rows = store.get_emails(call.session, call.account.row, {row for row in numbers.values() if row is not None})
    shown: list[SearchSnippet] = []
    missing: list[str] = []
    for text, number in numbers.items():
        if number is None or number not in rows:
            missing.append(text)
            continue
        row = rows[number]
        shown.append(
            SearchSnippet(email_id=f"E{number}", subject=_subject(row, subject), preview=_preview(call, row, body))
        )
    # RFC 8621 §5.1: null if all ids were found
    return {"accountId": call.account.id, "list": shown, "notFound": missing or None}


def _terms(node: Filter | None, field: str) -> Iterator[Term]:
    """What the filter looks for in that field. What it must not find is not looked for."""
    match node:
        case AllOf() | AnyOf():
            for child in node.children:
                yield from _terms(child, field)
        case Text() if node.field in ("any", field):
            yield from parse_terms(node.query)


def _subject(row: EmailRow, marker: Marker) -> str | None:
    if not marker:
        return None
    subject = json.loads(row.summary)["subject"]
    return marker.whole(subject) if subject else None


def _preview(call: Call, row: EmailRow, marker: Marker) -> str | None:
    if not marker:
        return None
    body = body_of(row)
    source = Source(call, row, None)
    left = _MOST_OCTETS
    seen: set[str | None] = set()
    for part in (*body.lists.text, *body.lists.html):
        if not part.type.startswith("text/") or part.part_id in seen:
            continue
        seen.add(part.part_id)
        end = min(part.body_end, part.body_start + left)
        left -= end - part.body_start
        source.charge(_PRICE * (end - part.body_start))
        try:
            octets = source.octets(part.body_start, end)
        except store.BlobMissing:
            return None
        if (found := marker.excerpt(_text(octets, part))) is not None:
            return found
        if left <= 0:
            break
    return None


def _text(octets: bytes, part: Part) -> str:
    text = body_value(octets, part).value
    return html_to_text(text) if part.type == "text/html" else text


GET_SNIPPETS = Method(name="SearchSnippet/get", capability=mail.URI, arguments=SnippetArguments, run=_get)
