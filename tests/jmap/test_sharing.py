"""Accounts that are shared: who sees what, who may change what, and that it ends at once."""

from __future__ import annotations

import json
from typing import Any

from msgspec.structs import replace

from stalwart import store
from stalwart.jmap.blobs import Blobs, NoSuchBlob, UploadForbidden
from stalwart.jmap.catalog import METHODS
from stalwart.jmap.session import session_object
from tests.jmap.bed import ALL, BASE_URL, BLOB, CORE, MAIL, QUOTA, SUBMISSION, Bed, message
from tests.jmap.test_blobs import upload


class SharingBed(Bed):
    """Ada is a guest of Eve; `self.shared` is Eve's account."""

    def setUp(self) -> None:
        """An e-mail in Eve's inbox, and her account shared for reading."""
        super().setUp()
        self.shared = f"A{self.other.id}"
        self.data = message("Eve's")
        self.email_id = self.deliver(self.data, account=self.other.id)
        with self.store.read() as s:
            self.boxes = {str(row.role): f"M{row.id}" for row in store.list_mailboxes(s, self.other.id)}
        self.share(writing=False)

    def share(self, *, writing: bool) -> None:
        """What `stalwart account share` does."""
        with self.store.write() as s:
            store.share_account(s, self.other.id, self.account.id, writing=writing)

    def unshare(self) -> None:
        """What `stalwart account unshare` does."""
        with self.store.write() as s:
            store.unshare_account(s, self.other.id, self.account.id)

    def session(self) -> Any:
        """Ada's Session object."""
        with self.store.read() as s:
            shares = store.shared_with(s, self.account.id)
        return json.loads(session_object(self.principal, shares, self.limits, BASE_URL).body)

    def raw(self, name: str, **arguments: Any) -> Any:
        """The response to one call on Eve's account: its name and its arguments."""
        arguments.setdefault("accountId", self.shared)
        return self.request((name, arguments), using=ALL)["methodResponses"][0][:2]

    def fine(self, name: str, **arguments: Any) -> Any:
        """The arguments of a response that is no error."""
        found, response = self.raw(name, **arguments)
        self.assertEqual(found, name, response)
        return response

    def error(self, name: str, **arguments: Any) -> str:
        """The type of the error."""
        found, response = self.raw(name, **arguments)
        self.assertEqual(found, "error", response)
        return str(response["type"])

    def as_owner(self) -> None:
        """Be Eve from now on."""
        self.principal = replace(self.principal, account_id=self.other.id, address="eve@example.org")


class SessionTests(SharingBed):
    """What the session says."""

    def test_session(self) -> None:
        """RFC 8620 §2: both accounts are there; the shared one is not personal, and nobody's primary account."""
        session = self.session()
        self.assertEqual(list(session["accounts"]), [self.account_id, self.shared])
        account = session["accounts"][self.shared]
        self.assertEqual(
            (account["name"], account["isPersonal"], account["isReadOnly"]), ("eve@example.org", False, True)
        )
        self.assertEqual(set(account["accountCapabilities"]), {MAIL, SUBMISSION, BLOB})
        self.assertIs(account["accountCapabilities"][MAIL]["mayCreateTopLevelMailbox"], False)
        self.assertEqual(set(session["primaryAccounts"].values()), {self.account_id})
        self.share(writing=True)
        self.assertIs(self.session()["accounts"][self.shared]["isReadOnly"], False)

    def test_state(self) -> None:
        """Rule 3: the state moves when an account is shared, with other rights too, and equals sessionState."""
        states = []
        for change in (lambda: None, lambda: self.share(writing=True), self.unshare):
            change()
            states.append(self.session()["state"])
            self.assertEqual(self.request(("Core/echo", {}))["sessionState"], states[-1])
        self.assertEqual(len(set(states)), 3)

    def test_quota_is_private(self) -> None:
        """RFC 8621 §1.4, RFC 9425 §8: how much somebody else uses is not told."""
        self.assertNotIn(QUOTA, self.session()["accounts"][self.shared]["accountCapabilities"])
        self.assertEqual(self.error("Quota/get"), "accountNotSupportedByMethod")

    def test_one_way(self) -> None:
        """Who shares an account does not see the guest's."""
        self.as_owner()
        self.assertEqual(self.error("Mailbox/get", accountId=self.account_id), "accountNotFound")


