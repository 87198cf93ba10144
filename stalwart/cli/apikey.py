"""`stalwart apikey …`: secrets of programs, each with permissions of its own."""

from __future__ import annotations

import time

import click

from stalwart.auth import api_key_token, generate_secret
from stalwart.cli.account import find
from stalwart.cli.kinds import DurationType, NetworkType
from stalwart.cli.opening import open_store
from stalwart.cli.output import as_json, as_time, table
from stalwart.cli.rights import put_rights, rights_options, rights_record
from stalwart.config.kinds import IPNetwork
from stalwart.store import (
    NotFound,
    PrincipalRow,
    Session,
    add_credential,
    create_principal,
    delete_principal,
    find_principal,
    get_principal,
    list_credentials,
    list_principals,
    principal_of_account,
)


@click.group(short_help="Secrets of programs, with permissions of their own.")
def apikey() -> None:
    """API keys: what programs sign in with, as a Bearer token."""


@apikey.command("create")
@click.argument("name")
@rights_options
@click.option("--account", "address", metavar="ADDRESS", help="Sign in for this account, within what it may do.")
@click.option("--network", "networks", type=NetworkType(), multiple=True, help="From where it counts; repeat for more.")
@click.option(
    "--expires", type=DurationType("never"), default="never", show_default=True, help='Such as "90d", or "never".'
)
@click.option("--description", default="", help="What it is for.")
@click.pass_obj
def create(
    config_path: str | None,
    name: str,
    roles: tuple[str, ...],
    allowed: tuple[str, ...],
    denied: tuple[str, ...],
    address: str | None,
    networks: tuple[IPNetwork, ...],
    expires: float | None,
    description: str,
) -> None:
    """Make an API key called NAME with the roles and permissions given; it is printed once.

    Without --account it has no mailbox. To sign in at all it needs the permission authenticate, which the role user
    has.
    """
    if ":" in name or not name.strip():
        raise click.UsageError("a name must not be empty, and have no colon")
    if not roles and not allowed:
        raise click.UsageError("without --role or --allow the key could do nothing")
    secret = generate_secret()
    until = None if expires is None else int(time.time() + expires)
    with open_store(config_path) as store, store.write() as session:
        owner = None if address is None else principal_of_account(session, find(session, address).id).id
        key = create_principal(session, "apiKey", name, description=description, owner_id=owner)
        put_rights(session, key.id, roles, allowed, denied)
        add_credential(session, key.id, name, secret, expires_at=until, networks=[str(each) for each in networks])
    click.echo(f"API key {name} created")
    click.echo(f"token: {api_key_token(name, secret)}")


@apikey.command("list")
@click.option("--json", "json_wanted", is_flag=True, help="Print JSON.")
@click.pass_obj
def show_all(config_path: str | None, json_wanted: bool) -> None:
    """List the API keys."""
    with open_store(config_path) as store, store.read() as session:
        records = [_record(session, key) for key in list_principals(session, "apiKey")]
    if json_wanted:
        click.echo(as_json(records))
        return
    columns = ("name", "account", "roles", "allowed", "networks", "lastUsed", "expires")
    table(
        ("NAME", "ACCOUNT", "ROLES", "ALLOWED", "NETWORKS", "LAST USED", "EXPIRES"),
        [[_cell(record[column]) for column in columns] for record in records],
    )


@apikey.command("revoke")
@click.argument("name")
@click.pass_obj
def revoke(config_path: str | None, name: str) -> None:
    """Remove the API key NAME. It holds at once."""
    with open_store(config_path) as store, store.write() as session:
        key = find_principal(session, "apiKey", name)
        if key is None:
            raise NotFound(f"there is no API key {name}: `stalwart apikey list` shows those there are")
        delete_principal(session, key.id)
    click.echo(f"API key {name} revoked")


def _record(session: Session, key: PrincipalRow) -> dict[str, object]:
    (credential,) = list_credentials(session, key.id)
    used, until = credential.last_used_at, credential.expires_at
    return {
        "name": key.name,
        "description": key.description,
        "account": None if key.owner_id is None else get_principal(session, key.owner_id).name,
        **rights_record(session, key.id),
        "networks": list(credential.networks),
        "created": as_time(credential.created_at),
        "lastUsed": None if used is None else as_time(used),
        "expires": None if until is None else as_time(until),
    }


def _cell(value: object) -> str:
    return (", ".join(value) if isinstance(value, list) else str(value or "")) or "-"
