"""Certificates that are ordered, renewed and served while the daemon runs."""

from __future__ import annotations

import datetime
import errno
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from stalwart.config import AcmeProvider
from stalwart.tls.acme.errors import TIMEOUT, UNREACHABLE, AcmeError
from stalwart.tls.acme.failures import AcmeFailure
from stalwart.tls.acme.folder import StoreFolder
from stalwart.tls.acme.lease import Lease
from stalwart.tls.acme.policy import Failure, NameState
from stalwart.tls.acme.resources import Order, RenewalInfo, SuggestedWindow
from tests.tls.acme.issuing_bed import CA, NOW, Daemon, Pool, provider, token_of
from tests.tls.acme.pairs import make_pair, odd_pairs

A, B = "a.example.org", "b.example.org"
DAY = 86_400.0


class ServiceCase(SynchronousTestCase):
    """Starts daemons, and stops them at the end."""

    def setUp(self) -> None:
        self.folder = str(Path(self.mktemp()).absolute())

    def daemon(self, *providers: AcmeProvider, **more: Any) -> Daemon:
        """One that isn't started yet."""
        made = Daemon(self.folder, *providers, **more)
        self.addCleanup(lambda: self.stop(made))
        return made

    def stop(self, daemon: Daemon) -> None:
        """Stop a daemon, if it runs; nothing of it is left in the reactor."""
        if hasattr(daemon, "service") and daemon.service.running:
            self.successResultOf(daemon.service.stopService())

    def store(self, name: str = "le") -> StoreFolder:
        """What is on disk."""
        return StoreFolder(os.path.join(self.folder, "acme", name))

    def state(self, name: str = A) -> Any:
        """What is remembered of a name."""
        return self.store().states()[name]


