"""Checks of the records that lead to hosts: MX, aliases, SRV; and of what binds hosts to keys: CAA and TLSA."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

from stalwart.zone.asking import Answer, addresses
from stalwart.zone.finding import Outcome
from stalwart.zone.record import Record
from stalwart.zone.surroundings import Surroundings
from stalwart.zone.values import Alias, Caa, Mx, Srv, Tlsa, Value, as_text

_CAA_TAGS = ("issue", "issuewild", "iodef")  # RFC 8659 §4


def shown(values: Sequence[Value]) -> tuple[str, ...]:
    """Values as the report has them, in an order of their own: resolvers turn them round."""
    return tuple(sorted(map(as_text, values)))


async def check_address(around: Surroundings, name: str) -> Outcome:
    """Whether a host has an address at all, and none that only its own network can reach."""
    four, six = await around.ask(name, "A"), await around.ask(name, "AAAA")
    found = shown((*four.values, *six.values))
    secure = four.secure and six.secure
    if not found:
        fix = f"publish an A record, and an AAAA record if there is IPv6, for {name} with the server's public addresses"
        return Outcome(state="missing", fix=fix, secure=secure)
    inside = [text for text in found if not ip_address(text).is_global]
    note = f"not a public address: {', '.join(inside)}; others can't reach it" if inside else ""
    return Outcome(state="good", found=found, note=note, secure=secure)


async def check_mx(around: Surroundings, record: Record) -> Outcome:
    """The wanted host is among the exchangers, by name or by address; its preference is the admin's own matter."""
    assert isinstance(record.data, Mx)
    answer = await around.ask(record.name, "MX")
    found, hosts = shown(answer.values), [value.host for value in answer.of(Mx)]
    if not hosts:
        return _absent(answer, found, "publish the record")
    if "" in hosts:
        fix = f"take out the record with the host '.', which says that {record.name} takes no mail (RFC 7505)"
        return Outcome(state="wrong", found=found, fix=fix, secure=answer.secure)
    others = [host for host in hosts if host != record.data.host]
    note = f"{', '.join(sorted(others))} takes mail too" if others else ""
    if record.data.host in hosts:
        _, aliases = await addresses(around.ask, record.data.host)
        if aliases:  # RFC 5321 §5.1
            fix = f"give {record.data.host} A and AAAA records instead of a CNAME, which an MX host must not have"
            return Outcome(state="wrong", found=found, fix=fix, secure=answer.secure)
        return Outcome(state="good", found=found, note=note, secure=answer.secure)
    for host in hosts:
        if (await around.leads_to(host, record.data.host))[0]:
            same = f"{host} is another name of {record.data.host}"
            return Outcome(state="good", found=found, note=same, secure=answer.secure)
    fix = "add the record; take out those of servers that don't bring the mail here"
    return Outcome(state="wrong", found=found, fix=fix, secure=answer.secure)


async def check_alias(around: Surroundings, record: Record) -> Outcome:
    """The name leads to the host, by CNAME or by having its addresses."""
    assert isinstance(record.data, Alias)
    four = await around.ask(record.name, "A")
    good, leads, aliases = await around.leads_to(record.name, record.data.host)
    found = (*(f"{alias}." for alias in aliases), *sorted(leads))
    if good:
        return Outcome(state="good", found=found, secure=four.secure)
    if not leads:
        if aliases:
            fix = f"publish the record: the CNAME that is there leads to {aliases[-1]}, which has no address"
            return Outcome(state="wrong", found=found, fix=fix, secure=four.secure)
        return Outcome(state="missing", fix="publish the record", secure=four.secure)
    fix = f"publish the record instead: the name leads to other addresses than {record.data.host} has"
    return Outcome(state="wrong", found=found, fix=fix, secure=four.secure)


async def check_srv(around: Surroundings, record: Record) -> Outcome:
    """The wanted host and port are among the records; priority and weight are the admin's own matter."""
    assert isinstance(record.data, Srv)
    answer = await around.ask(record.name, "SRV")
    found, services = shown(answer.values), answer.of(Srv)
    if not services:
        return _absent(answer, found, "publish the record")
    if record.data.host == "":
        if all(service.host == "" for service in services):
            return Outcome(state="good", found=found, secure=answer.secure)
        fix = "publish the record instead; or, if another program offers this, tell its place in autoconfig.<domain>"
        return Outcome(state="wrong", found=found, fix=fix, secure=answer.secure)
    if any((service.host, service.port) == (record.data.host, record.data.port) for service in services):
        return Outcome(state="good", found=found, secure=answer.secure)
    fix = "publish the record instead; or, if that is the right place, tell it in autoconfig.<domain>"
    return Outcome(state="wrong", found=found, fix=fix, secure=answer.secure)


