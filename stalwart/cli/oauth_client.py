"""`stalwart oauth-client …`: the programs that may ask users to let them in."""

from __future__ import annotations

import click

from stalwart.auth.oauth.clients import AUTHORIZATION_CODE, DEVICE_CODE, REFRESH_TOKEN
from stalwart.auth.oauth.errors import OAuthError
from stalwart.auth.oauth.registration import register
from stalwart.auth.oauth.scopes import PERMISSIONS_OF
from stalwart.cli.opening import load_settings, open_store
from stalwart.cli.output import as_json, as_time, table
from stalwart.store import ClientRow, list_clients, remove_client


@click.group("oauth-client", short_help="Programs that may ask users to let them in.")
def oauth_client() -> None:
    """OAuth clients: webmails, mail programs and others that sign in for users without their passwords."""


@oauth_client.command("create")
@click.argument("name")
@click.option(
    "--redirect-uri", "uris", multiple=True, metavar="URI", help="Where users are sent back; repeat for more."
)
@click.option("--device", is_flag=True, help="Let it use the device flow, too.")
@click.option("--confidential", is_flag=True, help="Give it a secret: only for programs that run on a server.")
@click.option("--scope", "scope", type=click.Choice(list(PERMISSIONS_OF)), multiple=True, help="What it may ask for.")
@click.option("--id", "client_id", metavar="ID", help="The client_id, for a program that has one already.")
@click.pass_obj
def create(
    config_path: str | None,
    name: str,
    uris: tuple[str, ...],
    device: bool,
    confidential: bool,
    scope: tuple[str, ...],
    client_id: str | None,
) -> None:
    """Register a client called NAME; users are shown this name. Its secret is printed once.

    Without --scope it may ask for anything that its users may do.
    """
    if not uris and not device:
        raise click.UsageError("without --redirect-uri or --device the client could do nothing")
    grant_types = [REFRESH_TOKEN, *([AUTHORIZATION_CODE] if uris else []), *([DEVICE_CODE] if device else [])]
    document = {
        "client_name": name,
        "redirect_uris": list(uris),
        "grant_types": grant_types,
        "token_endpoint_auth_method": "client_secret_basic" if confidential else "none",
        **({"scope": " ".join(scope)} if scope else {}),
    }
    settings = load_settings(config_path).oauth
    with open_store(config_path) as store, store.write() as session:
        try:
            made = register(session, document, is_verified=True, settings=settings, client_id=client_id)
        except OAuthError as error:
            raise click.UsageError(error.description) from error
    click.echo(f"OAuth client {name} created")
    click.echo(f"client_id: {made['client_id']}")
    if confidential:
        click.echo(f"client_secret: {made['client_secret']}")


@oauth_client.command("list")
@click.option("--json", "json_wanted", is_flag=True, help="Print JSON.")
@click.pass_obj
def show_all(config_path: str | None, json_wanted: bool) -> None:
    """List the clients that are registered."""
    with open_store(config_path) as store, store.read() as session:
        rows = list_clients(session)
    records = [_record(row) for row in rows]
    if json_wanted:
        click.echo(as_json(records))
        return
    table(
        ("CLIENT_ID", "NAME", "KIND", "VERIFIED", "REDIRECT URIS", "SCOPE", "LAST USED"),
        [
            (
                str(record["clientId"]),
                str(record["name"]),
                "confidential" if record["isConfidential"] else "public",
                "yes" if record["isVerified"] else "no",
                ", ".join(row.redirect_uris) or "-",
                " ".join(row.scope or ()) or "any",
                str(record["lastUsed"] or "-"),
            )
            for record, row in zip(records, rows, strict=True)
        ],
    )


@oauth_client.command("delete")
@click.argument("client_id")
@click.pass_obj
def delete(config_path: str | None, client_id: str) -> None:
    """Remove the client CLIENT_ID, with all that accounts let it do. It holds at once."""
    with open_store(config_path) as store, store.write() as session:
        remove_client(session, client_id)
    click.echo(f"OAuth client {client_id} deleted")


def _record(row: ClientRow) -> dict[str, object]:
    return {
        "clientId": row.client_id,
        "name": row.name,
        "isConfidential": row.has_secret,
        "isVerified": row.is_verified,
        "redirectUris": list(row.redirect_uris),
        "grantTypes": list(row.grant_types),
        "scope": None if row.scope is None else list(row.scope),
        "created": as_time(row.created_at),
        "lastUsed": None if row.last_used_at is None else as_time(row.last_used_at),
    }
