"""What holds for every type and every method alike, whichever are in the catalog."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stalwart import store
from stalwart.jmap.blobs import Blobs
from stalwart.jmap.catalog import METHODS
from tests.jmap.bed import ALL, Bed, message
from tests.jmap.test_blobs import upload

# The least that each method needs beside accountId.
_LEAST: Mapping[str, dict[str, Any]] = {
    "Email/import": {"emails": {}},
    "Email/copy": {"fromAccountId": "A1", "create": {}},
}


def _having(argument: str) -> list[str]:
    """The methods with this argument."""
    return [
        name
        for name, method in METHODS.items()
        if method.arguments is not None and argument in method.arguments.__struct_encode_fields__
    ]


class EveryMethodBed(Bed):
    """Ada, with two mails; Eve's account is shared with her for writing."""

    def setUp(self) -> None:
        """Share, and deliver."""
        super().setUp()
        with self.store.write() as s:
            store.share_account(s, self.other.id, self.account.id, writing=True)
            inbox = store.find_mailbox(s, self.other.id, role="inbox")
        assert inbox is not None
        self.theirs = f"M{inbox.id}"
        self.first = self.deliver(message("One", Message_ID="<one@x>"))
        self.second = self.deliver(message("Two"))

    def one(self, name: str, **arguments: Any) -> tuple[str, Any]:
        """The name and the arguments of the response to a call."""
        arguments.setdefault("accountId", "A2" if name.endswith("/copy") else "A1")
        arguments = {**_LEAST.get(name, {}), **arguments}
        found, response, _ = self.request((name, arguments), using=ALL)["methodResponses"][0]
        return found, response

    def fine(self, name: str, **arguments: Any) -> Any:
        """The arguments of a response that is no error."""
        found, response = self.one(name, **arguments)
        self.assertEqual(found, name, response)
        return response

    def get_state(self, name: str, account: str = "A1") -> str:
        """What the next /get says."""
        state: str = self.fine(f"{name.partition('/')[0]}/get", accountId=account, ids=[])["state"]
        return state


