"""How the checks ask the DNS, and what they are told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

import msgspec

from stalwart.zone.values import Address, RecordType, Txt, Value

_T = TypeVar("_T")


class Unknown(Exception):
    """It could not be found out: no answer, or one that says so. The text says of what, and why."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The records of one type at a name, or where its aliases lead.

    `exists` is False for NXDOMAIN. `aliases` are the names that CNAME records led to, in order. `secure`: the resolver
    says that DNSSEC proves it (AD).
    """

    values: tuple[Value, ...] = ()
    exists: bool = True
    aliases: tuple[str, ...] = ()
    secure: bool = False

    def of(self, kind: type[_T]) -> tuple[_T, ...]:
        """The values of one sort; others could not be read."""
        return tuple(value for value in self.values if isinstance(value, kind))

    def texts(self, start: str) -> Sequence[str]:
        """The TXT records that begin so, in any case."""
        return [value.text for value in self.of(Txt) if value.text.lower().startswith(start)]


class Asks(Protocol):
    """Where records are asked for."""

    async def __call__(self, name: str, kind: RecordType) -> Answer:
        """The records of a type at a name in A-labels. Raises Unknown."""


def is_name(text: str) -> bool:
    """Whether it is a name, other than the root, that can be asked for (RFC 1035 §2.3.4)."""
    return text.isascii() and len(text) <= 253 and all(0 < len(label) <= 63 for label in text.split("."))


async def addresses(ask: Asks, name: str) -> tuple[frozenset[str], tuple[str, ...]]:
    """The IP addresses of a name, and the aliases on the way. Raises Unknown."""
    four, six = await ask(name, "A"), await ask(name, "AAAA")
    found = (*four.of(Address), *six.of(Address))
    return frozenset(str(value.address) for value in found), four.aliases or six.aliases
