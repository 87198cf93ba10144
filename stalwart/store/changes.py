"""States and what changed since one of them, read from the modseqs on the rows and from tombstones."""

from __future__ import annotations

from stalwart.store.rows import Changes, TypeName
from stalwart.store.session import Session


def state(s: Session, account_id: int, type_name: TypeName) -> int:
    """The state of a type in this session's snapshot: the last modseq at which it changed, 0 if it never did."""
    raise NotImplementedError


def changes(s: Session, account_id: int, type_name: TypeName, since: int, max_changes: int | None) -> Changes:
    """What happened after `since`, oldest first, at most `max_changes` ids. CannotCalculateChanges."""
    raise NotImplementedError
