"""Pushes to subscriptions: what is posted when, to a push service that is a table of answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.error import TCPTimedOutError
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.web.client import ResponseNeverReceived

from stalwart import store
from stalwart.config import JmapSettings
from stalwart.jmap.limits import Limits
from stalwart.jmap.push import PUSHED_TYPES, Told
from stalwart.jmap.webpush import Vapid, make_key
from stalwart.store import StoreBusy, SubscriptionRow
from stalwart.web.jmap_push_client import PushAnswer
from stalwart.web.jmap_push_sender import PushSender
from tests.jmap.bed import NOW
from tests.jmap.receiver import Receiver
from tests.web.streams import StreamBed
from tests.web.test_jmap import AtOnce


class Posted(msgspec.Struct):
    """One POST, and the answer that it waits for."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    answer: Deferred[PushAnswer]

    def json(self) -> Any:
        """The body, if it is in the clear."""
        return json.loads(self.body)


class Service:
    """A push service: answers what the test says, or waits for it."""

    def __init__(self) -> None:
        self.posts: list[Posted] = []
        self.next: dict[str, PushAnswer | Exception | None] = {}

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, *, now: float) -> PushAnswer:
        """As `PushClient.post`."""
        posted = Posted(url, dict(headers), body, Deferred())
        self.posts.append(posted)
        answer = self.next.get(url, PushAnswer(status=201))
        if isinstance(answer, Exception):
            raise answer
        if answer is not None:
            return answer
        return await posted.answer

    def take(self) -> list[Posted]:
        """What was posted since the last look."""
        posts, self.posts = self.posts, []
        return posts


