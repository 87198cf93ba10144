"""Email/set, update and destroy (RFC 8621 §4.6), and what it does to Threads and states."""

from __future__ import annotations

from typing import Any

from stalwart.jmap.limits import Limits
from tests.jmap.bed import Bed, message


class EmailSetCase(Bed):
    """A test that sets Emails."""

    def set(self, **arguments: Any) -> Any:
        """The response of one Email/set."""
        return self.call("Email/set", **arguments)

    def update(self, email: str, patch: dict[str, Any]) -> Any:
        """Update one Email, which must succeed; gives what the response says of it."""
        response = self.set(update={email: patch})
        self.assertIsNone(response["notUpdated"])
        return response["updated"][email]

    def refused_update(self, email: str, patch: dict[str, Any]) -> Any:
        """Update one Email, which must be refused; gives the SetError."""
        response = self.set(update={email: patch})
        self.assertIsNone(response["updated"])
        self.assertEqual(response["oldState"], response["newState"])
        return response["notUpdated"][email]

    def keywords(self, email: str) -> list[str]:
        """The keywords that it has."""
        found: dict[str, bool] = self.email(email, "keywords")["keywords"]
        return list(found)


class KeywordTests(EmailSetCase):
    """Keywords, whole and by patch."""

    def test_whole_and_patched(self) -> None:
        """RFC 8621 §4.6: all replaced at once, or one added or removed; null for one that isn't there is a no-op."""
        email = self.deliver(message())
        self.assertIsNone(self.update(email, {"keywords": {"$seen": True, "a": True}}))
        self.assertIsNone(self.update(email, {"keywords/b": True, "keywords/a": None, "keywords/lost": None}))
        self.assertEqual(self.keywords(email), ["$seen", "b"])
        self.update(email, {"keywords": None})
        self.assertEqual(self.keywords(email), [])

    def test_case(self) -> None:
        """RFC 8621 §4.1.1: keywords are compared without case and come back in lower case; the client is told."""
        email = self.deliver(message(), keywords=("$seen",))
        told = self.update(email, {"keywords": {"$Seen": True, "Work": True}})
        self.assertEqual(told, {"keywords": {"$seen": True, "work": True}})
        self.update(email, {"keywords/$SEEN": None, "keywords/WORK": True})
        self.assertEqual(self.keywords(email), ["work"])

    def test_odd_keywords(self) -> None:
        """RFC 6901: a slash and a tilde are escaped in a path; a number is a key; # does not make a creation id."""
        email = self.deliver(message())
        self.update(email, {"keywords/a~1b~0": True, "keywords/0": True, "keywords/#k": True, "keywords/~01": True})
        self.assertEqual(self.keywords(email), ["#k", "0", "a/b~", "~1"])

    def test_refused(self) -> None:
        """RFC 8621 §4.1.1: the value is true, and the characters are those of an IMAP keyword."""
        email = self.deliver(message())
        patches: tuple[dict[str, Any], ...] = (
            {"keywords": {"a": False}},
            {"keywords": {"a b": True}},
            {"keywords": {"": True}},
            {"keywords": {"é": True}},
            {"keywords": ["a"]},
            {"keywords/a": False},
            {"keywords/a": 1},
            {"keywords/(": True},
        )
        for patch in patches:
            error = self.refused_update(email, patch)
            self.assertEqual((error["type"], error["properties"]), ("invalidProperties", ["keywords"]), patch)


