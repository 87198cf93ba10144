"""Quotas (RFC 9425)."""

from __future__ import annotations

from typing import Any

from stalwart import store
from stalwart.jmap.limits import Limits
from tests.jmap.bed import ALL, CORE, MAIL, QUOTA, Bed, message


class QuotaTests(Bed):
    """Quota/get, /changes and /query of an account that may hold 100,000 octets."""

    limits = Limits(max_mailboxes=50, max_identities=20)

    def setUp(self) -> None:
        """Give the account its quota."""
        super().setUp()
        self.set_quota(100_000)

    def set_quota(self, octets: int | None) -> None:
        """What `stalwart account quota` does."""
        with self.store.write() as s:
            store.set_quota(s, self.account.id, octets)

    def ask(self, name: str, using: tuple[str, ...] = ALL, **arguments: Any) -> Any:
        """The response to one call."""
        calls = (name, {"accountId": self.account_id, **arguments})
        response = self.request(calls, using=using)["methodResponses"][0]
        self.assertEqual(response[0], name, response)
        return response[1]

    def test_get(self) -> None:
        """RFC 9425 §4.1: all properties, those that may be left out too; `used` is what is used."""
        data = message()
        self.deliver(data)
        octets, mailboxes, identities = self.ask("Quota/get")["list"]
        self.assertEqual(
            octets,
            {
                "id": "Q1",
                "resourceType": "octets",
                "used": len(data),
                "hardLimit": 100_000,
                "scope": "account",
                "name": "Mail",
                "types": ["Email"],
                "warnLimit": None,
                "softLimit": None,
                "description": octets["description"],
            },
        )
        self.assertEqual(
            [(one["resourceType"], one["types"], one["used"], one["hardLimit"]) for one in (mailboxes, identities)],
            [("count", ["Mailbox"], 6, 50), ("count", ["Identity"], 1, 20)],
        )
        self.assertEqual(self.ask("Quota/get", ids=["Q3", "Q9"], properties=["used"])["notFound"], ["Q9"])

    def test_using(self) -> None:
        """RFC 9425 §4.1: no quota of types whose capability the client doesn't use."""
        shown = self.ask("Quota/get", using=(CORE, QUOTA, MAIL))["list"]
        self.assertEqual([one["id"] for one in shown], ["Q1", "Q2"])
        self.assertEqual(self.ask("Quota/get", using=(CORE, QUOTA))["list"], [])
        self.assertEqual(self.ask("Quota/query", using=(CORE, QUOTA))["ids"], [])

    def test_changes_of_use(self) -> None:
        """RFC 9425 §4.3: mail coming and going moves the state, and only `used` has changed."""
        state = self.ask("Quota/get")["state"]
        self.assertEqual(self.ask("Quota/changes", sinceState=state)["updated"], [])
        email = self.deliver(message())
        changes = self.ask("Quota/changes", sinceState=state)
        self.assertIn("Q1", changes["updated"])
        self.assertEqual(changes["updatedProperties"], ["used"])
        self.assertEqual((changes["created"], changes["destroyed"]), ([], []))
        self.assertEqual(changes["newState"], self.ask("Quota/get")["state"])
        with self.store.write() as s:
            store.destroy_email(s, self.account.id, int(email[1:]))
        self.assertIn("Q1", self.ask("Quota/changes", sinceState=changes["newState"])["updated"])
        self.make_mailbox("New")
        self.assertIn("Q2", self.ask("Quota/changes", sinceState=changes["newState"])["updated"])

    def test_changes_of_limits(self) -> None:
        """A changed limit is no mere change of use; one that comes or goes is created or destroyed."""
        states = [self.ask("Quota/get")["state"]]
        for octets in (200_000, None, 5):
            self.set_quota(octets)
            states.append(self.ask("Quota/get")["state"])
        self.assertEqual(len(set(states)), 4)
        self.assertEqual([one["id"] for one in self.ask("Quota/get")["list"]], ["Q1", "Q2", "Q3"])

        def changed(since: int) -> tuple[bool, bool, bool, object]:
            found = self.ask("Quota/changes", sinceState=states[since])
            kinds = (found["created"], found["updated"], found["destroyed"])
            return ("Q1" in kinds[0], "Q1" in kinds[1], "Q1" in kinds[2], found["updatedProperties"])

        self.assertEqual(changed(3), (False, False, False, None))
        self.assertEqual(changed(2), (True, False, False, None))
        self.assertEqual(changed(1), (False, True, False, None))
        self.set_quota(None)
        self.assertEqual(changed(3), (False, False, True, None))
        self.assertEqual(changed(2), (False, False, False, None))
        response = self.request(("Quota/changes", {"accountId": self.account_id, "sinceState": "999"}), using=ALL)
        self.assertEqual(response["methodResponses"][0][1]["type"], "cannotCalculateChanges")

    def test_query(self) -> None:
        """RFC 9425 §4.4: the four conditions and the two sorts."""
        for condition, found in (
            ({"name": "Mail"}, ["Q1", "Q2"]),
            ({"scope": "account"}, ["Q1", "Q2", "Q3"]),
            ({"scope": "global"}, []),
            ({"resourceType": "octets"}, ["Q1"]),
            ({"type": "Identity"}, ["Q3"]),
            ({"operator": "NOT", "conditions": [{"type": "Identity"}]}, ["Q1", "Q2"]),
            ({"operator": "OR", "conditions": [{"type": "Identity"}, {"type": "Email"}]}, ["Q1", "Q3"]),
        ):
            self.assertEqual(self.ask("Quota/query", filter=condition)["ids"], found, condition)
        for sort, found in (
            ([{"property": "name"}], ["Q3", "Q1", "Q2"]),
            ([{"property": "used", "isAscending": False}], ["Q2", "Q3", "Q1"]),
            ([{"property": "used"}, {"property": "name"}], ["Q1", "Q3", "Q2"]),
        ):
            self.assertEqual(self.ask("Quota/query", sort=sort)["ids"], found, sort)

    def test_query_changes(self) -> None:
        """RFC 9425 §4.5: what may have moved in a query by use is told."""
        arguments: dict[str, Any] = {"sort": [{"property": "used"}], "filter": {"resourceType": "count"}}
        before = self.ask("Quota/query", **arguments)
        self.assertEqual((before["ids"], before["canCalculateChanges"]), (["Q3", "Q2"], True))
        with self.store.write() as s:
            for number in range(6):
                store.add_alias(s, self.account.id, f"a{number}@example.org")
        changes = self.ask("Quota/queryChanges", sinceQueryState=before["queryState"], **arguments)
        left = [one for one in before["ids"] if one not in changes["removed"]]
        for added in changes["added"]:
            left.insert(added["index"], added["id"])
        self.assertEqual(left, self.ask("Quota/query", **arguments)["ids"])
        self.assertEqual(left, ["Q2", "Q3"])

    def test_overfull(self) -> None:
        """A quota below what is used keeps the mail and lets no more in."""
        self.deliver(message())
        self.set_quota(10)
        self.assertRaises(store.OverQuota, self.deliver, message("Another"))
        self.assertGreater(self.ask("Quota/get", ids=["Q1"])["list"][0]["used"], 10)