class IssueTests(ServiceCase):
    """First issue and renewal."""

    def test_first_issue(self) -> None:
        """A missing certificate is ordered at once, kept on disk and served; the challenge was answered meanwhile."""
        daemon = self.daemon(provider(A, B)).start()
        self.assertEqual(daemon.front.names(), [A, B])
        self.assertEqual([name for name, _ in daemon.ca.orders], [A, B])
        thumbprint = daemon.service.thumbprint_for(A)
        self.assertEqual(daemon.ca.seen, [f"{token_of(name)}.{thumbprint}" for name in (A, B)])
        self.assertEqual(daemon.service.thumbprints(), (thumbprint,))
        self.assertEqual(daemon.responders["http-01"].answers, {})
        pair = self.store().read(A)
        assert pair is not None
        self.assertEqual(
            (pair.chain_pem, pair.key_pem), (daemon.front.issued[0].chain_pem, daemon.front.issued[0].key_pem)
        )
        self.assertEqual(daemon.metric("stalwart_acme_orders_total", "issued"), 2.0)
        self.assertEqual(self.state().issued_at, NOW)

    def test_challenge(self) -> None:
        """The configured challenge is answered, and the other responder not asked."""
        wanted: AcmeProvider = provider(A, challenge="tls-alpn-01")
        daemon = self.daemon(wanted).start()
        self.assertEqual(daemon.responders["tls-alpn-01"].log, [f"start {A}", f"stop {A}"])
        self.assertEqual(daemon.responders["http-01"].log, [])

    def test_challenge_not_offered(self) -> None:
        """A CA that doesn't offer it is a failure that names what it offers."""
        daemon = self.daemon(provider(A))
        daemon.ca.offered = ("dns-01",)
        daemon.start()
        self.assertIn("dns-01", self.state().failure.text)

    def test_valid_already(self) -> None:
        """An authorization that is valid already needs no answer."""
        daemon = self.daemon(provider(A))
        daemon.ca.valid_already = True
        daemon.start()
        self.assertEqual((daemon.front.names(), daemon.ca.seen), ([A], []))
        self.assertEqual(daemon.responders["http-01"].log, [])

    def test_names_and_addresses(self) -> None:
        """Names longer than a common name may be, and IP addresses, are in the certificate."""
        names = ("x" * 60 + ".example.org", "192.0.2.1")
        daemon = self.daemon(provider(*names)).start()
        self.assertEqual(daemon.front.names(), list(names))

    def test_nameless_order(self) -> None:
        """What is asked for is our own name, whatever names the CA's order has."""
        daemon = self.daemon(provider(A))
        new_order = daemon.ca.new_order

        async def nameless(names: Sequence[str], *, replaces: str | None = None) -> Order:
            return msgspec.structs.replace(await new_order(names, replaces=replaces), identifiers=[])

        self.patch(daemon.ca, "new_order", nameless)
        daemon.start()
        self.assertEqual(daemon.front.names(), [A])

    def test_renewal(self) -> None:
        """A certificate of 90 days is renewed once after 60, and replaces the one before by its name (RFC 9773)."""
        daemon = self.daemon(provider(A)).start()
        first = daemon.front.issued[0].chain_pem
        daemon.days(59)
        self.assertEqual(len(daemon.ca.orders), 1)
        daemon.days(2)
        self.assertEqual(len(daemon.ca.orders), 2)
        self.assertNotEqual(daemon.front.issued[0].chain_pem, first)
        self.assertEqual(daemon.ca.orders[0][1], None)
        self.assertIsNotNone(daemon.ca.orders[1][1])

    def test_one_minute(self) -> None:
        """Certificates of 60 seconds are renewed every 40, and never expire."""
        daemon = self.daemon(provider(A))
        daemon.ca.lifetime = datetime.timedelta(seconds=60)
        daemon.start()
        for _ in range(190):
            daemon.run(1)
            (status,) = daemon.service.names()
            assert status.pair is not None
            self.assertGreater(status.pair.validity.not_after, daemon.now())
        self.assertEqual(len(daemon.ca.orders), 5)

    def test_restart(self) -> None:
        """What was issued is served right after the start, before anything is asked; nothing is ordered again."""
        self.stop(self.daemon(provider(A)).start())
        second = self.daemon(provider(A))
        second.ca.faults[A] = [AcmeError(UNREACHABLE)] * 9
        second.start()
        self.assertEqual((second.front.names(), second.ca.orders), ([A], []))

    def test_default(self) -> None:
        """Of a provider that is the default, the first name's certificate is."""
        daemon = self.daemon(provider(A, B, default=True)).start()
        self.assertEqual([each.default for each in daemon.front.issued], [True, False])

    def test_imported(self) -> None:
        """A certificate that somebody else put into the folder is served within seconds."""
        daemon = self.daemon(provider(A)).start()
        chain, key = make_pair(A, now=NOW)
        self.store().write(A, chain, key)
        daemon.run(3)
        self.assertEqual(daemon.front.issued[0].chain_pem, chain)

    def test_torn_file(self) -> None:
        """A certificate that can't be read is ordered anew, and kept aside."""
        self.stop(self.daemon(provider(A)).start())
        path = os.path.join(self.folder, "acme", "le", f"{A}.pem")
        with open(path, "r+b") as file:
            file.truncate(200)
        daemon = self.daemon(provider(A)).start()
        self.assertEqual((daemon.front.names(), len(daemon.ca.orders)), ([A], 1))
        self.assertEqual(len([name for name in os.listdir(os.path.dirname(path)) if "aside" in name]), 1)

    def test_lost_file(self) -> None:
        """A certificate whose file is torn or gone while the daemon runs is ordered anew, and served until then."""
        path = os.path.join(self.folder, "acme", "le", f"{A}.pem")
        for lose in (lambda: os.truncate(path, 200), lambda: os.unlink(path)):
            daemon = self.daemon(provider(A)).start()
            before = list(daemon.front.issued)
            daemon.ca.faults[A] = [AcmeError(UNREACHABLE)]
            lose()
            daemon.run(3)
            self.assertEqual((daemon.front.issued, daemon.ca.faults[A]), (before, []))
            daemon.run(60)
            [after] = daemon.front.issued
            self.assertNotEqual(after.chain_pem, before[0].chain_pem)
            self.stop(daemon)

    def test_other_directory(self) -> None:
        """Certificates of another directory, such as the CA's trial one, are ordered anew."""
        self.stop(self.daemon(provider(A, directory="https://staging.example/")).start())
        daemon = self.daemon(provider(A)).start()
        self.assertEqual(daemon.ca.orders, [(A, None)])
        self.assertEqual(self.state().directory, CA)

    def test_before_order(self) -> None:
        """A check before the order sees each name; if it fails, the order goes on."""
        daemon = self.daemon(provider(A))
        seen = []

        async def check(provider: AcmeProvider, name: str) -> None:
            seen.append(name)
            raise RuntimeError("a fault of the check")

        daemon.before_order = check
        daemon.start()
        self.assertEqual((seen, daemon.front.names()), ([A], [A]))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_at_once(self) -> None:
        """Of many names three are ordered at a time."""
        daemon = self.daemon(provider(*(f"{number}.example.org" for number in range(8))))
        daemon.ca.hold = Deferred()
        daemon.start()
        self.assertEqual(daemon.ca.most_running, 3)
        hold, daemon.ca.hold = daemon.ca.hold, None
        hold.callback(None)
        daemon.run(1)
        self.assertEqual((len(daemon.front.names()), daemon.ca.most_running), (8, 3))

    def test_not_held_up(self) -> None:
        """A CA that hangs holds up neither the orders of another one nor the one that a person asks for."""
        slow = [f"{number}.slow.example" for number in range(5)]
        daemon = self.daemon(provider(B, *slow), provider(A, id="other"))
        daemon.ca.valid_already = True
        new_order = daemon.ca.new_order
        never: Deferred[None] = Deferred()

        async def hanging(names: Sequence[str], *, replaces: str | None = None) -> Order:
            if names[0] in slow:
                waiting: Deferred[None] = Deferred()
                never.chainDeferred(waiting)
                await waiting
            return await new_order(names, replaces=replaces)

        self.patch(daemon.ca, "new_order", hanging)
        daemon.start()
        self.assertEqual(daemon.front.names(), [B, A])
        self.successResultOf(daemon.service.renew(B))


