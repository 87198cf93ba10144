"""Blobs as method calls: RFC 8620 §6.3 and RFC 9404."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from stalwart import store
from stalwart.jmap.limits import Limits
from stalwart.jmap.types.blob_upload import UploadObject
from tests.jmap.bed import ALL, BLOB, CORE, MAIL, Bed, message
from tests.jmap.texts import texts

FOX = "The quick brown fox jumped over the lazy dog."


class BlobBed(Bed):
    """A client that uses blobs."""

    def ask(self, name: str, using: tuple[str, ...] = ALL, **arguments: Any) -> Any:
        """The response to one call."""
        response = self.request((name, {"accountId": self.account_id, **arguments}), using=using)["methodResponses"][0]
        self.assertEqual(response[0], name, response)
        return response[1]

    def error(self, name: str, using: tuple[str, ...] = ALL, **arguments: Any) -> str:
        """The error that one call ends with."""
        response = self.request((name, {"accountId": self.account_id, **arguments}), using=using)["methodResponses"][0]
        self.assertEqual(response[0], "error", response)
        return str(response[1]["type"])

    def upload(self, data: bytes) -> str:
        """The blobId of an upload."""
        source = {"data:asBase64": base64.b64encode(data).decode()}
        created = self.ask("Blob/upload", create={"k": {"data": [source]}})["created"]
        return str(created["k"]["id"])


class UploadTests(BlobBed):
    """Blob/upload."""

    def test_examples(self) -> None:
        """RFC 9404 §4.1.2 and §4.2.1: blobs of text, base64 and ranges, of one call or another, read and digested."""
        calls = (
            ("Blob/upload", {"accountId": self.account_id, "create": {"b4": {"data": [{"data:asText": FOX}]}}}),
            (
                "Blob/upload",
                {
                    "accountId": self.account_id,
                    "create": {
                        "cat": {
                            "data": [
                                {"data:asText": "How"},
                                {"blobId": "#b4", "length": 7, "offset": 3},
                                {"data:asText": "was t"},
                                {"blobId": "#b4", "length": 1, "offset": 1},
                                {"data:asBase64": "YXQ/"},
                            ]
                        }
                    },
                },
            ),
            ("Blob/get", {"accountId": self.account_id, "properties": ["data:asText", "size"], "ids": ["#cat"]}),
            (
                "Blob/get",
                {
                    "accountId": self.account_id,
                    "properties": ["data:asText", "digest:sha", "size"],
                    "ids": ["#b4", "not-a-blob"],
                    "offset": 4,
                    "length": 9,
                },
            ),
        )
        first, second, third, fourth = (one[1] for one in self.request(*calls, using=ALL)["methodResponses"])
        self.assertEqual(first["created"]["b4"], {"id": first["created"]["b4"]["id"], "type": None, "size": 45})
        self.assertEqual(
            third["list"], [{"id": second["created"]["cat"]["id"], "data:asText": "How quick was that?", "size": 19}]
        )
        [ranged] = fourth["list"]
        self.assertEqual(ranged["data:asText"], "quick bro")
        self.assertEqual(ranged["digest:sha"], "QiRAPtfyX8K6tm1iOAtZ87Xj3Ww=")
        self.assertEqual((ranged["size"], fourth["notFound"]), (45, ["not-a-blob"]))

    def test_references_within(self) -> None:
        """A blob may be made of another of the same call, whichever comes first; a circle can't be made."""
        answer = self.ask(
            "Blob/upload",
            create={
                "second": {"data": [{"blobId": "#first"}, {"data:asText": "!"}], "type": "text/x"},
                "first": {"data": [{"data:asText": "one"}]},
                "left": {"data": [{"blobId": "#right"}]},
                "right": {"data": [{"blobId": "#left"}]},
            },
        )
        self.assertEqual(answer["created"]["second"]["size"], 4)
        self.assertEqual(answer["created"]["second"]["type"], "text/x")
        self.assertEqual({error["type"] for error in answer["notCreated"].values()}, {"blobNotFound"})
        self.assertEqual(set(answer["notCreated"]), {"left", "right"})

    def test_empty(self) -> None:
        """No sources make a blob without octets."""
        blob = self.ask("Blob/upload", create={"k": {"data": []}})["created"]["k"]
        self.assertEqual(blob["size"], 0)
        self.assertEqual(self.ask("Blob/get", ids=[blob["id"]])["list"][0]["data:asText"], "")

    def test_refused(self) -> None:
        """RFC 9404 §4.1: nothing is guessed: what is no text, base64 or range is refused, each on its own."""
        blob = self.upload(b"12345")
        wrong = {
            "none": {"data": [{}]},
            "two": {"data": [{"data:asText": "a", "data:asBase64": "YQ=="}]},
            "base64": {"data": [{"data:asBase64": "YQ"}]},
            "letters": {"data": [{"data:asBase64": "Y*Q="}]},
            "beyond": {"data": [{"blobId": blob, "offset": 3, "length": 3}]},
            "behind": {"data": [{"blobId": blob, "offset": 6}]},
            "offset": {"data": [{"data:asText": "a", "offset": 0}]},
            "negative": {"data": [{"blobId": blob, "offset": -1}]},
            "member": {"data": [{"data:asText": "a", "x": 1}]},
            "missing": {},
            "shape": {"data": "a"},
            "sources": {"data": [{"data:asText": "a"}] * 65},
            "unknown": {"data": [{"blobId": "b" + "a" * 52}]},
            "fine": {"data": [{"blobId": blob, "offset": 5}, {"blobId": blob, "offset": 1, "length": 2}]},
        }
        answer = self.ask("Blob/upload", create=wrong)
        self.assertEqual(set(answer["created"]), {"fine"})
        self.assertEqual(answer["created"]["fine"]["size"], 2)
        kinds = {name: error["type"] for name, error in answer["notCreated"].items()}
        self.assertEqual(kinds.pop("unknown"), "blobNotFound")
        self.assertEqual(set(kinds.values()), {"invalidProperties"})
        self.assertEqual(answer["notCreated"]["unknown"]["notFound"], ["b" + "a" * 52])

    @given(
        st.dictionaries(
            st.sampled_from(["data", "type", "x"]),
            st.recursive(
                st.none() | st.integers() | texts(3),
                lambda inner: (
                    st.lists(inner, max_size=2)
                    | st.dictionaries(
                        st.sampled_from(["blobId", "data:asText", "data:asBase64", "offset"]), inner, max_size=3
                    )
                ),
                max_leaves=6,
            ),
        )
    )
    @settings(max_examples=60, deadline=None)
    def test_any_object(self, value: dict[str, Any]) -> None:
        """Whatever stands for an UploadObject is made or refused, and never a fault of the server."""
        if not hasattr(self, "engine"):
            Bed.setUp(self)
        answer = self.ask("Blob/upload", create={"k": value})
        self.assertEqual(len(answer["created"] or ()) + len(answer["notCreated"] or ()), 1)
        self.assertEqual(self.failures, [])

    def test_arguments(self) -> None:
        """Upload objects have no other members."""
        self.assertEqual(UploadObject.__struct_fields__, ("data", "type"))
        self.assertEqual(self.error("Blob/upload"), "invalidArguments")
        self.assertEqual(self.error("Blob/upload", using=(CORE, MAIL), create={}), "unknownMethod")


