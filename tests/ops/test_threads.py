"""Threads hand results back in batches, keep failures apart and stop cleanly."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import SynchronousTestCase, TestCase

from stalwart.ops.threads import BatchThread, Stopped, ThreadPool


class HeldReactor:
    """A reactor that keeps what it is asked to call until `run`."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], object]] = []

    def callFromThread(self, function: Callable[..., object], /, *args: object) -> None:
        """Keep the call."""
        self.calls.append(lambda: function(*args))

    def run(self) -> int:
        """Do the calls that wait; how many there were."""
        calls, self.calls = self.calls, []
        for call in calls:
            call()
        return len(calls)


class ThreadPoolTests(SynchronousTestCase):
    """`ThreadPool` over a reactor whose wake-ups are counted."""

    def setUp(self) -> None:
        """A pool of two threads."""
        self.reactor = HeldReactor()
        self.pool = ThreadPool(self.reactor, 2, "test")
        self.pool.start()
        self.addCleanup(self.pool.stop)

    def test_results_share_one_wake_up(self) -> None:
        """Results that are ready together cost one wake-up of the reactor."""
        results = [self.pool.run(lambda number=number: number * 2) for number in range(20)]  # type: ignore[misc]
        self.pool.stop()
        self.assertEqual(self.reactor.run(), 1)
        self.assertEqual([self.successResultOf(result) for result in results], [n * 2 for n in range(20)])

    def test_exception_fails_its_own_call(self) -> None:
        """An exception reaches the one who asked and stops no thread."""

        def broken() -> None:
            raise ValueError("no")

        failed = self.pool.run(broken)
        fine = self.pool.run(lambda: "yes")
        self.pool.stop()
        self.reactor.run()
        self.failureResultOf(failed, ValueError)
        self.assertEqual(self.successResultOf(fine), "yes")

    def test_cancelled_call_is_not_run(self) -> None:
        """A call that is cancelled while it waits never runs."""
        hold = threading.Event()
        ran: list[str] = []
        for _ in range(2):
            self.pool.run(hold.wait)
        waiting = self.pool.run(lambda: ran.append("waiting"))
        waiting.addErrback(lambda _: None)
        waiting.cancel()
        hold.set()
        self.pool.stop()
        self.reactor.run()
        self.assertEqual(ran, [])

    def test_stop_waits_no_longer_than_asked(self) -> None:
        """Work that never ends doesn't hold up the end where a time is given."""
        never = threading.Event()
        self.addCleanup(never.set)
        self.pool.run(never.wait)
        self.pool.stop(0.01)
        self.assertRaises(Stopped, self.pool.run, never.wait)

    def test_stop_finishes_what_was_queued(self) -> None:
        """What was given before the stop is done; what comes after it is refused."""
        ran: list[int] = []
        for number in range(50):
            self.pool.run(lambda number=number: ran.append(number))  # type: ignore[misc]
        self.pool.stop()
        self.assertEqual(sorted(ran), list(range(50)))
        self.assertRaises(Stopped, self.pool.run, lambda: None)


class BatchThreadTests(SynchronousTestCase):
    """`BatchThread` puts waiting jobs together."""

    def setUp(self) -> None:
        """A thread that notes its batches and waits in the first."""
        self.reactor = HeldReactor()
        self.entered = threading.Event()
        self.hold = threading.Event()
        self.batches: list[list[int]] = []
        self.thread: BatchThread[int, int] = BatchThread(self.reactor, self.process, "test", most=4)
        self.thread.start()
        self.addCleanup(self.thread.stop)
        self.addCleanup(self.hold.set)

    def process(self, jobs: Sequence[int]) -> Sequence[int | BaseException]:
        """Odd jobs succeed, even ones fail, a job 100 breaks the batch."""
        self.entered.set()
        self.hold.wait()
        self.batches.append(list(jobs))
        if 100 in jobs:
            raise OSError("whole batch")
        return [job if job % 2 else KeyError(job) for job in jobs]

    def submit_all(self, *jobs: int) -> list[Deferred[int]]:
        """The first job alone, the others while it runs; then all are finished."""
        first = self.thread.submit(jobs[0])
        self.entered.wait()
        others = [self.thread.submit(job) for job in jobs[1:]]
        self.hold.set()
        self.thread.stop()
        self.reactor.run()
        return [first, *others]

    def test_waiting_jobs_go_together(self) -> None:
        """Jobs that came during a batch are the next one, at most `most` at a time, in their order."""
        results = self.submit_all(1, 3, 5, 7, 9, 11)
        self.assertEqual(self.batches, [[1], [3, 5, 7, 9], [11]])
        self.assertEqual([self.successResultOf(result) for result in results], [1, 3, 5, 7, 9, 11])

    def test_job_fails_alone(self) -> None:
        """An exception as a result fails that job only."""
        results = self.submit_all(1, 2, 3)
        self.assertEqual(self.successResultOf(results[0]), 1)
        self.failureResultOf(results[1], KeyError)
        self.assertEqual(self.successResultOf(results[2]), 3)

    def test_broken_batch_fails_all_its_jobs(self) -> None:
        """When the batch as a whole fails, everyone in it is told, and the next batch runs."""
        results = self.submit_all(1, 100, 3, 5, 7, 9)
        self.assertEqual(self.successResultOf(results[0]), 1)
        for failed in results[1:5]:
            self.failureResultOf(failed, OSError)
        self.assertEqual(self.successResultOf(results[5]), 9)

    def test_refused_after_stop(self) -> None:
        """A job after the stop is refused, not lost."""
        self.hold.set()
        self.thread.stop()
        self.assertRaises(Stopped, self.thread.submit, 1)


class RealReactorTests(TestCase):
    """The same with Twisted's reactor."""

    def test_results_arrive(self) -> None:
        """Results come back to the reactor thread."""
        from twisted.internet import reactor

        pool = ThreadPool(reactor, 3, "test")  # type: ignore[arg-type]
        pool.start()
        self.addCleanup(pool.stop)
        results = gatherResults([pool.run(threading.get_ident) for _ in range(10)])

        def check(idents: list[int]) -> None:
            self.assertNotIn(threading.get_ident(), idents)

        return results.addCallback(check)  # type: ignore[return-value]
