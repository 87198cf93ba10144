"""PushSubscription/get and /set (RFC 8620 §7.2)."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from stalwart import store
from stalwart.jmap.limits import Limits
from stalwart.store import SubscriptionRow
from tests.jmap.bed import CORE, Anything, Bed
from tests.jmap.receiver import Receiver
from tests.jmap.texts import texts

DAY = 86_400


class PushSubscriptionTests(Bed):
    """The two methods."""

    limits = Limits(max_push_subscriptions=3)

    def one(self, name: str, **arguments: Any) -> Any:
        """The arguments of the response to one call without an accountId."""
        response = self.request((name, arguments), using=(CORE,))["methodResponses"][0]
        self.assertEqual(response[0], name, response)
        return response[1]

    def error(self, name: str, **arguments: Any) -> str:
        """The type of the error that one call ends with."""
        response = self.request((name, arguments), using=(CORE,))["methodResponses"][0]
        self.assertEqual(response[0], "error", response)
        kind: str = response[1]["type"]
        return kind

    def subscription(self, **more: Any) -> dict[str, Any]:
        """What a client sends."""
        return {"deviceClientId": "a889-ffea-910", "url": "https://push.example.net/x?device=1", "types": None, **more}

    def create(self, **more: Any) -> Any:
        """What the client is told of a new one."""
        answer = self.one("PushSubscription/set", create={"4f29": self.subscription(**more)})
        self.assertIsNone(answer["notCreated"], answer)
        return answer["created"]["4f29"]

    def not_created(self, **more: Any) -> Any:
        """The SetError of one that can't be."""
        return self.one("PushSubscription/set", create={"k": self.subscription(**more)})["notCreated"]["k"]

    def update(self, found: str, **patch: Any) -> Any:
        """The answer to an update: None, the changed properties, or the SetError."""
        answer = self.one("PushSubscription/set", update={found: patch})
        return answer["notUpdated"][found] if answer["notUpdated"] else answer["updated"][found]

    def rows(self) -> list[SubscriptionRow]:
        """What is in the store."""
        with self.store.read() as s:
            return list(store.list_subscriptions(s, self.account.id))

    def verify(self, found: str) -> None:
        """Send the code that was pushed."""
        (code,) = [row.verification_code for row in self.rows() if f"P{row.id}" == found]
        self.assertIsNone(self.update(found, verificationCode=code))

    def test_created(self) -> None:
        """RFC 8620 §7.2.2: no accountId and no states; the server sets the id, and the end in seven days."""
        answer = self.one("PushSubscription/set", create={"4f29": self.subscription()})
        self.assertFalse({"accountId", "oldState", "newState"} & set(answer))
        created = answer["created"]["4f29"]
        self.assertRegex(created["id"], r"\AP[0-9]+\Z")
        self.assertEqual(created["expires"], "2023-11-21T22:13:20Z")
        self.assertFalse({"url", "keys"} & set(created))

    def test_get(self) -> None:
        """RFC 8620 §7.2.1: no accountId, no state; all properties but url and keys; asking for these is forbidden."""
        found = self.create(keys=Receiver().keys())["id"]
        answer = self.one("PushSubscription/get", ids=None)
        self.assertEqual(set(answer), {"list", "notFound"})
        (shown,) = answer["list"]
        self.assertEqual(set(shown), {"id", "deviceClientId", "verificationCode", "expires", "types"})
        self.assertEqual((shown["id"], shown["deviceClientId"]), (found, "a889-ffea-910"))
        for properties in (["url"], ["keys"], ["id", "url", "keys"]):
            self.assertEqual(self.error("PushSubscription/get", ids=None, properties=properties), "forbidden")
        self.assertEqual(self.error("PushSubscription/get", accountId=self.account_id, ids=None), "invalidArguments")
        self.assertEqual(self.error("PushSubscription/changes", sinceState="0"), "unknownMethod")
        answer = self.one("PushSubscription/get", ids=[found, "P999", "x"], properties=["types"])
        self.assertEqual(answer, {"list": [{"id": found, "types": None}], "notFound": ["x", "P999"]})

    def test_url(self) -> None:
        """Rule 44: the url begins with https:// and names a host; anything else is invalidProperties."""
        for url in (
            "http://push.example.net/",
            "HTTPS://push.example.net/",
            "https://",
            "https:///x",
            "https://user:secret@push.example.net/",
            "https://push.example.net:99999/",
            "https://push.example.net:0/",
            "https://[::1/",
            "https://push.example.net/a b",
            "https://push.example.net/é",
            "https://push.example.net/\r\nX: y",
            "https://push.example.net/#x",
            "ftp://x",
            "",
            "https://push.example.net/" + "x" * 3000,
        ):
            error = self.not_created(url=url)
            self.assertEqual((error["type"], error["properties"]), ("invalidProperties", ["url"]), url)
        self.create(url="https://[2001:db8::1]:8443/x")

    def test_wrong_values(self) -> None:
        """What else can't be: a code at creation, keys that are none, a time that has passed, wrong types."""
        keys = Receiver().keys()
        tries: tuple[Anything, ...] = (
            ("verificationCode", "guess"),
            ("keys", {"p256dh": keys["p256dh"]}),
            ("keys", {**keys, "auth": "AAAA"}),
            ("keys", {**keys, "p256dh": keys["auth"]}),
            ("keys", {**keys, "auth": "+/+/"}),
            ("keys", "x"),
            ("expires", "2020-01-01T00:00:00Z"),
            ("expires", "2023-11-14T22:13:20Z"),
            ("expires", "2023-13-14T22:13:20Z"),
            ("expires", "tomorrow"),
            ("types", ["a b"]),
            ("types", [""]),
            ("types", [1]),
            ("types", "Email"),
            ("deviceClientId", ""),
            ("deviceClientId", None),
            ("id", "P7"),
            ("colour", "red"),
        )
        for name, value in tries:
            error = self.not_created(**{name: value})
            self.assertEqual((error["type"], error["properties"]), ("invalidProperties", [name]), (name, value))
        self.assertEqual(self.rows(), [])

    def test_keys(self) -> None:
        """Rule 44: keys are base64url, padded or not."""
        receiver = Receiver()
        self.create(keys=receiver.keys())
        self.create(keys={name: value + "=" * (-len(value) % 4) for name, value in receiver.keys().items()})
        for row in self.rows():
            self.assertEqual((row.p256dh, row.auth), (receiver.p256dh, receiver.auth))

    def test_verification(self) -> None:
        """RFC 8620 §7.2.2: the pushed code verifies; a wrong one is invalidProperties; the code isn't told before."""
        found = self.create()["id"]
        self.assertIsNone(self.one("PushSubscription/get", ids=[found])["list"][0]["verificationCode"])
        for wrong in ("", "guess", None, self.rows()[0].verification_code + "x"):
            if wrong is not None:
                error = self.update(found, verificationCode=wrong)
                self.assertEqual((error["type"], error["properties"]), ("invalidProperties", ["verificationCode"]))
        self.assertFalse(self.rows()[0].is_verified)
        self.verify(found)
        (row,) = self.rows()
        self.assertTrue(row.is_verified)
        self.assertGreaterEqual(len(row.verification_code), 32)
        self.assertEqual(
            self.one("PushSubscription/get", ids=[found])["list"][0]["verificationCode"], row.verification_code
        )
        self.assertEqual(self.update(found, verificationCode="other")["type"], "invalidProperties")
        self.assertTrue(self.rows()[0].is_verified)

    def test_codes_differ(self) -> None:
        """Each subscription has a code of its own."""
        for _ in range(3):
            self.create()
        self.assertEqual(len({row.verification_code for row in self.rows()}), 3)

    def test_expires(self) -> None:
        """RFC 8620 §7.2: up to seven days are taken, more is cut and told; extending needs no new verification."""
        found = self.create(expires="2023-11-17T00:00:00Z")
        self.assertEqual(found["expires"], "2023-11-17T00:00:00Z")
        self.verify(found["id"])
        self.assertIsNone(self.update(found["id"], expires="2023-11-20T00:00:00Z"))
        self.assertEqual(self.update(found["id"], expires="2030-01-01T00:00:00Z"), {"expires": "2023-11-21T22:13:20Z"})
        self.assertEqual(self.update(found["id"], expires=None), {"expires": "2023-11-21T22:13:20Z"})
        (row,) = self.rows()
        self.assertTrue(row.is_verified)
        self.assertEqual(self.update(found["id"], expires="2020-01-01T00:00:00Z")["type"], "invalidProperties")

    def test_immutable(self) -> None:
        """RFC 8620 §7.2: url, keys and deviceClientId can't be changed; sent unchanged they are accepted."""
        keys = Receiver().keys()
        found = self.create(keys=keys)["id"]
        for name, value in (
            ("url", "https://push.example.net/other"),
            ("keys", Receiver().keys()),
            ("keys", None),
            ("deviceClientId", "other"),
        ):
            error = self.update(found, **{name: value})
            self.assertEqual((error["type"], error["properties"]), ("invalidProperties", [name]))
        self.assertIsNone(self.update(found, **self.subscription(keys=keys, types=["Email"])))
        self.assertEqual(self.rows()[0].types, ("Email",))

    def test_destroyed(self) -> None:
        """One that was destroyed is gone."""
        found = self.create()["id"]
        answer = self.one("PushSubscription/set", destroy=[found, "P999"])
        self.assertEqual(answer["destroyed"], [found])
        self.assertEqual(answer["notDestroyed"]["P999"]["type"], "notFound")
        self.assertEqual(self.one("PushSubscription/get", ids=[found])["notFound"], [found])

    def test_same_credentials(self) -> None:
        """RFC 8620 §7.2.1: others don't see it, nor the same user after the password was changed."""
        found = self.create()["id"]
        own = self.principal
        self.principal = replace(own, account_id=self.other.id)
        self.assertEqual(self.one("PushSubscription/get", ids=[found])["notFound"], [found])
        self.assertEqual(self.update(found, types=None)["type"], "notFound")
        self.assertIn(found, self.one("PushSubscription/set", destroy=[found])["notDestroyed"])
        with self.store.write() as s:
            store.set_password_hash(s, self.account.id, "y")
        self.principal = replace(own, credential_version=own.credential_version + 1)
        self.assertEqual(self.one("PushSubscription/get", ids=None)["list"], [])

    def test_limit(self) -> None:
        """`object-quota.push-subscription` holds; a destroyed one makes room."""
        found = [self.create()["id"] for _ in range(3)]
        self.assertEqual(self.not_created()["type"], "overQuota")
        self.one("PushSubscription/set", destroy=found[:1])
        self.create()

    def test_expired_make_room(self) -> None:
        """So do those that have expired."""
        for _ in range(3):
            self.create(expires="2023-11-15T00:00:00Z")
        self.store.clock = lambda: 1_700_000_000.0 + 2 * DAY
        self.assertEqual(self.one("PushSubscription/get", ids=None)["list"], [])
        self.create()

    @given(
        st.dictionaries(
            st.sampled_from(["deviceClientId", "url", "keys", "verificationCode", "expires", "types", "id", "x"]),
            st.none()
            | texts(30)
            | st.integers()
            | st.lists(texts(5), max_size=3)
            | st.fixed_dictionaries({"p256dh": texts(90), "auth": texts(24)}),
        )
    )
    @settings(deadline=None, max_examples=80)
    def test_any_values(self, given_: dict[str, Any]) -> None:
        """Whatever a client sends, the call is answered and nothing fails inside."""
        answer = self.one("PushSubscription/set", create={"k": given_}, update={"P1": given_})
        for row in self.rows():
            self.one("PushSubscription/set", destroy=[f"P{row.id}"])
        self.assertEqual(self.failures, [], answer)
