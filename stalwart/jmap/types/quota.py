"""Quotas (RFC 9425): what an account may have of octets, mailboxes and identities. Only its owner sees them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import msgspec

from stalwart import store
from stalwart.jmap.arguments import Id, UnsignedInt
from stalwart.jmap.call import Call
from stalwart.jmap.declare import (
    DataType,
    FilterCondition,
    Found,
    FoundChanges,
    Operator,
    Property,
    Query,
    Search,
    SearchChanges,
    SortKey,
    field,
    table,
)
from stalwart.jmap.standard import splice, window
from stalwart.jmap.types import identity, mail
from stalwart.store import Changes

URI = "urn:ietf:params:jmap:quota"

Scope = Literal["account", "domain", "global"]
ResourceType = Literal["count", "octets"]


class Quota(msgspec.Struct, frozen=True, kw_only=True):
    """One limit, and how much of it is used; `capability` is that of the type it is about."""

    id: int
    resource_type: ResourceType
    used: int
    hard_limit: int
    name: str
    description: str
    type: str
    capability: str


Test = Callable[[Quota], bool]


def _quotas(call: Call) -> list[Quota]:
    row = store.get_quota(call.session, call.account.row)
    found = [
        Quota(
            id=store.MAILBOX_QUOTA,
            resource_type="count",
            used=row.mailboxes,
            hard_limit=call.limits.max_mailboxes,
            name="Mailboxes",
            description="How many mailboxes the account may have.",
            type="Mailbox",
            capability=mail.URI,
        ),
        Quota(
            id=store.IDENTITY_QUOTA,
            resource_type="count",
            used=row.identities,
            hard_limit=call.limits.max_identities,
            name="Identities",
            description="How many identities the account may have.",
            type="Identity",
            capability=identity.URI,
        ),
    ]
    if row.quota is not None:
        octets = Quota(
            id=store.OCTET_QUOTA,
            resource_type="octets",
            used=row.used,
            hard_limit=row.quota,
            name="Mail",
            description="How much mail the account may hold.",
            type="Email",
            capability=mail.URI,
        )
        found.insert(0, octets)
    # RFC 9425 §4: MUST NOT return Quota objects for which there are no types recognised by the client
    return [quota for quota in found if quota.capability in call.exchange.using]


def _fetch(call: Call, rows: Sequence[int] | None) -> Mapping[int, Quota]:
    every = {quota.id: quota for quota in _quotas(call)}
    return every if rows is None else {row: every[row] for row in rows if row in every}


def _changes(call: Call, since: int, most: int) -> Changes:
    found = store.quota_changes(call.session, call.account.row, since, most)
    seen = {quota.id for quota in _quotas(call)}
    if mail.URI in call.exchange.using:
        seen.add(store.OCTET_QUOTA)  # it may be gone
    return msgspec.structs.replace(
        found,
        created=[row for row in found.created if row in seen],
        updated=[row for row in found.updated if row in seen],
        destroyed=[row for row in found.destroyed if row in seen],
    )


def _updated_properties(changes: Changes) -> Mapping[str, object]:
    # RFC 9425 §4.3: only if nothing but "used" has changed
    return {"updatedProperties": ["used"] if changes.only_counts else None}


def _combine(operator: Operator, tests: Sequence[Test]) -> Test:
    match operator:
        case "AND":
            return lambda quota: all(test(quota) for test in tests)
        case "OR":
            return lambda quota: any(test(quota) for test in tests)
        case "NOT":
            return lambda quota: not any(test(quota) for test in tests)


def _found(call: Call, search: Search[Test] | SearchChanges[Test]) -> list[int]:
    found = [quota for quota in _quotas(call) if search.filter is None or search.filter(quota)]
    for comparator in reversed(search.sort):
        by_name = comparator.property == "name"
        found.sort(
            key=lambda quota: quota.name if by_name else quota.used,
            reverse=not comparator.is_ascending,
        )
    return [quota.id for quota in found]


def _search(call: Call, search: Search[Test], arguments: object) -> Found:
    return window(_found(call, search), search)


def _search_changes(call: Call, search: SearchChanges[Test], arguments: object) -> FoundChanges:
    changed = _changes(call, search.since, call.limits.max_changes)
    return splice(_found(call, search), changed, search)


QUOTA: DataType[Quota, Test] = DataType(
    name="Quota",
    capability=URI,
    prefix="Q",
    properties=table(
        Property(name="id", type=Id, read=lambda row: f"Q{row.id}", set_by="server", immutable=True),
        Property(name="resourceType", type=ResourceType, read=field("resource_type"), set_by="server"),
        Property(name="used", type=UnsignedInt, read=field("used"), set_by="server"),
        Property(name="hardLimit", type=UnsignedInt, read=field("hard_limit"), set_by="server"),
        Property(name="scope", type=Scope, read=lambda row: "account", set_by="server"),
        Property(name="name", type=str, read=field("name"), set_by="server"),
        Property(name="types", type=list[str], read=lambda row: [row.type], set_by="server"),
        Property(name="warnLimit", type=UnsignedInt | None, read=lambda row: None, set_by="server"),
        Property(name="softLimit", type=UnsignedInt | None, read=lambda row: None, set_by="server"),
        Property(name="description", type=str | None, read=field("description"), set_by="server"),
    ),
    fetch=_fetch,
    find_changes=_changes,
    also_changed=_updated_properties,
    query=Query(
        filters={
            "name": FilterCondition(type=str, build=lambda call, value: lambda quota: value in quota.name),
            "scope": FilterCondition(type=Scope, build=lambda call, value: lambda quota: value == "account"),
            "resourceType": FilterCondition(
                type=ResourceType, build=lambda call, value: lambda quota: value == quota.resource_type
            ),
            "type": FilterCondition(type=str, build=lambda call, value: lambda quota: value == quota.type),
        },
        sorts={"name": SortKey(is_text=True), "used": SortKey()},
        combine=_combine,
        search=_search,
        changes=_search_changes,
    ),
)