class ArgumentTests(EveryMethodBed):
    """Arguments and members of responses."""

    def test_null_filter_and_sort(self) -> None:
        """RFC 8620 §5.5, §5.6: null is accepted for the filter and the sort of each query, and of its changes."""
        names = _having("filter")
        self.assertLessEqual({"Email/queryChanges", "Mailbox/query", "Quota/queryChanges"}, set(names))
        for name in names:
            if name == "SearchSnippet/get":
                self.assertEqual(len(self.fine(name, filter=None, emailIds=[self.first])["list"]), 1)
                continue
            more = {"sinceQueryState": self.get_state(name)} if name.endswith("Changes") else {}
            plain = self.fine(name, **more)
            self.assertEqual(self.fine(name, filter=None, sort=None, **more), plain)

    def test_defaults(self) -> None:
        """RFC 8620 §3.5: an argument that has a default may be left out, or be given as the default."""
        for name in ("Mailbox/get", "Thread/get", "Email/get", "Identity/get", "Quota/get"):
            self.assertEqual(self.fine(name), self.fine(name, ids=None, properties=None))
        for name in ("Mailbox/query", "Email/query", "Quota/query"):
            whole = {"position": 0, "anchor": None, "anchorOffset": 0, "limit": None, "calculateTotal": False}
            self.assertEqual(self.fine(name), self.fine(name, **whole))
        for name in ("Mailbox/set", "Email/set", "Identity/set"):
            self.assertEqual(self.fine(name), self.fine(name, ifInState=None, create=None, update=None, destroy=None))

    def test_if_in_state(self) -> None:
        """RFC 8620 §5.3, §5.4, RFC 8621 §4.8: in another state than ifInState nothing is done."""
        names = _having("ifInState")
        self.assertLessEqual({"Email/set", "Email/import", "Email/copy", "Mailbox/set", "Identity/set"}, set(names))
        for name in names:
            account = "A2" if name.endswith("/copy") else "A1"
            state = self.get_state(name, account)
            self.fine(name, ifInState=state)
            found, response = self.one(name, ifInState="another")
            self.assertEqual((found, response["type"]), ("error", "stateMismatch"), name)
            self.assertEqual(self.get_state(name, account), state)
        for argument in ("ifFromInState", "destroyFromIfInState"):
            self.assertEqual(_having(argument), ["Email/copy"])
        create = {"k": {"id": self.first, "mailboxIds": {self.theirs: True}}}
        found, response = self.one("Email/copy", ifFromInState="another", create=create)
        self.assertEqual((found, response["type"]), ("error", "stateMismatch"))
        self.assertEqual(self.fine("Email/query", accountId="A2")["ids"], [])

    def test_states_of_writes(self) -> None:
        """RFC 8620 §5.3, §5.4, RFC 8621 §4.8: oldState is what /get said, newState what the next /get says."""
        blobs = Blobs(self.store, self.limits, self.still_valid)
        upload(blobs, self.principal, "A1", message("Three"), "message/rfc822")
        blob = self.email(self.second, "blobId")["blobId"]
        box = self.make_mailbox("Box")
        wanted: dict[str, dict[str, Any]] = {
            "Email/set": {"update": {self.first: {"keywords/$seen": True}}, "destroy": [self.second]},
            "Email/import": {"emails": {"k": {"blobId": blob, "mailboxIds": {self.inbox: True}}}},
            "Email/copy": {"create": {"k": {"id": self.first, "mailboxIds": {self.theirs: True}}}},
            "Mailbox/set": {"create": {"k": {"name": "New"}}, "destroy": [box]},
            "Identity/set": {"create": {"k": {"email": "ada@example.org"}}},
            "VacationResponse/set": {"update": {"singleton": {"isEnabled": True}}},
        }
        # EmailSubmission/set has tests of its own.
        self.assertEqual(set(_having("ifInState")), {*wanted, "EmailSubmission/set"})
        for name in ("Email/import", "Email/copy", "Email/set", "Mailbox/set", "Identity/set", "VacationResponse/set"):
            account = "A2" if name.endswith("/copy") else "A1"
            before = self.get_state(name, account)
            response = self.fine(name, **wanted[name])
            self.assertEqual(response["oldState"], before, name)
            self.assertNotEqual(response["newState"], before, name)
            self.assertEqual(response["newState"], self.get_state(name, account), name)

    def test_members(self) -> None:
        """RFC 8620 §5.3, §5.4: every map and list of a write is there, and null where nothing is in it."""
        maps = {"created", "updated", "destroyed", "notCreated", "notUpdated", "notDestroyed"}
        for name in METHODS:
            if name.endswith("/set"):
                answer = self.request((name, {"accountId": "A1"} if name != "PushSubscription/set" else {}), using=ALL)
                response = answer["methodResponses"][0][1]
                self.assertEqual({member: response[member] for member in maps}, dict.fromkeys(maps), name)
                missing: dict[str, Any] = {"update": {"nope": {}, "": {}, "é": {}}, "destroy": ["nope2", "", "E0"]}
                if name != "PushSubscription/set":
                    missing["accountId"] = "A1"
                response = self.request((name, missing), using=ALL)["methodResponses"][0][1]
                for member, ids in (("notUpdated", {"nope", "", "é"}), ("notDestroyed", {"nope2", "", "E0"})):
                    self.assertEqual(
                        {one: error["type"] for one, error in response[member].items()},
                        dict.fromkeys(ids, "notFound"),
                        name,
                    )
        for name in ("Email/copy", "Email/import"):
            response = self.fine(name)
            self.assertEqual((response["created"], response["notCreated"]), (None, None), name)


class ChangesTests(EveryMethodBed):
    """Changes of many objects at once."""

    def test_large_commit(self) -> None:
        """RFC 8620 §5.2, RFC 8621 §4.3: one commit is told in parts, from states that can be gone on from."""
        box = self.make_mailbox("Box")
        emails = [self.deliver(message(f"{number}"), box) for number in range(20)]
        state, threads = self.get_state("Email"), self.get_state("Thread")
        self.call("Mailbox/set", destroy=[box], onDestroyRemoveEmails=True)
        for name, since, most in (("Email", state, 1), ("Email", state, 7), ("Thread", threads, 3)):
            destroyed: list[str] = []
            more, rounds = True, 0
            while more:
                answer = self.call(f"{name}/changes", sinceState=since, maxChanges=most)
                found = [*answer["created"], *answer["updated"], *answer["destroyed"]]
                self.assertLessEqual(len(found), most)
                self.assertEqual(answer["oldState"], since)
                destroyed += answer["destroyed"]
                since, more, rounds = answer["newState"], answer["hasMoreChanges"], rounds + 1
                self.assertLess(rounds, 30)
            self.assertEqual(since, self.get_state(name))
            self.assertEqual(len(destroyed), 20)
            if name == "Email":
                self.assertEqual(sorted(destroyed), sorted(emails))

    def test_announced(self) -> None:
        """RFC 8620 §7, RFC 8621 §1.5: every write has the new states of what it changed announced, no others."""
        announced: list[Mapping[int, Mapping[str, int]]] = []
        self.store.subscribe(announced.append)
        blob = self.email(self.second, "blobId")["blobId"]
        box = self.make_mailbox("Box")
        for name, types, arguments in (
            ("Email/set", {"Email", "Mailbox"}, {"update": {self.first: {"keywords/$seen": True}}}),
            ("Email/set", {"Email"}, {"update": {self.first: {"keywords/odd": True}}}),
            ("Email/set", {"Email", "Mailbox"}, {"update": {self.first: {"mailboxIds": {box: True}}}}),
            (
                "Email/import",
                {"Email", "Mailbox", "Thread", "EmailDelivery"},
                {"emails": {"k": {"blobId": blob, "mailboxIds": {self.inbox: True}}}},
            ),
            (
                "Email/copy",
                {"Email", "Mailbox", "Thread", "EmailDelivery"},
                {"create": {"k": {"id": self.first, "mailboxIds": {self.theirs: True}}}},
            ),
            ("Email/set", {"Email", "Mailbox", "Thread"}, {"destroy": [self.second]}),
            ("Mailbox/set", {"Mailbox"}, {"create": {"k": {"name": "New"}}}),
            ("Identity/set", {"Identity"}, {"create": {"k": {"email": "ada@example.org"}}}),
        ):
            announced.clear()
            account = "A2" if name.endswith("/copy") else "A1"
            self.fine(name, **arguments)
            [moved] = announced
            [(number, states)] = moved.items()
            self.assertEqual(f"A{number}", account, name)
            self.assertEqual(set(states) - {"Quota"}, types, (name, arguments))
            for type_name in types - {"EmailDelivery"}:
                self.assertEqual(str(states[type_name]), self.get_state(type_name, account))


