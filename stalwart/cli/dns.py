"""`stalwart dns …`: the DNS records of a domain, and whether those that are there are as good."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any, NoReturn

import click
import msgspec
from cryptography import x509
from twisted.internet import task

from stalwart.cli.dns_asking import DnsAsking
from stalwart.cli.dns_checking import Examined, examine
from stalwart.cli.dns_fetching import PublicWeb
from stalwart.cli.dns_report import findings_json, findings_text, records_json
from stalwart.cli.opening import load_settings, open_store
from stalwart.cli.output import as_json, table
from stalwart.config import Settings
from stalwart.delivery.mail_dns import ResolverDns
from stalwart.discovery.services import is_address
from stalwart.store import DkimKeyRow, InvalidAddress, list_dkim_keys, list_domains
from stalwart.store.addresses import normalise_domain
from stalwart.tls.acme.folder import StoreFolder, store_path
from stalwart.tls.inventory import names_of
from stalwart.zone import ServedCertificate, exit_code, fault, wanted_records, zone_lines
from stalwart.zone.values import as_text

_PORT = 53
_WITH_PORT = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+))(?::([0-9]{1,5}))?", re.ASCII)
_USAGE = 2  # click's exit code for what was asked wrongly


class Server(click.ParamType[tuple[str, int]]):
    """`ADDRESS`, `ADDRESS:port` or `[v6]:port`."""

    name = "ADDRESS[:port]"

    def convert(self, value: object, param: click.Parameter | None, context: click.Context | None) -> tuple[str, int]:
        """The address and the port."""
        text = str(value)
        found = _WITH_PORT.fullmatch(text)
        address, port = (text, _PORT) if found is None else (found[1] or found[2], int(found[3] or _PORT))
        try:
            if not 0 < port < 65536:
                raise ValueError(port)
            return str(ip_address(address)), port
        except ValueError:
            self.fail(f"{text!r} is no IP address with or without a port, such as 192.0.2.1 or [2001:db8::1]:5353")


@click.group(short_help="DNS records of a domain: which there are to be, and which there are.")
def dns() -> None:
    """The DNS records that mail to and from a domain needs, and a check of those that are there.

    Both work without the daemon, and change nothing.
    """


@dns.command("records")
@click.argument("domain")
@click.option(
    "--format",
    "form",
    type=click.Choice(["zone", "table", "json"]),
    default="zone",
    show_default=True,
    help="Lines for the zone file, columns to copy into a provider's form, or JSON.",
)
@click.pass_obj
def records(config_path: str | None, domain: str, form: str) -> None:
    """Print the records to publish for DOMAIN, each with the reason.

    No network is needed. Lines of a zone that begin with a semicolon are remarks, and records that are for another zone
    or only for one that is signed.
    """
    examined = read_domain(config_path, domain)
    wanted = examined.wanted
    if not examined.is_local:
        name = wanted.domain
        note = f"mail for {name} is refused until `stalwart domain create {name}`: publish its MX record after that"
        wanted = msgspec.structs.replace(wanted, notes=(note, *wanted.notes))
    if form == "zone":
        for line in zone_lines(wanted):
            click.echo(line)
    elif form == "json":
        click.echo(as_json(records_json(wanted)))
    else:
        table(
            ("NAME", "TYPE", "VALUE", "WHY"),
            [(record.name, record.type, as_text(record.data), record.why) for record in wanted.records],
        )
        for note in wanted.notes:
            click.echo(f"note: {note}")


@dns.command("check")
@click.argument("domain")
@click.option(
    "--server",
    type=Server(),
    help="Ask this DNS server, such as one of the domain's own, instead of the system's resolvers.",
)
@click.option("--dns-only", is_flag=True, help="Don't connect to the public names, only ask the DNS.")
@click.option("--json", "json_wanted", is_flag=True, help="Print JSON.")
@click.pass_obj
def check(
    config_path: str | None, domain: str, server: tuple[str, int] | None, dns_only: bool, json_wanted: bool
) -> None:
    """Compare what the DNS has of DOMAIN with what it is to have, and fetch what strangers fetch.

    Exit code 0: all is good. 1: something is wrong, or missing although it is required. 2: the command or the
    configuration is wrong. 3: nothing is known to be wrong, but something could not be found out.
    """
    from twisted.internet import reactor  # installs it: not for the other commands

    examined = read_domain(config_path, domain)
    place = (
        None if server is None else (f"[{server[0]}]:{server[1]}" if ":" in server[0] else f"{server[0]}:{server[1]}")
    )

    async def run(reactor: Any) -> NoReturn:
        asked = ResolverDns(reactor) if server is None else ResolverDns(reactor, *server)
        ask = DnsAsking(asked)
        web = None if dns_only else PublicWeb(reactor, ask)
        findings = await examine(examined, ask, web, now=time.time())
        asked.close()
        await task.deferLater(reactor, 0, lambda: None)  # sockets that are being closed are only then
        if json_wanted:
            click.echo(as_json(findings_json(examined.domain, place, findings)))
        else:
            for line in findings_text(examined.domain, place, findings):
                click.echo(line)
        raise SystemExit(exit_code(findings))

    task.react(run, _reactor=reactor)


def read_domain(config_path: str | None, text: str) -> Examined:
    """The domain's records as configuration and store want them. Exit code 2 for a domain or a host that is none."""
    settings = load_settings(config_path, code=_USAGE)
    try:
        domain = normalise_domain(text)
    except InvalidAddress as error:
        raise click.UsageError(str(error)) from None
    if "." not in settings.hostname or is_address(settings.hostname):
        raise click.UsageError(
            f'server.hostname is "{settings.hostname}", which is no full name: set it to the name by which others'
            f" reach this server, such as mail.{domain}"
        )
    keys, is_local = _of_store(config_path, settings, domain)
    wanted = wanted_records(settings, domain, keys, tuple(_certificates(settings)), time.time())
    reason = fault(wanted)
    if reason is not None:
        raise click.UsageError(reason)
    return Examined(settings=settings, wanted=wanted, is_local=is_local)


def _of_store(config_path: str | None, settings: Settings, domain: str) -> tuple[list[DkimKeyRow], bool]:
    """The domain's DKIM keys, and whether the store has it. A store that isn't there yet is not made."""
    if not os.path.exists(settings.data.path):
        return [], False
    with open_store(config_path) as store, store.read() as session:
        return list_dkim_keys(session, domain), domain in list_domains(session)


def _certificates(settings: Settings) -> Iterator[ServedCertificate]:
    for configured in settings.certificates:
        certificate = x509.load_pem_x509_certificate(configured.cert.encode("ascii"))
        yield ServedCertificate(certificate=certificate, names=names_of(certificate), renewed=False)
    for provider in settings.acme:
        folder = StoreFolder(store_path(provider, settings.data.path))
        for name in provider.domains:
            try:
                pair = folder.peek(name)
            except OSError as error:
                text = f"{error.filename}: {error.strerror}; run this as root, or as the user that the daemon runs as"
                click.echo(f"stalwart: {text}", err=True)
                raise SystemExit(_USAGE) from None
            if pair is not None:
                yield ServedCertificate(certificate=pair.leaf, names=(name, *names_of(pair.leaf)), renewed=True)
