"""`stalwart list …`: mailing lists."""

from __future__ import annotations

from typing import TypedDict

import click

from stalwart.cli.opening import open_store
from stalwart.cli.output import as_json, table
from stalwart.store import (
    ListRow,
    NotFound,
    Session,
    add_list_member,
    create_list,
    delete_list,
    find_list,
    list_lists,
    list_members,
    remove_list_member,
)


@click.group("list", short_help="Addresses that stand for many.")
def mailing_list() -> None:
    """Mailing lists: mail to a list's address is sent on to everybody on it, and reports go to its owner."""


@mailing_list.command("create")
@click.argument("address")
@click.option("--owner", required=True, help="The address that reports about undelivered mail go to.")
@click.option("--name", default="", help="What the list is called.")
@click.option("--members-only", is_flag=True, help="Refuse mail of others than members.")
@click.pass_obj
def create(config_path: str | None, address: str, owner: str, name: str, members_only: bool) -> None:
    """Make a list with the address ADDRESS. Until somebody is on it, mail for it is refused."""
    with open_store(config_path) as store, store.write() as session:
        made = create_list(session, address, owner=owner, name=name, is_members_only=members_only)
    click.echo(f"list {made.address} created, owned by {made.owner}")


@mailing_list.command("list")
@click.option("--json", "json_wanted", is_flag=True, help="Print JSON.")
@click.pass_obj
def show_all(config_path: str | None, json_wanted: bool) -> None:
    """List the lists."""
    with open_store(config_path) as store, store.read() as session:
        lists = [_described(session, row) for row in list_lists(session)]
    if json_wanted:
        click.echo(as_json(lists))
        return
    head = ("ADDRESS", "MEMBERS", "POSTS", "OWNER", "NAME")
    table(
        head, [(each["address"], str(len(each["members"])), _who(each), each["owner"], each["name"]) for each in lists]
    )


@mailing_list.command("show")
@click.argument("address")
@click.option("--json", "json_wanted", is_flag=True, help="Print JSON.")
@click.pass_obj
def show(config_path: str | None, address: str, json_wanted: bool) -> None:
    """Show a list and who is on it."""
    with open_store(config_path) as store, store.read() as session:
        found = _described(session, _find(session, address))
    if json_wanted:
        click.echo(as_json(found))
        return
    click.echo(f"address:  {found['address']}\nname:     {found['name'] or '-'}\nowner:    {found['owner']}")
    click.echo(f"posts:    {_who(found)}\nmembers:  {len(found['members'])}")
    for member in found["members"]:
        click.echo(f"  {member}")


@mailing_list.command("add")
@click.argument("address")
@click.argument("members", nargs=-1, required=True, metavar="MEMBER...")
@click.pass_obj
def add(config_path: str | None, address: str, members: tuple[str, ...]) -> None:
    """Put each MEMBER on the list ADDRESS: an account, a group, another list, or an address elsewhere.

    Either all are put on it or, if one can't be, none.
    """
    with open_store(config_path) as store, store.write() as session:
        row = _find(session, address)
        added = [add_list_member(session, row.id, member) for member in members]
    for member in added:
        click.echo(f"{member} is on the list {row.address}")


@mailing_list.command("remove")
@click.argument("address")
@click.argument("members", nargs=-1, required=True, metavar="MEMBER...")
@click.pass_obj
def remove(config_path: str | None, address: str, members: tuple[str, ...]) -> None:
    """Take each MEMBER off the list ADDRESS. Either all are taken off or, if one isn't on it, none."""
    with open_store(config_path) as store, store.write() as session:
        row = _find(session, address)
        removed = [remove_list_member(session, row.id, member) for member in members]
    for member in removed:
        click.echo(f"{member} is no longer on the list {row.address}")


@mailing_list.command("delete")
@click.argument("address")
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.pass_obj
def delete(config_path: str | None, address: str, yes: bool) -> None:
    """Delete a list. What it has queued is sent all the same."""
    with open_store(config_path) as store:
        with store.read() as session:
            row = _find(session, address)
            count = len(list_members(session, row.id))
        if not yes:
            click.confirm(f"Delete the list {row.address} with {count} members?", abort=True)
        with store.write() as session:
            delete_list(session, row.id)
    click.echo(f"list {row.address} deleted")


class _Described(TypedDict):
    address: str
    name: str
    owner: str
    membersOnly: bool
    members: list[str]


def _described(session: Session, row: ListRow) -> _Described:
    return {
        "address": row.address,
        "name": row.name,
        "owner": row.owner,
        "membersOnly": row.is_members_only,
        "members": list_members(session, row.id),
    }


def _who(described: _Described) -> str:
    return "members" if described["membersOnly"] else "anybody"


def _find(session: Session, address: str) -> ListRow:
    row = find_list(session, address)
    if row is None:
        raise NotFound(f"there is no list {address}: `stalwart list list` shows those there are")
    return row