class FailureTests(ServiceCase):
    """What goes wrong is told, backed off, remembered, and stops nothing else."""

    def test_ca_down(self) -> None:
        """A CA that is away at the start: soon tried again; the other names go on."""
        daemon = self.daemon(provider(A, B))
        daemon.ca.faults[A] = [AcmeError(UNREACHABLE, "the CA can't be asked")] * 2
        daemon.start()
        self.assertEqual(daemon.front.names(), [B])
        self.assertEqual(self.state().failure.reason, "unreachable")
        self.assertIn("DNS", self.state().failure.text)
        self.assertEqual(daemon.metric("stalwart_acme_failures_total", "unreachable"), 1.0)
        daemon.run(60)
        self.assertEqual(daemon.front.names(), [A, B])
        self.assertIsNone(self.state().failure)

    def test_back_off(self) -> None:
        """What the CA refuses is tried after 1, 10 and 100 minutes, then daily."""
        daemon = self.daemon(provider(A))
        daemon.ca.faults[A] = [AcmeError("dns", "no such name")] * 100
        daemon.start()
        times = []
        for _ in range(5):
            times.append(self.state().failure.retry_at - daemon.now())
            daemon.clock.advance(times[-1] - 1)
            count = len(daemon.ca.orders)
            daemon.run(6)
            self.assertEqual(len(daemon.ca.orders), count + 1)
        self.assertEqual([round(each, -1) for each in times], [60.0, 600.0, 6000.0, 86400.0, 86400.0])

    def test_retry_after(self) -> None:
        """A limit of the CA is waited for as long as it says, over restarts, too."""
        daemon = self.daemon(provider(A))
        daemon.ca.faults[A] = [AcmeError("rateLimited", "too many", status=429, retry_after=7200.0)]
        daemon.start()
        self.assertEqual(daemon.metric("stalwart_acme_failures_total", "rate-limited"), 1.0)
        self.stop(daemon)
        for _ in range(5):
            again = self.daemon(provider(A))
            again.wall = NOW + 3600
            again.start().run(10)
            self.assertEqual(again.ca.orders, [])
            self.stop(again)
        last = self.daemon(provider(A))
        last.wall = NOW + 7300
        self.assertEqual(last.start().front.names(), [A])

    def test_killed_in_each_order(self) -> None:
        """A daemon that dies in the middle of each order doesn't begin the next one at every start."""
        for expected in (1, 0, 0):
            daemon = self.daemon(provider(A))
            daemon.ca.hold = Deferred()
            daemon.start()
            self.assertEqual(len(daemon.ca.orders), expected)
            self.assertEqual(self.state().failure.reason, "interrupted")
            # Killed: nothing of it is called any more.
            daemon.clock.calls.clear()
            daemon.service.running = 0
            os.unlink(os.path.join(self.folder, "acme", "le", "lease.json"))

    def test_stopped_in_an_order(self) -> None:
        """A stop in the middle of an order leaves nothing half written, and is no failure."""
        daemon = self.daemon(provider(A))
        daemon.ca.hold = Deferred()
        daemon.start()
        self.stop(daemon)
        self.assertIsNone(self.state().failure)
        self.assertEqual(daemon.clock.getDelayedCalls(), [])
        names = sorted(os.listdir(self.store().path))
        self.assertEqual(names, ["account.key", "lease.lock", "state.json"])
        self.assertEqual(self.daemon(provider(A)).start().front.names(), [A])

    def test_refused_challenge(self) -> None:
        """The responder is done with a name whose challenge failed, or could not even be announced."""
        for error in (AcmeError("connection", "refused"), AcmeError("respond", "odd")):
            daemon = self.daemon(provider(A, id=error.type))
            daemon.ca.refused[A] = error
            daemon.start()
            self.assertEqual(daemon.responders["http-01"].log, [f"start {A}", f"stop {A}"])
            self.assertEqual(daemon.metric("stalwart_acme_orders_total", "failed"), 1.0)

    def test_renewal_fails(self) -> None:
        """The old certificate is served on while its renewal fails."""
        daemon = self.daemon(provider(A)).start()
        first = daemon.front.issued
        daemon.ca.faults[A] = [AcmeError("connection", "refused")] * 100
        daemon.days(70)
        self.assertEqual(daemon.front.issued, first)
        self.assertGreater(self.state().failure.count, 5)

    def test_disk_full(self) -> None:
        """With a full disk nothing is ordered that could not be kept; it goes on when there is room."""
        daemon = self.daemon(provider(A))
        full = [True]
        write = StoreFolder._write

        def failing(folder: StoreFolder, path: str, octets: bytes, *, replace: bool = True) -> None:
            if full[0] and "account" not in os.path.basename(path):
                raise OSError(errno.ENOSPC, "No space left on device")
            write(folder, path, octets, replace=replace)

        self.patch(StoreFolder, "_write", failing)
        daemon.start()
        self.assertEqual(daemon.ca.orders, [])
        status = daemon.service.names()[0]
        assert status.state.failure is not None
        self.assertEqual(status.state.failure.reason, "disk")
        self.assertIn("room", status.state.failure.text)
        full[0] = False
        daemon.run(30)
        self.assertEqual(daemon.front.names(), [A])

    def test_disk_full_at_the_end(self) -> None:
        """What was issued and could not be kept used up the CA's limits: it isn't ordered again in a moment."""
        daemon = self.daemon(provider(A))
        write = StoreFolder._write

        def failing(folder: StoreFolder, path: str, octets: bytes, *, replace: bool = True) -> None:
            if path.endswith(".pem"):
                raise OSError(errno.ENOSPC, "No space left on device")
            write(folder, path, octets, replace=replace)

        self.patch(StoreFolder, "_write", failing)
        daemon.start().run(3600)
        self.assertEqual((len(daemon.ca.orders), self.state().failure.reason), (3, "disk"))

    def test_one_unreadable(self) -> None:
        """Files that can't be read, or used, hold up no other name, and are due."""
        folder = self.store()
        folder.prepare()
        folder.write(B, *make_pair(B, now=NOW))
        loop = Path(folder.path, f"{A}.pem")
        loop.symlink_to(loop.name)
        odd = {name: odd_pairs(name)[name.partition(".")[0]] for name in ("weak.example.org", "twice.example.org")}
        for name, text in odd.items():
            Path(folder.path, f"{name}.pem").write_bytes(text)
        daemon = self.daemon(provider(A, B, *odd)).start()
        self.assertEqual([name for name, _ in daemon.ca.orders], [A, *odd])
        self.assertEqual(daemon.front.names(), [A, B, *odd])

    def test_failing_disk(self) -> None:
        """A file that can't be read any more leaves what is served; it is read as soon as that works."""
        daemon = self.daemon(provider(A)).start()
        served = daemon.front.issued
        read, fails = StoreFolder._content, [True]

        def failing(folder: StoreFolder, path: str) -> bytes:
            if fails[0] and path.endswith(".pem"):
                raise OSError(errno.EIO, "Input/output error", path)
            return read(folder, path)

        self.patch(StoreFolder, "_content", failing)
        chain, key = make_pair(A, now=NOW)
        self.store().write(A, chain, key)
        daemon.run(10)
        self.assertEqual((daemon.front.issued, len(daemon.ca.orders)), (served, 1))
        fails[0] = False
        daemon.run(3)
        self.assertEqual(daemon.front.issued[0].key_pem, key)

    def test_read_only(self) -> None:
        """Where nothing can be written, what others put into the folder is served; what is wrong is told once."""
        daemon = self.daemon(provider(A), machine="other")
        self.store().prepare()

        def refuse(*_: object) -> bool:
            raise OSError(errno.EROFS, "Read-only file system")

        self.patch(Lease, "step", refuse)
        os.chmod(self.store().path, 0o755)
        self.patch(os, "chmod", refuse)
        with capturedLogs() as events:
            daemon.start()
            self.store().write(A, *make_pair(A, now=NOW))
            daemon.run(30)
        told = [event["log_format"] for event in events if event["log_level"] >= LogLevel.warn]
        self.assertEqual(len(told), 2, told)
        self.assertEqual((daemon.front.names(), daemon.ca.orders), ([A], []))

    def test_folder_gone(self) -> None:
        """A folder that is removed is made anew, with another account; what was served stays until there is another."""
        daemon = self.daemon(provider(A, B)).start()
        before, accounts = daemon.front.issued, daemon.service.thumbprints()
        daemon.ca.faults[B] = [AcmeError("dns")] * 9
        shutil.rmtree(self.store().path)
        daemon.run(5)
        self.assertEqual([name for name, _ in daemon.ca.orders], [A, B, A, B])
        self.assertNotEqual(daemon.service.thumbprints(), accounts)
        self.assertEqual(daemon.service.thumbprints(), (self.store().account_thumbprint(),))
        self.assertEqual(daemon.front.issued[1], before[1])
        self.assertNotEqual(daemon.front.issued[0], before[0])

    def test_folder_unusable(self) -> None:
        """A folder that can't be used is told once, and looked at again."""
        os.makedirs(self.folder)
        Path(self.folder, "acme").write_bytes(b"")
        daemon = self.daemon(provider(A)).start()
        daemon.run(10)
        self.assertEqual(daemon.front.names(), [])
        os.unlink(os.path.join(self.folder, "acme"))
        daemon.run(3)
        self.assertEqual(daemon.front.names(), [A])

    def test_killed_at_the_end(self) -> None:
        """A daemon that dies when the certificate is in its place, and before that is noted, has got it."""
        self.stop(self.daemon(provider(A)).start())
        failure = Failure(count=1, at=NOW, retry_at=NOW + 60, reason="interrupted", text="")
        for written, wanted in ((NOW - 5, (None, "interrupted")), (NOW + 5, (CA, None))):
            self.store().write_states({A: NameState(failure=failure)})
            os.utime(os.path.join(self.store().path, f"{A}.pem"), (written, written))
            daemon = self.daemon(provider(A)).start()
            state = daemon.service.names()[0].state
            self.assertEqual((state.directory, state.failure and state.failure.reason), wanted)
            self.stop(daemon)

    def test_fast_clock(self) -> None:
        """By a clock that is years ahead, new certificates have expired: one is ordered, not one after the other."""
        daemon = self.daemon(provider(A))
        daemon.ca.ahead = -3000 * DAY
        daemon.start()
        daemon.days(10)
        self.assertEqual(len(daemon.ca.orders), 1)

    def test_fault(self) -> None:
        """A fault of ours is logged as one, and backed off as a refusal is."""
        daemon = self.daemon(provider(A, B))
        daemon.ca.faults[A] = [ZeroDivisionError()] * 3
        daemon.start()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual((daemon.front.names(), self.state().failure.reason), ([B], "internal"))

    def test_given_up_from_within(self) -> None:
        """Work that is cancelled while the daemon goes on is a failure as any other, and backed off."""
        daemon = self.daemon(provider(A))
        daemon.ca.faults[A] = [CancelledError()] * 9
        daemon.start().run(50)
        self.assertEqual((len(daemon.ca.orders), self.state().failure.reason), (1, "unreachable"))

    def test_slow(self) -> None:
        """An order that takes for ever is given up after a quarter of an hour."""
        daemon = self.daemon(provider(A))
        daemon.ca.hold = Deferred()
        daemon.start()
        daemon.run(910)
        self.assertEqual(self.state().failure.reason, "unreachable")
        self.assertEqual(AcmeError(TIMEOUT).type, "timeout")

    def test_terms(self) -> None:
        """Nothing is ordered before the terms are agreed to; the log says where they are."""
        daemon = self.daemon(provider(A, agree_to_terms=False)).start()
        daemon.run(60)
        self.assertEqual(daemon.ca.orders, [])
        self.failureResultOf(daemon.service.renew(A), AcmeFailure)
        self.successResultOf(daemon.service.configure([provider(A)]))
        daemon.run(1)
        self.assertEqual(daemon.front.names(), [A])


