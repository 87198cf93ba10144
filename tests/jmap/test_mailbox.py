"""Mailboxes (RFC 8621 §2)."""

from __future__ import annotations

from typing import Any

from tests.jmap.bed import Bed, message


class MailboxTests(Bed):
    """Mailbox/get and Mailbox/changes."""

    def mailbox(self, role: str) -> Any:
        """The mailbox with this role."""
        return self.call("Mailbox/get", ids=[self.mailboxes[role]])["list"][0]

    def test_all_properties(self) -> None:
        """RFC 8621 §2, §2.1: every property; rule 54: subscribed by default; the inbox can't be deleted."""
        inbox = self.mailbox("inbox")
        rights = inbox.pop("myRights")
        self.assertEqual(
            inbox,
            {
                "id": self.inbox,
                "name": "Inbox",
                "parentId": None,
                "role": "inbox",
                "sortOrder": 1,
                "totalEmails": 0,
                "unreadEmails": 0,
                "totalThreads": 0,
                "unreadThreads": 0,
                "isSubscribed": True,
            },
        )
        self.assertEqual(
            rights,
            {
                "mayReadItems": True,
                "mayAddItems": True,
                "mayRemoveItems": True,
                "maySetSeen": True,
                "maySetKeywords": True,
                "mayCreateChild": True,
                "mayRename": True,
                "mayDelete": False,
                "maySubmit": True,
            },
        )
        self.assertIs(self.mailbox("archive")["myRights"]["mayDelete"], True)
        child = self.make_mailbox("Child", self.inbox)
        self.assertEqual(
            self.call("Mailbox/get", ids=[child], properties=["parentId"])["list"][0]["parentId"], self.inbox
        )

    def test_counts(self) -> None:
        """Rule 49: unread is neither seen nor draft; counts equal what Email/query finds at the same state."""
        self.deliver(message("A", Message_ID="<a@x>"), keywords=("$seen",))
        self.deliver(message("Re: A", Message_ID="<b@x>", In_Reply_To="<a@x>"), "archive")
        self.deliver(message("B"))
        self.deliver(message("C"), "inbox", "archive", keywords=("$draft",))
        self.deliver(message("Re: B", In_Reply_To="<none@x>"), "trash")
        for role, counts in (
            ("inbox", (3, 1, 3, 2)),
            ("archive", (2, 1, 2, 1)),
            ("trash", (1, 1, 1, 1)),
            ("junk", (0, 0, 0, 0)),
        ):
            mailbox = self.mailbox(role)
            got = tuple(mailbox[name] for name in ("totalEmails", "unreadEmails", "totalThreads", "unreadThreads"))
            self.assertEqual(got, counts, role)
            for collapse, count in ((False, counts[0]), (True, counts[2])):
                answer = self.call(
                    "Email/query",
                    filter={"inMailbox": mailbox["id"]},
                    collapseThreads=collapse,
                    calculateTotal=True,
                )
                self.assertEqual((answer["total"], len(answer["ids"])), (count, count))
            unread = {"operator": "NOT", "conditions": [{"hasKeyword": "$seen"}, {"hasKeyword": "$draft"}]}
            both = {"operator": "AND", "conditions": [{"inMailbox": mailbox["id"]}, unread]}
            self.assertEqual(self.call("Email/query", filter=both, calculateTotal=True)["total"], counts[1])

    def test_updated_properties(self) -> None:
        """Rule 50: updatedProperties names the counts when nothing else changed, and is null otherwise."""
        state = self.call("Mailbox/get", ids=[])["state"]
        self.assertIsNone(self.call("Mailbox/changes", sinceState=state)["updatedProperties"])
        self.deliver(message())
        answer = self.call("Mailbox/changes", sinceState=state)
        self.assertEqual(answer["updated"], [self.inbox])
        self.assertEqual(answer["updatedProperties"], ["totalEmails", "unreadEmails", "totalThreads", "unreadThreads"])
        account = {"accountId": self.account_id}
        chained = self.request(
            ("Mailbox/changes", {**account, "sinceState": state}),
            (
                "Mailbox/get",
                {
                    **account,
                    "#ids": {"resultOf": "0", "name": "Mailbox/changes", "path": "/updated"},
                    "#properties": {"resultOf": "0", "name": "Mailbox/changes", "path": "/updatedProperties"},
                },
            ),
        )["methodResponses"][1][1]["list"]
        self.assertEqual(
            chained,
            [{"id": self.inbox, "totalEmails": 1, "unreadEmails": 1, "totalThreads": 1, "unreadThreads": 1}],
        )
        made = self.make_mailbox("New")
        answer = self.call("Mailbox/changes", sinceState=state)
        self.assertEqual((answer["created"], answer["updatedProperties"]), ([made], None))


