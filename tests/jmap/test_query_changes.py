"""/queryChanges (RFC 8620 §5.6) on Emails and Mailboxes. That it is right for any history: see test_follower."""

from __future__ import annotations

from typing import Any
from unittest import mock

from stalwart import store
from stalwart.store import query_changes
from tests.jmap.bed import NOW, Bed, message


class QueryChangesCase(Bed):
    """A test with a few Emails in the inbox, the oldest first in `self.emails`."""

    def setUp(self) -> None:
        """Ten Emails of ten threads."""
        super().setUp()
        self.emails = [self.deliver(message(f"s{n}"), at=NOW + n) for n in range(10)]
        self.of_inbox = {"filter": {"inMailbox": self.inbox}}

    def state(self, **query: Any) -> str:
        """The state of a query of Emails."""
        found: str = self.call("Email/query", **query)["queryState"]
        return found

    def changes(self, since: str, **arguments: Any) -> tuple[list[str], list[tuple[str, int]]]:
        """What Email/queryChanges removes, and what it adds at which index."""
        found = self.call("Email/queryChanges", sinceQueryState=since, **arguments)
        self.assertEqual(found["oldQueryState"], since)
        return found["removed"], [(item["id"], item["index"]) for item in found["added"]]


class EmailQueryChangesTests(QueryChangesCase):
    """Email/queryChanges."""

    def test_nothing(self) -> None:
        """Requirement 37: an unchanged state gives nothing, and another type's change doesn't move it."""
        since = self.state(**self.of_inbox)
        self.make_mailbox("New")
        self.assertEqual(self.state(**self.of_inbox), since)
        answer = self.call(
            "Email/queryChanges", sinceQueryState=since, calculateTotal=True, maxChanges=0, **self.of_inbox
        )
        self.assertEqual((answer["removed"], answer["added"], answer["total"]), ([], [], 10))
        self.assertEqual(answer["newQueryState"], since)
        self.assertNotIn("total", self.call("Email/queryChanges", sinceQueryState=since, **self.of_inbox))

    def test_came_and_went(self) -> None:
        """RFC 8620 §5.6: what was added has its index in the new results, in order; what went is removed."""
        since = self.state(**self.of_inbox)
        newest = self.deliver(message("new"), at=NOW + 100)
        oldest = self.deliver(message("old"), at=NOW - 100)
        self.call(
            "Email/set",
            destroy=[self.emails[3]],
            update={self.emails[4]: {"mailboxIds": {self.mailboxes["junk"]: True}}},
        )
        removed, added = self.changes(since, **self.of_inbox)
        self.assertEqual(set(removed), {self.emails[3], self.emails[4]})
        self.assertEqual(added, [(newest, 0), (oldest, 9)])

    def test_mutable(self) -> None:
        """Requirement 38: with a mutable property every changed result is both removed and added, else none is."""
        since = self.state(**self.of_inbox)
        self.call("Email/set", update={self.emails[7]: {"keywords/a": True}})
        self.assertEqual(self.changes(since, **self.of_inbox), ([self.emails[7]], [(self.emails[7], 2)]))
        self.assertEqual(self.changes(since), ([], []))
        self.assertEqual(self.changes(since, filter={"subject": "s7"}, sort=[{"property": "size"}]), ([], []))
        keyword = [{"property": "hasKeyword", "keyword": "a", "isAscending": False}]
        self.assertEqual(self.changes(since, sort=keyword), ([self.emails[7]], [(self.emails[7], 0)]))

    def test_up_to_id(self) -> None:
        """RFC 8620 §5.6: what was added behind upToId is left out, as long as nothing in the query can change."""
        since = self.state()
        newest = self.deliver(message("new"), at=NOW + 100)
        oldest = self.deliver(message("old"), at=NOW - 100)
        self.assertEqual(self.changes(since, upToId=self.emails[5]), ([], [(newest, 0)]))
        self.assertEqual(self.changes(since, upToId="E999"), ([], [(newest, 0), (oldest, 11)]))
        ignored = self.changes(since, upToId=self.emails[5], **self.of_inbox)
        self.assertEqual(ignored, ([], [(newest, 0), (oldest, 11)]))

    def test_collapsed(self) -> None:
        """RFC 8621 §4.5: a thread that changed is taken out, and its present first Email is put in."""
        first = self.deliver(message("Trip", Message_ID="<a@x>"), at=NOW + 50)
        query = {**self.of_inbox, "collapseThreads": True}
        since = self.state(**query)
        reply = self.deliver(message("Re: Trip", References="<a@x>"), at=NOW + 100)
        self.assertEqual(self.changes(since, **query), ([first], [(reply, 0)]))
        since = self.state(**query)
        self.call("Email/set", destroy=[reply])
        removed, added = self.changes(since, **query)
        self.assertEqual((set(removed), added), ({first, reply}, [(first, 0)]))

    def test_keywords_of_the_thread(self) -> None:
        """A condition on the thread's keywords moves Emails that did not change themselves."""
        first = self.deliver(message("Trip", Message_ID="<a@x>"), at=NOW + 50)
        reply = self.deliver(message("Re: Trip", References="<a@x>"), at=NOW + 100)
        query = {"filter": {"someInThreadHaveKeyword": "a"}}
        since = self.state(**query)
        self.call("Email/set", update={reply: {"keywords/a": True}})
        removed, added = self.changes(since, **query)
        self.assertEqual((set(removed), added), ({first, reply}, [(reply, 0), (first, 1)]))

    def test_max_changes(self) -> None:
        """RFC 8620 §5.6: each item of both lists is a change; more than maxChanges is tooManyChanges."""
        since = self.state(**self.of_inbox)
        self.call("Email/set", update={self.emails[7]: {"keywords/a": True}})
        self.assertEqual(len(self.changes(since, maxChanges=2, **self.of_inbox)[0]), 1)
        error = self.refused("Email/queryChanges", sinceQueryState=since, maxChanges=1, **self.of_inbox)
        self.assertEqual(error["type"], "tooManyChanges")
        error = self.refused("Email/queryChanges", sinceQueryState=since, maxChanges=-1, **self.of_inbox)
        self.assertEqual(error["type"], "invalidArguments")

    def test_unknown_states(self) -> None:
        """RFC 8620 §5.6: a state that was never given, or is older than what is remembered."""
        since = self.state()
        for state in ("", "x", "-1", "01", "99999", str(2**64)):
            error = self.refused("Email/queryChanges", sinceQueryState=state)
            self.assertEqual(error["type"], "cannotCalculateChanges", state)
        self.call("Email/set", destroy=[self.emails[0]])
        with self.store.write() as s:
            store.forget_destroyed(s, NOW + 1)
        self.assertEqual(self.refused("Email/queryChanges", sinceQueryState=since)["type"], "cannotCalculateChanges")

    def test_bounded(self) -> None:
        """The work is bounded: beyond that changes can't be calculated, rather than slowly."""
        since = self.state(**self.of_inbox)
        self.call("Email/set", update={self.emails[0]: {"keywords/a": True}})
        with mock.patch.object(query_changes, "_MOST_WALKED", 5):
            error = self.refused("Email/queryChanges", sinceQueryState=since, **self.of_inbox)
            self.assertEqual(error["type"], "cannotCalculateChanges")
        self.call("Email/set", update={email: {"keywords/a": True} for email in self.emails})
        with mock.patch.object(query_changes, "_MOST_CANDIDATES", 5):
            error = self.refused("Email/queryChanges", sinceQueryState=since, **self.of_inbox)
            self.assertEqual(error["type"], "cannotCalculateChanges")