class SmallTests(BlobBed):
    """Where little may be uploaded."""

    limits = Limits(max_size_upload=50, max_octets_of_uploads=80, max_uploads=3, max_objects_in_set=4)

    def test_too_large(self) -> None:
        """RFC 9404 §3.1: maxSizeBlobSet holds for what is put together as well."""
        half = self.upload(b"x" * 26)
        answer = self.ask("Blob/upload", create={"k": {"data": [{"blobId": half}, {"blobId": half}]}})
        self.assertEqual(answer["notCreated"]["k"]["type"], "tooLarge")
        self.assertEqual(answer["notCreated"]["k"]["maxSize"], 50)
        self.assertEqual(self.error("Blob/upload", create={str(n): {"data": []} for n in range(5)}), "requestTooLarge")

    def test_room(self) -> None:
        """RFC 8620 §6: the bounds of uploads hold, over all of one call too."""
        new = {str(number): {"data": [{"data:asText": f"{number}" * 30}]} for number in range(3)}
        answer = self.ask("Blob/upload", create=new)
        self.assertEqual((len(answer["created"]), answer["notCreated"]["2"]["type"]), (2, "overQuota"))
        again = self.ask("Blob/upload", create={"k": {"data": [{"data:asText": "z" * 40}]}})
        self.assertEqual(again["notCreated"]["k"]["type"], "rateLimit")


class GetTests(BlobBed):
    """Blob/get."""

    def test_encodings(self) -> None:
        """RFC 9404 §4.2: text where it is UTF-8, else base64 and a word of it; digests of the range."""
        octets = b"The quick brown fox jumped over the \x81\x81 lazy dog."
        blob = self.upload(octets)

        def get(*properties: str, **arguments: int) -> Any:
            more: dict[str, Any] = dict(arguments)
            if properties:
                more["properties"] = properties
            [shown] = self.ask("Blob/get", ids=[blob], **more)["list"]
            self.assertEqual(shown.pop("id"), blob)
            return shown

        whole = base64.b64encode(octets).decode()
        self.assertEqual(get("data:asText", "size"), {"data:asText": None, "isEncodingProblem": True, "size": 48})
        self.assertEqual(get(), {"data:asBase64": whole, "isEncodingProblem": True, "size": 48})
        self.assertEqual(get("data:asBase64"), {"data:asBase64": whole})
        self.assertEqual(get("data:asText", length=5), {"data:asText": "The q"})
        self.assertEqual(get("data", offset=43, length=5), {"data:asText": " dog."})
        self.assertEqual(get("data", offset=43, length=6), {"data:asText": " dog.", "isTruncated": True})
        self.assertEqual(get("data", offset=100), {"data:asText": "", "isTruncated": True})
        self.assertEqual(get("size", offset=48), {"size": 48})
        for name, algorithm in (("sha", "sha1"), ("sha-256", "sha256"), ("sha-512", "sha512")):
            digest = base64.b64encode(hashlib.new(algorithm, octets[4:9]).digest()).decode()
            self.assertEqual(get(f"digest:{name}", offset=4, length=5), {f"digest:{name}": digest})

    def test_refused(self) -> None:
        """Unknown properties and digests are invalidArguments; ids must be given."""
        for properties in (["x"], ["digest:md5"], ["digest:"], ["data:asHex"]):
            self.assertEqual(self.error("Blob/get", ids=[], properties=properties), "invalidArguments")
        self.assertEqual(self.error("Blob/get", ids=None), "invalidArguments")

    def test_mail(self) -> None:
        """Messages and their parts are blobs; those of others are not found."""
        data = message(
            body="--m\r\nContent-Transfer-Encoding: base64\r\n\r\nSGVsbG8=\r\n--m--",
            Content_Type="multipart/mixed; boundary=m",
        )
        email = self.email(self.deliver(data), "blobId", "bodyStructure")
        part = email["bodyStructure"]["subParts"][0]["blobId"]
        found = self.ask("Blob/get", ids=[email["blobId"], part], properties=["data:asText"])["list"]
        self.assertEqual([one["data:asText"] for one in found], [data.decode(), "Hello"])
        foreign = message("Foreign")
        self.deliver(foreign, account=self.other.id)
        blob = "b" + store.blob_hash(foreign)
        self.assertEqual(self.ask("Blob/get", ids=[blob, part, blob])["notFound"], [blob])


