"""`stalwart group …`: mailboxes that several people share."""

from __future__ import annotations

import click

from stalwart.cli.account import find
from stalwart.cli.opening import open_store
from stalwart.cli.output import as_json, as_size, table
from stalwart.store import (
    AccountRow,
    NotFound,
    Session,
    add_member,
    create_account,
    delete_account,
    find_account,
    finish_deletions,
    list_principals,
    members_of,
    principal_of_account,
    remove_member,
)


@click.group(short_help="Mailboxes that several people share.")
def group() -> None:
    """Groups: an address with a mailbox that all members see and change. Nobody signs in as a group."""


@group.command("create")
@click.argument("address")
@click.option("--name", default="", help="What the group is called.")
@click.pass_obj
def create(config_path: str | None, address: str, name: str) -> None:
    """Make a group with the address ADDRESS."""
    with open_store(config_path) as store, store.write() as session:
        made = create_account(session, address, name=name, password_hash="", kind="group")
    click.echo(f"group {made.address} created")


@group.command("list")
@click.option("--json", "json_wanted", is_flag=True, help="Print JSON.")
@click.pass_obj
def show_all(config_path: str | None, json_wanted: bool) -> None:
    """List the groups with their members."""
    with open_store(config_path) as store, store.read() as session:
        groups = {
            row.name: [member.name for member in members_of(session, row.id)]
            for row in list_principals(session, "group")
        }
    if json_wanted:
        click.echo(as_json([{"address": address, "members": members} for address, members in groups.items()]))
        return
    table(("ADDRESS", "MEMBERS"), [(address, ", ".join(members) or "-") for address, members in groups.items()])


@group.command("add")
@click.argument("address")
@click.argument("member")
@click.pass_obj
def add(config_path: str | None, address: str, member: str) -> None:
    """Let the account MEMBER see and change the mail of the group ADDRESS. It holds at once."""
    with open_store(config_path) as store, store.write() as session:
        whose, whom = _find(session, address), find(session, member)
        add_member(session, principal_of_account(session, whose.id).id, principal_of_account(session, whom.id).id)
    click.echo(f"{whom.address} belongs to {whose.address}")


@group.command("remove")
@click.argument("address")
@click.argument("member")
@click.pass_obj
def remove(config_path: str | None, address: str, member: str) -> None:
    """Have the account MEMBER belong to the group ADDRESS no longer. It holds at once."""
    with open_store(config_path) as store, store.write() as session:
        whose, whom = _find(session, address), find(session, member)
        remove_member(session, principal_of_account(session, whose.id).id, principal_of_account(session, whom.id).id)
    click.echo(f"{whom.address} no longer belongs to {whose.address}")


@group.command("delete")
@click.argument("address")
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.pass_obj
def delete(config_path: str | None, address: str, yes: bool) -> None:
    """Delete a group with all its mail. There is no way back but a backup."""
    with open_store(config_path) as store:
        with store.read() as session:
            row = _find(session, address)
        if not yes:
            question = f"Delete {row.address} with {row.message_count} messages ({as_size(row.used)})?"
            click.confirm(question, abort=True)
        with store.write() as session:
            delete_account(session, row.id)
        finish_deletions(store)
    click.echo(f"group {row.address} deleted")


def _find(session: Session, address: str) -> AccountRow:
    row = find_account(session, address)
    if row is None or row.kind != "group":
        raise NotFound(f"there is no group {address}: `stalwart group list` shows those there are")
    return row