class PatchTests(EmailSetCase):
    """What a PatchObject may be."""

    def test_invalid_patches(self) -> None:
        """RFC 8620 §5.3: not into arrays, not below what isn't there, no pointer inside another, no odd tilde."""
        email = self.deliver(message(), keywords=("$seen",))
        patches: tuple[dict[str, Any], ...] = (
            {"from/0/name": "x"},
            {"from/0": {}},
            {"lost/x": True},
            {"keywords/$seen/x": True},
            {"subject/x": 1},
            {"keywords": {}, "keywords/a": True},
            {"keywords/a": True, "keywords/A": True},
            {"keywords/~": True},
            {"keywords/~2": True},
        )
        for patch in patches:
            self.assertEqual(self.refused_update(email, patch)["type"], "invalidPatch", patch)
        self.assertEqual(self.keywords(email), ["$seen"])

    def test_whole_object(self) -> None:
        """RFC 8620 §5.3: an entire object is a valid patch, with header fields and bodies too."""
        email = self.deliver(message("Hé", Cc="x@example.org"))
        whole = self.email(email)
        more = self.email(email, "headers", "bodyStructure", "header:Subject:asText", "header:From:asAddresses:all")
        self.assertIsNone(self.update(email, {**whole, **more, "keywords": {"new": True}}))
        self.assertEqual(self.keywords(email), ["new"])

    def test_immutable(self) -> None:
        """RFC 8621 §4.1: all but mailboxIds and keywords stays as it is; what differs is listed."""
        email = self.deliver(message())
        error = self.refused_update(
            email, {"subject": "x", "size": 1, "header:X-A:asText": "x", "lost": None, "keywords": {}}
        )
        self.assertEqual(error["type"], "invalidProperties")
        self.assertEqual(sorted(error["properties"]), ["header:X-A:asText", "lost", "size", "subject"])

    def test_not_found(self) -> None:
        """RFC 8620 §5.3: ids that can't be found, of whatever form and of other accounts."""
        foreign = self.deliver(message(), account=self.other.id)
        response = self.set(update={foreign: {}, "E999": {}, "x": {}}, destroy=[foreign, "M1", ""])
        for errors, ids in (
            (response["notUpdated"], {foreign, "E999", "x"}),
            (response["notDestroyed"], {foreign, "M1", ""}),
        ):
            self.assertEqual(set(errors), ids)
            self.assertEqual({error["type"] for error in errors.values()}, {"notFound"})


class PlaceTests(EmailSetCase):
    """The mailboxes of an Email."""

    def test_moved(self) -> None:
        """RFC 8621 §4.6: all mailboxes at once, or one by patch."""
        email = self.deliver(message())
        junk, trash = self.mailboxes["junk"], self.mailboxes["trash"]
        self.update(email, {"mailboxIds": {junk: True}})
        self.update(email, {f"mailboxIds/{junk}": None, f"mailboxIds/{trash}": True, f"mailboxIds/{self.inbox}": True})
        self.assertEqual(set(self.email(email, "mailboxIds")["mailboxIds"]), {trash, self.inbox})

    def test_refused(self) -> None:
        """RFC 8621 §4.1.1: in one mailbox at least, all of which exist in this account; the value is true."""
        email = self.deliver(message())
        with_inbox = f"mailboxIds/{self.inbox}"
        patches: tuple[dict[str, Any], ...] = (
            {"mailboxIds": {}},
            {"mailboxIds": None},
            {with_inbox: None},
            {with_inbox: False},
            {"mailboxIds": {"M999": True}},
            {"mailboxIds/#k": True},
            {"mailboxIds": {"E1": True}},
            {"mailboxIds": [self.inbox]},
            {f"mailboxIds/M{self.foreign_inbox()}": True},
        )
        for patch in patches:
            error = self.refused_update(email, patch)
            self.assertEqual((error["type"], error["properties"]), ("invalidProperties", ["mailboxIds"]), patch)

    def foreign_inbox(self) -> int:
        """A mailbox of another account."""
        return max(int(mailbox[1:]) for mailbox in self.mailboxes.values()) + 1

    def test_created_in_the_request(self) -> None:
        """RFC 8620 §5.3: creation ids as keys of mailboxIds and in patch paths."""
        email = self.deliver(message())
        account = {"accountId": self.account_id}
        answer = self.request(
            ("Mailbox/set", {**account, "create": {"k": {"name": "k"}, "l": {"name": "l"}}}),
            ("Email/set", {**account, "update": {email: {"mailboxIds": {"#k": True}}}}),
            ("Email/set", {**account, "update": {email: {"mailboxIds/#l": True, "mailboxIds/#k": None}}}),
            createdIds={},
        )
        made = answer["createdIds"]
        self.assertEqual(set(made), {"k", "l"})
        self.assertEqual(set(self.email(email, "mailboxIds")["mailboxIds"]), {made["l"]})