class ReadingTests(SharingBed):
    """A guest who may only read."""

    def test_reads(self) -> None:
        """All methods that read work."""
        self.assertEqual(self.fine("Email/query")["ids"], [self.email_id])
        self.assertEqual(self.fine("Email/get", ids=[self.email_id])["list"][0]["subject"], "Eve's")
        self.assertEqual(len(self.fine("Thread/get")["list"]), 1)
        self.assertEqual(len(self.fine("Mailbox/get")["list"]), 6)
        [identity] = self.fine("Identity/get")["list"]
        self.assertEqual((identity["email"], identity["mayDelete"]), ("eve@example.org", False))
        for name in ("Email", "Mailbox", "Thread", "Identity"):
            state = self.fine(f"{name}/get", ids=[])["state"]
            self.assertEqual(self.fine(f"{name}/changes", sinceState=state)["updated"], [])

    def test_rights(self) -> None:
        """RFC 8621 §2: myRights says that there is nothing but reading."""
        for box in self.fine("Mailbox/get")["list"]:
            rights = box["myRights"]
            self.assertEqual([name for name, given in rights.items() if given], ["mayReadItems"])

    def test_writes_nothing(self) -> None:
        """RFC 8620 §2: every /set is accountReadOnly, also one that would change nothing."""
        for name in ("Email/set", "Mailbox/set", "Identity/set"):
            self.assertEqual(self.error(name), "accountReadOnly")
        self.assertEqual(self.error("Email/import", emails={}), "accountReadOnly")
        self.assertEqual(self.error("Blob/upload", create={}), "accountReadOnly")
        blobs = Blobs(self.store, self.limits, self.still_valid)
        self.assertRaises(UploadForbidden, upload, blobs, self.principal, self.shared, b"x", "a/b")
        self.assertRaises(UploadForbidden, blobs.check_account, self.principal, self.shared)

    def test_every_method(self) -> None:
        """RFC 8620 §3.6.2: what each method there is says to a guest who reads, who writes, and who was sent away."""
        subjects = {"Core/echo", "PushSubscription/get", "PushSubscription/set"}  # of no account
        private = {name for name in METHODS if name.startswith(("Quota/", "VacationResponse/"))}
        writing = {
            "Blob/copy",
            "Blob/upload",
            "Email/copy",
            "Email/import",
            "Email/set",
            "EmailSubmission/set",
            "Identity/set",
            "Mailbox/set",
        }
        own = {"fromAccountId": self.account_id}
        special: dict[str, Any] = {
            "Blob/copy": {**own, "blobIds": []},
            "Blob/lookup": {"typeNames": ["Email"], "ids": []},
            "Blob/upload": {"create": {}},
            "Email/copy": {**own, "create": {}},
            "Email/import": {"emails": {}},
            "Email/parse": {"blobIds": []},
            "SearchSnippet/get": {"emailIds": [self.email_id], "filter": {"text": "eve"}},
        }
        usual: dict[str, Any] = {
            "get": {"ids": []},
            "changes": {"sinceState": "0"},
            "queryChanges": {"sinceQueryState": "0"},
        }
        for rights in ("read", "write", "none"):
            self.unshare()
            if rights != "none":
                self.share(writing=rights == "write")
            for name in METHODS.keys() - subjects:
                found, response = self.raw(name, **special.get(name, usual.get(name.partition("/")[2], {})))
                outcome = response["type"] if found == "error" else "fine"
                wanted = "fine"
                if rights == "none":
                    wanted = "accountNotFound"
                elif name in private:
                    wanted = "accountNotSupportedByMethod"
                elif name in writing and rights == "read":
                    wanted = "accountReadOnly"
                self.assertEqual(outcome, wanted, (name, rights, response))

    def test_subscriptions(self) -> None:
        """RFC 8621 §2, rule 54: isSubscribed may be set nonetheless, each user's own; nothing else of a mailbox."""
        archive, junk = self.boxes["archive"], self.boxes["junk"]
        before = self.fine("Mailbox/get", ids=[archive, junk])["list"]
        self.assertEqual([box["isSubscribed"] for box in before], [False, False])
        answer = self.fine("Mailbox/set", update={archive: {"isSubscribed": True}, junk: {"name": "x"}})
        self.assertEqual(answer["updated"], {archive: None})
        self.assertEqual(answer["notUpdated"][junk]["type"], "forbidden")
        both = {archive: {"isSubscribed": False, "sortOrder": 9}}
        self.assertEqual(self.fine("Mailbox/set", update=both)["notUpdated"][archive]["type"], "forbidden")
        after = self.fine("Mailbox/get", ids=[archive, junk])["list"]
        self.assertEqual(after, [{**before[0], "isSubscribed": True}, before[1]])
        whole = {**after[0], "isSubscribed": False}
        self.assertEqual(self.fine("Mailbox/set", update={archive: whole})["updated"], {archive: None})
        self.assertEqual(self.fine("Mailbox/get", ids=[archive])["list"], [before[0]])
        subscribe = {archive: {"isSubscribed": True}}
        for more in ({"create": {"k": {"name": "x"}}}, {"destroy": [junk]}):
            self.assertEqual(self.error("Mailbox/set", update=subscribe, **more), "accountReadOnly")
        self.as_owner()
        self.assertEqual({box["isSubscribed"] for box in self.fine("Mailbox/get")["list"]}, {True})

    def test_blobs(self) -> None:
        """RFC 8620 §6: the blobs of a shared account's mail are there; the owner's uploads are not."""
        blobs = Blobs(self.store, self.limits, self.still_valid)
        blob = self.fine("Email/get", ids=[self.email_id], properties=["blobId"])["list"][0]["blobId"]
        self.assertEqual(blobs.open(self.principal, self.shared, blob).read(0, 9999), self.data)
        self.assertRaises(NoSuchBlob, blobs.open, self.principal, self.account_id, blob)
        owner = replace(self.principal, account_id=self.other.id, address="eve@example.org")
        private = json.loads(upload(blobs, owner, self.shared, b"Eve's alone", "a/b"))["blobId"]
        self.assertRaises(NoSuchBlob, blobs.open, self.principal, self.shared, private)
        self.assertEqual(self.fine("Blob/get", ids=[private])["notFound"], [private])