class AdviceTests(ServiceCase):
    """The CA says when it wants a renewal (RFC 9773)."""

    def advise(self, daemon: Daemon, start: float, end: float) -> None:
        """The CA suggests this window."""
        window = [datetime.datetime.fromtimestamp(each, datetime.UTC) for each in (start, end)]
        suggested = SuggestedWindow(start=window[0], end=window[1])
        daemon.ca.info = RenewalInfo(suggested_window=suggested, retry_after=21_600.0)

    def test_window(self) -> None:
        """A certificate that the CA wants replaced is ordered at the instant chosen; it is asked every six hours."""
        daemon = self.daemon(provider(A)).start()
        daemon.run(3)
        self.assertEqual(daemon.ca.asked, 1)
        self.advise(daemon, NOW + 2 * DAY, NOW + 3 * DAY)
        daemon.days(1.9)
        self.assertEqual(len(daemon.ca.orders), 1)
        self.assertEqual(self.state().advice.renew_at, NOW + 2 * DAY)
        daemon.days(0.2)
        self.assertEqual(len(daemon.ca.orders), 2)

    def test_unanswered(self) -> None:
        """A CA that can't be asked is asked again in an hour; the renewal is by the lifetime."""
        daemon = self.daemon(provider(A))
        daemon.ca.info = AcmeError(UNREACHABLE)
        daemon.start()
        daemon.clock.pump([60.0] * 119)
        self.assertEqual(daemon.ca.asked, 2)
        self.assertEqual(daemon.service.names()[0].due_at, NOW + 60 * DAY)


