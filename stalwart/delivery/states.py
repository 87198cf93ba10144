"""The state machine of an LMTP session as a table: what isn't in `TRANSITIONS` is an error of the client.

`docs/lmtp.md` draws it.
"""

from __future__ import annotations

from enum import Enum, auto


class State(Enum):
    """Where a session is. LOOKUP, LOOKUP_MORE, OPENING and STORING wait for our side, the others for the client."""

    NEW = auto()
    READY = auto()
    SENDER = auto()
    LOOKUP = auto()
    RECIPIENTS = auto()
    LOOKUP_MORE = auto()
    OPENING = auto()
    CONTENT = auto()
    STORING = auto()
    CLOSED = auto()


class Input(Enum):
    """What moves a session on: the client's commands, the end of a message, and the answers of our side."""

    LHLO = auto()
    MAIL = auto()
    RCPT = auto()
    DATA = auto()
    RSET = auto()
    NOOP = auto()
    VRFY = auto()
    HELP = auto()
    QUIT = auto()
    YES = auto()
    NO = auto()
    END = auto()
    DONE = auto()
    CLOSE = auto()


TALKING = (State.NEW, State.READY, State.SENDER, State.RECIPIENTS)
_GREETED = (State.READY, State.SENDER, State.RECIPIENTS)

TRANSITIONS: dict[tuple[State, Input], State] = {
    **{(state, Input.LHLO): State.READY for state in TALKING},
    **{(state, Input.RSET): State.READY for state in _GREETED},
    **{(state, command): state for state in TALKING for command in (Input.NOOP, Input.VRFY, Input.HELP)},
    **{(state, Input.QUIT): State.CLOSED for state in TALKING},
    (State.NEW, Input.RSET): State.NEW,
    (State.READY, Input.MAIL): State.SENDER,
    (State.SENDER, Input.RCPT): State.LOOKUP,
    (State.LOOKUP, Input.YES): State.RECIPIENTS,
    (State.LOOKUP, Input.NO): State.SENDER,
    (State.RECIPIENTS, Input.RCPT): State.LOOKUP_MORE,
    (State.LOOKUP_MORE, Input.YES): State.RECIPIENTS,
    (State.LOOKUP_MORE, Input.NO): State.RECIPIENTS,
    (State.RECIPIENTS, Input.DATA): State.OPENING,
    (State.OPENING, Input.YES): State.CONTENT,
    (State.OPENING, Input.NO): State.RECIPIENTS,
    (State.CONTENT, Input.END): State.STORING,
    (State.STORING, Input.DONE): State.READY,
    **{(state, Input.CLOSE): State.CLOSED for state in State},
}

# States in which the session waits for an answer of our side.
WAITING = frozenset({State.LOOKUP, State.LOOKUP_MORE, State.OPENING, State.STORING})
