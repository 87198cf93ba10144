"""One record that a domain is to have, with the reason, and how the records of a domain are printed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from stalwart.zone.asking import is_name
from stalwart.zone.values import Address, Alias, Caa, Mx, RecordType, Srv, Tlsa, Txt, Value, presentation

TTL = 3600
"""Seconds for which resolvers may keep a record; the same for all."""

_TYPES: dict[type, RecordType] = {Alias: "CNAME", Mx: "MX", Txt: "TXT", Srv: "SRV", Tlsa: "TLSA", Caa: "CAA"}


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A record to publish.

    `check` is what it is for: `MX`, `SPF`, `DKIM` and so on. `name` is a full name without the dot at the end; `why` is
    one sentence. `required` is False for what does without. `only_signed`: it counts only in a zone signed with
    DNSSEC.
    """

    check: str
    name: str
    data: Value
    why: str
    required: bool = True
    only_signed: bool = False

    @property
    def type(self) -> RecordType:
        """The record's type."""
        if isinstance(self.data, Address):
            return "A" if self.data.address.version == 4 else "AAAA"
        return _TYPES[type(self.data)]


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """The records of a domain (A-labels), and what there is to say beside them, one line each."""

    domain: str
    records: tuple[Record, ...]
    notes: tuple[str, ...] = ()


def fault(wanted: Wanted) -> str | None:
    """Why no zone can have these records; None if one can."""
    aliases = {record.name for record in wanted.records if isinstance(record.data, Alias)}
    for record in wanted.records:
        if not is_name(record.name):
            return f"{wanted.domain} is too long: the name {record.name} would have more than 253 characters"
        hosts = {record.data.host} if isinstance(record.data, Alias | Mx | Srv) else {record.name}
        clash = aliases & hosts
        if clash:  # RFC 1034 §3.6.2, RFC 2181 §10.3, RFC 2782
            return f"{clash.pop()} is to be an alias of this server's name (CNAME), and so can't be the name of a host"
    return None


def in_zone(name: str, domain: str) -> bool:
    """Whether a name lies in a domain, or is it."""
    return name == domain or name.endswith(f".{domain}")


def zone_line(record: Record) -> str:
    """The record as a line of a zone file."""
    return f"{record.name}. {TTL} IN {record.type} {presentation(record.data)}"


def zone_lines(wanted: Wanted) -> Iterator[str]:
    """Lines for the domain's zone file.

    Records that belong into another zone, and those that only a signed zone should have, are comments.
    """
    yield f"; records of {wanted.domain}"
    for note in wanted.notes:
        yield f"; note: {note}"
    own = [record for record in wanted.records if in_zone(record.name, wanted.domain)]
    yield from _lines(own)
    others = [record for record in wanted.records if not in_zone(record.name, wanted.domain)]
    if others:
        yield ";"
        yield f"; not for the zone of {wanted.domain}, but for the zones that these names are in:"
        for line in _lines(others):
            yield line if line.startswith(";") else f"; {line}"


def _lines(records: Sequence[Record]) -> Iterator[str]:
    for record in records:
        yield f"; {record.check}: {record.why}"
        yield f"; {zone_line(record)}" if record.only_signed else zone_line(record)