async def check_caa(around: Surroundings, record: Record) -> Outcome:
    """The CA may issue for each name that it is asked for; without any record, every CA may."""
    assert isinstance(record.data, Caa)
    found: dict[str, None] = {}
    secure, notes, refused = True, [], []
    for name in around.certified or (record.name,):
        answer = await _relevant_caa(around, name)
        secure = secure and answer.secure
        found.update(dict.fromkeys(shown(answer.values)))
        if len(answer.of(Caa)) < len(answer.values):
            note = "a record can't be read: whether CAs issue all the same isn't worked out here"
            return Outcome(state="unknown", found=tuple(found), note=note, secure=answer.secure)
        # RFC 8659 §4.5: no CA issues where a critical property is one that it doesn't know.
        if any(value.flags & 0x80 and value.tag.lower() not in _CAA_TAGS for value in answer.of(Caa)):
            refused.append(name)
            continue
        issuers = [value.value for value in answer.of(Caa) if value.tag.lower() == "issue"]
        wanted = [value for value in issuers if value.partition(";")[0].strip().lower() == record.data.value]
        if issuers and not wanted:
            refused.append(name)
        notes += [
            f"{record.data.value} issues only for {value.partition(';')[2].strip()!r}"
            for value in wanted
            if ";" in value
        ]
    if refused:
        fix = (
            f"have the CAA records let {record.data.value} issue, without critical ones (flags 128) of unknown kinds:"
            f" it will not renew the certificate of {', '.join(refused)}"
        )
        return Outcome(state="wrong", found=tuple(found), fix=fix, secure=secure)
    if not found:
        return Outcome(
            state="missing", fix="publish the record, so that no other CA issues for the domain", secure=secure
        )
    return Outcome(state="good", found=tuple(found), note="; ".join(dict.fromkeys(notes)), secure=secure)


async def _relevant_caa(around: Surroundings, name: str) -> Answer:
    """RFC 8659 §3: the records of the nearest name, from this one up, that has any; a top-level domain has none."""
    answer = await around.ask(name, "CAA")
    labels = name.split(".")
    while not answer.values and len(labels) > 2:
        labels = labels[1:]
        answer = await around.ask(".".join(labels), "CAA")
    return answer


async def check_tlsa(around: Surroundings, record: Record) -> Outcome:
    """One of the records fits the key; in a zone that isn't signed none is needed."""
    assert isinstance(record.data, Tlsa)
    answer = await around.ask(record.name, "TLSA")
    found, records = shown(answer.values), answer.of(Tlsa)
    host = record.name.partition(".")[2].partition(".")[2]
    signed = answer.secure and (await around.ask(host, "A")).secure
    if not records:
        if signed:
            return Outcome(
                state="missing", fix="publish the record, if the SMTP server shows this certificate", secure=True
            )
        note = "the resolver doesn't say that the zone is signed with DNSSEC, without which TLSA records don't count"
        return Outcome(state="unneeded", note=note, secure=answer.secure)
    if record.data in records:
        return Outcome(state="good", found=found, secure=answer.secure)
    ends = [value for value in records if value.usage == 3]
    if len(ends) == len(records) and all((value.selector, value.matching) == (1, 1) for value in ends):
        fix = "publish the record instead of the ones there, which are for other keys: mail with DANE is held up"
        return Outcome(state="wrong", found=found, fix=fix, secure=answer.secure)
    note = (
        "these records are of other kinds than the wanted one: whether they fit the certificate isn't worked out here"
    )
    return Outcome(state="unknown", found=found, note=note, secure=answer.secure)


def _absent(answer: Answer, found: tuple[str, ...], fix: str) -> Outcome:
    """Nothing of use is there."""
    if found:
        return Outcome(
            state="wrong", found=found, fix=f"{fix} instead of those that can't be read", secure=answer.secure
        )
    note = "" if answer.exists else "the name doesn't exist"
    return Outcome(state="missing", fix=fix, note=note, secure=answer.secure)