class WritingTests(SharingBed):
    """A guest who may change the mail."""

    def setUp(self) -> None:
        """Share for writing."""
        super().setUp()
        self.share(writing=True)

    def test_mail(self) -> None:
        """Mail is marked, moved and removed; its owner sees that, and hears of it by /changes."""
        state = self.fine("Email/get", ids=[])["state"]
        patch = {"keywords/$seen": True, "mailboxIds": {self.boxes["archive"]: True}}
        self.assertEqual(self.fine("Email/set", update={self.email_id: patch})["updated"], {self.email_id: None})
        self.as_owner()
        shown = self.fine("Email/get", ids=[self.email_id])["list"][0]
        self.assertEqual((shown["keywords"], shown["mailboxIds"]), ({"$seen": True}, {self.boxes["archive"]: True}))
        self.assertEqual(self.fine("Email/changes", sinceState=state)["updated"], [self.email_id])

    def test_mailboxes(self) -> None:
        """The mailboxes themselves stay the owner's, and myRights says so."""
        for box in self.fine("Mailbox/get")["list"]:
            refused = {name for name, given in box["myRights"].items() if not given}
            self.assertEqual(refused, {"mayCreateChild", "mayRename", "mayDelete", "maySubmit"})
        archive = self.boxes["archive"]
        answer = self.fine(
            "Mailbox/set",
            create={"new": {"name": "New"}, "child": {"name": "Child", "parentId": archive}},
            update={archive: {"name": "Old"}, self.boxes["junk"]: {"sortOrder": 9}},
            destroy=[self.boxes["trash"]],
        )
        errors = [*answer["notCreated"].values(), *answer["notUpdated"].values(), *answer["notDestroyed"].values()]
        self.assertEqual({error["type"] for error in errors}, {"forbidden"})
        self.assertEqual(len(errors), 5)

    def test_identities(self) -> None:
        """So do the identities."""
        [own] = self.fine("Identity/get")["list"]
        answer = self.fine(
            "Identity/set",
            create={"new": {"email": "eve@example.org"}},
            update={own["id"]: {"name": "x"}},
            destroy=[own["id"]],
        )
        errors = [*answer["notCreated"].values(), *answer["notUpdated"].values(), *answer["notDestroyed"].values()]
        self.assertEqual([error["type"] for error in errors], ["forbidden", "willDestroy", "forbidden"])
        changed = self.fine("Identity/set", update={own["id"]: {"name": "x"}})
        self.assertEqual(changed["notUpdated"][own["id"]]["type"], "forbidden")

    def test_subscriptions(self) -> None:
        """RFC 8621 §2, rule 54: isSubscribed is each user's own, and false for mailboxes of others at first."""
        archive = self.boxes["archive"]

        def subscribed() -> list[str]:
            return [box["id"] for box in self.fine("Mailbox/get")["list"] if box["isSubscribed"]]

        self.assertEqual(subscribed(), [])
        state = self.fine("Mailbox/get", ids=[])["state"]
        answer = self.fine("Mailbox/set", update={archive: {"isSubscribed": True}})
        self.assertEqual((answer["updated"], answer["oldState"]), ({archive: None}, state))
        self.assertEqual(subscribed(), [archive])
        self.assertEqual(self.fine("Mailbox/query", filter={"isSubscribed": True})["ids"], [archive])
        self.assertEqual(self.fine("Mailbox/changes", sinceState=state)["updated"], [archive])
        principal = self.principal
        self.as_owner()
        self.fine("Mailbox/set", update={archive: {"isSubscribed": False}})
        self.assertEqual(len(subscribed()), 5)
        self.principal = principal
        self.assertEqual(subscribed(), [archive])
        self.unshare()
        self.share(writing=True)
        self.assertEqual(subscribed(), [])

    def test_uploads(self) -> None:
        """RFC 8620 §6.1: what a guest uploads to the account is theirs until mail names it."""
        blobs = Blobs(self.store, self.limits, self.still_valid)
        blobs.check_account(self.principal, self.shared)
        blob = json.loads(upload(blobs, self.principal, self.shared, message("From Ada"), "a/b"))["blobId"]
        blobs.open(self.principal, self.shared, blob)
        owner = replace(self.principal, account_id=self.other.id, address="eve@example.org")
        self.assertRaises(NoSuchBlob, blobs.open, owner, self.shared, blob)
        emails = {"k": {"blobId": blob, "mailboxIds": {self.boxes["inbox"]: True}}}
        self.assertIn("k", self.fine("Email/import", emails=emails)["created"])
        blobs.open(owner, self.shared, blob)


