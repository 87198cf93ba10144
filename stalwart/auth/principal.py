"""Who a request comes from, once its credentials were verified."""

from __future__ import annotations

import msgspec


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """A signed-in account. `credential_version` is the one its password had when it was verified."""

    account_id: int
    address: str
    name: str
    is_admin: bool
    credential_version: int
