"""The state machine of an SMTP client session as a table; `docs/sending-states.md` draws it."""

from __future__ import annotations

from enum import Enum, auto


class State(Enum):
    """Where a session is. HANDSHAKE, READY and CONTENT wait for our side, the others for the peer."""

    GREETING = auto()
    EHLO = auto()
    HELO = auto()
    STARTTLS = auto()
    HANDSHAKE = auto()
    AUTH = auto()
    READY = auto()
    ENVELOPE = auto()
    CONTENT = auto()
    FINAL = auto()
    RESETTING = auto()
    QUITTING = auto()
    CLOSED = auto()


class Input(Enum):
    """What moves a session on: what is said next, or what the peer's answer meant."""

    SAY_EHLO = auto()
    SAY_HELO = auto()
    SAY_STARTTLS = auto()
    SHAKE = auto()
    SAY_AUTH = auto()
    SETTLE = auto()
    SAY_MAIL = auto()
    GO_AHEAD = auto()
    SAY_DOT = auto()
    SAY_RSET = auto()
    SAY_QUIT = auto()
    CLOSE = auto()


TRANSITIONS: dict[tuple[State, Input], State] = {
    (State.GREETING, Input.SAY_EHLO): State.EHLO,
    (State.EHLO, Input.SAY_HELO): State.HELO,
    (State.EHLO, Input.SAY_STARTTLS): State.STARTTLS,
    (State.EHLO, Input.SAY_AUTH): State.AUTH,
    (State.EHLO, Input.SETTLE): State.READY,
    (State.HELO, Input.SETTLE): State.READY,
    (State.STARTTLS, Input.SHAKE): State.HANDSHAKE,
    (State.STARTTLS, Input.SETTLE): State.READY,
    (State.HANDSHAKE, Input.SAY_EHLO): State.EHLO,
    (State.AUTH, Input.SETTLE): State.READY,
    (State.READY, Input.SAY_MAIL): State.ENVELOPE,
    (State.ENVELOPE, Input.GO_AHEAD): State.CONTENT,
    (State.ENVELOPE, Input.SAY_RSET): State.RESETTING,
    (State.CONTENT, Input.SAY_DOT): State.FINAL,
    (State.FINAL, Input.SETTLE): State.READY,
    (State.RESETTING, Input.SETTLE): State.READY,
    (State.READY, Input.SAY_QUIT): State.QUITTING,
    **{(state, Input.CLOSE): State.CLOSED for state in State},
}

# The peer owes an answer, and has a time limit for it.
LISTENING = frozenset(State) - {State.HANDSHAKE, State.READY, State.CONTENT, State.CLOSED}
