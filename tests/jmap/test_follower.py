"""Two clients on one account: one writes at random, the other follows by /changes and /queryChanges alone."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from stalwart import store
from tests.jmap.bed import ALL, NOW, Bed, message

_COUNTS = ("totalEmails", "unreadEmails", "totalThreads", "unreadThreads")
_EMAIL = ("threadId", "mailboxIds", "keywords")
_numbers = st.integers(0, 1000)
_keywords = st.sets(st.sampled_from(["$seen", "$draft", "$flagged", "work"]), max_size=3)
_names = st.sampled_from(["A", "B", "C", "e\u0301", "\u00e9"])


def _queries(mailbox: str, other: str) -> list[tuple[str, dict[str, Any]]]:
    """Queries of all kinds: on what never changes, on what does, on what changes in other Emails of the thread."""

    def keyword(name: str) -> dict[str, Any]:
        return {"property": name, "keyword": "$flagged", "isAscending": False}

    return [
        ("Email", {"filter": {"inMailbox": mailbox}, "collapseThreads": True}),
        ("Email", {"filter": None, "sort": [{"property": "receivedAt"}]}),
        ("Email", {"sort": [{"property": "subject"}], "collapseThreads": True}),
        ("Email", {"filter": {"hasKeyword": "$flagged"}, "sort": [{"property": "size"}]}),
        ("Email", {"filter": {"notKeyword": "$seen"}, "sort": [keyword("hasKeyword"), {"property": "sentAt"}]}),
        ("Email", {"sort": [keyword("someInThreadHaveKeyword"), {"property": "subject"}], "collapseThreads": True}),
        ("Email", {"filter": {"allInThreadHaveKeyword": "$seen", "inMailbox": mailbox}}),
        ("Email", {"filter": {"noneInThreadHaveKeyword": "work"}, "sort": [keyword("allInThreadHaveKeyword")]}),
        (
            "Email",
            {
                "filter": {
                    "operator": "OR",
                    "conditions": [
                        {"inMailbox": other, "text": "hello"},
                        {"operator": "NOT", "conditions": [{"inMailboxOtherThan": [mailbox]}]},
                    ],
                },
                "collapseThreads": True,
            },
        ),
        ("Mailbox", {"sort": [{"property": "name"}]}),
        ("Mailbox", {"filter": {"isSubscribed": True}, "sort": [{"property": "sortOrder", "isAscending": False}]}),
        ("Mailbox", {"filter": {"parentId": mailbox}}),
    ]


class _Client(Bed):
    """The account, for a machine that is no test case itself."""

    def runTest(self) -> None:
        """Nothing: only what a Bed sets up is of use here."""


class Machine(RuleBasedStateMachine):
    """One history of an account."""

    def __init__(self) -> None:
        super().__init__()
        self.client = _Client()
        self.client.setUp()
        with self.client.store.write() as s:
            store.share_account(s, self.client.other.id, self.client.account.id, writing=True)
        self.clock = 0
        self.copies: dict[str, dict[str, Any]] = {"Mailbox": {}, "Thread": {}, "Email": {}}
        self.states = {name: self.client.call(f"{name}/get", ids=[])["state"] for name in self.copies}
        for name, copy in self.copies.items():
            copy.update(self.fetch(name))
        mailboxes = self.client.mailboxes
        self.queries = _queries(mailboxes["inbox"], mailboxes["trash"])
        self.results = [self.client.call(f"{name}/query", **query) for name, query in self.queries]

    def teardown(self) -> None:
        """Follow to the end, and close the store."""
        self.follow(3)
        self.follow_queries()
        self.client.store.close()

    # What the first client does

    def ids(self, name: str) -> list[str]:
        """The ids there are, as the writer knows them."""
        return sorted(one["id"] for one in self.client.call(f"{name}/get", ids=None, properties=["id"])["list"])

    def pick(self, name: str, number: int) -> str:
        """One of them, or an id of nothing."""
        ids = self.ids(name)
        return ids[number % len(ids)] if ids else "E999999"

    @rule(thread=st.integers(0, 4), places=st.sets(_numbers, min_size=1, max_size=3), keywords=_keywords)
    def deliver(self, thread: int, places: set[int], keywords: set[str]) -> None:
        """Mail comes in."""
        self.clock += 1
        mailboxes = {self.pick("Mailbox", place) for place in places}
        data = message(f"Hello {thread}", Message_ID=f"<{self.clock}@x>", References=f"<thread{thread}@x>")
        self.client.deliver(data, *sorted(mailboxes), at=NOW + self.clock % 3, keywords=tuple(keywords))

    @rule(thread=st.integers(0, 4), places=st.sets(_numbers, min_size=1, max_size=3), keywords=_keywords)
    def import_mail(self, thread: int, places: set[int], keywords: set[str]) -> None:
        """An uploaded message is imported."""
        self.clock += 1
        data = message(f"Hello {thread}", Message_ID=f"<{self.clock}@x>", References=f"<thread{thread}@x>")
        account = {"accountId": self.client.account_id}
        mailboxes = {self.pick("Mailbox", place): True for place in places}
        one = {"blobId": "#b", "mailboxIds": mailboxes, "keywords": dict.fromkeys(keywords, True)}
        responses = self.client.request(
            ("Blob/upload", {**account, "create": {"b": {"data": [{"data:asText": data.decode()}]}}}),
            ("Email/import", {**account, "emails": {"k": one}}),
            using=ALL,
        )["methodResponses"]
        assert responses[1][1]["created"], responses

    @rule(thread=st.integers(0, 4), places=st.sets(_numbers, min_size=1, max_size=3), replaced=_numbers)
    def write_draft(self, thread: int, places: set[int], replaced: int) -> None:
        """A draft is written, and the Email that it replaces goes with the same call."""
        self.clock += 1
        draft = {
            "mailboxIds": {self.pick("Mailbox", place): True for place in places},
            "keywords": {"$draft": True, "$seen": True},
            "subject": f"Hello {thread}",
            "messageId": [f"{self.clock}@x"],
            "references": [f"thread{thread}@x"],
        }
        response = self.client.call("Email/set", create={"d": draft}, destroy=[self.pick("Email", replaced)])
        assert response["created"], response

    @rule(emails=st.lists(_numbers, min_size=1, max_size=4), keyword=st.sampled_from(["$seen", "$flagged", "$draft"]))
    def flag(self, emails: list[int], keyword: str) -> None:
        """A keyword is switched."""
        update: dict[str, Any] = {}
        for number in emails:
            email = self.pick("Email", number)
            found = self.client.call("Email/get", ids=[email], properties=["keywords"])["list"]
            has = bool(found) and keyword in found[0]["keywords"]
            update[email] = {f"keywords/{keyword}": None if has else True}
        self.client.call("Email/set", update=update)

    @rule(email=_numbers, places=st.sets(_numbers, min_size=1, max_size=3), keywords=_keywords)
    def move(self, email: int, places: set[int], keywords: set[str]) -> None:
        """An Email gets other mailboxes and keywords."""
        mailboxes = {self.pick("Mailbox", place): True for place in places}
        patch = {"mailboxIds": mailboxes, "keywords": dict.fromkeys(keywords, True)}
        self.client.call("Email/set", update={self.pick("Email", email): patch})

    @rule(emails=st.lists(_numbers, min_size=1, max_size=3))
    def destroy(self, emails: list[int]) -> None:
        """Emails go."""
        self.client.call("Email/set", destroy=[self.pick("Email", email) for email in emails])

    @rule(name=_names, parent=_numbers, top=st.booleans())
    def make_mailbox(self, name: str, parent: int, top: bool) -> None:
        """A mailbox is made, and mail is put into it in the same request."""
        self.clock += 1
        create = {"name": name, "parentId": None if top else self.pick("Mailbox", parent)}
        account = {"accountId": self.client.account_id}
        email = self.pick("Email", parent)
        self.client.request(
            ("Mailbox/set", {**account, "create": {"k": create}}),
            ("Email/set", {**account, "update": {email: {"mailboxIds/#k": True}}}),
        )

    @rule(
        mailboxes=st.lists(_numbers, min_size=1, max_size=3),
        name=_names,
        parent=_numbers,
        subscribed=st.booleans(),
        role=st.sampled_from(["keep", "trash", "junk", None]),
    )
    def change_mailboxes(
        self, mailboxes: list[int], name: str, parent: int, subscribed: bool, role: str | None
    ) -> None:
        """Mailboxes are renamed, moved, given another role."""
        patch = {"name": name, "parentId": self.pick("Mailbox", parent), "isSubscribed": subscribed}
        if role != "keep":
            patch["role"] = role
        self.client.call("Mailbox/set", update={self.pick("Mailbox", one): patch for one in mailboxes})

    @rule(one=_numbers, another=_numbers)
    def swap_mailboxes(self, one: int, another: int) -> None:
        """Two mailboxes change their names and roles with each other."""
        found = self.client.call("Mailbox/get", ids=[self.pick("Mailbox", one), self.pick("Mailbox", another)])["list"]
        patches = [{"name": of["name"], "role": of["role"], "parentId": of["parentId"]} for of in found[::-1]]
        self.client.call("Mailbox/set", update={of["id"]: patch for of, patch in zip(found, patches, strict=True)})

    @rule(thread=st.integers(0, 4), place=_numbers, remove=st.booleans())
    def copy_in(self, thread: int, place: int, remove: bool) -> None:
        """Mail of a shared account is copied here, or moved."""
        self.clock += 1
        source = self.client.other.id
        data = message(f"Hello {thread}", Message_ID=f"<{self.clock}@x>", References=f"<thread{thread}@x>")
        email = self.client.deliver(data, account=source)
        responses = self.client.request(
            (
                "Email/copy",
                {
                    "accountId": self.client.account_id,
                    "fromAccountId": f"A{source}",
                    "create": {"c": {"id": email, "mailboxIds": {self.pick("Mailbox", place): True}}},
                    "onSuccessDestroyOriginal": remove,
                },
            ),
            ("Email/get", {"accountId": f"A{source}", "ids": [email], "properties": ["id"]}),
        )["methodResponses"]
        assert responses[-1][1]["notFound"] == ([email] if remove else []), responses

    @rule(mailboxes=st.lists(_numbers, min_size=1, max_size=2), remove=st.booleans())
    def destroy_mailboxes(self, mailboxes: list[int], remove: bool) -> None:
        """Mailboxes go."""
        destroy = [self.pick("Mailbox", one) for one in mailboxes]
        self.client.call("Mailbox/set", destroy=destroy, onDestroyRemoveEmails=remove)

    # What the second client does

    def fetch(self, name: str, ids: list[str] | None = None, properties: Any = None) -> dict[str, Any]:
        """Objects by id."""
        if properties is None and name == "Email":
            properties = _EMAIL
        found = self.client.call(f"{name}/get", ids=ids, properties=properties)["list"]
        return {one["id"]: one for one in found}

    @rule(most=st.integers(1, 5))
    def follow(self, most: int) -> None:
        """By /changes, in parts: then the copy is what a full fetch gives, and the counters are true."""
        for name, copy in self.copies.items():
            while True:
                changes = self.client.call(f"{name}/changes", sinceState=self.states[name], maxChanges=most)
                listed = [*changes["created"], *changes["updated"], *changes["destroyed"]]
                assert len(listed) == len(set(listed)) <= most
                for one in changes["destroyed"]:
                    copy.pop(one, None)
                copy.update(self.fetch(name, changes["created"]))
                for one, values in self.fetch(name, changes["updated"], changes.get("updatedProperties")).items():
                    copy[one] = {**copy.get(one, {}), **values}
                self.states[name] = changes["newState"]
                if not changes["hasMoreChanges"]:
                    break
            full = self.client.call(f"{name}/get", ids=None, properties=_EMAIL if name == "Email" else None)
            assert full["state"] == self.states[name]
            present = {one["id"]: one for one in full["list"]}
            assert copy == present, {key: (copy.get(key), present.get(key)) for key in copy.keys() | present.keys()}
        self.recount()

    @rule()
    def follow_queries(self) -> None:
        """By /queryChanges: then the list is what the query gives."""
        for index, (name, query) in enumerate(self.queries):
            old = self.results[index]
            assert old["canCalculateChanges"]
            since = old["queryState"]
            changes = self.client.call(f"{name}/queryChanges", sinceQueryState=since, calculateTotal=True, **query)
            assert [item["index"] for item in changes["added"]] == sorted(item["index"] for item in changes["added"])
            if changes["newQueryState"] == since:
                assert changes["added"] == changes["removed"] == []
            removed = set(changes["removed"])
            ids = [one for one in old["ids"] if one not in removed]
            for item in changes["added"]:
                ids.insert(item["index"], item["id"])
            full = self.client.call(f"{name}/query", calculateTotal=True, **query)
            assert ids == full["ids"], (name, query, old["ids"], changes, full["ids"])
            assert changes["total"] == full["total"] == len(ids)
            assert changes["newQueryState"] == full["queryState"]
            self.results[index] = full

    def recount(self) -> None:
        """RFC 8621 §2, by the words."""
        emails, mailboxes = self.copies["Email"], self.copies["Mailbox"]
        threads: dict[str, list[Any]] = defaultdict(list)
        for email in emails.values():
            threads[email["threadId"]].append(email)
        assert {thread: {one["id"] for one in members} for thread, members in threads.items()} == {
            thread: set(one["emailIds"]) for thread, one in self.copies["Thread"].items()
        }
        trash = next((one for one, mailbox in mailboxes.items() if mailbox["role"] == "trash"), None)
        for one, mailbox in mailboxes.items():
            inside = [email for email in emails.values() if one in email["mailboxIds"]]
            its_threads = {email["threadId"] for email in inside}
            unread_threads = {
                thread
                for thread in its_threads
                for email in threads[thread]
                if _unread(email)
                and (trash in email["mailboxIds"] if one == trash else set(email["mailboxIds"]) != {trash})
            }
            counted = (len(inside), sum(map(_unread, inside)), len(its_threads), len(unread_threads))
            assert counted == tuple(mailbox[name] for name in _COUNTS), (mailbox, counted)


def _unread(email: Any) -> bool:
    return not {"$seen", "$draft"} & set(email["keywords"])


class FollowerTests(SynchronousTestCase):
    """The machine."""

    def test_follows(self) -> None:
        """RFC 8620 §5.2, §5.6: a client that applies the changes has what it would have fetched anew."""
        run_state_machine_as_test(Machine, settings=settings(max_examples=15, stateful_step_count=30, deadline=None))