class LimitTests(EmailSetCase):
    """What one Email may have."""

    limits = Limits(max_mailboxes_per_email=2, max_keywords_per_email=3)

    def test_too_many(self) -> None:
        """RFC 8621 §4.6: tooManyKeywords and tooManyMailboxes, and then nothing of the update is done."""
        email = self.deliver(message())
        patch: dict[str, Any] = {f"keywords/k{n}": True for n in range(4)}
        self.assertEqual(self.refused_update(email, patch)["type"], "tooManyKeywords")
        patch = {f"mailboxIds/{self.mailboxes[role]}": True for role in ("junk", "trash")}
        self.assertEqual(self.refused_update(email, {**patch, "keywords/a": True})["type"], "tooManyMailboxes")
        self.assertEqual(self.keywords(email), [])


class StateTests(EmailSetCase):
    """What moves when an Email changes."""

    def changes(self, name: str, since: str) -> Any:
        """The three lists of /changes."""
        found = self.call(f"{name}/changes", sinceState=since)
        return found["created"], found["updated"], found["destroyed"]

    def states(self) -> dict[str, str]:
        """The states of the three types."""
        return {name: self.call(f"{name}/get", ids=[])["state"] for name in ("Email", "Thread", "Mailbox")}

    def test_keyword(self) -> None:
        """Requirement 51: unreadThreads of other mailboxes moves their state; the Thread's stays."""
        first = self.deliver(message(Message_ID="<a@x>"))
        self.deliver(message("Re: Hello", References="<a@x>"), "archive", keywords=("$seen",))
        before = self.states()
        response = self.set(update={first: {"keywords/$seen": True}})
        self.assertEqual((response["oldState"], response["newState"]), (before["Email"], self.states()["Email"]))
        self.assertEqual(self.changes("Email", before["Email"]), ([], [first], []))
        self.assertEqual(self.changes("Thread", before["Thread"]), ([], [], []))
        archive = self.mailboxes["archive"]
        self.assertEqual(sorted(self.changes("Mailbox", before["Mailbox"])[1]), sorted([self.inbox, archive]))

    def test_destroyed(self) -> None:
        """RFC 8621 §3: a Thread changes with its Emails, and goes with its last one."""
        first = self.deliver(message(Message_ID="<a@x>"))
        second = self.deliver(message("Re: Hello", References="<a@x>"))
        thread = self.email(first, "threadId")["threadId"]
        before = self.states()
        self.assertEqual(self.set(destroy=[first, first])["destroyed"], [first])
        self.assertEqual(self.changes("Thread", before["Thread"]), ([], [thread], []))
        self.assertEqual(self.call("Thread/get", ids=[thread])["list"][0]["emailIds"], [second])
        self.set(destroy=[second])
        self.assertEqual(self.changes("Thread", before["Thread"]), ([], [], [thread]))
        self.assertEqual(self.changes("Email", before["Email"]), ([], [], [first, second]))
        self.assertEqual(self.call("Thread/get", ids=[thread])["notFound"], [thread])

    def test_some_fail(self) -> None:
        """RFC 8620 §5.3: one record that is refused does not keep the others from being written."""
        emails = [self.deliver(message(str(n))) for n in range(3)]
        patches: list[dict[str, Any]] = [
            {"keywords/a": True},
            {"keywords/a": True, "mailboxIds": {}},
            {"keywords/b": True},
        ]
        response = self.set(update=dict(zip(emails, patches, strict=True)))
        self.assertEqual(set(response["updated"]), {emails[0], emails[2]})
        self.assertEqual([self.keywords(email) for email in emails], [["a"], [], ["b"]])
        self.assertEqual(self.call("Email/get", ids=[])["state"], response["newState"])

    def test_undone(self) -> None:
        """A lost savepoint would move the state: what was undone leaves no trace in it."""
        email = self.deliver(message())
        before = self.states()
        self.set(update={email: {"keywords/a": True, "mailboxIds/M999": True}})
        self.assertEqual(self.states(), before)
