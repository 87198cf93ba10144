"""Which of several processes orders."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from stalwart.tls.acme.lease import EXPIRY_SECONDS, Lease


def no_lock(descriptor: int) -> None:
    """A file system without locks, or one that doesn't carry them to other machines."""
    return


class LeaseTests(SynchronousTestCase):
    """Two processes, or two machines, on one folder."""

    def setUp(self) -> None:
        self.folder = self.mktemp()
        os.mkdir(self.folder)
        self.clocks: list[Clock] = []

    def lease(self, **options: Any) -> Lease:
        """A process's part, with a clock of its own that began at another time."""
        clock = Clock()
        clock.advance(len(self.clocks) * 1e6)
        self.clocks.append(clock)
        made = Lease(self.folder, monotonic=clock.seconds, **{"shared": True, "machine": "a", **options})
        self.addCleanup(made.release)
        return made

    def advance(self, seconds: float, *leases: Lease) -> None:
        """Time goes on for all; these processes look every two seconds."""
        for _ in range(int(seconds / 2)):
            for clock in self.clocks:
                clock.advance(2.0)
            for lease in leases:
                lease.step()

    def test_alone(self) -> None:
        """A folder of one daemon is held at once, and as long as it is looked after."""
        lease = self.lease(shared=False)
        self.assertTrue(lease.step())
        self.advance(300, lease)
        self.assertTrue(lease.held)
        self.advance(EXPIRY_SECONDS)
        self.assertFalse(lease.held)

    def test_one_machine(self) -> None:
        """The kernel's lock decides, and frees the lease at once when the process ends, however it ends."""
        first, second = self.lease(), self.lease()
        self.advance(10, first, second)
        self.assertEqual((first.held, second.held), (True, False))
        self.assertEqual(second.holder, first.holder)
        os.close(first._descriptor)  # type: ignore[arg-type]  # as at kill -9: no farewell
        first._descriptor = None
        first._state = "waiting"
        self.assertTrue(second.step())

    def test_two_machines(self) -> None:
        """Without a common lock the second waits as long as the first one writes, and takes over when it ceases."""
        first, second = self.lease(lock=no_lock), self.lease(lock=no_lock, machine="b")
        self.advance(10, first)
        self.advance(600, first, second)
        self.assertEqual((first.held, second.held), (True, False))
        self.advance(EXPIRY_SECONDS - 10, second)
        self.assertFalse(second.held)
        self.advance(20, second)
        self.assertTrue(second.held)

    def test_comes_back(self) -> None:
        """A process that was stopped for minutes does not hold the lease any more, and sees who does."""
        first, second = self.lease(lock=no_lock), self.lease(lock=no_lock, machine="b")
        self.advance(10, first)
        self.advance(100, second)
        self.assertEqual((first.held, second.held), (False, True))
        self.assertFalse(first.step())
        self.assertEqual(first.holder, second.holder)
        self.advance(300, first, second)
        self.assertEqual((first.held, second.held), (False, True))

    def test_at_the_same_time(self) -> None:
        """Two that come to an empty folder in the same moment: one has it, and never both."""
        first, second = self.lease(lock=no_lock), self.lease(lock=no_lock, machine="b")
        for _ in range(20):
            self.advance(2, first, second)
            self.assertFalse(first.held and second.held)
        self.assertTrue(first.held or second.held)

    def test_released(self) -> None:
        """One that stops in good order leaves the lease to the next."""
        first, second = self.lease(lock=no_lock), self.lease(lock=no_lock, machine="b")
        self.advance(10, first)
        first.release()
        self.assertFalse(first.held)
        self.advance(8, second)
        self.assertTrue(second.held)

    def test_release_of_anothers(self) -> None:
        """Who has lost the lease does not take it from the new holder by stopping."""
        first, second = self.lease(lock=no_lock), self.lease(lock=no_lock, machine="b")
        self.advance(10, first)
        self.advance(100, second)
        first.release()
        self.advance(10, second)
        self.assertTrue(second.held)
        self.assertTrue(os.path.exists(os.path.join(self.folder, "lease.json")))

    def test_odd_note(self) -> None:
        """A note that can't be read counts as somebody's until it has stayed the same for long enough."""
        with open(os.path.join(self.folder, "lease.json"), "wb") as file:
            file.write(b"\xff{")
        lease = self.lease()
        self.advance(EXPIRY_SECONDS - 10, lease)
        self.assertFalse(lease.held)
        self.advance(30, lease)
        self.assertTrue(lease.held)

    def test_note_taken_away(self) -> None:
        """A holder whose note is deleted writes it again."""
        lease = self.lease()
        self.advance(10, lease)
        os.unlink(os.path.join(self.folder, "lease.json"))
        self.assertTrue(lease.step())
        self.assertTrue(os.path.exists(os.path.join(self.folder, "lease.json")))
