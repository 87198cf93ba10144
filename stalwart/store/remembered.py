"""Lists of e-mail ids that a search gave, kept in memory for as long as the account's mail is the same.

They are kept under the state of `Email` that the search's own snapshot has. A transaction neither uses nor fills
them: what it sees may be undone, and its states be given out again.
"""

from __future__ import annotations

from collections.abc import Hashable

from stalwart.store.changes import state
from stalwart.store.rows import IdList
from stalwart.store.session import Session


def recall(s: Session, account_id: int, question: Hashable) -> IdList | None:
    """The ids that answer the question in this snapshot, None if they aren't known."""
    return None if s.ids is None else s.ids.get((account_id, state(s, account_id, "Email"), question))


def remember(s: Session, account_id: int, question: Hashable, answer: IdList) -> IdList:
    """Keep what was found in this snapshot; gives it back. The question must hold all that the answer hangs on."""
    if s.ids is not None:
        s.ids.put((account_id, state(s, account_id, "Email"), question), answer)
    return answer