class CommandTests(ServiceCase):
    """Asked for by a person."""

    def test_renew(self) -> None:
        """A renewal can be had at once, also of a name that failed and waits; each has a key of its own."""
        daemon = self.daemon(provider(A))
        daemon.ca.faults[A] = [AcmeError("dns", "no such name", retry_after=9000.0)]
        daemon.start()
        self.successResultOf(daemon.service.renew(A))
        first = daemon.front.issued[0].key_pem
        self.successResultOf(daemon.service.renew(A))
        self.assertEqual((daemon.front.names(), len(daemon.ca.orders)), ([A], 3))
        self.assertNotEqual(daemon.front.issued[0].key_pem, first)

    def test_renew_fails(self) -> None:
        """Why it failed is told; so is that a name isn't configured, or is being ordered."""
        daemon = self.daemon(provider(A, B))
        daemon.ca.faults[A] = [AcmeError("dns", "no such name")] * 2
        daemon.start()
        failure = self.failureResultOf(daemon.service.renew(A), AcmeFailure)
        self.assertIn("no such name", failure.getErrorMessage())
        self.failureResultOf(daemon.service.renew("c.example.org"), AcmeFailure)
        daemon.ca.hold = Deferred()
        waiting = daemon.service.renew(B)
        self.failureResultOf(daemon.service.renew(B), AcmeFailure)
        self.stop(daemon)
        self.failureResultOf(waiting, AcmeFailure)

    def test_reload(self) -> None:
        """Names come and go; one that is gone stays on disk, unserved, and is there at once when it comes back."""
        daemon = self.daemon(provider(A)).start()
        self.successResultOf(daemon.service.configure([provider(B)]))
        daemon.run(1)
        self.assertEqual(daemon.front.names(), [B])
        self.assertIsNotNone(self.store().read(A))
        self.successResultOf(daemon.service.configure([provider(A, B)]))
        self.assertEqual(daemon.front.names(), [A, B])
        daemon.run(10)
        self.assertEqual(len(daemon.ca.orders), 2)

    def test_reload_reads_nothing_again(self) -> None:
        """Certificates that are known already are not read again: that would be in the reactor's thread."""
        daemon = self.daemon(provider(A, B)).start()
        before = list(daemon.front.issued)
        read: list[str] = []
        self.patch(StoreFolder, "read", lambda folder, name: read.append(name))
        self.successResultOf(daemon.service.configure([provider(A, B, profile="shortlived")]))
        self.assertEqual((read, daemon.front.issued), ([], before))

    def test_reload_reads_in_a_thread(self) -> None:
        """What a reload brings is read by a thread: many certificates would stop the running daemon for a while."""
        daemon = self.daemon(provider(A)).start()
        os.utime(os.path.join(self.folder, "acme", "le", f"{A}.pem"), (1, 1))
        run, read = Pool.run, StoreFolder.read
        depth: list[int] = []
        in_thread: list[bool] = []

        def marked(pool: Pool, function: Any) -> Any:
            depth.append(1)
            try:
                return run(pool, function)
            finally:
                depth.pop()

        def noted(folder: StoreFolder, name: str) -> Any:
            in_thread.append(bool(depth))
            return read(folder, name)

        self.patch(Pool, "run", marked)
        self.patch(StoreFolder, "read", noted)
        self.successResultOf(daemon.service.configure([provider(A, B)]))
        self.assertTrue(in_thread and all(in_thread))

    def test_reload_of_another(self) -> None:
        """A provider that didn't change goes on with its orders."""
        daemon = self.daemon(provider(A))
        daemon.ca.hold = Deferred()
        daemon.start()
        self.successResultOf(daemon.service.configure([provider(A), provider(B, id="other")]))
        hold, daemon.ca.hold = daemon.ca.hold, None
        hold.callback(None)
        daemon.run(1)
        self.assertEqual(daemon.front.names(), [A, B])
        self.assertEqual([name for name, _ in daemon.ca.orders], [A, B])
        self.successResultOf(daemon.service.configure([]))
        self.assertEqual((daemon.front.names(), daemon.service.names()), ([], []))


