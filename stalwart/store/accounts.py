"""Domains, accounts, their aliases, and who receives mail for an address."""

from __future__ import annotations

from stalwart.store.rows import AccountRow
from stalwart.store.session import Session


def create_domain(s: Session, name: str) -> str:
    """Make a domain; gives its normalised name (A-labels, lower case). AlreadyExists, InvalidAddress."""
    raise NotImplementedError


def list_domains(s: Session) -> list[str]:
    """All domain names, sorted."""
    raise NotImplementedError


def delete_domain(s: Session, name: str) -> None:
    """Remove a domain. NotFound; StillInUse while addresses are in it."""
    raise NotImplementedError


def create_account(
    s: Session, address: str, *, name: str = "", password_hash: str, is_admin: bool = False, quota: int | None = None
) -> AccountRow:
    """Make an account with its six mailboxes. NoSuchDomain, AlreadyExists, InvalidAddress."""
    raise NotImplementedError


def find_account(s: Session, address: str) -> AccountRow | None:
    """The account whose own address this is (not an alias), compared without case."""
    raise NotImplementedError


def get_account(s: Session, account_id: int) -> AccountRow:
    """The account with this id. NotFound."""
    raise NotImplementedError


def list_accounts(s: Session) -> list[AccountRow]:
    """All accounts, sorted by address."""
    raise NotImplementedError


def set_password_hash(s: Session, account_id: int, password_hash: str) -> None:
    """Replace the password; what was verified with the old one is no longer valid. NotFound."""
    raise NotImplementedError


def add_alias(s: Session, account_id: int, address: str) -> str:
    """Give the account one more address; gives its normalised form. NoSuchDomain, AlreadyExists, NotFound."""
    raise NotImplementedError


def remove_alias(s: Session, account_id: int, address: str) -> None:
    """Take an alias away. NotFound if the account has no such alias (its own address is none)."""
    raise NotImplementedError


def delete_account(s: Session, account_id: int) -> None:
    """Remove the account with everything in it; its blobs are left to the sweep. NotFound."""
    raise NotImplementedError


def resolve_recipient(s: Session, address: str) -> AccountRow | None:
    """Who receives mail for `address`: exact addresses and aliases first, then `user+tag@` as `user@`.

    Domain and local part are compared without case. None if nobody does.
    """
    raise NotImplementedError
