"""`stalwart oauth-key …`: the keys that ID tokens are signed with."""

from __future__ import annotations

import time

import click

from stalwart.auth.oauth.signing import make_key
from stalwart.cli.opening import load_settings, open_store
from stalwart.cli.output import as_json, as_time, table
from stalwart.store import KeyRow, published_keys, rotate_signing_key


@click.group("oauth-key", short_help="Keys that ID tokens are signed with.")
def oauth_key() -> None:
    """The keys that ID tokens of OpenID Connect are signed with. The first one is made when the daemon starts."""


@oauth_key.command("list")
@click.option("--json", "json_wanted", is_flag=True, help="Print JSON.")
@click.pass_obj
def show_all(config_path: str | None, json_wanted: bool) -> None:
    """List the keys that are published."""
    with open_store(config_path) as store, store.read() as session:
        keys = published_keys(session)
    if json_wanted:
        click.echo(as_json([_record(key) for key in keys]))
        return
    table(
        ("KID", "ALGORITHM", "CREATED", "STATE"),
        [(key.kid, key.algorithm, as_time(key.created_at), _state(key, time.time())) for key in keys],
    )


@oauth_key.command("rotate")
@click.option(
    "--overlap",
    type=click.IntRange(min=0, max=24 * 90),
    default=48,
    show_default=True,
    metavar="HOURS",
    help="For how long the old key goes on signing; 0 if it is known to others, whose tokens are then refused.",
)
@click.pass_obj
def rotate(config_path: str | None, overlap: int) -> None:
    """Make a new key of the algorithm that the configuration names, which takes the place of the present one.

    Until it signs it is published beside that one, so that clients have it in time.
    """
    algorithm = load_settings(config_path).oauth.algorithm
    with open_store(config_path) as store, store.write() as session:
        made = rotate_signing_key(session, algorithm, overlap * 3600, make_key)
    click.echo(f"key {made.kid} ({made.algorithm}) signs from {as_time(made.signs_from)}")


def _state(key: KeyRow, now: float) -> str:
    if key.signs_from > now:
        return f"signs from {as_time(key.signs_from)}"
    if key.signs_until is None:
        return "signs"
    if key.signs_until > now:
        return f"signs until {as_time(key.signs_until)}"
    return "signs no more; published for tokens that it has signed"


def _record(key: KeyRow) -> dict[str, object]:
    return {
        "kid": key.kid,
        "algorithm": key.algorithm,
        "created": as_time(key.created_at),
        "signsFrom": as_time(key.signs_from),
        "signsUntil": None if key.signs_until is None else as_time(key.signs_until),
    }
