"""`docs/lmtp.md` and `docs/sending.md` draw the states that there are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from twisted.trial.unittest import SynchronousTestCase

from stalwart.delivery.queue_journal import OUTCOMES
from stalwart.delivery.states import TRANSITIONS, Input, State
from stalwart.store import QueueStatus

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


class QueueTests(SynchronousTestCase):
    """The page on the queue."""

    def test_statuses(self) -> None:
        """Every status is drawn, and nothing else; every outcome that is counted is named."""
        page = (_PAGE.parent / "sending.md").read_text()
        drawn = {name for pair in re.findall(r"^ +(\S+) --> (\S+):", page, re.MULTILINE) for name in pair}
        self.assertEqual(drawn - {"[*]"}, set(get_args(QueueStatus)))
        self.assertTrue(all(f"`{outcome}`" in page for outcome in OUTCOMES))
