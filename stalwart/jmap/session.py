"""The Session object (RFC 8620 §2), and which accounts and capabilities a user has."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping

import msgspec

from stalwart.auth import Principal
from stalwart.jmap.call import Account
from stalwart.jmap.catalog import CAPABILITIES, Server
from stalwart.jmap.limits import Limits
from stalwart.jmap.permissions import usable_capabilities
from stalwart.store import ShareRow

_encode = msgspec.json.Encoder().encode


class SessionObject(msgspec.Struct, frozen=True, kw_only=True):
    """The encoded Session object, and its state, which is also the `sessionState` of API responses."""

    body: bytes
    state: str


def account_id(row: int) -> str:
    """The id of an account."""
    return f"A{row}"


def accounts_of(principal: Principal, shares: tuple[ShareRow, ...], limits: Limits) -> Mapping[str, Account]:
    """The accounts that the user can see, by id, their own first. `shares` are those of others."""
    return _accounts(
        principal.account_id, principal.address, shares, limits, usable_capabilities(principal.permissions)
    )


@functools.lru_cache(maxsize=1024)
def _accounts(
    row: int, address: str, shares: tuple[ShareRow, ...], limits: Limits, usable: frozenset[str]
) -> Mapping[str, Account]:
    accounts = [_account(row, address, limits, usable, is_own=True, is_read_only=False)]
    for share in shares:
        accounts.append(
            _account(share.account_id, share.address, limits, usable, is_own=False, is_read_only=not share.may_write)
        )
    return {account.id: account for account in accounts}


def _account(
    row: int, address: str, limits: Limits, usable: frozenset[str], *, is_own: bool, is_read_only: bool
) -> Account:
    return Account(
        row=row,
        id=account_id(row),
        name=address,
        is_personal=is_own,
        is_read_only=is_read_only,
        # RFC 8620 §2, RFC 8621 §1.4: only those that can be used with the account
        capabilities={
            capability.uri: capability.of_account(limits, is_own)
            for capability in CAPABILITIES
            if capability.of_account is not None and (is_own or capability.shared) and capability.uri in usable
        },
    )


def session_object(
    principal: Principal,
    shares: tuple[ShareRow, ...],
    limits: Limits,
    base_url: str,
    application_server_key: str = "",
) -> SessionObject:
    """The Session object of this user; its URLs are absolute, below `base_url` (which has no slash at the end)."""
    usable = usable_capabilities(principal.permissions)
    return _session_object(
        principal.account_id, principal.address, shares, limits, usable, base_url, application_server_key
    )


@functools.lru_cache(maxsize=1024)
def _session_object(
    row: int,
    address: str,
    shares: tuple[ShareRow, ...],
    limits: Limits,
    usable: frozenset[str],
    base_url: str,
    application_server_key: str,
) -> SessionObject:
    accounts = _accounts(row, address, shares, limits, usable)
    server = Server(limits=limits, base_url=base_url, application_server_key=application_server_key)
    session: dict[str, object] = {
        "capabilities": {
            capability.uri: capability.of_server(server) for capability in CAPABILITIES if capability.uri in usable
        },
        "accounts": {
            account.id: {
                "name": account.name,
                "isPersonal": account.is_personal,
                "isReadOnly": account.is_read_only,
                "accountCapabilities": account.capabilities,
            }
            for account in accounts.values()
        },
        # RFC 8620 §2: the core capability SHOULD NOT be present
        "primaryAccounts": {
            uri: account.id for account in accounts.values() if account.is_personal for uri in account.capabilities
        },
        "username": address,
        "apiUrl": f"{base_url}/jmap/",
        "downloadUrl": f"{base_url}/jmap/download/{{accountId}}/{{blobId}}/{{name}}?accept={{type}}",
        "uploadUrl": f"{base_url}/jmap/upload/{{accountId}}/",
        "eventSourceUrl": (f"{base_url}/jmap/eventsource/?types={{types}}&closeafter={{closeafter}}&ping={{ping}}"),
    }
    # RFC 8620 §2: the state changes with the value of any other property
    state = hashlib.blake2b(_encode(session), digest_size=8).hexdigest()
    return SessionObject(body=_encode({**session, "state": state}), state=state)
