"""Email/import, Email/parse and Email/copy (RFC 8621 §4.7 to §4.9)."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stalwart import store
from stalwart.jmap.limits import Limits
from tests.jmap.bed import CORE, MAIL, NOW, message
from tests.jmap.test_email_create import CreateBed

RECEIVED = "2014-10-30T06:13:00Z"


def traced(**fields: str) -> bytes:
    """A message that two servers took."""
    return (
        b"Received: by b.example; Thu, 30 Oct 2014 06:13:00 +0000\r\n"
        b"Received: by a.example; Thu, 30 Oct 2014 06:12:00 +0000\r\n"
    ) + message(**fields)


def forwarded(inner: bytes, encoding: str = "7bit") -> bytes:
    """A message with another one attached."""
    boundary = b"q%d" % len(inner)
    return (
        b"From: a@b.example\r\nSubject: Fwd\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="
        + boundary
        + b"\r\n\r\n--"
        + boundary
        + b"\r\n\r\nSee below.\r\n--"
        + boundary
        + b"\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: "
        + encoding.encode()
        + b"\r\n\r\n"
        + inner
        + b"\r\n--"
        + boundary
        + b"--\r\n"
    )


class ImportTests(CreateBed):
    """Email/import."""

    def imported(self, **emails: Any) -> Any:
        """The response, each message going to the inbox if nothing else is said."""
        for one in emails.values():
            one.setdefault("mailboxIds", {self.inbox: True})
        return self.call("Email/import", emails=emails)

    def error(self, **properties: Any) -> Any:
        """The SetError that an import ends with."""
        response = self.imported(k=properties)
        self.assertIsNone(response["created"], response)
        return response["notCreated"]["k"]

    def test_imported(self) -> None:
        """An upload becomes an Email with the mailboxes, keywords and time that were given."""
        octets = message("Imported")
        blob = self.upload(octets)
        response = self.imported(k={"blobId": blob, "keywords": {"$Seen": True}, "receivedAt": "2020-01-02T03:04:05Z"})
        made = response["created"]["k"]
        self.assertEqual(set(made), {"id", "blobId", "threadId", "size"})
        self.assertEqual((made["blobId"], made["size"], response["notCreated"]), (blob, len(octets), None))
        self.assertNotEqual(response["oldState"], response["newState"])
        self.assertEqual(response["newState"], self.call("Email/get", ids=[])["state"])
        found = self.email(made["id"], "subject", "keywords", "mailboxIds", "receivedAt", "threadId")
        self.assertEqual(
            (found["subject"], found["keywords"], found["mailboxIds"], found["receivedAt"], found["threadId"]),
            ("Imported", {"$seen": True}, {self.inbox: True}, "2020-01-02T03:04:05Z", made["threadId"]),
        )
        self.assertEqual(self.query(filter={"text": "imported"}), [made["id"]])

    def test_received_at(self) -> None:
        """Rule 75: the default is the time of the most recent Received header, or now."""
        response = self.imported(a={"blobId": self.upload(traced())}, b={"blobId": self.upload(message())})
        times = [self.email(response["created"][key]["id"], "receivedAt")["receivedAt"] for key in "ab"]
        self.assertEqual(times, [RECEIVED, "2023-11-14T22:13:20Z"])

    def test_received_out_of_time(self) -> None:
        """RFC 8621 §4.8: a Received field whose date no UTCDate can say doesn't count, and the Email can be read."""
        blob = self.upload(b"Received: by x; Fri, 31 Dec 9999 23:59:59 -0100\r\n" + message())
        made = self.imported(k={"blobId": blob})["created"]["k"]["id"]
        self.assertEqual(self.email(made, "receivedAt")["receivedAt"], "2023-11-14T22:13:20Z")

    def test_duplicates(self) -> None:
        """The same octets twice are two Emails with mailboxes and keywords of their own."""
        blob = self.upload(message())
        one, two = (self.imported(k={"blobId": blob})["created"]["k"]["id"] for _ in range(2))
        self.assertNotEqual(one, two)
        self.call("Email/set", update={one: {"keywords": {"$flagged": True}}})
        self.assertEqual(self.email(two, "keywords")["keywords"], {})

    def test_part_of_a_message(self) -> None:
        """A message attached to another one is imported by the blobId of its part, encoded or not."""
        inner = message("Inner")
        for encoding, octets in (("7bit", inner), ("quoted-printable", inner.replace(b"=", b"=3D"))):
            outer = self.deliver(forwarded(octets, encoding))
            part = self.email(outer, "attachments")["attachments"][0]
            made = self.imported(k={"blobId": part["blobId"]})["created"]["k"]
            self.assertEqual(made["blobId"], f"b{store.blob_hash(inner)}")
            self.assertEqual(self.email(made["id"], "subject")["subject"], "Inner")

    def test_refused(self) -> None:
        """RFC 8621 §4.8: what is wrong is invalidProperties by name; octets that are no message are invalidEmail."""
        blob = self.upload(message())
        for properties, names in (
            ({}, ["blobId"]),
            ({"blobId": "nope"}, ["blobId"]),
            ({"blobId": 7}, ["blobId"]),
            ({"blobId": blob, "mailboxIds": {}}, ["mailboxIds"]),
            ({"blobId": blob, "mailboxIds": {"M999": True}}, ["mailboxIds"]),
            ({"blobId": blob, "mailboxIds": {self.inbox: False}}, ["mailboxIds"]),
            ({"blobId": blob, "mailboxIds": None}, ["mailboxIds"]),
            ({"blobId": blob, "keywords": {"a b": True}}, ["keywords"]),
            ({"blobId": blob, "keywords": {"a": False}}, ["keywords"]),
            ({"blobId": blob, "receivedAt": "soon"}, ["receivedAt"]),
            ({"blobId": blob, "receivedAt": "2020-02-30T00:00:00Z"}, ["receivedAt"]),
            ({"blobId": blob, "more": 1}, ["more"]),
        ):
            error = self.error(**properties)
            self.assertEqual((error["type"], error.get("properties")), ("invalidProperties", names), properties)
        for junk in (b"", b"\0\1\2", b"\x89PNG\r\n\x1a\n\0\0", b"just some words\r\n\r\nand more: here\r\n"):
            self.assertEqual(self.error(blobId=self.upload(junk))["type"], "invalidEmail", junk)
        self.assertEqual(self.query(), [])

    def test_quota_and_state(self) -> None:
        """overQuota for one message alone; ifInState is checked; the number of messages is bounded."""
        small, large = self.upload(message()), self.upload(message(body="x" * 3000))
        with self.store.write() as s:
            s.driver.execute("UPDATE account SET quota = 2000 WHERE id = ?", (self.account.id,))
        response = self.imported(large={"blobId": large}, small={"blobId": small})
        self.assertEqual((list(response["created"]), response["notCreated"]["large"]["type"]), (["small"], "overQuota"))
        emails = {"k": {"blobId": small, "mailboxIds": {self.inbox: True}}}
        state = response["oldState"]
        self.assertEqual(self.refused("Email/import", emails=emails, ifInState=state)["type"], "stateMismatch")
        self.call("Email/import", emails=emails, ifInState=response["newState"])
        many: dict[str, Any] = {f"k{number}": {} for number in range(501)}
        self.assertEqual(self.refused("Email/import", emails=many)["type"], "requestTooLarge")

    def test_creation_ids(self) -> None:
        """The new ids are known to later calls, and mailboxes may be named by theirs."""
        emails = {"k": {"blobId": self.upload(message("By id")), "mailboxIds": {"#m": True}}}
        responses = self.request(
            ("Mailbox/set", {"accountId": self.account_id, "create": {"m": {"name": "New"}}}),
            ("Email/import", {"accountId": self.account_id, "emails": emails}),
            ("Email/get", {"accountId": self.account_id, "ids": ["#k"], "properties": ["subject"]}),
        )["methodResponses"]
        self.assertEqual(responses[2][1]["list"][0]["subject"], "By id")


