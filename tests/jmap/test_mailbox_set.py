"""Mailbox/set (RFC 8621 §2.5) and through it the standard method /set (RFC 8620 §5.3)."""

from __future__ import annotations

from typing import Any

from tests.jmap.bed import Bed, message

_PROPERTIES = (
    "id",
    "name",
    "parentId",
    "role",
    "sortOrder",
    "totalEmails",
    "unreadEmails",
    "totalThreads",
    "unreadThreads",
    "myRights",
    "isSubscribed",
)


class MailboxSetCase(Bed):
    """A test that sets mailboxes."""

    def set(self, **arguments: Any) -> Any:
        """The response of one Mailbox/set."""
        return self.call("Mailbox/set", **arguments)

    def create(self, **mailboxes: dict[str, Any]) -> dict[str, str]:
        """Create mailboxes, all of which must succeed; gives their ids by creation id."""
        response = self.set(create=mailboxes)
        self.assertIsNone(response["notCreated"])
        return {key: created["id"] for key, created in response["created"].items()}

    def mailbox(self, mailbox: str) -> Any:
        """A mailbox as it is."""
        return self.call("Mailbox/get", ids=[mailbox])["list"][0]

    def names(self, *mailboxes: str) -> list[str]:
        """The names that these have now."""
        return [self.mailbox(one)["name"] for one in mailboxes]


class CreateTests(MailboxSetCase):
    """New mailboxes."""

    def test_created(self) -> None:
        """RFC 8620 §5.3: the response holds what the server set and what was set to a default, and nothing else."""
        response = self.set(create={"k": {"name": "Work", "sortOrder": 3}})
        created = response["created"]["k"]
        self.assertEqual(set(created), set(_PROPERTIES) - {"name", "sortOrder"})
        self.assertEqual((created["isSubscribed"], created["parentId"]), (True, None))
        for name in ("updated", "destroyed", "notCreated", "notUpdated", "notDestroyed"):
            self.assertIsNone(response[name], name)
        self.assertNotEqual(response["oldState"], response["newState"])
        self.assertEqual(self.call("Mailbox/get", ids=[])["state"], response["newState"])

    def test_child_before_parent(self) -> None:
        """RFC 8620 §5.3: creates are ordered so that those that are referred to come first."""
        made = self.create(
            c={"name": "c", "parentId": "#b"}, b={"name": "b", "parentId": "#a"}, a={"name": "a", "parentId": None}
        )
        self.assertEqual(self.mailbox(made["c"])["parentId"], made["b"])
        self.assertEqual(self.mailbox(made["b"])["parentId"], made["a"])

    def test_circle(self) -> None:
        """Records that refer to each other in a circle are refused, and nothing hangs."""
        response = self.set(create={"a": {"name": "a", "parentId": "#b"}, "b": {"name": "b", "parentId": "#a"}})
        self.assertIsNone(response["created"])
        self.assertEqual({error["type"] for error in response["notCreated"].values()}, {"invalidProperties"})
        self.assertEqual(response["oldState"], response["newState"])

    def test_swapped_names(self) -> None:
        """RFC 8620 §5.3: two records may swap what must be unique, when the final state is valid."""
        made = self.create(a={"name": "A"}, b={"name": "B"}, c={"name": "C"})
        response = self.set(
            update={made["a"]: {"name": "B"}, made["b"]: {"name": "A"}, made["c"]: {"name": "Inbox"}},
        )
        self.assertEqual(sorted(response["updated"]), sorted([made["a"], made["b"]]))
        self.assertEqual(response["notUpdated"][made["c"]]["properties"], ["name"])
        self.assertEqual(self.names(made["a"], made["b"], made["c"]), ["B", "A", "C"])

    def test_destroyed_with_emails(self) -> None:
        """RFC 8621 §2.5: with onDestroyRemoveEmails those that are nowhere else are destroyed with it."""
        work = self.make_mailbox("Work")
        only, both = self.deliver(message("a"), work), self.deliver(message("b"), work, "inbox")
        response = self.set(destroy=[work])
        self.assertEqual(response["notDestroyed"][work]["type"], "mailboxHasEmail")
        response = self.set(destroy=[work], onDestroyRemoveEmails=True)
        self.assertEqual(response["destroyed"], [work])
        self.assertEqual(self.call("Email/get", ids=[only, both], properties=["id"])["notFound"], [only])
        self.assertEqual(self.email(both, "mailboxIds")["mailboxIds"], {self.inbox: True})
