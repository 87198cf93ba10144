"""What clients are told of changes: StateChange objects, the types in them, and tokens of all states a client knows.

A `Feed` holds what one client still has to be told. States only move up, so the last one of a type says it all, and
changes may be told together (RFC 8620 §7).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import msgspec

from stalwart.jmap.call import Account
from stalwart.jmap.catalog import METHODS
from stalwart.jmap.types import mail

_DELIVERY = "EmailDelivery"  # RFC 8621 §1.5: it has no methods
_WITHOUT_STATE = "PushSubscription"  # RFC 8620 §7.2

_CAPABILITIES = {
    method.name.partition("/")[0]: method.capability
    for method in METHODS.values()
    if method.name.endswith(("/changes", "/set"))
} | {_DELIVERY: mail.URI}

PUSHED_TYPES = frozenset(_CAPABILITIES) - {_WITHOUT_STATE}
"""The types whose changes are pushed (RFC 8620 §7.1; RFC 8621 §1.5 for EmailDelivery)."""

# IANA's "JMAP Data Types" that have a state. Clients name all they know, whatever this server has.
_REGISTERED_TYPES = PUSHED_TYPES | {
    "AddressBook",
    "Calendar",
    "CalendarEvent",
    "CalendarEventNotification",
    "ContactCard",
    "EmailSubmission",
    "ParticipantIdentity",
    "Principal",
    "ShareNotification",
    "SieveScript",
    "VacationResponse",
}

_MOST_TOKEN = 4096  # browsers send it back in a header field; all fields together have a limit
_TOO_MANY = "all"
_TOKEN_PART = re.compile(r"([A-Za-z0-9_-]{1,255}):([A-Za-z]{1,64})=([0-9]{1,19})", re.ASCII)
_encode = msgspec.json.Encoder().encode

Changed = Mapping[str, Mapping[str, str]]
"""RFC 8620 §7.1: account id -> type -> state."""

Known = Mapping[tuple[str, str], int]
"""The states that a token stands for, by account id and type."""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """An account that a client is told of: its id, and the types that the client can see there."""

    id: str
    types: frozenset[str]


def told_of(accounts: Iterable[Account]) -> Mapping[int, Told]:
    """What is told of the accounts that a user sees, by the store's numbers.

    RFC 8621 §9.5: types that the user has no access to are as if they didn't exist.
    """
    return {
        account.row: Told(
            id=account.id,
            types=frozenset(name for name in PUSHED_TYPES if _CAPABILITIES[name] in account.capabilities),
        )
        for account in accounts
    }


class UnknownType(Exception):
    """A name that no type with a state has."""


def types_named(names: Iterable[str]) -> frozenset[str]:
    """Those of the types with these names that this server pushes. Raises UnknownType for what is no type of JMAP."""
    wanted = frozenset(names)
    for name in wanted - _REGISTERED_TYPES:
        raise UnknownType(f"there is no type {name[:64]!r} whose changes are pushed")
    return wanted & PUSHED_TYPES


def state_change(changed: Changed, **more: str) -> bytes:
    """A StateChange object as JSON (RFC 8620 §7.1)."""
    return _encode({"@type": "StateChange", "changed": changed, **more})


def read_token(text: str) -> Known | None:
    """The states that a token of `Feed.token` stands for; None if it is none."""
    if text == _TOO_MANY:
        return {}
    if not text or len(text) > _MOST_TOKEN:
        return None
    known: dict[tuple[str, str], int] = {}
    for part in text.split(","):
        match = _TOKEN_PART.fullmatch(part)
        if match is None:
            return None
        known[match[1], match[2]] = int(match[3])
    return known


class Feed:
    """What one client is to be told: of these accounts and types, each type's last state.

    It holds at most one state for each account and type, however long nobody takes them.
    """

    __slots__ = ("_accounts", "_news", "_told", "_types")

    def __init__(self, accounts: Mapping[int, Told], types: frozenset[str]) -> None:
        self._accounts = accounts
        self._types = types
        self._told: dict[tuple[str, str], int] = {}
        self._news: dict[tuple[str, str], int] = {}

    def __bool__(self) -> bool:
        """Whether there is something to be told."""
        return bool(self._news)

    def offer(self, account: int, states: Mapping[str, int]) -> bool:
        """Note the states of an account; whether any of them is news."""
        told = self._accounts.get(account)
        if told is None:
            return False
        news = False
        for name, state in states.items():
            key = (told.id, name)
            known = max(self._told.get(key, -1), self._news.get(key, -1))
            if name in self._types and name in told.types and state > known:
                self._news[key] = state
                news = True
        return news

    def settle(self, current: Mapping[int, Mapping[str, int]], since: Known | None) -> None:
        """Begin from the `current` states: what differs from those the client knew is to be told, if it knew any."""
        for account, states in current.items():
            told = self._accounts[account]
            for name, state in states.items():
                key = (told.id, name)
                if name not in self._types or name not in told.types:
                    continue
                if key in self._news or (since is not None and since.get(key) != state):
                    self._news[key] = max(state, self._news.get(key, 0))
                else:
                    self._told[key] = state

    def take(self) -> Changed:
        """What is to be told; from now on it counts as told."""
        self._told.update(self._news)
        changed: dict[str, dict[str, str]] = {}
        for (account_id, name), state in self._news.items():
            changed.setdefault(account_id, {})[name] = str(state)
        self._news.clear()
        return changed

    def give_back(self, changed: Changed) -> None:
        """What was taken, here or from the feed before this, could not be told.

        It is to be told again, unless there is a later state or it is none of this feed's accounts and types.
        """
        seen = {told.id: told.types & self._types for told in self._accounts.values()}
        for account, types in changed.items():
            for name, text in types.items():
                if name in seen.get(account, ()):
                    key = (account, name)
                    self._news[key] = max(int(text), self._news.get(key, 0))
                    self._told.pop(key, None)

    def token(self) -> str:
        """All states that the client was told, so that it can go on from there; '' if it knows of none.

        Where they are too many for a header field it says so, and whoever comes back with it is told all.
        """
        token = ",".join(f"{account}:{name}={state}" for (account, name), state in sorted(self._told.items()))
        return token if len(token) <= _MOST_TOKEN else _TOO_MANY