class LookupTests(BlobBed):
    """Blob/lookup."""

    def test_lookup(self) -> None:
        """RFC 9404 §4.3: which Emails, Threads and Mailboxes a blob is in; of an upload, none."""
        email = self.email(self.deliver(message(), "inbox", "archive"), "blobId", "threadId")
        upload = self.upload(b"x")
        answer = self.ask(
            "Blob/lookup",
            typeNames=["Mailbox", "Thread", "Email"],
            ids=[email["blobId"], upload, "not-a-blob"],
        )
        self.assertEqual(answer["notFound"], ["not-a-blob"])
        mail, lonely = answer["list"]
        self.assertEqual(
            mail["matchedIds"],
            {
                "Mailbox": sorted([self.inbox, self.mailboxes["archive"]], key=lambda one: int(one[1:])),
                "Thread": [email["threadId"]],
                "Email": [email["id"]],
            },
        )
        self.assertEqual(lonely, {"id": upload, "matchedIds": {"Mailbox": [], "Thread": [], "Email": []}})

    def test_types(self) -> None:
        """A type that isn't known, or whose capability isn't used, is unknownDataType."""
        self.assertEqual(self.error("Blob/lookup", typeNames=["Todo"], ids=[]), "unknownDataType")
        self.assertEqual(self.error("Blob/lookup", using=(CORE, BLOB), typeNames=["Email"], ids=[]), "unknownDataType")


class CopyTests(BlobBed):
    """Blob/copy, between one's own account and one that is shared."""

    def setUp(self) -> None:
        """Eve shares with Ada."""
        super().setUp()
        self.shared = f"A{self.other.id}"
        with self.store.write() as s:
            store.share_account(s, self.other.id, self.account.id, writing=True)

    def copy(self, *blobs: str, source: str | None = None, target: str | None = None) -> Any:
        """The response."""
        source = source or self.account_id
        return self.ask("Blob/copy", accountId=target or self.shared, fromAccountId=source, blobIds=blobs)

    def test_copy(self) -> None:
        """RFC 8620 §6.3: uploads, messages and parts go over; what isn't there is notFound."""
        data = message(
            body="--m\r\nContent-Transfer-Encoding: base64\r\n\r\nSGVsbG8=\r\n--m--",
            Content_Type="multipart/mixed; boundary=m",
        )
        email = self.email(self.deliver(data), "blobId", "bodyStructure")
        part = email["bodyStructure"]["subParts"][0]["blobId"]
        upload = self.upload(b"upload")
        answer = self.copy(upload, email["blobId"], part, "nope")
        self.assertEqual(set(answer["copied"]), {upload, email["blobId"], part})
        self.assertEqual(answer["notCopied"]["nope"]["type"], "notFound")
        self.assertEqual((answer["fromAccountId"], answer["accountId"]), (self.account_id, self.shared))
        found = self.ask("Blob/get", accountId=self.shared, ids=list(answer["copied"].values()))["list"]
        self.assertEqual([one["data:asText"] for one in found], ["upload", data.decode(), "Hello"])
        nothing = self.copy("nope")
        self.assertIsNone(nothing["copied"])
        self.assertIsNone(self.copy(upload)["notCopied"])

    def test_accounts(self) -> None:
        """An account that the user can't see is named as such; to one that is only read nothing is copied."""
        self.assertEqual(self.error("Blob/copy", fromAccountId="A99", blobIds=[]), "fromAccountNotFound")
        with self.store.write() as s:
            store.share_account(s, self.other.id, self.account.id, writing=False)
        refused = self.error("Blob/copy", accountId=self.shared, fromAccountId=self.account_id, blobIds=[])
        self.assertEqual(refused, "accountReadOnly")