class ParseTests(CreateBed):
    """Email/parse."""

    limits = Limits(max_parsed=3)

    def test_parsed(self) -> None:
        """An upload is shown as Email/get would show it; what belongs to stored Emails is null (rule 76)."""
        blob = self.upload(traced(Subject="Parsed"))
        response = self.call("Email/parse", blobIds=[blob, blob, "nope"], fetchTextBodyValues=True)
        self.assertEqual(
            (list(response["parsed"]), response["notFound"], response["notParsable"]), ([blob], ["nope"], None)
        )
        shown = response["parsed"][blob]
        self.assertEqual(shown["subject"], "Parsed")
        self.assertEqual(shown["from"], [{"name": "Ada", "email": "ada@example.org"}])
        self.assertEqual(shown["bodyValues"]["1"]["value"], "Hi there.\n")
        self.assertNotIn("id", shown)
        names = ["id", "threadId", "mailboxIds", "keywords", "receivedAt", "blobId", "size", "header:sUBJECT:asText"]
        shown = self.call("Email/parse", blobIds=[blob], properties=names)["parsed"][blob]
        self.assertEqual(list(shown), names)
        self.assertEqual([shown[name] for name in names[:6]], [None, None, None, None, None, blob])
        self.assertEqual(shown["header:sUBJECT:asText"], "Parsed")
        self.assertEqual(shown["size"], len(traced(Subject="Parsed")))

    def test_nested(self) -> None:
        """Messages within messages can be parsed on and on, their parts downloaded, attached and imported."""
        innermost = message("Innermost", "deep text")
        for encoding in ("7bit", "base64"):
            outer = innermost
            for _ in range(3):
                if encoding == "base64":
                    outer = forwarded(base64.encodebytes(outer), encoding)
                else:
                    outer = forwarded(outer)
            stored, uploaded = self.email(self.deliver(outer), "blobId")["blobId"], self.upload(outer + b"\r\n")
            for start in (stored, uploaded):
                blob = start
                for _ in range(3):
                    shown = self.call("Email/parse", blobIds=[blob])["parsed"][blob]
                    self.assertEqual(shown["subject"], "Fwd")
                    blob = shown["attachments"][0]["blobId"]
                shown = self.call("Email/parse", blobIds=[blob], fetchAllBodyValues=True)["parsed"][blob]
                self.assertEqual((shown["subject"], shown["bodyValues"]["1"]["value"]), ("Innermost", "deep text\n"))
                text = shown["textBody"][0]["blobId"]
                made = self.create(attachments=[{"blobId": text, "type": "text/plain"}])
                part = self.email(made, "attachments", bodyProperties=["size"])["attachments"][0]
                self.assertEqual(part["size"], len(b"deep text\r\n"))
                imported = self.call("Email/import", emails={"k": {"blobId": blob, "mailboxIds": {self.inbox: True}}})[
                    "created"
                ]["k"]
                self.assertEqual(imported["blobId"], f"b{store.blob_hash(innermost)}")

    def test_refused(self) -> None:
        """What is no message is notParsable; too many blobs, wrong properties and forms are errors."""
        junk = self.upload(b"\0\1\2")
        response = self.call("Email/parse", blobIds=[junk])
        self.assertEqual((response["parsed"], response["notParsable"], response["notFound"]), (None, [junk], None))
        for arguments in ({"properties": ["nope"]}, {"properties": ["header:From:asDate"]}, {"bodyProperties": ["x"]}):
            self.assertEqual(self.refused("Email/parse", blobIds=[], **arguments)["type"], "invalidArguments")
        many = [f"b{number}" for number in range(4)]
        self.assertEqual(self.refused("Email/parse", blobIds=many)["type"], "requestTooLarge")
        foreign = self.store.blobs.put(message())
        self.assertEqual(self.call("Email/parse", blobIds=[f"b{foreign}"])["notFound"], [f"b{foreign}"])

    @settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
    @given(
        st.binary(max_size=300)
        | st.lists(
            st.sampled_from(
                [
                    b"Content-Type: multipart/mixed; boundary=q\r\n",
                    b"Content-Type: message/rfc822\r\n",
                    b"Content-Transfer-Encoding: base64\r\n",
                    b"Content-Type: text/plain; charset=utf-7\r\n",
                    b"Subject: =?x?q?=ff?=\r\n",
                    b"\r\n",
                    b"--q\r\n",
                    b"--q--\r\n",
                    b"\xff\0 text\r\n",
                    b"From: <<>,;:(\r\n",
                ]
            ),
            max_size=20,
        ).map(b"".join)
    )
    def test_any_octets(self, octets: bytes) -> None:
        """Any octets are parsed or not, imported or not, and never a fault of the server."""
        blob = self.upload(octets)
        calls = [
            [
                "Email/parse",
                {
                    "accountId": self.account_id,
                    "blobIds": [blob],
                    "fetchAllBodyValues": True,
                    "properties": [
                        "headers",
                        "bodyStructure",
                        "bodyValues",
                        "from",
                        "preview",
                        "header:From:asAddresses",
                    ],
                },
                "0",
            ],
            [
                "Email/import",
                {"accountId": self.account_id, "emails": {"k": {"blobId": blob, "mailboxIds": {self.inbox: True}}}},
                "1",
            ],
        ]
        parsed, imported = self.send(json.dumps({"using": [CORE, MAIL], "methodCalls": calls}).encode())[
            "methodResponses"
        ]
        self.assertEqual((parsed[0], imported[0], self.failures), ("Email/parse", "Email/import", []))
        self.assertEqual(bool(parsed[1]["parsed"]), bool(imported[1]["created"]))

    def test_monsters(self) -> None:
        """Messages made to be slow are parsed in bounded time: many fields, deep trees, boundaries without end."""
        deep = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(2000))
        for octets in (
            b"X: y\r\n" * 100_000 + b"\r\nbody",
            b"From: " + b"a@b.example, " * 50_000 + b"\r\n\r\n",
            deep,
            b"Content-Type: multipart/mixed; boundary=q\r\n\r\n" + b"--q\r\n" * 100_000,
            b"Content-Type: text/html\r\n\r\n" + b"<div " * 200_000,
            b"Subject: " + b"=?utf-8?q?=C3" * 50_000 + b"\r\n\r\n",
        ):
            blob = self.upload(octets)
            started = time.process_time()
            response = self.call(
                "Email/parse", blobIds=[blob], properties=["subject", "from", "textBody", "preview", "bodyStructure"]
            )
            self.assertIn(blob, response["parsed"])
            self.assertLess(time.process_time() - started, 5)


