"""A user lets a client in, whichever way they were asked: the one place that says who may, and what is kept of it."""

from __future__ import annotations

from stalwart.auth.loading import LETS_CLIENTS_IN
from stalwart.auth.oauth.clients import Client
from stalwart.auth.principal import Principal
from stalwart.store import GrantRow, Session, add_grant


def grant_access(
    s: Session, client: Client, principal: Principal, scope: tuple[str, ...], *, signed_in_at: float, address: str
) -> int | None:
    """The id of the new authorisation; None if the user may not let clients in.

    `address` is the browser's, `signed_in_at` when the user typed their password.
    """
    if not principal.may(LETS_CLIENTS_IN) or not principal.account_id:
        return None
    grant = GrantRow(
        account_id=principal.account_id,
        credential_version=principal.credential_version,
        credential_id=principal.credential_id,
        client_row_id=client.row_id,
        client_id=client.client_id,
        client_name=client.name,
        scope=scope,
        signed_in_at=int(signed_in_at),
        address=address,
    )
    return add_grant(s, grant)