class BlobTests(EveryMethodBed):
    """Blobs of what goes."""

    def test_last_reference(self) -> None:
        """RFC 8620 §6: a blob can still be named in the call that removes the last reference to it."""
        blob = self.email(self.second, "blobId")["blobId"]
        part = {"blobId": blob, "type": "message/rfc822"}
        create = {"k": {"mailboxIds": {self.inbox: True}, "subject": "It", "attachments": [part]}}
        answer = self.fine("Email/set", destroy=[self.second], create=create)
        self.assertEqual((answer["destroyed"], answer["notCreated"]), ([self.second], None))
        made = self.email(answer["created"]["k"]["id"], "attachments")["attachments"]
        data = self.fine("Blob/get", ids=[made[0]["blobId"]], properties=["data:asText"])["list"][0]["data:asText"]
        self.assertIn("Subject: Two", data)

    def test_copies_count(self) -> None:
        """RFC 8620 §6.3: what is copied to an account counts as an upload there, within the same bounds."""
        blob = self.email(self.second, "blobId")["blobId"]
        answer = self.fine("Blob/copy", fromAccountId="A1", blobIds=[blob])
        self.assertEqual((answer["copied"], answer["notCopied"]), ({blob: blob}, None))
        with self.store.read() as s:
            row = store.find_upload(s, self.other.id, self.account.id, blob[1:])
        self.assertIsNotNone(row)


class ThreadTests(EveryMethodBed):
    """Threads."""

    def test_late_link(self) -> None:
        """RFC 8621 §3: the threadId of an Email never changes, also when one arrives that belongs with two threads."""
        other = self.deliver(message("One", Message_ID="<two@x>"))
        before = [self.email(one, "threadId")["threadId"] for one in (self.first, other)]
        self.assertEqual(len(set(before)), 2)
        late = self.deliver(message("Re: One", References="<one@x> <two@x>"))
        after = [self.email(one, "threadId")["threadId"] for one in (self.first, other)]
        self.assertEqual(after, before)
        self.assertIn(self.email(late, "threadId")["threadId"], before)

    def test_many_keywords(self) -> None:
        """RFC 8621 §4.1.1: an account's Emails may have any number of different keywords between them."""
        emails = [self.deliver(message(f"{number}")) for number in range(4)]
        for number, email in enumerate(emails):
            keywords = {f"word-{number}-{index}": True for index in range(150)}
            self.assertEqual(self.call("Email/set", update={email: {"keywords": keywords}})["updated"], {email: None})
        for number, email in enumerate(emails):
            self.assertEqual(len(self.email(email, "keywords")["keywords"]), 150)
            self.assertEqual(self.query(filter={"hasKeyword": f"word-{number}-149"}), [email])


class HeaderFilterTests(EveryMethodBed):
    """The header filter."""

    def test_long_names(self) -> None:
        """RFC 8621 §4.4.1: names count as text that is searched for: of megabytes they took seconds to look for."""
        for header in (["x" * 5001], ["x" * 5001, "y"], ["x" * 3000, "y" * 3000]):
            self.assertEqual(self.refused("Email/query", filter={"header": header})["type"], "unsupportedFilter")
        self.assertEqual(self.query(filter={"header": ["x" * 500, "y"]}), [])
