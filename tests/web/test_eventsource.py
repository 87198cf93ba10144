"""Event streams (RFC 8620 §7.3), and who is told of which commit."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from stalwart import store
from stalwart.http import Problem
from stalwart.store import FsBlobs, Store, StoreBusy
from stalwart.web.jmap_eventsource import EventStream, read_parameters
from tests.jmap.bed import message
from tests.web.streams import Events, StreamBed


class ParameterTests(SynchronousTestCase):
    """`read_parameters`."""

    def test_ping(self) -> None:
        """RFC 8620 §7.3: 0 is no ping; else it is held within 30 and 300 seconds."""
        for asked, given_ in (("0", 0), ("1", 30), ("30", 30), ("77", 77), ("300", 300), ("100000", 300)):
            self.assertEqual(read_parameters({"types": ["*"], "ping": [asked]}).ping, given_)

    def test_types(self) -> None:
        """Names with commas between, or a star."""
        self.assertEqual(read_parameters({"types": ["Email,Mailbox"]}).types, {"Email", "Mailbox"})
        self.assertIn("EmailDelivery", read_parameters({"types": ["*"]}).types)

    def test_of_others(self) -> None:
        """RFC 8620 §7.3: JMAP's types that aren't here are passed over, and so are parameters that libraries add."""
        self.assertEqual(read_parameters({"types": ["Email,ContactCard,CalendarEvent"]}).types, {"Email"})
        self.assertEqual(read_parameters({"types": ["SieveScript"]}).types, set())
        wanted = read_parameters({"types": ["Email"], "lastEventId": ["A1:Email=7"], "_": ["1", "2"]})
        self.assertEqual(wanted.types, {"Email"})

    def test_wrong(self) -> None:
        """Everything else is a 400 that names the parameter."""
        for query, named in (
            ("", "types"),
            ("types=", "types"),
            ("types=Email,", "types"),
            ("types=Email,Nonsense", "Nonsense"),
            ("types=email", "email"),
            ("types=*,Email", "types"),
            ("types=PushSubscription", "PushSubscription"),
            ("types=*&types=*", "types"),
            ("types=*&closeafter=yes", "closeafter"),
            ("types=*&closeafter=", "closeafter"),
            ("types=*&ping=", "ping"),
            ("types=*&ping=-1", "ping"),
            ("types=*&ping=1.5", "ping"),
            ("types=*&ping=٣", "ping"),
            ("types=*&ping=9999999999", "ping"),
        ):
            values: dict[str, list[str]] = {}
            for pair in query.split("&") if query else ():
                name, _, value = pair.partition("=")
                values.setdefault(name, []).append(value)
            problem = self.assertRaises(Problem, read_parameters, values)
            self.assertEqual(problem.status, 400)
            self.assertIn(named, problem.detail)

    @given(
        st.dictionaries(
            st.sampled_from(["types", "closeafter", "ping", "x"]), st.lists(st.text(max_size=9), min_size=1)
        )
    )
    @settings(max_examples=60)
    def test_any(self, query: dict[str, list[str]]) -> None:
        """Any query is a stream or a 400."""
        try:
            read_parameters(query)
        except Problem as problem:
            self.assertEqual(problem.status, 400)


class StreamTests(StreamBed):
    """`GET /jmap/eventsource/`."""

    def state(self, events: Events) -> Any:
        """The changes in the one state event that came."""
        ((name, data),) = events.read()
        self.assertEqual((name, data["@type"]), ("state", "StateChange"))
        return data["changed"]

    def test_head(self) -> None:
        """The stream is text/event-stream, is not stored, and begins with a comment but no event."""
        events = self.events()
        self.assertEqual(events.read(), [])
        assert events.head is not None
        fields = events.head.lower()
        for field in (b"content-type: text/event-stream", b"cache-control: no-store", b"x-accel-buffering: no"):
            self.assertIn(field, fields)
        self.assertEqual(events.comments, 1)

    def test_state(self) -> None:
        """RFC 8620 §7.1: a delivered mail is told at once, with the state of each type as /get has it."""
        events = self.events()
        events.read()
        self.mail()
        self.assertEqual(self.state(events), {self.account_id: self.states()})
        self.assertEqual(set(self.states()), {"Email", "EmailDelivery", "Mailbox", "Thread"})

    def test_types(self) -> None:
        """Only the types that were asked for; RFC 8621 §1.5: a keyword moves Email and leaves EmailDelivery alone."""
        everything, delivery = self.events(), self.events("types=EmailDelivery")
        email = int(self.deliver(message())[1:])
        everything.read()
        self.assertEqual(self.state(delivery), {self.account_id: self.states("EmailDelivery")})
        self.clock.advance(2)
        with self.store.write() as s:
            store.update_email(s, self.account.id, email, keywords=["$flagged"])
        self.assertEqual(delivery.read(), [])
        self.assertEqual(self.state(everything), {self.account_id: self.states("Email")})

    def test_only_own_accounts(self) -> None:
        """Nothing is told of other people's mail."""
        events = self.events()
        events.read()
        self.deliver(b"Subject: x\r\n\r\n", account=self.other.id)
        self.assertEqual(events.read(), [])

    def test_throttle(self) -> None:
        """After an event, what happens within a second is told together, in its last state."""
        events = self.events()
        events.read()
        for _ in range(4):
            self.mail()
        first = self.state(events)
        self.assertNotEqual(first[self.account_id], self.states())
        self.clock.advance(0.9)
        self.assertEqual(events.read(), [])
        self.clock.advance(0.1)
        self.assertEqual(self.state(events), {self.account_id: self.states()})
        self.clock.advance(5)
        self.assertEqual(events.read(), [])

    def test_resume(self) -> None:
        """Last-Event-ID: what changed meanwhile is told at once; without changes nothing is."""
        events = self.events()
        self.assertEqual(events.read(), [])
        begun = events.last_id
        self.mail()
        self.state(events)
        events.wire.hang_up()
        again = self.events(Last_Event_ID=events.last_id)
        self.assertEqual(again.read(), [])
        self.assertEqual(again.last_id, events.last_id)
        late = self.events(Last_Event_ID=begun)
        self.assertEqual(self.state(late), {self.account_id: self.states()})
        self.assertEqual(late.last_id, events.last_id)

    def test_strange_id(self) -> None:
        """An id that this server never gave counts for nothing; one with other types misses these."""
        self.mail()
        for strange in ("whatever", "A1:Email=", "x" * 20000, "A1:Email=99999999999999999999"):
            self.assertEqual(self.events(Last_Event_ID=strange[:7000]).read(), [])
        mailboxes = self.events("types=Mailbox")
        mailboxes.read()
        both = self.events("types=Email,Mailbox", Last_Event_ID=mailboxes.last_id)
        self.assertEqual(self.state(both), {self.account_id: self.states("Email")})

    def test_ping(self) -> None:
        """A ping comes when so much time has passed since the previous event, and has no id of its own."""
        events = self.events("types=*&closeafter=no&ping=30")
        events.read()
        before = events.last_id
        self.clock.advance(29)
        self.mail()
        self.state(events)
        known = events.last_id
        self.assertNotEqual(known, before)
        self.clock.advance(29)
        self.assertEqual(events.read(), [])
        for _ in range(2):
            self.clock.pump([1] * 30)
            self.assertEqual(events.read(), [("ping", {"interval": 30})])
        self.assertEqual(events.last_id, known)

    def test_no_ping(self) -> None:
        """ping=0: no ping ever; a comment every five minutes finds out connections that are gone."""
        events = self.events()
        events.read()
        self.clock.pump([60] * 10)
        self.assertEqual(events.read(), [])
        self.assertEqual(events.comments, 3)

    def test_close_after_state(self) -> None:
        """closeafter=state: the answer ends after one event, and the connection can be used again."""
        events = self.events("types=*&closeafter=state&ping=30")
        events.read()
        self.clock.pump([1] * 30)
        self.assertEqual([name for name, _ in events.read()], ["ping"])
        self.assertFalse(events.ended)
        self.mail()
        self.state(events)
        self.assertTrue(events.ended)
        self.assertFalse(events.wire.closed)
        self.assertEqual(self.watchers(), 0)

    def watchers(self) -> int:
        """How many are told of changes."""
        return len(self.announcer._watched)

    def test_slow_client(self) -> None:
        """A client that takes nothing costs no memory: one event with the last states awaits it."""
        wire = self.http.connect()
        self.take_nothing(wire)
        wire.send(self.head("GET", "/jmap/eventsource/?types=*"))
        size = len(wire.transport.value())
        for _ in range(50):
            self.mail()
            self.clock.advance(1)
        self.assertEqual(len(wire.transport.value()), size)
        self.assertEqual(self.take_all(wire).count(b"event: state"), 1)

    def test_stalled_client(self) -> None:
        """One that takes nothing at all for a minute is dropped."""
        wire = self.http.connect()
        self.take_nothing(wire)
        wire.send(self.head("GET", "/jmap/eventsource/?types=*"))
        self.clock.pump([1] * 62)
        self.assertTrue(wire.transport.aborted)

    def test_leaving(self) -> None:
        """When a client leaves, nothing is left of it: no watcher, no timer, no place among its account's streams."""
        for _ in range(70):
            events = self.events("types=*&ping=30")
            events.read()
            self.assertEqual(self.watchers(), 1)
            events.wire.hang_up()
            self.assertEqual(self.watchers(), 0)
        self.mail()
        self.clock.advance(1)
        self.assertEqual(len(self.clock.getDelayedCalls()), 0)

    def test_half_closed(self) -> None:
        """A browser that closes its end has left, though the connection could still be written to."""
        events = self.events()
        events.read()
        events.wire.channel.readConnectionLost()
        self.assertTrue(events.wire.transport.aborted)
        events.wire.hang_up()
        self.assertEqual(self.watchers(), 0)
        socket = self.socket()
        socket.wire.channel.readConnectionLost()
        self.assertTrue(socket.wire.closed)

    def test_half_closed_early(self) -> None:
        """So too when it left while the states were being read, or before the handshake was answered."""
        for head in (self.head("GET", "/jmap/eventsource/?types=*"), self.handshake_head()):
            self.threads.held = True
            wire = self.http.connect()
            wire.send(head)
            wire.channel.readConnectionLost()
            while self.threads.waiting:
                self.threads.waiting.pop(0)()
            self.threads.release()
            self.assertTrue(wire.closed or wire.transport.aborted)
            wire.hang_up()
            self.assertEqual(self.watchers(), 0)

    def test_leaving_early(self) -> None:
        """So too when it leaves while the states are being read."""
        self.events().wire.hang_up()
        self.threads.held = True
        for _ in range(2):
            wire = self.http.connect()
            wire.send(self.head("GET", "/jmap/eventsource/?types=*"))
            wire.hang_up()
            self.threads.release()
            self.assertEqual(self.watchers(), 0)

    def test_head_method(self) -> None:
        """HEAD tells the fields, and leaves no watcher behind."""
        answer = self.get("/jmap/eventsource/?types=*", method="HEAD")
        self.assertEqual((answer.status, answer.headers["content-type"]), (200, "text/event-stream"))
        self.assertEqual(self.watchers(), 0)

    def test_wrong_parameters(self) -> None:
        """A parameter that is wrong is 400 with the reason."""
        document = self.problem(self.get("/jmap/eventsource/?types=Nonsense"), 400)
        self.assertIn("Nonsense", document["detail"])

    def test_too_many(self) -> None:
        """One account has 64 streams at most; the next is 429 until one ends."""
        streams = [self.events() for _ in range(64)]
        self.problem(self.get("/jmap/eventsource/?types=*"), 429)
        streams[0].wire.hang_up()
        self.assertEqual(self.events().read(), [])

    def test_password_changed(self) -> None:
        """A changed password ends the streams, also one that another process changed."""
        events = self.events()
        events.read()
        self.clock.advance(1)
        with self.elsewhere().write() as s:
            store.set_password_hash(s, self.account.id, "other")
        self.assertFalse(events.ended)
        self.clock.advance(1)
        self.assertEqual(events.read(), [])
        self.assertTrue(events.ended)
        self.problem(self.get("/jmap/eventsource/?types=*"), 401)

    def test_access_changed(self) -> None:
        """So does whatever changes what the user may do, and whether they may sign in."""
        with self.store.read() as s:
            ada = store.principal_of_account(s, self.account.id).id
        changes: tuple[Callable[[store.Session], object], ...] = (
            lambda s: store.set_grants(s, ada, store.Grants(disabled=frozenset({"jmap-thread-get"}))),
            lambda s: store.enable_principal(s, ada, enabled=False),
        )
        for change in changes:
            events = self.events()
            events.read()
            self.clock.advance(1)
            events.read()
            self.assertFalse(events.ended)
            with self.elsewhere().write() as s:
                change(s)
            self.clock.advance(1)
            events.read()
            self.assertTrue(events.ended)
        self.problem(self.get("/jmap/eventsource/?types=*"), 401)

    def test_account_deleted(self) -> None:
        """So does the end of the account."""
        events = self.events()
        events.read()
        with self.store.write() as s:
            store.delete_account(s, self.account.id)
        self.clock.advance(1)
        events.read()
        self.assertTrue(events.ended)
        self.assertEqual(self.watchers(), 0)

    def test_stopping(self) -> None:
        """At the stop streams end in good order, and new ones are 503."""
        events = self.events()
        events.read()
        self.announcer.close()
        self.assertEqual(events.read(), [])
        self.assertTrue(events.ended)
        self.problem(self.get("/jmap/eventsource/?types=*"), 503)

    def test_stopping_meanwhile(self) -> None:
        """One that was being opened when the stop came ends too: nothing would ever end it later."""
        self.threads.held = True
        events = self.events()
        while not self.streams._open._running:
            self.threads.waiting.pop(0)()
        self.announcer.close()
        while self.threads.waiting:
            self.threads.waiting.pop(0)()
        events.read()
        self.assertTrue(events.ended)

    def test_fault_in_a_watcher(self) -> None:
        """A fault in what one client is told by keeps nobody else from being told, now or later."""
        broken, events = self.events(), self.events()
        events.read()
        watcher = next(iter(self.announcer._watched))
        self.assertTrue(broken.wire)

        def fail(account: int, states: object) -> None:
            raise ZeroDivisionError

        self.patch(EventStream, "changed", _only(watcher, fail, EventStream.changed))
        own, self.store = self.store, self.elsewhere()
        for _ in range(2):
            self.mail()
            self.clock.pump([0.25] * 8)
            told = [*broken.read(), *events.read()]
            self.assertEqual([data["changed"] for _, data in told], [{self.account_id: self.states()}])
        self.store = own
        self.assertTrue(self.flushLoggedErrors(ZeroDivisionError))

    def elsewhere(self) -> Store:
        """The same database as another process opens it."""
        folder = os.path.dirname(self.store.path)
        other = Store.open(
            self.store.path, FsBlobs(os.path.join(folder, "blobs")), clock=self.store.clock, exclusive=False
        )
        self.addCleanup(other.close)
        return other

    def test_other_process(self) -> None:
        """What another process commits is told within a second, and once."""
        events = self.events()
        events.read()
        own, self.store = self.store, self.elsewhere()
        self.mail()
        self.assertEqual(events.read(), [])
        self.clock.pump([0.25] * 4)
        self.assertEqual(self.state(events), {self.account_id: self.states()})
        self.clock.pump([0.25] * 20)
        self.assertEqual(events.read(), [])
        self.store = own

    def test_idle_database(self) -> None:
        """While nothing is written, nothing but the counter of commits is read; without streams not even that."""
        events = self.events()
        self.clock.pump([0.25] * 4)
        reads = self.count_reads()
        self.clock.pump([0.25] * 40)
        self.assertEqual(reads(), 0)
        turns = self.threads.turns
        events.wire.hang_up()
        self.clock.pump([0.25] * 4)
        self.assertLessEqual(self.threads.turns - turns, 1)

    def count_reads(self) -> Any:
        """A function that tells how many snapshots were taken since now."""
        count = 0
        read = self.store.read

        def counted() -> Any:
            nonlocal count
            count += 1
            return read()

        self.patch(self.store, "read", counted)
        return lambda: count

    def test_database_in_trouble(self) -> None:
        """When the database can't be asked, that is logged once, and what happened meanwhile is told afterwards."""
        events = self.events()
        events.read()
        self.clock.advance(1)
        read = self.store.read

        def broken() -> Any:
            raise StoreBusy("locked")

        self.patch(self.store, "read", broken)
        other = self.elsewhere()
        with capturedLogs() as logs:
            own, self.store = self.store, other
            self.mail()
            self.clock.pump([1] * 12)
            self.assertEqual(events.read(), [])
            own.read = read  # type: ignore[method-assign]
            self.clock.pump([1] * 6)
        self.flushLoggedErrors(StoreBusy)
        self.assertEqual(self.state(events), {self.account_id: self.states()})
        self.store = own
        self.assertEqual(len([event for event in logs if "other processes" in str(event["log_format"])]), 2)

    def test_between_watching_and_reading(self) -> None:
        """A mail that arrives while a client connects is told: in the states that it begins with, or as an event."""
        self.mail()
        events = self.events()
        events.read()
        known = events.last_id
        events.wire.hang_up()
        self.threads.held = True
        again = self.events(Last_Event_ID=known)
        while not self.announcer._watched:
            waiting, self.threads.waiting = self.threads.waiting, []
            for work in waiting:
                work()
        self.mail()
        self.threads.release()
        self.assertEqual(self.state(again), {self.account_id: self.states()})

    # Shared accounts.

    def share(self, *, shared: bool = True) -> None:
        """Share the other account with this user, or no longer."""
        with self.store.write() as s:
            if shared:
                store.share_account(s, self.other.id, self.account.id, writing=False)
            else:
                store.unshare_account(s, self.other.id, self.account.id)

    def test_shared_account(self) -> None:
        """RFC 8620 §7.1: changes of all accounts that the user sees are told."""
        self.share()
        events = self.events()
        events.read()
        self.deliver(b"Subject: x\r\n\r\n", account=self.other.id)
        self.assertEqual(list(self.state(events)), [f"A{self.other.id}"])
        self.clock.pump([0.25] * 8)
        self.assertFalse(events.ended)

    def test_unshared_meanwhile(self) -> None:
        """What another process changed there after the sharing had ended isn't told any more."""
        self.share()
        events = self.events()
        events.read()
        self.clock.pump([0.25] * 8)
        with self.elsewhere().write() as s:
            store.unshare_account(s, self.other.id, self.account.id)
            s.touch(self.other.id, "Email")
        self.clock.pump([0.25] * 8)
        self.assertEqual(events.read(), [])
        self.assertTrue(events.ended)

    def test_hidden_in_shared_accounts(self) -> None:
        """RFC 8621 §9.5: of the owner's quota guests are told nothing."""
        self.share()
        events = self.events("types=Quota,Identity")
        events.read()
        with self.store.write() as s:
            s.touch(self.other.id, "Quota")
        self.assertEqual(events.read(), [])

    def test_sharing_changes(self) -> None:
        """When an account is shared with the user, or no longer, streams and sockets end: another session begins."""
        for shared in (True, False):
            events, socket = self.events(), self.socket()
            events.read()
            self.clock.advance(1)
            self.share(shared=shared)
            self.clock.advance(1)
            events.read()
            self.assertTrue(events.ended)
            self.assertEqual(socket.closed_with(), 1001)
        self.assertEqual(self.watchers(), 0)


def _only(
    watcher: object, instead: Callable[[int, Any], None], usual: Callable[[Any, int, Any], None]
) -> Callable[[Any, int, Any], None]:
    """A method that does `instead` for `watcher`, and what is usual for others."""

    def method(self: Any, account: int, states: Any) -> None:
        if self is watcher:
            instead(account, states)
        usual(self, account, states)

    return method