class MailboxQueryChangesTests(QueryChangesCase):
    """Mailbox/queryChanges."""

    def test_counters(self) -> None:
        """Requirement 37: changes of counters alone don't move anything in a list of mailboxes."""
        since = self.call("Mailbox/query")["queryState"]
        self.deliver(message("new"))
        answer = self.call("Mailbox/queryChanges", sinceQueryState=since, calculateTotal=True)
        self.assertEqual((answer["removed"], answer["added"], answer["total"]), ([], [], 6))

    def test_renamed(self) -> None:
        """What was renamed is taken out and put in at its new place; what doesn't match any more is only taken out."""
        sort = [{"property": "name"}]
        since = self.call("Mailbox/query", sort=sort)["queryState"]
        self.call("Mailbox/set", update={self.inbox: {"name": "zzz"}, self.mailboxes["junk"]: {"isSubscribed": False}})
        answer = self.call("Mailbox/queryChanges", sinceQueryState=since, sort=sort, filter={"isSubscribed": True})
        self.assertEqual(set(answer["removed"]), {self.inbox, self.mailboxes["junk"]})
        self.assertEqual(answer["added"], [{"id": self.inbox, "index": 4}])

    def test_trees(self) -> None:
        """RFC 8621 §2.4 has no arguments for trees, so the changes of a tree can't be calculated."""
        for name in ("sortAsTree", "filterAsTree"):
            self.assertIs(self.call("Mailbox/query", **{name: True})["canCalculateChanges"], False)
            self.assertEqual(
                self.refused("Mailbox/queryChanges", sinceQueryState="0", **{name: True})["type"], "invalidArguments"
            )
        self.assertIs(self.call("Mailbox/query")["canCalculateChanges"], True)
