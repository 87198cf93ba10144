"""`stalwart account …`, continued: what accounts may do, whether they may sign in, and second factors."""

from __future__ import annotations

import click

from stalwart.auth import generate_totp_secret, totp_uri
from stalwart.cli.account import account, find
from stalwart.cli.opening import load_settings, open_store
from stalwart.cli.rights import put_rights, require_rights, rights_options, rights_record, show_rights
from stalwart.store import (
    enable_principal,
    end_sign_ins,
    find_totp,
    principal_of_account,
    remove_totp,
    set_totp,
)

__all__ = ["account"]


@account.group("rights")
def rights() -> None:
    """What an account may do: its roles, and permissions given to it or taken away."""


@rights.command("show")
@click.argument("address")
@click.option("--json", "json_wanted", is_flag=True, help="Print JSON.")
@click.pass_obj
def rights_show(config_path: str | None, address: str, json_wanted: bool) -> None:
    """Show what the account ADDRESS may do, and why."""
    with open_store(config_path) as store, store.read() as session:
        record = rights_record(session, principal_of_account(session, find(session, address).id).id)
    show_rights(record, json_wanted=json_wanted)


@rights.command("set")
@click.argument("address")
@rights_options
@click.pass_obj
def rights_set(
    config_path: str | None, address: str, roles: tuple[str, ...], allowed: tuple[str, ...], denied: tuple[str, ...]
) -> None:
    """Replace the roles of ADDRESS, or what is given to it or taken away. It holds at once.

    What no option is given for stays as it is; "none" empties it.
    """
    require_rights(roles, allowed, denied)
    with open_store(config_path) as store, store.write() as session:
        row = find(session, address)
        put_rights(session, principal_of_account(session, row.id).id, roles, allowed, denied)
    click.echo(f"rights of {row.address} changed")


@account.command("disable")
@click.argument("address")
@click.pass_obj
def disable(config_path: str | None, address: str) -> None:
    """Let nobody sign in as ADDRESS, by whatever means. It holds at once. Mail is still received."""
    _enable(config_path, address, enabled=False)


@account.command("enable")
@click.argument("address")
@click.pass_obj
def enable(config_path: str | None, address: str) -> None:
    """Let a disabled account sign in again."""
    _enable(config_path, address, enabled=True)


def _enable(config_path: str | None, address: str, *, enabled: bool) -> None:
    with open_store(config_path) as store, store.write() as session:
        row = find(session, address)
        enable_principal(session, principal_of_account(session, row.id).id, enabled=enabled)
    click.echo(f"account {row.address} {'enabled' if enabled else 'disabled'}")


@account.group("totp")
def totp() -> None:
    """Second factors: codes that an authenticator app shows, beside the password."""


@totp.command("enable")
@click.argument("address")
@click.option("--replace", is_flag=True, help="Also if there is a secret already, which is of no use any more then.")
@click.pass_obj
def totp_enable(config_path: str | None, address: str, replace: bool) -> None:
    """Ask for codes beside the password of ADDRESS from now on; the secret is printed once, for the app.

    Clients that send name and password need an app password then, see `stalwart app-password create`. Whoever has
    signed in by the password is asked again.
    """
    issuer = load_settings(config_path).hostname
    secret = generate_totp_secret()
    with open_store(config_path) as store, store.write() as session:
        row = find(session, address)
        principal_id = principal_of_account(session, row.id).id
        if not replace and find_totp(session, principal_id) is not None:
            raise click.ClickException(
                f"codes are asked for beside the password of {row.address} already; --replace makes a new secret, "
                "and neither what an app shows by the present one nor recovery codes count any more"
            )
        set_totp(session, principal_id, secret)
        end_sign_ins(session, row.id)
    click.echo(f"codes are asked for beside the password of {row.address}")
    click.echo(f"secret: {secret}")
    click.echo(f"uri: {totp_uri(secret, name=row.address, issuer=issuer)}")


@totp.command("disable")
@click.argument("address")
@click.pass_obj
def totp_disable(config_path: str | None, address: str) -> None:
    """Ask for no codes beside the password of ADDRESS any more."""
    with open_store(config_path) as store, store.write() as session:
        row = find(session, address)
        remove_totp(session, principal_of_account(session, row.id).id)
    click.echo(f"no codes are asked for beside the password of {row.address}")


@totp.command("show")
@click.argument("address")
@click.pass_obj
def totp_show(config_path: str | None, address: str) -> None:
    """Tell whether codes are asked for beside the password of ADDRESS; never the secret."""
    with open_store(config_path) as store, store.read() as session:
        row = find(session, address)
        has_one = find_totp(session, principal_of_account(session, row.id).id) is not None
    click.echo(f"{row.address}: {'codes are asked for' if has_one else 'no codes are asked for'}")
