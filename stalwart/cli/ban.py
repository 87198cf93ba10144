"""`stalwart ban …`: who is kept out."""

from __future__ import annotations

import ipaddress
import time
from typing import get_args

import click
import msgspec

from stalwart.auth.bans import ALWAYS_ALLOWED
from stalwart.cli.kinds import DurationType, NetworkType
from stalwart.cli.opening import load_settings, open_store
from stalwart.cli.output import as_json, as_time, table
from stalwart.config.kinds import IPNetwork
from stalwart.store import BanReason, BanRow, add_ban, list_bans, remove_bans

_REASONS = get_args(BanReason)


@click.group(short_help="Addresses that are kept out.")
def ban() -> None:
    """Addresses and networks that are kept out.

    A running daemon takes changes over within seconds. What stands in `server.blocked-ip` of the configuration is not
    shown here; `server.allowed-ip` wins over every ban.
    """


@ban.command("list")
@click.option("--json", "json_wanted", is_flag=True, help="Print JSON.")
@click.pass_obj
def show_all(config_path: str | None, json_wanted: bool) -> None:
    """List the bans that hold now."""
    with open_store(config_path) as store, store.read() as session:
        rows = list_bans(session)
    if json_wanted:
        click.echo(as_json([msgspec.to_builtins(row) for row in rows]))
        return
    if not rows:
        click.echo("nobody is banned", err=True)
        return
    cells = [
        (row.network, row.reason, as_time(row.since), "ever" if row.until is None else as_time(row.until), row.detail)
        for row in rows
    ]
    table(("ADDRESS", "REASON", "SINCE", "UNTIL", "DETAIL"), cells)


@ban.command("add")
@click.argument("address", type=NetworkType())
@click.option(
    "--for", "seconds", type=DurationType("ever"), default="1d", show_default=True, help='Such as "12h", or "ever".'
)
@click.option("--reason", "detail", default="", help="Why, for whoever lists the bans later.")
@click.pass_obj
def add(config_path: str | None, address: IPNetwork, seconds: float | None, detail: str) -> None:
    """Keep ADDRESS out, an IP address or a network such as 192.0.2.0/24."""
    settings = load_settings(config_path)
    now = int(time.time())
    until = None if seconds is None else now + max(1, int(seconds))
    row = BanRow(network=_shown(address), reason="manual", since=now, until=until, detail=" ".join(detail.split()))
    with open_store(config_path) as store, store.write() as session:
        held = add_ban(session, row)
    click.echo(f"{held.network} is banned " + ("for good" if held.until is None else f"until {as_time(held.until)}"))
    for network in (*ALWAYS_ALLOWED, *settings.allowed_ip):
        if _touches(address, network):
            click.echo(f"{_shown(network)} stays let in all the same (server.allowed-ip wins)", err=True)


@ban.command("remove")
@click.argument("address", type=NetworkType(), required=False)
@click.option("--all", "everything", is_flag=True, help="Lift all bans.")
@click.option("--reason", type=click.Choice(_REASONS), help="Lift all bans that were made for this reason.")
@click.pass_obj
def remove(config_path: str | None, address: IPNetwork | None, everything: bool, reason: BanReason | None) -> None:
    """Lift the ban of ADDRESS: its own, that of a network around it, and, if it is a network, those within it."""
    if (address is not None) + everything + (reason is not None) != 1:
        raise click.UsageError("give one of ADDRESS, --all and --reason")
    settings = load_settings(config_path)  # before the store, for whose sake this process may become another user
    with open_store(config_path) as store, store.write() as session:
        if address is None:
            count = remove_bans(session, reason=reason)
            click.echo(f"{count} bans lifted")
            return
        lifted = [row.network for row in list_bans(session) if _touches(address, ipaddress.ip_network(row.network))]
        for network in lifted:
            remove_bans(session, network=network)
    for network in lifted:
        click.echo(f"{network} is no longer banned")
    if not lifted:
        click.echo(f"{_shown(address)} is not banned here", err=True)
    blocked = [network for network in settings.blocked_ip if _touches(address, network)]
    for listed in blocked:
        click.echo(f"{_shown(listed)} stands in server.blocked-ip: take it out of the configuration", err=True)
    if blocked or not lifted:
        raise SystemExit(1)


def _shown(network: IPNetwork) -> str:
    """A network as bans are kept: a single address without its prefix length."""
    return str(network.network_address) if network.num_addresses == 1 else str(network)


def _touches(one: IPNetwork, other: IPNetwork) -> bool:
    return one.version == other.version and one.overlaps(other)