class SenderTests(StreamBed):
    """`PushSender` and `Subscriber`."""

    limits = Limits(max_push_subscriptions=3)
    URL = "https://push.example.net/one"

    def setUp(self) -> None:
        """Start a sender."""
        super().setUp()
        self.service = Service()
        self.vapid = Vapid(make_key(), "mailto:postmaster@mail.example.org")
        self.start()

    def start(self) -> None:
        """Start it, as after a restart of the server."""
        self.sender = PushSender(
            self.store,
            self.announcer,
            AtOnce(self.clock),
            self.threads,
            self.service,
            self.vapid,
            settings=JmapSettings(),
            limits=self.limits,
        )
        self.sender.start()

    def subscribe(self, url: str = URL, **more: Any) -> str:
        """Create a subscription; gives its id."""
        wanted = {"deviceClientId": "d", "url": url, **more}
        response = self.api(["PushSubscription/set", {"create": {"k": wanted}}, "0"])["methodResponses"][0]
        self.assertIsNone(response[1]["notCreated"], response)
        found: str = response[1]["created"]["k"]["id"]
        return found

    def set(self, **arguments: Any) -> Any:
        """The answer to a PushSubscription/set."""
        return self.api(["PushSubscription/set", arguments, "0"])["methodResponses"][0][1]

    def verified(self, url: str = URL, **more: Any) -> str:
        """Create a subscription and verify it."""
        found = self.subscribe(url, **more)
        (posted,) = self.service.take()
        code = self.row(found).verification_code
        self.assertEqual(self.set(update={found: {"verificationCode": code}})["updated"], {found: None})
        self.assertEqual(posted.url, url)
        return found

    def row(self, found: str) -> SubscriptionRow:
        """A subscription in the store."""
        return next(row for row in self.rows() if f"P{row.id}" == found)

    def rows(self) -> list[SubscriptionRow]:
        """All of them."""
        with self.store.read() as s:
            return list(store.list_subscriptions(s))

    def change(self) -> Any:
        """The changes in the one push that was posted."""
        (posted,) = self.service.take()
        self.assertEqual(posted.json()["@type"], "StateChange")
        return posted.json()["changed"]

    def pass_time(self, seconds: float) -> None:
        """Let time pass: half a second at a time, or ten seconds where it is long."""
        step = 0.5 if seconds <= 300 else 10.0
        self.clock.pump([step] * int(seconds / step))

    def at(self, seconds: float) -> None:
        """Have it be so many seconds after the start, by the clock on the wall."""
        self.store.clock = self.sender.wall = lambda: NOW + seconds

    # Verification.

    def test_verification(self) -> None:
        """RFC 8620 §7.2.2: the code is pushed at once, and nothing else before the client has sent it back."""
        found = self.subscribe()
        (posted,) = self.service.take()
        self.assertEqual(
            posted.json(),
            {
                "@type": "PushVerification",
                "pushSubscriptionId": found,
                "verificationCode": self.row(found).verification_code,
            },
        )
        self.assertEqual(posted.headers["Content-Type"], "application/json")
        self.assertTrue(int(posted.headers["TTL"]))
        for _ in range(3):
            self.mail()
            self.pass_time(60)
        self.assertEqual(self.service.take(), [])
        self.set(update={found: {"verificationCode": "guess"}})
        self.mail()
        self.assertEqual(self.service.take(), [])
        self.set(update={found: {"verificationCode": self.row(found).verification_code}})
        self.assertEqual(self.change(), {self.account_id: self.states()})

    def test_verification_refused(self) -> None:
        """Whatever answers the code gets no second request; 410 removes the subscription."""
        for status in (500, 302, 429):
            self.service.next[self.URL] = PushAnswer(status=status, retry_after=1.0)
            found = self.subscribe()
            self.assertEqual(len(self.service.take()), 1)
            self.pass_time(300)
            self.assertEqual(self.service.take(), [])
            self.set(destroy=[found])
        self.service.next[self.URL] = PushAnswer(status=410)
        self.subscribe()
        self.assertEqual(self.rows(), [])

    def test_verification_unreached(self) -> None:
        """Where nothing answers it is tried three times in all, a minute apart."""
        self.service.next[self.URL] = TCPTimedOutError()
        self.subscribe()
        for _ in range(2):
            self.assertEqual(len(self.service.take()), 1)
            self.pass_time(59)
            self.assertEqual(self.service.take(), [])
            self.pass_time(1)
        self.assertEqual(len(self.service.take()), 1)
        self.pass_time(600)
        self.assertEqual(self.service.take(), [])

    def test_verification_may_have_arrived(self) -> None:
        """RFC 8620 §7.2: a code that may have been sent gets no second request, though no answer came."""
        self.service.next[self.URL] = ResponseNeverReceived([])
        self.subscribe()
        self.assertEqual(len(self.service.take()), 1)
        self.pass_time(600)
        self.assertEqual(self.service.take(), [])

    def test_verified_before_the_answer(self) -> None:
        """RFC 8620 §7.2.3: a client may be faster than its push service, whose answer may never come."""
        self.service.next[self.URL] = None
        found = self.subscribe()
        (posted,) = self.service.take()
        del self.service.next[self.URL]
        self.set(update={found: {"verificationCode": self.row(found).verification_code}})
        self.mail()
        self.assertEqual(self.service.take(), [])
        posted.answer.errback(ResponseNeverReceived([]))
        self.assertEqual(self.change(), {self.account_id: self.states()})

    def test_verification_expired(self) -> None:
        """RFC 8620 §7.2: no request after `expires`, nor one for the verification; the subscription is removed."""
        self.service.next[self.URL] = TCPTimedOutError()
        self.subscribe(expires="2023-11-14T22:13:50Z")
        self.assertEqual(len(self.service.take()), 1)
        self.at(31)
        self.pass_time(120)
        self.assertEqual(self.service.take(), [])
        self.assertEqual(self.sender._subscribers, {})

    def test_change_before_verification_is_noted(self) -> None:
        """RFC 8620 §7.1: what changes before this side has heard of the verification is pushed when it has."""
        found = self.subscribe()
        self.service.take()
        self.threads.held = True
        row = self.row(found)
        with self.store.write() as s:
            store.update_subscription(s, msgspec.structs.replace(row, is_verified=True))
        self.mail()
        self.assertEqual(self.service.take(), [])
        self.threads.release()
        self.assertEqual(self.change(), {self.account_id: self.states()})

    def test_verification_flood(self) -> None:
        """RFC 8620 §8.6: who makes and destroys subscriptions in a row has no stranger flooded with codes."""
        for _ in range(6):
            self.set(destroy=[self.subscribe()])
        self.assertEqual(len(self.service.take()), 3)
        found = self.subscribe()
        self.pass_time(59)
        self.assertEqual(self.service.take(), [])
        self.pass_time(62)
        (posted,) = self.service.take()
        self.assertEqual(posted.json()["pushSubscriptionId"], found)

    def test_dead_one_blocks_nobody(self) -> None:
        """Rule 45: while one address doesn't answer, another is verified and pushed to."""
        self.verified("https://dead.example.net/")
        self.service.next["https://dead.example.net/"] = None
        self.mail()
        (waiting,) = self.service.take()
        self.verified()
        self.pass_time(2)
        self.mail()
        self.assertEqual([posted.url for posted in self.service.take()], [self.URL])
        waiting.answer.errback(Failure(TCPTimedOutError()))

    # What is pushed.

    def test_fields(self) -> None:
        """RFC 8030 §5: TTL, urgency by whether mail came, a topic for messages that replace each other; VAPID."""
        self.verified()
        email = int(self.deliver(b"Subject: x\r\n\r\n")[1:])
        (delivered,) = self.service.take()
        headers = delivered.headers
        self.assertEqual((headers["Urgency"], headers["TTL"]), ("high", "86400"))
        self.assertRegex(headers["Topic"], r"\A[A-Za-z0-9_-]{1,32}\Z")
        self.assertEqual(headers["Content-Type"], "application/json")
        self.assertNotIn("Content-Encoding", headers)
        self.assertEqual(headers["Authorization"], self.vapid.authorization(self.URL, NOW))
        topics = []
        for keywords in (["$seen"], []):
            self.pass_time(2)
            with self.store.write() as s:
                store.update_email(s, self.account.id, email, keywords=keywords)
            (marked,) = self.service.take()
            self.assertEqual(marked.headers["Urgency"], "normal")
            topics.append(marked.headers["Topic"])
        self.assertEqual(topics[0], topics[1])
        self.assertNotEqual(topics[0], headers["Topic"])

    def test_encrypted(self) -> None:
        """RFC 8291: with keys, everything is encrypted for the client, as raw octets."""
        receiver = Receiver()
        found = self.subscribe(keys=receiver.keys())
        (posted,) = self.service.take()
        self.assertEqual(posted.headers["Content-Encoding"], "aes128gcm")
        self.assertEqual(posted.headers["Content-Type"], "application/json")
        told = json.loads(receiver.decrypt(posted.body))
        self.set(update={found: {"verificationCode": told["verificationCode"]}})
        self.mail()
        (posted,) = self.service.take()
        changed = json.loads(receiver.decrypt(posted.body))["changed"]
        self.assertEqual(changed, {self.account_id: self.states()})

    def test_types(self) -> None:
        """Only the types that the client wants, also after it has changed them."""
        found = self.verified(types=["EmailDelivery", "Unheard"])
        self.mail()
        self.assertEqual(self.change(), {self.account_id: self.states("EmailDelivery")})
        self.set(update={found: {"types": ["Mailbox"]}})
        self.pass_time(2)
        self.mail()
        self.assertEqual(self.change(), {self.account_id: self.states("Mailbox")})

    def test_throttle(self) -> None:
        """Changes within a second, or while a push is under way, are told together in their last state."""
        self.verified()
        self.service.next[self.URL] = None
        for _ in range(5):
            self.mail()
        (posted,) = self.service.take()
        self.pass_time(5)
        self.assertEqual(self.service.take(), [])
        posted.answer.callback(PushAnswer(status=201))
        self.pass_time(0.5)
        self.assertEqual(self.service.take(), [])
        self.pass_time(0.5)
        self.assertEqual(self.change(), {self.account_id: self.states()})

    def test_retry(self) -> None:
        """A push that failed is tried again after a second, a minute, then with the next change; nothing is lost."""
        self.verified()
        self.service.next[self.URL] = PushAnswer(status=503)
        with capturedLogs() as logs:
            self.mail()
            for seconds in (1, 60):
                self.assertEqual(len(self.service.take()), 1)
                self.pass_time(seconds - 0.5)
                self.assertEqual(self.service.take(), [])
                self.pass_time(0.5)
            self.assertEqual(len(self.service.take()), 1)
            self.pass_time(3600)
            self.assertEqual(self.service.take(), [])
        warnings = [event for event in logs if event["log_level"].name == "warn"]
        self.assertEqual([event["host"] for event in warnings], ["push.example.net"])
        self.assertNotIn("/one", repr([event["reason"] for event in warnings]))
        before = self.states()
        del self.service.next[self.URL]
        with self.store.write() as s:
            store.create_mailbox(s, self.account.id, "New")
        changed = self.change()[self.account_id]
        self.assertEqual({name: changed[name] for name in self.states()}, self.states())
        self.assertEqual(changed["Email"], before["Email"])

    def test_back_off(self) -> None:
        """The more pushes fail in a row, the longer the next one waits, an hour at most; a success ends that."""
        self.verified()
        self.service.next[self.URL] = TCPTimedOutError()
        waits: list[float] = []
        self.mail()
        for _ in range(10):
            self.service.take()
            started = self.clock.seconds()
            self.mail()  # a change doesn't shorten the wait
            while not self.service.posts:
                self.clock.advance(1 if not waits else 60)
            waits.append(self.clock.seconds() - started)
        self.assertEqual(waits, [1, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600])
        del self.service.next[self.URL]
        self.mail()
        self.pass_time(3610)
        self.service.take()
        self.mail()
        self.assertEqual(self.change(), {self.account_id: self.states()})

    def test_slower(self) -> None:
        """RFC 8620 §7.2: 429 makes pushes rarer, not before Retry-After; the subscription stays."""
        self.verified()
        self.service.next[self.URL] = PushAnswer(status=429, retry_after=100.0)
        self.mail()
        self.service.take()
        self.pass_time(99)
        self.assertEqual(self.service.take(), [])
        del self.service.next[self.URL]
        self.pass_time(1)
        self.assertEqual(self.change(), {self.account_id: self.states()})
        self.mail()
        self.pass_time(1.5)
        self.assertEqual(self.service.take(), [])
        self.pass_time(0.5)
        self.assertEqual(self.change(), {self.account_id: self.states()})
        self.assertEqual(len(self.rows()), 1)

    def test_often_slower(self) -> None:
        """Each further 429 doubles the time between pushes."""
        self.verified()
        self.service.next[self.URL] = PushAnswer(status=429)
        self.mail()
        self.pass_time(60 * 5)
        count = len(self.service.take())
        self.assertGreaterEqual(count, 5)
        self.pass_time(3600 * 5)
        self.assertLessEqual(len(self.service.take()), 150)

    def test_gone(self) -> None:
        """404 and 410 destroy the subscription."""
        for status in (404, 410):
            self.verified()
            self.service.next[self.URL] = PushAnswer(status=status)
            self.mail()
            self.assertEqual(self.rows(), [])
            self.service.next.clear()
            self.service.take()
            self.mail()
            self.pass_time(100)
            self.assertEqual(self.service.take(), [])

    def test_no_redirects(self) -> None:
        """A redirect is a failure as any other."""
        self.verified()
        self.service.next[self.URL] = PushAnswer(status=307)
        self.mail()
        self.pass_time(1)
        self.assertEqual({posted.url for posted in self.service.take()}, {self.URL})

    # Ends.

    def test_destroyed(self) -> None:
        """A destroyed subscription hears no more, not even what waits to be tried again."""
        found = self.verified()
        self.service.next[self.URL] = PushAnswer(status=500)
        self.mail()
        self.service.take()
        self.set(destroy=[found])
        self.pass_time(200)
        self.mail()
        self.assertEqual(self.service.take(), [])
        self.assertEqual(len(self.announcer._watched), 0)

    def test_expired(self) -> None:
        """RFC 8620 §7.2: after `expires` there is no further request, and it is removed."""
        self.verified(expires="2023-11-14T22:14:20Z")
        self.at(60)
        self.mail()
        self.assertEqual(self.service.take(), [])
        self.assertEqual(self.rows(), [])

    def test_password_changed(self) -> None:
        """RFC 8620 §7.2: a changed password destroys the subscriptions."""
        self.verified()
        with self.store.write() as s:
            store.set_password_hash(s, self.account.id, "other")
        self.clock.advance(1)
        self.mail()
        self.assertEqual(self.service.take(), [])
        with self.store.read() as s:
            count = s.driver.execute("SELECT count(*) FROM push_subscription").fetchone()
        self.assertEqual(count, (0,))

    def test_rights_changed(self) -> None:
        """Other permissions destroy none; a disabled account loses them."""
        self.verified()
        with self.store.write() as s:
            ada = store.principal_of_account(s, self.account.id).id
            store.set_grants(s, ada, store.Grants(disabled=frozenset({"jmap-echo"})))
        for _ in range(3):
            self.clock.advance(1)
        self.mail()
        self.assertEqual(len(self.service.take()), 1)
        with self.store.write() as s:
            store.enable_principal(s, ada, enabled=False)
        self.clock.advance(1)
        self.assertEqual(self.rows(), [])

    def test_app_password(self) -> None:
        """One made by an app password outlives a new password, is not shown to others, and goes with it."""
        self.verified()
        with self.store.write() as s:
            ada = store.principal_of_account(s, self.account.id).id
            credential = store.add_credential(s, ada, "phone", "app-secret").id
            s.driver.execute("UPDATE push_subscription SET credential_id = ?, credential_version = 0", (credential,))
            store.set_password_hash(s, self.account.id, "other")
            store.delete_dead_subscriptions(s)
            self.assertEqual(len(store.list_subscriptions(s, self.account.id)), 1)
            store.remove_credential(s, ada, "phone")
            self.assertEqual(store.list_subscriptions(s), [])

    def test_restart(self) -> None:
        """After a restart verified subscriptions are pushed to; those that aren't get no second code."""
        self.verified()
        self.subscribe("https://push.example.net/two")
        self.service.take()
        self.sender.stop()
        self.start()
        self.assertEqual(self.service.take(), [])
        self.mail()
        self.assertEqual(self.change(), {self.account_id: self.states()})

    def test_dead_ones_are_erased(self) -> None:
        """RFC 8620 §7.2: expired ones, which the limit doesn't count, are not piled up in the database."""
        self.subscribe(expires="2023-11-14T22:13:21Z")
        self.at(2)
        self.subscribe()
        with self.store.read() as s:
            self.assertEqual(s.driver.execute("SELECT count(*) FROM push_subscription").fetchone()[0], 1)
        self.assertEqual(len(self.sender._subscribers), 1)
        self.at(8 * 86_400)
        with self.store.write() as s:
            self.assertEqual(store.delete_dead_subscriptions(s), 1)
        self.assertEqual(self.sender._subscribers, {})

    def test_database_in_trouble(self) -> None:
        """RFC 8620 §7.2.2: when the database is busy the code is sent as soon as it isn't."""
        self.threads.held = True
        self.subscribe_held()
        read = self.store.read

        def broken() -> Any:
            raise StoreBusy("locked")

        self.patch(self.store, "read", broken)
        self.threads.release()
        self.assertEqual(self.service.take(), [])
        self.store.read = read  # type: ignore[method-assign]
        self.pass_time(6)
        self.assertEqual(len(self.service.take()), 1)
        self.assertTrue(self.flushLoggedErrors(StoreBusy))

    def subscribe_held(self) -> None:
        """A subscription that is in the database, and that the sender has still to look for."""
        with self.store.write() as s:
            store.add_subscription(
                s,
                SubscriptionRow(
                    account_id=self.account.id,
                    credential_version=store.get_account(s, self.account.id).credential_version,
                    device_client_id="d",
                    url=self.URL,
                    p256dh=None,
                    auth=None,
                    verification_code="c",
                    expires_at=NOW + 1000,
                    types=None,
                ),
            )

    def test_stopped(self) -> None:
        """At the stop running requests are given up and nothing is planned any more."""
        self.verified()
        self.service.next[self.URL] = None
        self.mail()
        (posted,) = self.service.take()
        self.sender.stop()
        self.announcer.close()
        self.assertTrue(posted.answer.called)
        self.mail()
        self.assertEqual(self.service.take(), [])
        self.assertEqual([call for call in self.clock.getDelayedCalls() if "Sweeper" not in str(call)], [])

    def test_many_accounts(self) -> None:
        """More changes than one encrypted record holds go in several."""
        receiver = Receiver()
        self.verified(keys=receiver.keys())
        (subscriber,) = self.sender._subscribers.values()
        subscriber.accounts = {number: Told(id=f"A{number}", types=PUSHED_TYPES) for number in range(200)}
        subscriber.feed = subscriber._new_feed()
        for number in range(200):
            subscriber.changed(number, {"Email": 10**9, "Mailbox": 10**9})
        self.pass_time(20)
        told: dict[str, Any] = {}
        for posted in self.service.take():
            self.assertLessEqual(len(posted.body), 4096)
            told.update(json.loads(receiver.decrypt(posted.body))["changed"])
        self.assertEqual(len(told), 200)

    def test_shared_account(self) -> None:
        """RFC 8620 §7.1: it hears of an account from when it is shared with its user until it no longer is."""
        self.verified(types=["Email"])
        self.pass_time(2)
        with self.store.write() as s:
            store.share_account(s, self.other.id, self.account.id, writing=False)
        self.pass_time(2)
        self.deliver(b"Subject: x\r\n\r\n", account=self.other.id)
        self.assertEqual(list(self.change()), [f"A{self.other.id}"])
        with self.store.write() as s:
            store.unshare_account(s, self.other.id, self.account.id)
        self.pass_time(2)
        self.deliver(b"Subject: x\r\n\r\n", account=self.other.id)
        self.assertEqual(self.service.take(), [])
        self.mail()
        self.assertEqual(self.change(), {self.account_id: self.states("Email")})

    def test_waiting_while_sharing_changes(self) -> None:
        """RFC 8620 §7.1: what waits isn't lost when an account is unshared, and of that one nothing is told."""
        with self.store.write() as s:
            store.share_account(s, self.other.id, self.account.id, writing=False)
        self.verified()
        self.service.next[self.URL] = PushAnswer(status=503, retry_after=30.0)
        self.mail()
        self.deliver(b"Subject: x\r\n\r\n", account=self.other.id)
        self.service.take()
        with self.store.write() as s:
            store.unshare_account(s, self.other.id, self.account.id)
        self.pass_time(2)
        del self.service.next[self.URL]
        self.pass_time(60)
        self.assertEqual(self.change(), {self.account_id: self.states()})

    def test_waiting_while_types_change(self) -> None:
        """RFC 8620 §7.2: what waits to be pushed is not lost when the client asks for other types."""
        found = self.verified()
        self.service.next[self.URL] = PushAnswer(status=503, retry_after=30.0)
        self.mail()
        self.service.take()
        self.set(update={found: {"types": ["Email"]}})
        del self.service.next[self.URL]
        self.pass_time(60)
        self.assertEqual(self.change(), {self.account_id: self.states("Email")})
