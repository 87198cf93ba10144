"""`stalwart app-password …`: passwords for single programs, which can be taken back one by one."""

from __future__ import annotations

import time

import click

from stalwart.auth import generate_password
from stalwart.cli.account import find
from stalwart.cli.kinds import DurationType
from stalwart.cli.opening import open_store
from stalwart.cli.output import as_json, as_time, table
from stalwart.store import add_credential, list_credentials, principal_of_account, remove_credential


@click.group("app-password", short_help="Passwords for single programs of an account.")
def app_password() -> None:
    """Passwords for single programs: random, without a second factor, and taken back one by one."""


@app_password.command("create")
@click.argument("address")
@click.argument("name")
@click.option(
    "--expires", type=DurationType("never"), default="never", show_default=True, help='Such as "90d", or "never".'
)
@click.pass_obj
def create(config_path: str | None, address: str, name: str, expires: float | None) -> None:
    """Make an app password called NAME for the account ADDRESS; it is printed once."""
    if not name.strip():
        raise click.UsageError("the name must not be empty")
    password = generate_password()
    until = None if expires is None else int(time.time() + expires)
    with open_store(config_path) as store, store.write() as session:
        row = find(session, address)
        add_credential(session, principal_of_account(session, row.id).id, name, password, expires_at=until)
    click.echo(f"app password {name} of {row.address} created")
    click.echo(f"password: {password}")


@app_password.command("list")
@click.argument("address")
@click.option("--json", "json_wanted", is_flag=True, help="Print JSON.")
@click.pass_obj
def show_all(config_path: str | None, address: str, json_wanted: bool) -> None:
    """List the app passwords of the account ADDRESS."""
    with open_store(config_path) as store, store.read() as session:
        rows = list_credentials(session, principal_of_account(session, find(session, address).id).id)
    if json_wanted:
        times = [(row, row.created_at, row.last_used_at, row.expires_at) for row in rows]
        click.echo(
            as_json(
                [
                    {"name": row.name, "created": as_time(made), "lastUsed": _time(used), "expires": _time(until)}
                    for row, made, used, until in times
                ]
            )
        )
        return
    table(
        ("NAME", "CREATED", "LAST USED", "EXPIRES"),
        [
            (row.name, as_time(row.created_at), _time(row.last_used_at) or "never", _time(row.expires_at) or "never")
            for row in rows
        ],
    )


@app_password.command("revoke")
@click.argument("address")
@click.argument("name")
@click.pass_obj
def revoke(config_path: str | None, address: str, name: str) -> None:
    """Take back the app password NAME of the account ADDRESS. It holds at once."""
    with open_store(config_path) as store, store.write() as session:
        row = find(session, address)
        remove_credential(session, principal_of_account(session, row.id).id, name)
    click.echo(f"app password {name} of {row.address} revoked")


def _time(seconds: int | None) -> str | None:
    return None if seconds is None else as_time(seconds)
