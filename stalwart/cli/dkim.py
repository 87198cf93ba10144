"""`stalwart dkim …`: the keys that outgoing mail is signed with."""

from __future__ import annotations

import time
from collections.abc import Sequence

import click

from stalwart.cli.opening import open_store
from stalwart.cli.output import as_json, as_time, table
from stalwart.mail.dkim import record_name, record_value
from stalwart.store import (
    RECORD_SECONDS,
    DkimKeyRow,
    KeyPair,
    NotFound,
    create_dkim_keys,
    list_dkim_keys,
    rotate_dkim_keys,
)

_STRING = 255  # RFC 1035 §3.3: octets of one character-string


@click.group(short_help="Keys that outgoing mail is signed with.")
def dkim() -> None:
    """The keys that outgoing mail is signed with: an RSA and an Ed25519 key for each domain."""


@dkim.command("create")
@click.argument("domain")
@click.pass_obj
def create(config_path: str | None, domain: str) -> None:
    """Make the keys of DOMAIN and print the TXT records to publish. Mail is signed from now on."""
    pair = KeyPair.generate()  # takes a while, in which nobody else may be kept from writing
    with open_store(config_path) as store, store.write() as session:
        made = create_dkim_keys(session, domain, pair)
    click.echo(f"; publish these records in the zone of {made[0].domain}")
    _print_records(made)


@dkim.command("rotate")
@click.argument("domain")
@click.option(
    "--overlap",
    type=click.IntRange(min=0, max=24 * 90),
    default=48,
    show_default=True,
    metavar="HOURS",
    help="For how long the old keys go on signing; 0 if one of them is known to others.",
)
@click.pass_obj
def rotate(config_path: str | None, domain: str, overlap: int) -> None:
    """Make new keys for DOMAIN and print the TXT records to publish before they take the place of the old ones."""
    pair = KeyPair.generate()
    with open_store(config_path) as store, store.write() as session:
        made = rotate_dkim_keys(session, domain, pair, overlap * 3600)
        former = [key for key in list_dkim_keys(session, domain) if key.signs_until is not None]
    click.echo(
        f"; publish these records in the zone of {made[0].domain}; they are used from {as_time(made[0].signs_from)}"
    )
    _print_records(made)
    for key in former:
        click.echo(f"; {_state(key, time.time())}: {record_name(key.domain, key.selector)}")


@dkim.command("show")
@click.argument("domain")
@click.option("--json", "json_wanted", is_flag=True, help="Print JSON.")
@click.pass_obj
def show(config_path: str | None, domain: str, json_wanted: bool) -> None:
    """Print the TXT records of DOMAIN's keys as lines for its zone file."""
    with open_store(config_path) as store, store.read() as session:
        keys = list_dkim_keys(session, domain)
    if not keys:
        raise NotFound(f"{domain} has no DKIM keys; `stalwart dkim create {domain}` makes them")
    if json_wanted:
        click.echo(as_json([_record(key) for key in keys]))
        return
    for key in keys:
        click.echo(f"; {_state(key, time.time())}")
        _print_records([key])


@dkim.command("list")
@click.argument("domain", required=False)
@click.option("--json", "json_wanted", is_flag=True, help="Print JSON.")
@click.pass_obj
def show_all(config_path: str | None, domain: str | None, json_wanted: bool) -> None:
    """List the keys of DOMAIN, or of all domains."""
    with open_store(config_path) as store, store.read() as session:
        keys = list_dkim_keys(session, domain)
    if json_wanted:
        click.echo(as_json([_record(key) for key in keys]))
        return
    if not keys:
        click.echo("no DKIM keys yet: make them with `stalwart dkim create DOMAIN`", err=True)
        return
    table(
        ("DOMAIN", "SELECTOR", "ALGORITHM", "CREATED", "STATE"),
        [(key.domain, key.selector, key.algorithm, as_time(key.created_at), _state(key, time.time())) for key in keys],
    )


def _print_records(keys: Sequence[DkimKeyRow]) -> None:
    for key in keys:
        value = record_value(key.algorithm, key.public_key)
        strings = " ".join(f'"{value[start : start + _STRING]}"' for start in range(0, len(value), _STRING))
        click.echo(f"{record_name(key.domain, key.selector)}. IN TXT ( {strings} )")


def _state(key: DkimKeyRow, now: float) -> str:
    """What the key does, and what is to be done with its record."""
    if key.signs_from > now:
        if key.signs_until is not None and key.signs_until <= now:
            return "never used; its record may go"
        return f"publish its record; signs from {as_time(key.signs_from)}"
    if key.signs_until is None:
        return "signs"
    if key.signs_until > now:
        return f"signs until {as_time(key.signs_until)}"
    keep_until = key.signs_until + RECORD_SECONDS
    return f"signs no more; keep its record until {as_time(keep_until)}" if keep_until > now else "its record may go"


def _record(key: DkimKeyRow) -> dict[str, object]:
    return {
        "domain": key.domain,
        "selector": key.selector,
        "algorithm": key.algorithm,
        "created": as_time(key.created_at),
        "signsFrom": as_time(key.signs_from),
        "signsUntil": None if key.signs_until is None else as_time(key.signs_until),
        "recordName": record_name(key.domain, key.selector),
        "recordValue": record_value(key.algorithm, key.public_key),
    }
