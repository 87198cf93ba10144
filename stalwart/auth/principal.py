"""Who a request comes from, once its credentials were verified."""

from __future__ import annotations

from ipaddress import ip_network

import msgspec

from stalwart.ops.networks import Networks
from stalwart.store import ADMINISTERS


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who signed in, what they may do, and by what they signed in.

    `account_id` is 0 for those who have no mailbox: API keys of nobody, and the fallback administrator, whose
    `principal_id` is 0, too. `credential_id` is None for a password, and `credential_version` is the one that the
    password had when it was verified, 0 where there was none. `expires_at` is in epoch seconds. Without `networks` the
    credentials count from anywhere. With `grant_id` an OAuth client has signed in for them, by the access token of
    `token_id`: `permissions` are those that its `scope` leaves.
    """

    account_id: int
    address: str
    name: str
    credential_version: int
    permissions: frozenset[str]
    principal_id: int = 0
    credential_id: int | None = None
    networks: tuple[str, ...] = ()
    expires_at: int | None = None
    grant_id: int | None = None
    token_id: int | None = None
    scope: frozenset[str] = frozenset()

    @property
    def is_admin(self) -> bool:
        """Whether they administer this server."""
        return ADMINISTERS in self.permissions

    def may(self, permission: str) -> bool:
        """Whether they have a permission."""
        return permission in self.permissions

    def may_come_from(self, address: str) -> bool:
        """Whether the credentials count for a client at this address; a Unix socket's peer has none."""
        return not self.networks or address in Networks(ip_network(text) for text in self.networks)