class MailboxQueryTests(Bed):
    """Mailbox/query."""

    def setUp(self) -> None:
        """A tree: Work (10 Mails, 9 Mails, mails), ärger (below it Ä)."""
        super().setUp()
        self.work = self.make_mailbox("Work")
        self.ten = self.make_mailbox("10 Mails", self.work)
        self.nine = self.make_mailbox("9 Mails", self.work)
        self.lower = self.make_mailbox("mails", self.work)
        self.trouble = self.make_mailbox("Ärger")
        self.deep = self.make_mailbox("MAILS too", self.nine)

    def find(self, **arguments: Any) -> list[str]:
        """The ids that Mailbox/query finds."""
        found: list[str] = self.call("Mailbox/query", **arguments)["ids"]
        return found

    def test_filters(self) -> None:
        """RFC 8621 §2.3: parentId, name (contains, without case), role, hasAnyRole, isSubscribed."""
        made = {self.work, self.ten, self.nine, self.lower, self.trouble, self.deep}
        with_role = set(self.mailboxes.values())
        for condition, found in (
            ({"parentId": self.work}, {self.ten, self.nine, self.lower}),
            ({"parentId": None}, with_role | {self.work, self.trouble}),
            ({"parentId": "nope"}, set()),
            ({"parentId": "M999"}, set()),
            ({"name": "MAIL"}, {self.ten, self.nine, self.lower, self.deep}),
            ({"name": "äRG"}, {self.trouble}),
            ({"name": ""}, made | with_role),
            ({"role": "inbox"}, {self.inbox}),
            ({"role": "nope"}, set()),
            ({"role": None}, made),
            ({"hasAnyRole": True}, with_role),
            ({"hasAnyRole": False}, made),
            ({"isSubscribed": True}, made | with_role),
            ({"isSubscribed": False}, set()),
            ({"parentId": self.work, "name": "10"}, {self.ten}),
            (
                {"operator": "NOT", "conditions": [{"hasAnyRole": True}, {"parentId": self.work}]},
                {self.work, self.trouble, self.deep},
            ),
            (
                {"operator": "OR", "conditions": [{"role": "sent"}, {"name": "work"}]},
                {self.mailboxes["sent"], self.work},
            ),
            ({}, made | with_role),
        ):
            self.assertEqual(set(self.find(filter=condition)), found, condition)
        for wrong in ({"role": 1}, {"name": None}, {"hasAnyRole": None}, {"isSubscribed": "x"}):
            self.assertEqual(self.refused("Mailbox/query", filter=wrong)["type"], "invalidArguments")
        self.assertEqual(self.refused("Mailbox/query", filter={"inMailbox": "x"})["type"], "unsupportedFilter")

    def test_sorts(self) -> None:
        """RFC 8621 §2.3: sortOrder, name, parentId; names by the collations that are advertised."""
        children = {"parentId": self.work}
        self.assertEqual(self.find(filter=children, sort=[{"property": "name"}]), [self.ten, self.nine, self.lower])
        self.assertEqual(
            self.find(filter=children, sort=[{"property": "name", "isAscending": False}]),
            [self.lower, self.nine, self.ten],
        )
        numeric = [{"property": "name", "collation": "i;ascii-numeric"}]
        self.assertEqual(self.find(filter=children, sort=numeric), [self.nine, self.ten, self.lower])
        umlaut = {"operator": "OR", "conditions": [{"name": "ärger"}, {"name": "work"}]}
        for collation in ("i;ascii-casemap", "i;unicode-casemap"):
            self.assertEqual(
                self.find(filter=umlaut, sort=[{"property": "name", "collation": collation}]),
                [self.work, self.trouble],
            )
        self.assertEqual(self.find(filter={"hasAnyRole": True}, sort=[{"property": "sortOrder"}])[0], self.inbox)
        by_parent = self.find(filter={"hasAnyRole": False}, sort=[{"property": "parentId", "isAscending": False}])
        self.assertEqual(by_parent[0], self.deep)
        self.assertEqual(self.refused("Mailbox/query", sort=[{"property": "role"}])["type"], "unsupportedSort")

    def test_sort_as_tree(self) -> None:
        """RFC 8621 §2.3: with sortAsTree children follow their parent, each set of them sorted."""
        found = self.find(sort=[{"property": "name"}], sortAsTree=True, filter={"hasAnyRole": False})
        self.assertEqual(found, [self.work, self.ten, self.nine, self.deep, self.lower, self.trouble])
        found = self.find(
            sort=[{"property": "name", "isAscending": False}], sortAsTree=True, filter={"hasAnyRole": False}
        )
        self.assertEqual(found, [self.trouble, self.work, self.lower, self.nine, self.deep, self.ten])

    def test_filter_as_tree(self) -> None:
        """RFC 8621 §2.3: with filterAsTree a mailbox needs all its ancestors among the results."""
        self.assertEqual(self.find(filter={"name": "mails"}, filterAsTree=True), [])
        both = {"operator": "OR", "conditions": [{"name": "work"}, {"name": "too"}, {"name": "10"}]}
        self.assertEqual(set(self.find(filter=both, filterAsTree=True)), {self.work, self.ten})

    def test_windows(self) -> None:
        """RFC 8620 §5.5 holds here too: position, anchor, limit, total."""
        everything = self.find(sort=[{"property": "name"}])
        self.assertEqual(len(everything), 12)
        answer = self.call("Mailbox/query", sort=[{"property": "name"}], position=-2, limit=1, calculateTotal=True)
        self.assertEqual((answer["ids"], answer["position"], answer["total"]), (everything[-2:-1], 10, 12))
        answer = self.call("Mailbox/query", sort=[{"property": "name"}], anchor=self.work, anchorOffset=-1, limit=2)
        at = everything.index(self.work)
        self.assertEqual((answer["ids"], answer["position"]), (everything[at - 1 : at + 1], at - 1))
        self.assertEqual(self.refused("Mailbox/query", anchor="M999")["type"], "anchorNotFound")
        self.assertEqual(self.refused("Mailbox/query", anchor="x")["type"], "anchorNotFound")
        self.assertEqual(self.refused("Mailbox/query", sortAsTree=None)["arguments"], ["sortAsTree"])
