"""Runs all checks of a domain at once: its records, the hosts that they lead to, and what is served there."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, gatherResults

from stalwart.cli.dns_fetching import PublicWeb
from stalwart.cli.dns_public import check_certificate, check_document, documents
from stalwart.config import Settings
from stalwart.zone import (
    Asks,
    Finding,
    Surroundings,
    Wanted,
    check_host,
    check_record,
    foreign_relay,
    in_zone,
    jmap_place,
)
from stalwart.zone.values import Alias, Mx, Srv

_HTTPS_PORT = 443


class Examined(msgspec.Struct, frozen=True, kw_only=True):
    """What is checked. `is_local`: the store has the domain."""

    settings: Settings
    wanted: Wanted
    is_local: bool

    @property
    def domain(self) -> str:
        """The domain in A-labels."""
        return self.wanted.domain


async def examine(
    examined: Examined, ask: Asks, web: PublicWeb | None, *, now: float, port: int = _HTTPS_PORT
) -> tuple[Finding, ...]:
    """What all checks say, always in the same order. `web` None: nothing is fetched. `now` is in unix seconds."""
    settings, domain = examined.settings, examined.domain
    around = Surroundings(
        ask=ask,
        domain=domain,
        host=settings.hostname,
        relay=foreign_relay(settings),
        certified=tuple(name for each in settings.acme for name in each.domains if in_zone(name, domain)),
    )
    checks: list[Coroutine[Any, Any, Finding]] = [check_host(around, name) for name in _hosts(examined)]
    checks += [check_record(around, record) for record in examined.wanted.records]
    if web is not None:
        checks += [
            check_certificate(web, name, at, required=required, now=now)
            for name, at, required in _https_names(examined, port)
        ]
        checks += [check_document(web, document) for document in documents(settings, domain, ask, port=port)]
    found: list[Finding] = await gatherResults(map(Deferred.fromCoroutine, checks), consumeErrors=True)
    return (*_of_store(examined), *found)


def _of_store(examined: Examined) -> Iterator[Finding]:
    domain = examined.domain
    if not examined.is_local:
        yield Finding(
            check="domain",
            name=domain,
            type="",
            state="missing",
            required=True,
            found=(),
            wanted=f"{domain} among the domains of `stalwart domain list`",
            why="Mail for other domains is refused, and clients are told nothing of them.",
            fix=f"stalwart domain create {domain}",
            note="",
            secure=None,
        )
    if not any(record.check == "DKIM" for record in examined.wanted.records):
        yield Finding(
            check="DKIM",
            name=f"_domainkey.{domain}",
            type="TXT",
            state="missing",
            required=True,
            found=(),
            wanted="a record for each key that mail is signed with",
            why="Mail that isn't signed looks forged to many receivers.",
            fix=f"stalwart dkim create {domain}",
            note="",
            secure=None,
        )


def _hosts(examined: Examined) -> Iterator[str]:
    found = [examined.settings.hostname]
    found += [
        record.data.host
        for record in examined.wanted.records
        if isinstance(record.data, Mx | Srv | Alias) and record.data.host
    ]
    yield from dict.fromkeys(found)


def _https_names(examined: Examined, port: int) -> Iterator[tuple[str, int, bool]]:
    jmap = jmap_place(examined.settings, examined.domain)
    if jmap is not None:
        yield (*jmap, True)
    for record in examined.wanted.records:
        if isinstance(record.data, Alias):
            yield record.name, port, record.required