class TwoDaemonTests(ServiceCase):
    """Two daemons on one folder."""

    def setUp(self) -> None:
        super().setUp()
        cache = os.path.join(self.folder, "shared")
        self.clock = Clock()
        wanted = provider(A, cache=cache)
        self.first = self.daemon(wanted, clock=self.clock)
        self.second = self.daemon(wanted, clock=self.clock, machine="n")

    def test_challenges_of_others(self) -> None:
        """Who doesn't order looks for challenges, too, every two seconds; with http-01 there are none in the folder."""
        cache = os.path.join(self.folder, "doors")
        wanted = provider(A, cache=cache, challenge="tls-alpn-01")
        first, second = (self.daemon(wanted, clock=self.clock, machine=machine).start() for machine in "mn")
        self.first.start()
        before = second.looks_beside
        self.clock.pump([1.0] * 20)
        self.assertIsNotNone(second.service.names()[0].held_by)
        self.assertEqual(second.looks_beside - before, 10)
        self.assertEqual(self.first.looks_beside, 0)
        self.assertGreater(first.looks_beside, 0)

    def test_one_orders(self) -> None:
        """One orders, both serve; both know the account's thumbprint, and who orders."""
        self.first.start()
        self.second.start()
        self.first.run(20)
        self.assertEqual((len(self.first.ca.orders), len(self.second.ca.orders)), (1, 0))
        self.assertEqual(self.first.front.issued, self.second.front.issued)
        self.assertEqual(self.first.front.names(), [A])
        self.assertEqual(self.first.service.thumbprint_for(A), self.second.service.thumbprint_for(A))
        self.assertIsNone(self.first.service.names()[0].held_by)
        self.assertIsNotNone(self.second.service.names()[0].held_by)
        self.failureResultOf(self.second.service.renew(A), AcmeFailure)

    def test_taken_over(self) -> None:
        """When the one that orders stops, the other one does; it knows what failed before."""
        self.first.ca.faults[A] = [AcmeError("rateLimited", "too many", status=429, retry_after=300.0)]
        self.first.start()
        self.second.start()
        self.first.run(20)
        self.stop(self.first)
        self.first.run(200)
        self.assertEqual(self.second.ca.orders, [])
        self.first.run(200)
        self.assertEqual([name for name, _ in self.second.ca.orders], [A])
