"""`stalwart token …`: what accounts let OAuth clients do, and the end of it."""

from __future__ import annotations

import click

from stalwart.cli.account import find
from stalwart.cli.opening import open_store
from stalwart.cli.output import as_json, as_time, table
from stalwart.store import GrantRow, Session, end_grant, end_grants, get_account, list_grants


@click.group(short_help="What accounts let OAuth clients do.")
def token() -> None:
    """The authorisations of OAuth clients: each is what one account lets one client do, with all its tokens."""


@token.command("list")
@click.argument("address", required=False)
@click.option("--json", "json_wanted", is_flag=True, help="Print JSON.")
@click.pass_obj
def show_all(config_path: str | None, address: str | None, json_wanted: bool) -> None:
    """List the authorisations of the account ADDRESS, or of all, for which there are tokens that have not expired."""
    with open_store(config_path) as store, store.read() as session:
        account_id = None if address is None else find(session, address).id
        records = [_record(session, grant) for grant in list_grants(session, account_id)]
    if json_wanted:
        click.echo(as_json(records))
        return
    columns = ("id", "account", "client", "scope", "created", "lastUsed", "address")
    table(
        ("ID", "ACCOUNT", "CLIENT", "SCOPE", "CREATED", "LAST USED", "FROM"),
        [[str(record[column] or "-") for column in columns] for record in records],
    )


@token.command("revoke")
@click.argument("number", type=int, metavar="ID", required=False)
@click.option("--account", "address", metavar="ADDRESS", help="Revoke all of this account.")
@click.pass_obj
def revoke(config_path: str | None, number: int | None, address: str | None) -> None:
    """Revoke the authorisation ID, or with --account all of an account. It holds at once, for all their tokens."""
    if (number is None) == (address is None):
        raise click.UsageError("give the ID of one (`stalwart token list` shows them), or --account ADDRESS")
    with open_store(config_path) as store, store.write() as session:
        if number is not None:
            end_grant(session, number)
            done = f"authorisation {number} revoked"
        else:
            assert address is not None
            count = end_grants(session, find(session, address).id)
            done = f"{count} authorisations of {address} revoked"
    click.echo(done)


def _record(session: Session, grant: GrantRow) -> dict[str, object]:
    used = grant.last_used_at
    return {
        "id": grant.id,
        "account": get_account(session, grant.account_id).address,
        "client": grant.client_id,
        "clientName": grant.client_name,
        "scope": " ".join(grant.scope),
        "created": as_time(grant.created_at),
        "lastUsed": None if used is None else as_time(used),
        "address": grant.address,
    }
