"""`stalwart cert …`: which certificates there are, and what is to become of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import click
import msgspec

from stalwart.cli.control import tell
from stalwart.cli.opening import become_owner, load_settings
from stalwart.cli.output import as_json, as_time, table
from stalwart.config import AcmeProvider, Settings
from stalwart.net.control import RenewCommand
from stalwart.tls.acme.errors import AcmeError
from stalwart.tls.acme.folder import StoreFolder, store_path
from stalwart.tls.acme.identifiers import identifier
from stalwart.tls.acme.importing import BadImport, import_certificate
from stalwart.tls.inventory import Listed, list_certificates

# An order takes seconds; one that the authority lets wait may take minutes.
_RENEW_SECONDS = 600.0
_MOST_OCTETS = 1_000_000  # of a PEM file

_file = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group(short_help="Certificates: which there are, when they are renewed.")
def cert() -> None:
    """Certificates of the configuration (`certificate.<id>`), and those that an authority issues (`acme.<id>`).

    `list` and `show` read what is on the disk and change nothing, `import` writes there. None of them needs a running
    daemon, which serves what was imported within seconds.
    """


@cert.command("list")
@click.option("--json", "json_wanted", is_flag=True, help="Print JSON.")
@click.pass_obj
def show_all(config_path: str | None, json_wanted: bool) -> None:
    """List all certificates: where they come from, until when they hold, when they are renewed."""
    found = _found(load_settings(config_path))
    if json_wanted:
        click.echo(as_json([_plain(one) for one in found]))
        return
    now = time.time()
    rows = [
        (
            one.name,
            one.source,
            one.by,
            _until(one, now),
            "-" if one.certificate is None else one.certificate.issuer,
            "-" if one.certificate is None else one.certificate.key,
            _renewal(one, now),
        )
        for one in found
    ]
    table(("NAME", "SOURCE", "FROM", "NOT AFTER", "ISSUER", "KEY", "RENEWED"), rows)
    for one in found:
        for line in _trouble(one):
            click.echo(f"{one.name}: {line}")


@cert.command("show")
@click.argument("name")
@click.option("--json", "json_wanted", is_flag=True, help="Print JSON.")
@click.pass_obj
def show(config_path: str | None, name: str, json_wanted: bool) -> None:
    """Show the certificates for NAME. Exit code 1 if there are none and none is wanted."""
    settings = load_settings(config_path)
    wanted = _normal(name)
    found = [one for one in _found(settings) if wanted == one.name or wanted in _names(one)]
    if not found:
        _refuse(f"no certificate has {name}, and no acme.<id>.domains wants it: `stalwart cert list` shows all")
    if json_wanted:
        click.echo(as_json([_plain(one) for one in found]))
        return
    now = time.time()
    for number, one in enumerate(found):
        if number:
            click.echo()
        for title, value in _lines(one, now):
            click.echo(f"{title + ':':<14} {value}")


@cert.command("renew")
@click.argument("name")
@click.pass_obj
def renew(config_path: str | None, name: str) -> None:
    """Have the running daemon order a new certificate for NAME now, whatever it waits for.

    Exit code 0 when the certificate is there; 1 if the order failed or no daemon could be asked. Authorities limit how
    often they issue for a name: mostly there is no need, since the daemon renews by itself.
    """
    tell(config_path, RenewCommand(name=_normal(name)), seconds=_RENEW_SECONDS)


@cert.command("import")
@click.argument("name")
@click.option("--cert", "certificate", type=_file, required=True, help="The certificate with its chain, in PEM.")
@click.option("--key", type=_file, required=True, help="Its private key in PEM, without a passphrase.")
@click.pass_obj
def import_(config_path: str | None, name: str, certificate: Path, key: Path) -> None:
    """Take over a certificate for NAME, which must stand in `acme.<id>.domains`, from another ACME client.

    It is served until the daemon renews it, which it does when it is due. Nothing is taken over that doesn't fit: the
    key, the name, the dates.
    """
    settings = load_settings(config_path)
    wanted = _normal(name)
    provider = _provider(settings, wanted)
    if provider is None:
        _refuse(
            f"{name} stands in no acme.<id>.domains: add it there first, or name the files in certificate.<id>.cert "
            "and certificate.<id>.private-key"
        )
    pems = [_read(path) for path in (certificate, key)]  # before this process may become another user
    path = store_path(provider, settings.data.path)
    become_owner(Path(path))
    try:
        done = import_certificate(StoreFolder(path), wanted, pems[0], pems[1], now=time.time())
    except BadImport as error:
        _refuse(str(error))
    except OSError as error:
        _refuse(_out_of_reach(error, path))
    for warning in done.warnings:
        click.echo(f"note: {warning}", err=True)
    click.echo(f"{wanted} is taken over; it is valid until {as_time(done.not_after)}")


def _found(settings: Settings) -> list[Listed]:
    try:
        return list_certificates(settings, time.time())
    except OSError as error:
        _refuse(_out_of_reach(error, "the folder of acme.<id>"))


def _out_of_reach(error: OSError, path: str) -> str:
    reason = error.strerror or str(error)
    return f"{error.filename or path}: {reason}; run this as root, or as the user that the daemon runs as"


def _refuse(text: str) -> NoReturn:
    click.echo(f"stalwart: {text}", err=True)
    raise SystemExit(1)


def _provider(settings: Settings, name: str) -> AcmeProvider | None:
    return next((provider for provider in settings.acme if name in provider.domains), None)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_OCTETS)
    except OSError as error:
        _refuse(f"{path}: {error.strerror}")


def _normal(name: str) -> str:
    """A host name or an IP address as the configuration has it."""
    try:
        return identifier(name.strip()).value
    except AcmeError:
        return name  # which no certificate has


def _names(one: Listed) -> tuple[str, ...]:
    return () if one.certificate is None else one.certificate.names


def _until(one: Listed, now: float) -> str:
    if one.certificate is None:
        return "-"
    expired = " (expired)" if one.certificate.not_after <= now else ""
    return as_time(one.certificate.not_after) + expired


def _renewal(one: Listed, now: float) -> str:
    if one.next_renewal is None:
        return "by hand" if one.source == "configured" else "-"
    return "due now" if one.next_renewal <= now else as_time(one.next_renewal)


def _trouble(one: Listed) -> Iterator[str]:
    failure = one.failure
    if one.hindrance is not None:
        yield one.hindrance
    if failure is not None and failure.reason == "interrupted":
        yield f"an order began at {as_time(failure.at)}: it is under way, or the daemon ended in the middle of it"
    elif failure is not None:
        times = "once" if failure.count == 1 else f"{failure.count} times"
        yield f"ordering failed {times}, last at {as_time(failure.at)}: {failure.text}"
        yield f"it is tried again at {as_time(failure.retry_at)}"


def _lines(one: Listed, now: float) -> Iterator[tuple[str, str]]:
    yield "name", one.name
    yield "source", one.source if one.certificate is not None else "none yet: a self-signed one stands in"
    yield "from", one.by
    if one.default:
        yield "default", "yes"
    details = one.certificate
    if details is not None:
        yield "names", ", ".join(details.names)
        yield "issuer", details.issuer
        yield "key", details.key
        yield "serial", details.serial
        yield "sha256", details.sha256
        yield "not before", as_time(details.not_before)
        yield "not after", _until(one, now)
    if one.next_renewal is not None:
        yield "renewed", _renewal(one, now)
    for line in _trouble(one):
        yield "trouble", line


def _plain(one: Listed) -> dict[str, Any]:
    """As JSON, with times in RFC 3339."""
    plain: dict[str, Any] = msgspec.to_builtins(one)
    if one.certificate is not None:
        for name, value in (("notBefore", one.certificate.not_before), ("notAfter", one.certificate.not_after)):
            plain["certificate"][name] = as_time(value)
    plain["nextRenewal"] = None if one.next_renewal is None else as_time(one.next_renewal)
    failure = one.failure
    plain["failure"] = None
    if failure is not None:
        plain["failure"] = {
            "count": failure.count,
            "at": as_time(failure.at),
            "reason": failure.reason,
            "text": failure.text,
            "retryAt": as_time(failure.retry_at),
        }
    return plain
