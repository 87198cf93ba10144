"""`stalwart role …`: named sets of permissions."""

from __future__ import annotations

import click

from stalwart.cli.opening import open_store
from stalwart.cli.output import as_json, table
from stalwart.cli.rights import put_rights, require_rights, rights_options, rights_record, show_rights
from stalwart.store import (
    PERMISSIONS,
    NotFound,
    PrincipalRow,
    Session,
    create_principal,
    delete_principal,
    find_principal,
    list_principals,
    permissions_of_role,
    roles_of,
)


@click.group(short_help="Roles: named sets of permissions.")
def role() -> None:
    """Roles: named sets of permissions. `user` and `admin` are built in."""


@role.command("permissions")
@click.option("--json", "json_wanted", is_flag=True, help="Print JSON.")
def permissions(json_wanted: bool) -> None:
    """List all permissions there are."""
    known = PERMISSIONS.values()
    if json_wanted:
        click.echo(as_json([{"name": each.name, "doc": each.doc, "ofUsers": each.of_users} for each in known]))
        return
    table(
        ("PERMISSION", "OF USERS", "WHAT IT LETS DO"),
        [(each.name, "yes" if each.of_users else "no", each.doc) for each in known],
    )


@role.command("create")
@click.argument("name")
@rights_options
@click.option("--description", default="", help="What it is for.")
@click.pass_obj
def create(
    config_path: str | None,
    name: str,
    roles: tuple[str, ...],
    allowed: tuple[str, ...],
    denied: tuple[str, ...],
    description: str,
) -> None:
    """Make a role called NAME: what other roles have (--role), with permissions given and taken away."""
    if not name.strip() or name == "none":
        raise click.UsageError("a name must not be empty, and can't be none")
    with open_store(config_path) as store, store.write() as session:
        made = create_principal(session, "role", name, description=description)
        put_rights(session, made.id, roles, allowed, denied)
    click.echo(f"role {name} created")


@role.command("set")
@click.argument("name")
@rights_options
@click.pass_obj
def change(
    config_path: str | None, name: str, roles: tuple[str, ...], allowed: tuple[str, ...], denied: tuple[str, ...]
) -> None:
    """Replace what the role NAME gives. It holds at once for all who have it.

    What no option is given for stays as it is; "none" empties it.
    """
    require_rights(roles, allowed, denied)
    with open_store(config_path) as store, store.write() as session:
        put_rights(session, _find(session, name).id, roles, allowed, denied)
    click.echo(f"role {name} changed")


@role.command("list")
@click.option("--json", "json_wanted", is_flag=True, help="Print JSON.")
@click.pass_obj
def show_all(config_path: str | None, json_wanted: bool) -> None:
    """List the roles."""
    with open_store(config_path) as store, store.read() as session:
        records = [
            {
                "name": row.name,
                "description": row.description,
                "roles": list(roles_of(session, row.id)),
                "permissions": len(permissions_of_role(session, row)),
            }
            for row in list_principals(session, "role")
        ]
    if json_wanted:
        click.echo(as_json(records))
        return
    table(
        ("NAME", "ROLES", "PERMISSIONS", "DESCRIPTION"),
        [
            (str(each["name"]), ", ".join(each["roles"]) or "-", str(each["permissions"]), str(each["description"]))  # type: ignore[arg-type]
            for each in records
        ],
    )


@role.command("show")
@click.argument("name")
@click.option("--json", "json_wanted", is_flag=True, help="Print JSON.")
@click.pass_obj
def show(config_path: str | None, name: str, json_wanted: bool) -> None:
    """Show what the role NAME gives, and why."""
    with open_store(config_path) as store, store.read() as session:
        row = _find(session, name)
        record = rights_record(session, row.id)
        record["permissions"] = sorted(permissions_of_role(session, row))
    show_rights(record, json_wanted=json_wanted)


@role.command("delete")
@click.argument("name")
@click.pass_obj
def delete(config_path: str | None, name: str) -> None:
    """Remove the role NAME. Refused while somebody has it."""
    with open_store(config_path) as store, store.write() as session:
        delete_principal(session, _find(session, name).id)
    click.echo(f"role {name} deleted")


def _find(session: Session, name: str) -> PrincipalRow:
    row = find_principal(session, "role", name)
    if row is None:
        raise NotFound(f"there is no role {name}: `stalwart role list` shows those there are")
    return row
