"""What a method call works with: the account, the store session, the limits, and the request it is part of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

import msgspec

from stalwart import store
from stalwart.auth import Principal
from stalwart.jmap.contents import Content, KnownParts, find_content
from stalwart.jmap.errors import InvalidResultReference, RequestTooLarge, UnsupportedFilter
from stalwart.jmap.limits import Limits
from stalwart.jmap.references import CreatedIds, Response
from stalwart.store import BlobStore, Session, Store, UploadRow


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """An account that the user can see (RFC 8620 §1.6.2). `capabilities` are those whose methods work there."""

    row: int
    id: str
    name: str
    is_personal: bool
    is_read_only: bool
    capabilities: Mapping[str, object]


class Sessions:
    """The store sessions of one request: one snapshot for all its reads, until a call writes.

    A writing call has a transaction of its own, and the reads after it a new snapshot that has its changes.
    """

    def __init__(self, opened: Store) -> None:
        self._store = opened
        self._snapshot: AbstractContextManager[Session] | None = None
        self._session: Session | None = None

    def __enter__(self) -> Sessions:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.leave()

    def reading(self) -> Session:
        """The snapshot."""
        if self._session is None:
            self._snapshot = self._store.read()
            self._session = self._snapshot.__enter__()
        return self._session

    def writing(self) -> AbstractContextManager[Session]:
        """A transaction, for one call."""
        self.leave()
        return self._store.write()

    def leave(self) -> None:
        """End the snapshot; the next read begins a new one."""
        snapshot, self._snapshot, self._session = self._snapshot, None, None
        if snapshot is not None:
            snapshot.__exit__(None, None, None)


class Exchange:
    """One API request under way: who sent it, what was answered and created so far, and what it may still cost.

    `accounts` are those that the user can see, by id; `using` are the capabilities that the client asked for.
    """

    __slots__ = (
        "_octets_left",
        "_reference_octets_left",
        "_text_left",
        "accounts",
        "created",
        "evicted",
        "following",
        "known_parts",
        "limits",
        "principal",
        "responses",
        "states",
        "using",
    )

    def __init__(
        self,
        limits: Limits,
        created: CreatedIds,
        principal: Principal,
        accounts: Mapping[str, Account],
        using: frozenset[str],
    ) -> None:
        self.limits = limits
        self.created = created
        self.principal = principal
        self.accounts = accounts
        self.using = using
        self.evicted: list[UploadRow] = []
        """Uploads that made room for others, and whose octets are to go once all is committed."""
        self.following: list[tuple[str, dict[str, Any]]] = []
        """Calls that the one under way brings with it: method names and arguments."""
        self.responses: list[Response] = []
        self.states: dict[tuple[int, str], str] = {}
        """States of accounts and types in the snapshot that is being read."""
        self.known_parts = KnownParts(self.charge_read)
        self._octets_left = limits.max_octets_read
        self._reference_octets_left = limits.max_size_request
        self._text_left = limits.max_text_searched

    def account(self, session: Session, account_id: str) -> Account | None:
        """An account that the user can see, with their rights as they are in this session; None if there is none.

        A share may be taken back, by another process too, while the request runs.
        """
        account = self.accounts.get(account_id)
        if account is None or account.is_personal:
            return account
        writes = store.may_write(session, account.row, self.principal.account_id)
        if writes is None:
            return None
        return (
            account if writes is not account.is_read_only else msgspec.structs.replace(account, is_read_only=not writes)
        )

    def charge_read(self, octets: int) -> None:
        """Count octets of messages that are about to be read. Raises RequestTooLarge when it is too much."""
        self._octets_left -= octets
        if self._octets_left < 0:
            raise RequestTooLarge(
                f"The request would read more than {self.limits.max_octets_read} octets of messages. "
                "Ask for fewer messages at a time."
            )

    def charge_text(self, characters: int) -> None:
        """Count text that is to be searched for. Raises UnsupportedFilter when it is too much."""
        self._text_left -= characters
        if self._text_left < 0:
            raise UnsupportedFilter(
                f"The filters of one request may have at most {self.limits.max_text_searched} characters of text."
            )

    def charge_reference(self, octets: int) -> None:
        """Count what a result reference brought along. Raises InvalidResultReference when it is too much."""
        self._reference_octets_left -= octets
        if self._reference_octets_left < 0:
            raise InvalidResultReference(
                f"The result references of this request bring along more than {self.limits.max_size_request} octets."
            )


class Call:
    """One call of a method. For methods without an accountId, `account` is the user's own.

    `prepared` is what the method's `prepare` gave.
    """

    __slots__ = ("_writes", "account", "blobs", "exchange", "prepared", "session")

    def __init__(
        self,
        session: Session,
        blobs: BlobStore,
        account: Account,
        exchange: Exchange,
        *,
        writes: bool = False,
        prepared: Any = None,
    ) -> None:
        self._writes = writes
        self.prepared = prepared
        self.session = session
        self.blobs = blobs
        self.account = account
        self.exchange = exchange

    @property
    def limits(self) -> Limits:
        """The limits of this server."""
        return self.exchange.limits

    @property
    def principal(self) -> Principal:
        """The user who sent the request."""
        return self.exchange.principal

    def on(self, account: Account) -> Call:
        """This call as it would be on another account."""
        return Call(self.session, self.blobs, account, self.exchange, writes=self._writes, prepared=self.prepared)

    def follow(self, method: str, arguments: dict[str, Any]) -> None:
        """Have `method` called after this call, its response added with the same call id (RFC 8620 §5.4).

        Nothing comes of it if this call ends with an error. `arguments` are as on the wire.
        """
        self.exchange.following.append((method, arguments))

    def content(self, text: str) -> Content | None:
        """What a blobId from the arguments names for the user; None if nothing. RequestTooLarge, StoreError."""
        known, user = self.exchange.known_parts, self.principal.account_id
        return find_content(self.session, self.blobs, self.account.row, user, self.resolve(text), known)

    def state(self, type_name: str) -> str:
        """The state string of a type in this call's snapshot."""
        known = self.exchange.states.get((self.account.row, type_name))
        if known is None:
            known = str(store.state(self.session, self.account.row, type_name))
            if not self._writes:
                self.exchange.states[self.account.row, type_name] = known
        return known

    def resolve(self, text: str) -> str:
        """An id from the arguments; one like `#k1` stands for the record created under `k1` in this request."""
        return self.exchange.created.resolve(text) if text.startswith("#") else text

    def resolve_all(self, ids: Iterable[str]) -> list[str]:
        """As `resolve`, for many."""
        return [self.resolve(text) for text in ids]
