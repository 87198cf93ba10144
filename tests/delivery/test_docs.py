"""`docs/lmtp.md` draws the state machine that runs."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from stalwart.delivery.states import TRANSITIONS, Input, State

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "lmtp.md"


class DrawingTests(SynchronousTestCase):
    """The drawing against the table."""

    def test_drawing(self) -> None:
        """Every transition but CLOSE is drawn, and nothing else is."""
        drawn = {
            (State[start], Input[given]): State[end]
            for start, end, inputs in re.findall(r"^ +(\w+) --> (\w+): (.+)$", _PAGE.read_text(), re.MULTILINE)
            for given in inputs.split(", ")
        }
        self.assertEqual(drawn, {key: end for key, end in TRANSITIONS.items() if key[1] is not Input.CLOSE})

    def test_close(self) -> None:
        """CLOSE leads from every state to CLOSED."""
        self.assertEqual({TRANSITIONS[state, Input.CLOSE] for state in State}, {State.CLOSED})