class CopyTests(CreateBed):
    """Email/copy refuses what it must within one account; between accounts see `test_copied`."""

    def copied(self, source: str, **properties: Any) -> Any:
        """The response to a copy from the account `self.from_account`."""
        properties = {"id": source, **properties}
        return self.call("Email/copy", fromAccountId=self.from_account, create={"k": properties})

    def setUp(self) -> None:
        """A second account, shared with the first."""
        super().setUp()
        with self.store.write() as s:
            store.share_account(s, self.other.id, self.account.id, writing=True)
        self.from_account = f"A{self.other.id}"

    def test_copied(self) -> None:
        """The copy has the same message, the keywords and time of the original, and the mailboxes that were given."""
        original = self.deliver(message("Copied"), at=NOW - 100, keywords=("$seen",), account=self.other.id)
        response = self.copied(original, mailboxIds={self.inbox: True})
        made = response["created"]["k"]
        self.assertEqual((set(made), response["notCreated"]), ({"id", "blobId", "threadId", "size"}, None))
        self.assertEqual(made["size"], len(message("Copied")))
        found = self.email(made["id"], "subject", "keywords", "receivedAt", "mailboxIds")
        self.assertEqual(
            (found["subject"], found["keywords"], found["receivedAt"], found["mailboxIds"]),
            ("Copied", {"$seen": True}, "2023-11-14T22:11:40Z", {self.inbox: True}),
        )
        changed = {"keywords": {"$draft": True}, "receivedAt": "2020-01-02T03:04:05Z"}
        made = self.copied(original, mailboxIds={self.inbox: True}, **changed)["created"]["k"]
        self.assertEqual({**self.email(made["id"], *changed)}, {"id": made["id"], **changed})
        self.assertEqual(len(self.query(filter={"subject": "copied"})), 2)

    def test_destroys_original(self) -> None:
        """RFC 8621 §4.7: onSuccessDestroyOriginal destroys the source, in an Email/set with the same call id."""
        original = self.deliver(message(), account=self.other.id)
        arguments = {
            "accountId": self.account_id,
            "fromAccountId": self.from_account,
            "create": {"k": {"id": original, "mailboxIds": {self.inbox: True}}},
            "onSuccessDestroyOriginal": True,
        }
        copied, then = self.request(("Email/copy", arguments))["methodResponses"]
        self.assertEqual((copied[0], then[0], copied[2]), ("Email/copy", "Email/set", then[2]))
        self.assertEqual((then[1]["accountId"], then[1]["destroyed"]), (self.from_account, [original]))

    def test_refused(self) -> None:
        """Only three properties may be set; mailboxes are needed; quotas hold; within one account nothing is copied."""
        original = self.deliver(message(body="x" * 500), account=self.other.id)
        for properties, names in (
            ({"mailboxIds": {self.inbox: True}, "subject": "x"}, ["subject"]),
            ({}, ["mailboxIds"]),
            ({"mailboxIds": {}}, ["mailboxIds"]),
            ({"mailboxIds": {"M999": True}}, ["mailboxIds"]),
        ):
            error = self.copied(original, **properties)["notCreated"]["k"]
            self.assertEqual((error["type"], error["properties"]), ("invalidProperties", names))
        with self.store.write() as s:
            s.driver.execute("UPDATE account SET quota = 100 WHERE id = ?", (self.account.id,))
        error = self.copied(original, mailboxIds={self.inbox: True})["notCreated"]["k"]
        self.assertEqual(error["type"], "overQuota")
        self.assertEqual(self.copied("E999", mailboxIds={self.inbox: True})["notCreated"]["k"]["type"], "notFound")
        error = self.refused("Email/copy", fromAccountId=self.account_id, create={})
        self.assertEqual(error["type"], "invalidArguments")
