"""`stalwart domain …`: the domains that this server receives mail for."""

from __future__ import annotations

import click

from stalwart.cli.opening import open_store
from stalwart.cli.output import as_json
from stalwart.store import create_domain, delete_domain, list_domains


@click.group(short_help="Domains that mail is received for.")
def domain() -> None:
    """The domains that this server receives mail for."""


@domain.command("create")
@click.argument("name")
@click.pass_obj
def create(config_path: str | None, name: str) -> None:
    """Receive mail for the domain NAME."""
    with open_store(config_path) as store, store.write() as session:
        made = create_domain(session, name)
    click.echo(f"domain {made} created")


@domain.command("list")
@click.option("--json", "json_wanted", is_flag=True, help="Print JSON.")
@click.pass_obj
def show_all(config_path: str | None, json_wanted: bool) -> None:
    """List the domains."""
    with open_store(config_path) as store, store.read() as session:
        names = list_domains(session)
    if json_wanted:
        click.echo(as_json(names))
        return
    for name in names:
        click.echo(name)
    if not names:
        click.echo("no domains yet: make one with `stalwart domain create NAME`", err=True)


@domain.command("delete")
@click.argument("name")
@click.pass_obj
def delete(config_path: str | None, name: str) -> None:
    """Stop receiving mail for the domain NAME. Refused while an account or alias has an address there."""
    with open_store(config_path) as store, store.write() as session:
        delete_domain(session, name)
    click.echo(f"domain {name} deleted")
