"""Runs the check of each wanted record, and makes lines of the report from what they say."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from stalwart.zone.asking import Unknown
from stalwart.zone.finding import Finding, Outcome
from stalwart.zone.hosts import check_address, check_alias, check_caa, check_mx, check_srv, check_tlsa
from stalwart.zone.policies import check_dkim, check_dmarc, check_mta_sts, check_pacc, check_tls_rpt
from stalwart.zone.record import Record, zone_line
from stalwart.zone.sending import check_spf
from stalwart.zone.surroundings import Surroundings

_CHECKS: Mapping[str, Callable[[Surroundings, Record], Awaitable[Outcome]]] = {
    "MX": check_mx,
    "SPF": check_spf,
    "SPF of the host": check_spf,
    "DKIM": check_dkim,
    "DMARC": check_dmarc,
    "MTA-STS": check_mta_sts,
    "MTA-STS host": check_alias,
    "TLS-RPT": check_tls_rpt,
    "SRV": check_srv,
    "autoconfig": check_alias,
    "autodiscover": check_alias,
    "PACC host": check_alias,
    "PACC": check_pacc,
    "CAA": check_caa,
    "TLSA": check_tlsa,
}


async def check_record(around: Surroundings, record: Record) -> Finding:
    """What the DNS has of a wanted record. What can't be found out is unknown."""
    outcome = await known(_CHECKS[record.check](around, record))
    return Finding(
        check=record.check,
        name=record.name,
        type=record.type,
        state=outcome.state,
        required=record.required,
        found=outcome.found,
        wanted=zone_line(record),
        why=record.why,
        fix=outcome.fix,
        note=outcome.note,
        secure=outcome.secure,
    )


async def check_host(around: Surroundings, name: str) -> Finding:
    """Whether a host that records name has an address."""
    outcome = await known(check_address(around, name))
    return Finding(
        check="address",
        name=name,
        type="A",
        state=outcome.state,
        required=True,
        found=outcome.found,
        wanted=f"the public addresses of {name}, as A and AAAA records",
        why="The records below lead to this name.",
        fix=outcome.fix,
        note=outcome.note,
        secure=outcome.secure,
    )


async def known(outcome: Awaitable[Outcome]) -> Outcome:
    """The outcome; unknown, with the reason, if it could not be found out."""
    try:
        return await outcome
    except Unknown as error:
        return Outcome(state="unknown", note=str(error))
