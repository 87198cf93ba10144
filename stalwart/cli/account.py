"""`stalwart account …`: the people who have mail here."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

import click

from stalwart.auth import Passwords, generate_password
from stalwart.cli.opening import open_store
from stalwart.cli.output import as_json, as_size, as_time, table
from stalwart.store import (
    AccountRow,
    NotFound,
    Session,
    ShareRow,
    add_alias,
    all_guests,
    create_account,
    delete_account,
    find_account,
    find_totp,
    finish_deletions,
    groups_of,
    guests_of,
    list_accounts,
    list_mailboxes,
    principal_of_account,
    remove_alias,
    roles_of,
    set_password_hash,
    set_quota,
    share_account,
    unshare_account,
)


@click.group(short_help="Accounts, their passwords and aliases.")
def account() -> None:
    """The accounts: create, list, show, change passwords and aliases, delete."""


@account.command("create")
@click.argument("address")
@click.option("--name", default="", help="The person's name.")
@click.option("--admin", is_flag=True, help="May administer the server.")
@click.option("--quota", metavar="SIZE", help="The most mail that the account may hold: octets, or such as 500M, 2G.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input (its first line).")
@click.pass_obj
def create(
    config_path: str | None, address: str, name: str, admin: bool, quota: str | None, password_stdin: bool
) -> None:
    """Make an account for ADDRESS. Without --password-stdin a password is made and printed once."""
    octets = None if quota is None else _quota(quota)
    password = _password_from_stdin() if password_stdin else generate_password()
    password_hash = Passwords().hash(password)
    with open_store(config_path) as store, store.write() as session:
        made = create_account(session, address, name=name, password_hash=password_hash, is_admin=admin, quota=octets)
    click.echo(f"account {made.address} created")
    if not password_stdin:
        click.echo(f"password: {password}")


@account.command("list")
@click.option("--json", "json_wanted", is_flag=True, help="Print JSON.")
@click.pass_obj
def show_all(config_path: str | None, json_wanted: bool) -> None:
    """List the accounts."""
    with open_store(config_path) as store, store.read() as session:
        accounts, guests = list_accounts(session), all_guests(session)
    if json_wanted:
        click.echo(as_json([_record(row, guests.get(row.id, ())) for row in accounts]))
        return
    if not accounts:
        click.echo("no accounts yet: make one with `stalwart account create ADDRESS`", err=True)
        return
    table(
        ("ADDRESS", "NAME", "ADMIN", "MESSAGES", "USED", "QUOTA", "SHARED WITH"),
        [
            (
                row.address,
                row.name,
                "yes" if row.is_admin else "no",
                str(row.message_count),
                as_size(row.used),
                as_size(row.quota) if row.quota is not None else "none",
                _guests(guests.get(row.id, ())) or "-",
            )
            for row in accounts
        ],
    )


@account.command("show")
@click.argument("address")
@click.option("--json", "json_wanted", is_flag=True, help="Print JSON.")
@click.pass_obj
def show(config_path: str | None, address: str, json_wanted: bool) -> None:
    """Show one account and its mailboxes."""
    with open_store(config_path) as store, store.read() as session:
        row = find(session, address)
        mailboxes, guests = list_mailboxes(session, row.id), guests_of(session, row.id)
        principal = principal_of_account(session, row.id).id
        roles, groups = roles_of(session, principal), [group.name for group in groups_of(session, principal)]
        has_totp = find_totp(session, principal) is not None
    if json_wanted:
        boxes = [
            {"name": box.name, "role": box.role, "messages": box.total_emails, "unread": box.unread_emails}
            for box in mailboxes
        ]
        more = {"roles": list(roles), "groups": groups, "totp": has_totp, "mailboxes": boxes}
        click.echo(as_json({**_record(row, guests), **more}))
        return
    click.echo(f"address:  {row.address}")
    click.echo(f"name:     {row.name or '-'}")
    click.echo(f"enabled:  {'yes' if row.is_enabled else 'no'}")
    click.echo(f"roles:    {', '.join(roles) or '-'}")
    click.echo(f"groups:   {', '.join(groups) or '-'}")
    click.echo(f"totp:     {'yes' if has_totp else 'no'}")
    click.echo(f"aliases:  {', '.join(row.aliases) or '-'}")
    click.echo(f"created:  {as_time(row.created_at)}")
    click.echo(f"used:     {as_size(row.used)} of {as_size(row.quota) if row.quota is not None else 'no limit'}")
    click.echo(f"shared:   {_guests(guests) or '-'}")
    click.echo("")
    table(
        ("MAILBOX", "ROLE", "MESSAGES", "UNREAD"),
        [(box.name, box.role or "-", str(box.total_emails), str(box.unread_emails)) for box in mailboxes],
    )


@account.command("passwd")
@click.argument("address")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input (its first line).")
@click.pass_obj
def passwd(config_path: str | None, address: str, password_stdin: bool) -> None:
    """Give an account a new password. Without --password-stdin one is made and printed once."""
    password = _password_from_stdin() if password_stdin else generate_password()
    password_hash = Passwords().hash(password)
    with open_store(config_path) as store, store.write() as session:
        row = find(session, address)
        set_password_hash(session, row.id, password_hash)
    click.echo(f"password of {row.address} changed")
    if not password_stdin:
        click.echo(f"password: {password}")


@account.group("alias")
def alias() -> None:
    """Further addresses of an account."""


@alias.command("add")
@click.argument("address")
@click.argument("alias_address", metavar="ALIAS")
@click.pass_obj
def alias_add(config_path: str | None, address: str, alias_address: str) -> None:
    """Deliver mail for ALIAS to the account ADDRESS too."""
    with open_store(config_path) as store, store.write() as session:
        row = find(session, address)
        add_alias(session, row.id, alias_address)
    click.echo(f"{alias_address} now goes to {row.address}")


@alias.command("remove")
@click.argument("address")
@click.argument("alias_address", metavar="ALIAS")
@click.pass_obj
def alias_remove(config_path: str | None, address: str, alias_address: str) -> None:
    """Stop delivering mail for ALIAS to the account ADDRESS."""
    with open_store(config_path) as store, store.write() as session:
        row = find(session, address)
        remove_alias(session, row.id, alias_address)
    click.echo(f"{alias_address} no longer goes to {row.address}")


@account.command("quota")
@click.argument("address")
@click.argument("size", metavar="SIZE")
@click.pass_obj
def quota(config_path: str | None, address: str, size: str) -> None:
    """Let the account ADDRESS hold at most SIZE of mail.

    SIZE is a number of octets, or one with a unit: 500M, 2G (K, M, G and T are powers of 1024); "none" takes the limit
    away. Mail that lies there stays, however much it is; new mail is refused while there is no room.
    """
    octets = _quota(size)
    with open_store(config_path) as store, store.write() as session:
        row = find(session, address)
        set_quota(session, row.id, octets)
    limit = "no limit" if octets is None else f"a quota of {as_size(octets)}"
    click.echo(f"{row.address} now has {limit}, {as_size(row.used)} used")


@account.command("share")
@click.argument("owner")
@click.argument("guest")
@click.option(
    "--rights",
    type=click.Choice(["read", "write"]),
    default="read",
    show_default=True,
    help="What GUEST may do: read the mail, or also add, move, mark and remove it.",
)
@click.pass_obj
def share(config_path: str | None, owner: str, guest: str, rights: str) -> None:
    """Let the account GUEST see the mail of the account OWNER, beside their own. It holds at once."""
    with open_store(config_path) as store, store.write() as session:
        whose, whom = find(session, owner), find(session, guest)
        if whose.id == whom.id:
            raise click.UsageError("an account can't be shared with itself")
        share_account(session, whose.id, whom.id, writing=rights == "write")
    click.echo(f"{whom.address} may now {rights} the mail of {whose.address}")


@account.command("unshare")
@click.argument("owner")
@click.argument("guest")
@click.pass_obj
def unshare(config_path: str | None, owner: str, guest: str) -> None:
    """Stop GUEST from seeing the mail of OWNER. It holds at once."""
    with open_store(config_path) as store, store.write() as session:
        whose, whom = find(session, owner), find(session, guest)
        unshare_account(session, whose.id, whom.id)
    click.echo(f"{whom.address} no longer sees the mail of {whose.address}")


@account.command("delete")
@click.argument("address")
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.pass_obj
def delete(config_path: str | None, address: str, yes: bool) -> None:
    """Delete an account with all its mail. There is no way back but a backup."""
    with open_store(config_path) as store:
        with store.read() as session:
            row = find(session, address)
        if not yes:
            question = f"Delete {row.address} with {row.message_count} messages ({as_size(row.used)})?"
            click.confirm(question, abort=True)
        with store.write() as session:
            delete_account(session, row.id)
        finish_deletions(store)
    click.echo(f"account {row.address} deleted")


def find(session: Session, address: str) -> AccountRow:
    """The account of this address. NotFound, InvalidAddress."""
    row = find_account(session, address)
    if row is None or row.kind != "individual":
        raise NotFound(f"there is no account {address}: `stalwart account list` shows those there are")
    return row


def _quota(size: str) -> int | None:
    if size.lower() == "none":
        return None
    match = re.fullmatch(r"([0-9]{1,15})([KMGT]?)(?:i?B)?", size.strip(), re.ASCII | re.IGNORECASE)
    octets = int(match[1]) * 1024 ** " KMGT".index(match[2].upper() or " ") if match else 0
    if not 0 < octets < 2**53:
        raise click.UsageError(f"{size!r} is no size: wanted octets such as 5000000, 500M or 2G, or none")
    return octets


def _guests(guests: Sequence[ShareRow]) -> str:
    return ", ".join(f"{guest.address} ({_rights(guest)})" for guest in guests)


def _rights(guest: ShareRow) -> str:
    return "write" if guest.may_write else "read"


def _record(row: AccountRow, guests: Sequence[ShareRow]) -> dict[str, object]:
    return {
        "address": row.address,
        "name": row.name,
        "admin": row.is_admin,
        "enabled": row.is_enabled,
        "aliases": list(row.aliases),
        "quota": row.quota,
        "used": row.used,
        "messages": row.message_count,
        "created": as_time(row.created_at),
        "shared": {guest.address: _rights(guest) for guest in guests},
    }


def _password_from_stdin() -> str:
    try:
        password = sys.stdin.buffer.readline().decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        # HTTP Basic sends passwords in UTF-8 (RFC 7617 §2.1), so that no client could sign in with it.
        raise click.UsageError("--password-stdin: the password must be UTF-8") from None
    if not password:
        raise click.UsageError("--password-stdin: standard input held no password on its first line")
    return password
