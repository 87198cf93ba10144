"""The octets that messages on their way in share."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from stalwart.delivery.memory import MessageMemory


class MemoryTests(SynchronousTestCase):
    """`MessageMemory`."""

    def test_take_and_give_back(self) -> None:
        """No more can be taken than there is; what was refused wasn't taken."""
        memory = MessageMemory(10)
        self.assertTrue(memory.take(7))
        self.assertFalse(memory.take(4))
        self.assertTrue(memory.take(3))
        memory.give_back(7)
        self.assertEqual(memory.free, 7)