class EndTests(SharingBed):
    """When a share is taken back."""

    def test_at_once(self) -> None:
        """It ends with the next call, also in the middle of a request, for writing and reading and downloads."""
        self.share(writing=True)
        blob = self.fine("Email/get", ids=[self.email_id], properties=["blobId"])["list"][0]["blobId"]
        real, calls = self.engine.count, []

        def count(method: str, outcome: str) -> None:
            real(method, outcome)
            calls.append(method)
            if len(calls) == 2:
                self.unshare()

        self.patch(self.engine, "count", count)
        patch = {"accountId": self.shared, "update": {self.email_id: {"keywords/$seen": True}}}
        names = [
            (name, arguments.get("type"))
            for name, arguments, _ in self.request(
                ("Email/set", patch),
                ("Email/get", {"accountId": self.shared, "ids": []}),
                ("Email/set", {"accountId": self.shared}),
                ("Email/get", {"accountId": self.shared, "ids": []}),
            )["methodResponses"]
        ]
        gone = ("error", "accountNotFound")
        self.assertEqual(names, [("Email/set", None), ("Email/get", None), gone, gone])
        blobs = Blobs(self.store, self.limits, self.still_valid)
        self.assertRaises(NoSuchBlob, blobs.open, self.principal, self.shared, blob)
        self.assertRaises(NoSuchBlob, blobs.check_account, self.principal, self.shared)
        self.assertEqual(list(self.session()["accounts"]), [self.account_id])

    def test_fewer_rights(self) -> None:
        """Rights that were taken back are gone within the request as well."""
        self.share(writing=True)
        real = self.engine.count

        def count(method: str, outcome: str) -> None:
            real(method, outcome)
            self.share(writing=False)

        self.patch(self.engine, "count", count)
        calls = [("Email/set", {"accountId": self.shared})] * 2
        first, second = self.request(*calls)["methodResponses"]
        self.assertEqual((first[0], second[1]["type"]), ("Email/set", "accountReadOnly"))

    def test_deleted_account(self) -> None:
        """With the owner's account goes what was shared of it, and with the guest's what was shared with them."""
        with self.store.write() as s:
            store.share_account(s, self.account.id, self.other.id, writing=True)
            store.delete_account(s, self.other.id)
            self.assertEqual((store.shared_with(s, self.account.id), store.guests_of(s, self.account.id)), ((), []))
        self.assertEqual(self.error("Email/get", ids=[]), "accountNotFound")
        self.assertEqual(self.fine("Core/echo", accountId=1), {"accountId": 1})
        self.assertEqual(self.request(("Core/echo", {}), using=(CORE,))["methodResponses"][0][0], "Core/echo")
