"""What several commands say about roles and permissions: the options that set them, and how they are shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from stalwart.cli.output import as_json
from stalwart.store import Grants, Session, effective_permissions, grants_of, roles_of, set_grants, set_roles

F = TypeVar("F", bound=Callable[..., Any])
_NONE = "none"


def rights_options(command: F) -> F:
    """The options --role, --allow and --deny, each any number of times."""
    for name, parameter, text in (
        ("--deny", "denied", "A permission to take away, whatever the roles say; repeat it for more."),
        ("--allow", "allowed", "A permission to give beside the roles; repeat it for more."),
        ("--role", "roles", "A role to have; repeat it for more."),
    ):
        command = click.option(name, parameter, multiple=True, help=text)(command)
    return command


def require_rights(roles: Sequence[str], allowed: Sequence[str], denied: Sequence[str]) -> None:
    """Refuse a call that would change nothing. UsageError."""
    if not (roles or allowed or denied):
        raise click.UsageError("without --role, --allow or --deny nothing would change")


def put_rights(
    session: Session, principal_id: int, roles: Sequence[str], allowed: Sequence[str], denied: Sequence[str]
) -> None:
    """Replace those kinds of rights that something was said of; "none" empties one. StoreError."""
    if roles:
        set_roles(session, principal_id, _without_none(roles))
    if allowed or denied:
        before = grants_of(session, principal_id)
        enabled, disabled = frozenset(_without_none(allowed)), frozenset(_without_none(denied))
        enabled = enabled if allowed else before.enabled - disabled
        disabled = disabled if denied else before.disabled - enabled
        set_grants(session, principal_id, Grants(enabled=enabled, disabled=disabled))


def rights_record(session: Session, principal_id: int) -> dict[str, list[str]]:
    """Roles, what is given and taken, and what follows from it."""
    grants = grants_of(session, principal_id)
    return {
        "roles": list(roles_of(session, principal_id)),
        "allowed": sorted(grants.enabled),
        "denied": sorted(grants.disabled),
        "permissions": sorted(effective_permissions(session, principal_id)),
    }


def show_rights(record: dict[str, list[str]], *, json_wanted: bool) -> None:
    """Print them."""
    if json_wanted:
        click.echo(as_json(record))
        return
    for name in ("roles", "allowed", "denied"):
        click.echo(f"{name + ':':<9} {', '.join(record[name]) or '-'}")
    click.echo(f"in effect, {len(record['permissions'])} permissions:")
    for permission in record["permissions"]:
        click.echo(f"  {permission}")


def _without_none(names: Sequence[str]) -> list[str]:
    return [name for name in names if name != _NONE]
