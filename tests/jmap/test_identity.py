"""Identities (RFC 8621 §6)."""

from __future__ import annotations

from typing import Any

from stalwart import store
from stalwart.jmap.limits import Limits
from tests.jmap.bed import ALL, Bed

_EIGHT = {"id", "name", "email", "replyTo", "bcc", "textSignature", "htmlSignature", "mayDelete"}


class IdentityTests(Bed):
    """Identity/get, /changes and /set."""

    limits = Limits(max_identities=4)

    def ask(self, name: str, **arguments: Any) -> Any:
        """The response to one call with all capabilities."""
        calls = (name, {"accountId": self.account_id, **arguments})
        response = self.request(calls, using=ALL)["methodResponses"][0]
        self.assertEqual(response[0], name, response)
        return response[1]

    def identities(self) -> list[Any]:
        """All identities."""
        found: list[Any] = self.ask("Identity/get")["list"]
        return found

    def test_made_with_addresses(self) -> None:
        """RFC 8621 §6.1, §6.2, rule 78: every address has an identity with all eight properties."""
        [own] = self.identities()
        self.assertEqual(set(own), _EIGHT)
        wanted = {
            "name": "Ada",
            "email": "ada@example.org",
            "replyTo": None,
            "bcc": None,
            "textSignature": "",
            "htmlSignature": "",
            "mayDelete": False,
        }
        self.assertEqual({**wanted, "id": own["id"]}, own)
        state = self.ask("Identity/get")["state"]
        with self.store.write() as s:
            store.add_alias(s, self.account.id, "Countess@example.org")
        self.assertEqual([one["email"] for one in self.identities()], ["ada@example.org", "countess@example.org"])
        changes = self.ask("Identity/changes", sinceState=state)
        self.assertEqual(changes["created"], [self.identities()[1]["id"]])
        with self.store.write() as s:
            store.remove_alias(s, self.account.id, "countess@example.org")
        self.assertEqual([one["email"] for one in self.identities()], ["ada@example.org"])
        gone = self.ask("Identity/changes", sinceState=changes["newState"])
        self.assertEqual(gone["destroyed"], changes["created"])

    def test_set(self) -> None:
        """Further identities of the same address are made, changed and destroyed."""
        new = {
            "email": "ADA@example.org",
            "name": "Ada L.",
            "replyTo": [{"email": "list@example.net"}],
            "bcc": [{"name": "Archive", "email": "a@example.net"}],
            "textSignature": "-- \nAda",
        }
        made = self.ask("Identity/set", create={"k": new})
        created = made["created"]["k"]
        self.assertEqual(
            created,
            {
                "id": created["id"],
                "email": "ada@example.org",
                "replyTo": [{"name": None, "email": "list@example.net"}],
                "htmlSignature": "",
                "mayDelete": True,
            },
        )
        self.assertNotEqual(made["oldState"], made["newState"])
        patch = {"replyTo": None, "htmlSignature": "<b>Ada</b>", "email": "ada@example.org"}
        changed = self.ask("Identity/set", update={created["id"]: patch})
        self.assertEqual(changed["updated"], {created["id"]: None})
        shown = self.identities()[1]
        self.assertEqual((shown["replyTo"], shown["htmlSignature"], shown["name"]), (None, "<b>Ada</b>", "Ada L."))
        self.assertEqual(
            self.ask("Identity/changes", sinceState=made["newState"])["updated"],
            [created["id"]],
        )
        self.assertEqual(self.ask("Identity/set", destroy=[created["id"]])["destroyed"], [created["id"]])
        self.assertEqual(len(self.identities()), 1)

    def test_refused(self) -> None:
        """RFC 8621 §6.3: only addresses of the account; the address stays; the address' own identity stays."""
        [own] = self.identities()
        refused = self.ask(
            "Identity/set",
            create={
                "foreign": {"email": "eve@example.org"},
                "nowhere": {"email": "no address"},
                "missing": {"name": "x"},
                "lines": {"email": "ada@example.org", "name": "a\r\nBcc: b@example.net"},
                "server": {"email": "ada@example.org", "mayDelete": True},
                "address": {"email": "ada@example.org", "replyTo": [{"name": "x"}]},
                "many": {"email": "ada@example.org", "bcc": [{"email": "x@example.net"}] * 51},
                "long": {"email": "ada@example.org", "textSignature": "x" * 70_000},
            },
            update={own["id"]: {"email": "eve@example.org"}, "I99": {}},
            destroy=[own["id"]],
        )
        self.assertEqual(
            {name: error["type"] for name, error in refused["notCreated"].items()},
            {
                "foreign": "forbiddenFrom",
                "nowhere": "forbiddenFrom",
                "missing": "invalidProperties",
                "lines": "invalidProperties",
                "server": "invalidProperties",
                "address": "invalidProperties",
                "many": "invalidProperties",
                "long": "invalidProperties",
            },
        )
        self.assertEqual(refused["notUpdated"]["I99"]["type"], "notFound")
        [own] = self.identities()
        alone = self.ask("Identity/set", update={own["id"]: {"email": "eve@example.org"}})
        self.assertEqual(alone["notUpdated"][own["id"]]["properties"], ["email"])
        kept = self.ask("Identity/set", destroy=[own["id"]])
        self.assertEqual(kept["notDestroyed"][own["id"]]["type"], "forbidden")

    def test_quota(self) -> None:
        """`object-quota.identity` bounds them."""
        new = {str(number): {"email": "ada@example.org"} for number in range(5)}
        answer = self.ask("Identity/set", create=new)
        self.assertEqual((len(answer["created"]), len(answer["notCreated"])), (3, 2))
        self.assertEqual(answer["notCreated"]["4"]["type"], "overQuota")
