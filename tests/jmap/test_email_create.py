"""Email/set, create: messages made of Email objects, and every constraint of RFC 8621 §4.6."""

from __future__ import annotations

import email
import json
import re
import tracemalloc
import unicodedata
from email.policy import default
from typing import Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from stalwart import store
from stalwart.jmap import contents
from stalwart.jmap.limits import Limits
from stalwart.mail.message import Part, decode_structure
from tests.jmap.bed import CORE, MAIL, NOW, Bed, message
from tests.jmap.texts import NONCHARACTERS

TEXT = {"bodyValues": {"t": {"value": "Hi there."}}, "textBody": [{"partId": "t", "type": "text/plain"}]}


class CreateBed(Bed):
    """Shorthands for creations."""

    def set(self, **creations: Any) -> Any:
        """The response to Email/set with these creations, each in the inbox if nothing else is said."""
        for one in creations.values():
            one.setdefault("mailboxIds", {self.inbox: True})
        return self.call("Email/set", create=creations)

    def create(self, **properties: Any) -> str:
        """A new Email's id."""
        response = self.set(k=properties)
        self.assertIsNone(response["notCreated"], response)
        created: str = response["created"]["k"]["id"]
        return created

    def error(self, **properties: Any) -> Any:
        """The SetError that a creation ends with."""
        response = self.set(k=properties)
        self.assertIsNone(response["created"], response)
        self.assertEqual(response["oldState"], response["newState"])
        return response["notCreated"]["k"]

    def wrong(self, *paths: str, **properties: Any) -> None:
        """The creation is refused because of the properties at these paths."""
        error = self.error(**properties)
        self.assertEqual(
            (error["type"], sorted(error.get("properties", ()))), ("invalidProperties", sorted(paths)), error
        )

    def upload(self, octets: bytes) -> str:
        """The blobId of an upload."""
        name = self.store.blobs.put(octets)
        with self.store.write() as s:
            store.add_upload(s, self.account.id, self.account.id, name, len(octets), "application/octet-stream")
        return f"b{name}"

    def octets(self, email_id: str) -> bytes:
        """The message of an Email."""
        blob = self.email(email_id, "blobId")["blobId"]
        return self.store.blobs.get(blob[1:])


class CreateTests(CreateBed):
    """What is made."""

    def test_created(self) -> None:
        """The response has id, blobId, threadId and size, and the states move."""
        before = self.call("Email/get", ids=[])["state"]
        response = self.set(k={"subject": "x", **TEXT})
        self.assertEqual(set(response["created"]["k"]), {"id", "blobId", "threadId", "size"})
        self.assertEqual(response["oldState"], before)
        self.assertEqual(response["newState"], self.call("Email/get", ids=[])["state"])
        self.assertNotEqual(response["newState"], before)
        found = self.email(response["created"]["k"]["id"], "size", "blobId", "threadId")
        self.assertEqual({**found}, response["created"]["k"])
        self.assertEqual(found["size"], len(self.store.blobs.get(found["blobId"][1:])))

    def test_draft(self) -> None:
        """Everything a client sets comes back; Message-ID and Date are made up where they are missing."""
        properties: dict[str, Any] = {
            "keywords": {"$draft": True, "$Seen": True},
            "receivedAt": "2018-07-10T01:03:11Z",
            "sentAt": "2018-07-10T11:03:11+10:00",
            "messageId": ["one@example.org"],
            "inReplyTo": ["two@example.org"],
            "references": ["three@example.org", "two@example.org"],
            "from": [{"name": "Jörg Müller", "email": "joerg@example.org"}],
            "sender": [{"name": None, "email": "ada@example.org"}],
            "to": [{"name": 'Bob "B" Jones', "email": "bob@example.net"}, {"name": None, "email": "eve@example.net"}],
            "cc": [{"name": "日本", "email": "jp@example.net"}],
            "bcc": [{"name": None, "email": "secret@example.net"}],
            "replyTo": [{"name": None, "email": "reply@example.org"}],
            "subject": "Grüße — " + "lang " * 30 + "日本語",
        }
        made = self.create(**properties, **TEXT)
        found = self.email(made, *properties, "bodyValues", "textBody", fetchTextBodyValues=True)
        expected = {**properties, "keywords": {"$draft": True, "$seen": True}}
        self.assertEqual({name: found[name] for name in expected}, expected)
        self.assertEqual(found["bodyValues"]["1"]["value"], "Hi there.")
        self.assertIn(b"\r\nBcc: secret@example.net\r\n", self.octets(made))  # rule 81: kept in the stored mail

    def test_generated(self) -> None:
        """RFC 8621 §4.6: Message-ID and Date are generated, no two ids are alike; a null header is no header."""
        one, two = self.create(subject=None, to=[], cc=None), self.create()
        found = self.email(one, "messageId", "sentAt", "receivedAt", "subject", "to", "header:To", "headers")
        self.assertRegex(found["messageId"][0], r"\A[0-9a-f]{32}@example\.org\Z")
        self.assertNotEqual(found["messageId"], self.email(two, "messageId")["messageId"])
        self.assertEqual(found["sentAt"], "2023-11-14T22:13:20Z")
        self.assertEqual(found["receivedAt"], "2023-11-14T22:13:20Z")
        self.assertEqual((found["subject"], found["to"], found["header:To"]), (None, None, None))
        self.assertEqual(
            [one["name"] for one in found["headers"]], ["Message-ID", "Date", "MIME-Version", "Content-Type"]
        )

    def test_header_forms(self) -> None:
        """RFC 8621 §4.1.3: each form can be set, all instances too, and comes back with the name as it was sent."""
        properties: dict[str, Any] = {
            "header:X-Raw": " a\r\n b",
            "header:X-Text:asText": "naïve ☃",
            "header:X-Who:asAddresses": [{"name": "Ä", "email": "a@example.org"}],
            "header:X-Groups:asGroupedAddresses": [
                {"name": "Freunde", "addresses": [{"name": None, "email": "f@example.org"}]},
                {"name": None, "addresses": [{"name": "N", "email": "n@example.org"}]},
            ],
            "header:X-Ids:asMessageIds": ["a@b", "c@d"],
            "header:X-When:asDate": "2020-01-02T03:04:05-07:00",
            "header:List-Post:asURLs": ["mailto:list@example.org", "https://example.org/a,b"],
            "header:X-Many:asText:all": ["one", "zwölf", "three"],
            "header:Subject:asText": "Title",
        }
        made = self.create(**properties)
        self.assertEqual({**self.email(made, *properties)}, {"id": made, **properties})
        self.assertEqual(self.email(made, "subject")["subject"], "Title")
        self.assertEqual(self.create(**{"header:X-None": None, "header:X-All:all": []})[0], "E")

    def test_body_lists(self) -> None:
        """textBody, htmlBody and attachments come back as the same lists, inline images as the HTML's own."""
        image, report = self.upload(b"\x89PNG\r\n\0" * 100), self.upload(b"%PDF")
        made = self.create(
            bodyValues={"t": {"value": "plain\n"}, "h": {"value": "<p>Grüße <img src='cid:i@x'></p>"}},
            textBody=[{"partId": "t"}],
            htmlBody=[{"partId": "h", "type": "text/html", "language": ["de"]}],
            attachments=[
                {"blobId": image, "type": "image/png", "cid": "i@x", "disposition": "inline", "name": "bild.png"},
                {"blobId": report, "type": "application/pdf", "name": "Bericht Köln.pdf"},
                {"blobId": image, "type": "image/png", "name": "photo.png", "size": 5},
            ],
        )
        found = self.email(
            made,
            "textBody",
            "htmlBody",
            "attachments",
            "bodyValues",
            "hasAttachment",
            "bodyStructure",
            fetchAllBodyValues=True,
            bodyProperties=["type", "name", "disposition", "cid", "size", "language", "partId", "blobId"],
        )
        self.assertEqual([part["type"] for part in found["textBody"]], ["text/plain"])
        self.assertEqual([(part["type"], part["language"]) for part in found["htmlBody"]], [("text/html", ["de"])])
        self.assertEqual(
            [
                (part["type"], part["name"], part["disposition"], part["cid"], part["size"])
                for part in found["attachments"]
            ],
            [
                ("image/png", "bild.png", "inline", "i@x", 700),
                ("application/pdf", "Bericht Köln.pdf", "attachment", None, 4),
                ("image/png", "photo.png", "attachment", None, 700),
            ],
        )
        self.assertTrue(found["hasAttachment"])
        self.assertEqual(found["bodyStructure"]["type"], "multipart/mixed")
        self.assertEqual(found["bodyValues"]["2"]["value"], "<p>Grüße <img src='cid:i@x'></p>")
        read = email.message_from_bytes(self.octets(made), policy=default)
        self.assertEqual([part.get_filename() for part in read.iter_attachments()], ["Bericht Köln.pdf", "photo.png"])

    def test_body_structure(self) -> None:
        """A bodyStructure comes back as it was sent, with the header fields and parameters of its parts."""
        attached = self.deliver(message("Inner"))
        blob = self.email(attached, "blobId")["blobId"]
        made = self.create(
            subject="Outer",
            bodyValues={"a": {"value": "one \ntwo", "isTruncated": False}, "b": {"value": "<b>x</b>"}},
            bodyStructure={
                "type": "multipart/mixed",
                "header:X-Top": " on the message",
                "subParts": [
                    {
                        "type": "multipart/alternative",
                        "subParts": [
                            {"partId": "a", "header:Content-Type": " text/plain; format=flowed; charset=latin1"},
                            {"partId": "b", "type": "text/html", "header:X-Part:asText": "é"},
                        ],
                    },
                    {"blobId": blob, "type": "message/rfc822", "disposition": "attachment", "name": "x.eml"},
                    {"blobId": blob, "type": "text/plain", "charset": "utf-8", "location": "https://example.org/a"},
                ],
            },
        )
        wanted = ["type", "subParts", "header:X-Part:asText", "location", "name", "charset", "header:Content-Type"]
        tree = self.email(made, "bodyStructure", bodyProperties=wanted)["bodyStructure"]
        alternative, rfc822, text = tree["subParts"]
        self.assertEqual([part["type"] for part in alternative["subParts"]], ["text/plain", "text/html"])
        self.assertEqual(
            alternative["subParts"][0]["header:Content-Type"], " text/plain; charset=us-ascii; format=flowed"
        )
        self.assertEqual(alternative["subParts"][1]["header:X-Part:asText"], "é")
        self.assertEqual((rfc822["type"], rfc822["name"]), ("message/rfc822", "x.eml"))
        self.assertEqual((text["charset"], text["location"]), ("utf-8", "https://example.org/a"))
        self.assertEqual(self.email(made, "header:X-Top")["header:X-Top"], " on the message")
        # Its text is found by the next call.
        self.assertEqual(self.query(filter={"subject": "outer"}), [made])

    def test_parts_of_messages_as_attachments(self) -> None:
        """A part of another message can be attached by its blobId: its content is taken decoded."""
        source = self.create(attachments=[{"blobId": self.upload(b"\0\1" * 5000), "type": "image/png"}])
        part = self.email(source, "attachments")["attachments"][0]
        made = self.create(attachments=[{"blobId": part["blobId"], "type": "image/png", "name": "again.png"}])
        again = self.email(made, "attachments")["attachments"][0]
        self.assertEqual((again["size"], again["name"]), (10_000, "again.png"))

    def test_creation_ids(self) -> None:
        """Mailboxes of the same request may be named by their creation ids."""
        response = self.request(
            ("Mailbox/set", {"accountId": self.account_id, "create": {"m": {"name": "New"}}}),
            ("Email/set", {"accountId": self.account_id, "create": {"k": {"mailboxIds": {"#m": True}}}}),
        )["methodResponses"]
        mailbox, made = response[0][1]["created"]["m"]["id"], response[1][1]["created"]["k"]["id"]
        self.assertEqual(self.email(made, "mailboxIds")["mailboxIds"], {mailbox: True})

    def test_reused_creation_ids(self) -> None:
        """RFC 8620 §5.3: there a creation id stands for the Mailbox, though an Email is made under the same one."""
        names = {"a": {"name": "A"}, "b": {"name": "B"}}
        emails = {"a": {"mailboxIds": {"#b": True}}, "b": {"mailboxIds": {"#b": True}}}
        response = self.request(
            ("Mailbox/set", {"accountId": self.account_id, "create": names}),
            ("Email/set", {"accountId": self.account_id, "create": emails}),
            ("Email/get", {"accountId": self.account_id, "ids": ["#a", "#b"], "properties": ["mailboxIds"]}),
        )["methodResponses"]
        mailbox = response[0][1]["created"]["b"]["id"]
        self.assertEqual([one["mailboxIds"] for one in response[2][1]["list"]], [{mailbox: True}] * 2, response)


class RefusalTests(CreateBed):
    """RFC 8621 §4.6: what may not be (rule 73)."""

    def test_headers(self) -> None:
        """No `headers`, no field twice, no forbidden form, no Content-* on the Email, no line breaks."""
        self.wrong("headers", headers=[{"name": "X", "value": "y"}])
        self.wrong("from", "header:From:asAddresses", **{"from": [], "header:From:asAddresses": []})
        self.wrong("header:subject", "header:Subject:asText", **{"header:subject": "a", "header:Subject:asText": "b"})
        self.wrong("header:X-A", "header:x-a:all", **{"header:X-A": "a", "header:x-a:all": ["b"]})
        self.wrong("header:From:asDate", **{"header:From:asDate": "2020-01-01T00:00:00Z"})
        self.wrong("header:Subject:asMessageIds", **{"header:Subject:asMessageIds": ["a@b"]})
        self.wrong("header:X:asNothing", **{"header:X:asNothing": "x"})
        self.wrong("header:Content-Type", **{"header:Content-Type": " text/plain"})
        self.wrong("header:content-foo:asText", **{"header:content-foo:asText": "x"})
        self.wrong("header:X", **{"header:X": "a\r\nBcc: eve@example.org"})
        self.wrong("header:X:all/1", **{"header:X:all": ["a", 7]})
        self.wrong("header:X:all", **{"header:X:all": "a"})
        self.wrong("subject", subject="a\nb")
        self.wrong("to", to=[{"name": "a\r\nb", "email": "a@b.example"}])
        self.wrong("to", to=[{"name": "a", "email": "a@b.example", "more": "x"}])
        self.wrong("to", to=[{"name": "a"}])
        self.wrong("messageId", messageId=["a b"])
        self.wrong("sentAt", sentAt="yesterday")
        self.wrong("sentAt", sentAt="2020-02-30T00:00:00Z")
        self.wrong("receivedAt", receivedAt="2020-02-30T00:00:00Z")
        self.wrong("nothing", "size", nothing=1, size=1)

    def test_bodies(self) -> None:
        """bodyStructure excludes the lists; each list's own rules; parts and their values belong together."""
        structure = {"partId": "t", "type": "text/plain"}
        values = {"t": {"value": "x"}}
        self.wrong("textBody", bodyStructure=structure, bodyValues=values, textBody=[structure])
        self.wrong("attachments", "htmlBody", bodyStructure=structure, bodyValues=values, htmlBody=[], attachments=[])
        self.wrong("textBody", textBody=[])
        self.wrong("textBody", textBody=[structure, structure], bodyValues=values)
        self.wrong("textBody/0/type", textBody=[{"partId": "t", "type": "text/html"}], bodyValues=values)
        self.wrong("htmlBody/0/type", htmlBody=[structure], bodyValues=values)
        self.wrong("bodyValues/t/isTruncated", **{**TEXT, "bodyValues": {"t": {"value": "x", "isTruncated": True}}})
        self.wrong(
            "bodyValues/t/isEncodingProblem", **{**TEXT, "bodyValues": {"t": {"value": "x", "isEncodingProblem": True}}}
        )
        self.wrong("bodyValues/t", "textBody/0/partId", **{**TEXT, "bodyValues": {"t": {}}})
        self.wrong("textBody/0/partId", textBody=[structure])
        self.wrong("textBody/0/partId", textBody=[{"type": "text/plain"}])
        blob = self.upload(b"x")
        for extra in ({"charset": "utf-8"}, {"size": 1}, {"blobId": blob}):
            self.wrong(f"textBody/0/{next(iter(extra))}", textBody=[{**structure, **extra}], bodyValues=values)

    def test_parts(self) -> None:
        """What an EmailBodyPart may not have, wherever it is in the tree."""
        blob = self.upload(b"x")

        def wrong(part: dict[str, Any], *names: str) -> None:
            paths = [f"bodyStructure/subParts/0/{name}" for name in names]
            self.wrong(
                *paths,
                bodyStructure={"type": "multipart/mixed", "subParts": [part]},
                bodyValues={"t": {"value": "x"}},
            )

        wrong({"blobId": blob, "headers": []}, "headers")
        wrong({"blobId": blob, "header:Content-Transfer-Encoding": "base64"}, "header:Content-Transfer-Encoding")
        wrong(
            {"blobId": blob, "header:content-transfer-encoding:asText": "8bit"},
            "header:content-transfer-encoding:asText",
        )
        wrong({"blobId": blob, "type": "a/b", "header:Content-Type": " a/b"}, "type", "header:Content-Type")
        wrong({"blobId": blob, "cid": "a@b", "header:Content-ID": " <c@d>"}, "cid", "header:Content-ID")
        wrong({"blobId": blob, "name": "x", "header:Content-Disposition": " inline"}, "name")
        wrong({"blobId": blob, "type": "nonsense"}, "type")
        wrong({"blobId": blob, "type": "a/b; c=d"}, "type")
        wrong({"blobId": blob, "type": "a/b\r\nX: y"}, "type")
        wrong({"blobId": blob, "name": "a\r\nb"}, "name")
        wrong({"blobId": blob, "cid": "a\r\nb"}, "cid")
        wrong({"blobId": blob, "disposition": "a b"}, "disposition")
        wrong({"blobId": blob, "charset": "a\r\nb"}, "charset")
        wrong({"blobId": blob, "language": ["de; x"]}, "language")
        wrong({"blobId": blob, "location": "a b"}, "location")
        wrong({"blobId": blob, "surprise": 1}, "surprise")
        wrong({"blobId": 7}, "blobId", "partId")
        wrong({"blobId": blob, "subParts": [{"blobId": blob}]}, "subParts")
        wrong({"type": "multipart/mixed"}, "subParts")
        wrong(
            {"type": "multipart/mixed", "subParts": [{"blobId": blob}], "blobId": blob, "charset": "x"},
            "blobId",
            "charset",
        )
        wrong({"partId": "t", "type": "image/png"}, "type")
        self.wrong("attachments/0/type", attachments=[{"type": "multipart/mixed", "subParts": [{"blobId": blob}]}])
        self.wrong(
            "bodyStructure/header:Subject",
            subject="a",
            bodyStructure={"blobId": blob, "type": "text/plain", "header:Subject": "b"},
        )

    def test_blob_not_found(self) -> None:
        """Rule 74: blobNotFound names every blob that isn't there, or isn't this account's."""
        foreign = self.store.blobs.put(b"foreign")
        with self.store.write() as s:
            store.add_upload(s, self.other.id, self.other.id, foreign, 7, "a/b")
        here = self.upload(b"here")
        missing = [f"b{foreign}", "nonsense", f"p{here[1:]}-0-99-i"]
        error = self.error(attachments=[{"blobId": one, "type": "a/b"} for one in [here, *missing, "nonsense"]])
        self.assertEqual((error["type"], error["notFound"]), ("blobNotFound", missing))

    def test_placement(self) -> None:
        """Mailboxes must exist and be there; keywords are words whose value is true."""
        for mailboxes in ({}, {"M999": True}, {"nope": True}, {self.inbox: False}, None, {"#nope": True}):
            self.wrong("mailboxIds", mailboxIds=mailboxes)
        self.wrong("keywords", keywords={"$seen": False})
        self.wrong("keywords", keywords={"a b": True})
        response = self.call("Email/set", create={"k": {}})
        self.assertEqual(response["notCreated"]["k"]["properties"], ["mailboxIds"])
        most = self.limits.max_keywords_per_email
        many = {f"k{number}": True for number in range(most + 1)}
        self.assertEqual(self.error(keywords=many)["type"], "tooManyKeywords")

    def test_quota(self) -> None:
        """An account that is full gets overQuota, and nothing is kept of the mail."""
        with self.store.write() as s:
            s.driver.execute("UPDATE account SET quota = 300 WHERE id = ?", (self.account.id,))
        self.assertEqual(self.error(subject="x" * 300)["type"], "overQuota")
        self.assertEqual(self.query(), [])
        self.create()

    def test_others_go_on(self) -> None:
        """RFC 8620 §5.3: each creation stands for itself."""
        response = self.set(good={"subject": "a"}, bad={"subject": 7}, also={"subject": "b"})
        self.assertEqual((set(response["created"]), set(response["notCreated"])), ({"good", "also"}, {"bad"}))


class SizeTests(CreateBed):
    """Bounds."""

    limits = Limits(max_size_attachments_per_email=5_000_000, max_size_email=7_000_000, max_mailboxes_per_email=1)

    def test_too_many_mailboxes(self) -> None:
        """RFC 8621 §4.6: more mailboxes than the server allows are tooManyMailboxes."""
        both = {self.inbox: True, self.mailboxes["archive"]: True}
        self.assertEqual(self.error(mailboxIds=both)["type"], "tooManyMailboxes")

    def test_too_large(self) -> None:
        """RFC 8620 §5.3: attachments over maxSizeAttachmentsPerEmail are tooLarge, with the size allowed."""
        blob = self.upload(b"\0" * 2_600_000)
        error = self.error(attachments=[{"blobId": blob, "type": "a/b"}] * 2)
        self.assertEqual((error["type"], error["maxSize"]), ("tooLarge", 5_000_000))
        for text in ("é" * 90_000, "x" * 140_000):
            structure = {"type": "multipart/mixed", "subParts": [{"partId": "t"}] * 52}
            error = self.error(bodyValues={"t": {"value": text}}, bodyStructure=structure)
            self.assertEqual((error["type"], error["maxSize"]), ("tooLarge", 7_000_000))
        self.error(attachments=[{"blobId": blob, "type": "a/b"}], mailboxIds={"M999": True})
        self.assertFalse([name for name in self.store.blobs.untouched_since(NOW + 1) if f"b{name}" != blob])
        self.create(attachments=[{"blobId": blob, "type": "a/b"}])

    def test_memory(self) -> None:
        """An attachment is streamed: beside the message that is read once, little is held."""
        octets = bytes(range(256)) * 16_000  # 4 MB, 5.6 MB in base64
        blob = self.upload(octets)
        size = len(octets)
        del octets
        self.create()
        tracemalloc.start()
        try:
            self.create(attachments=[{"blobId": blob, "type": "image/png"}])
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        self.assertLess(peak, 2.6 * size)

    def test_many_parts_attached(self) -> None:
        """The parts of one message are looked up in one reading of it, however many are attached."""
        parts = "".join(f"--b\r\nContent-Type: text/plain\r\n\r\n{number}\r\n" for number in range(900))
        data = message(body=parts + "--b--", Content_Type="multipart/mixed; boundary=b")
        found = self.email(self.deliver(data), "attachments", "textBody", bodyProperties=["blobId"])
        attachments = [*found["textBody"], *found["attachments"]]
        self.assertEqual(len(attachments), 900)
        read: list[bytes] = []

        def decode(structure: bytes) -> Part:
            read.append(structure)
            return decode_structure(structure)

        self.patch(contents, "decode_structure", decode)
        made = self.create(attachments=attachments)
        self.assertEqual(len(read), 1)
        self.assertEqual(len(self.email(made, "attachments")["attachments"]), 900)

    def test_deep_and_wide(self) -> None:
        """Trees deeper or wider than what can be read again are refused, in bounded time."""
        deep: dict[str, Any] = {"blobId": self.upload(b"x"), "type": "text/plain"}
        leaf = deep
        for _ in range(60):
            deep = {"type": "multipart/mixed", "subParts": [deep]}
        error = self.error(bodyStructure=deep)
        self.assertEqual(error["type"], "invalidProperties")
        error = self.error(bodyStructure={"type": "multipart/mixed", "subParts": [leaf] * 1100})
        self.assertEqual(error["type"], "invalidProperties")
        nested: dict[str, Any] = leaf
        for _ in range(40):
            nested = {"type": "multipart/mixed", "subParts": [nested]}
        made = self.create(bodyStructure=nested)
        found = self.email(made, "bodyStructure", bodyProperties=["type"])["bodyStructure"]
        for _ in range(40):
            found = found["subParts"][0]
        self.assertEqual(found["type"], "text/plain")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=12),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=8), below, max_size=3),
    max_leaves=6,
)
_KEYS = st.sampled_from(
    [
        "partId",
        "blobId",
        "size",
        "name",
        "type",
        "charset",
        "disposition",
        "cid",
        "language",
        "location",
        "subParts",
        "headers",
        "header:X",
        "header:X:asText",
        "header:Content-Type",
        "header:X-A:asAddresses:all",
    ]
)
_PART: st.SearchStrategy[Any] = st.deferred(
    lambda: st.dictionaries(_KEYS, _JSON | st.sampled_from(["t", "text/plain"]) | st.lists(_PART, max_size=3))
)
_EMAIL = st.fixed_dictionaries(
    {},
    optional={
        "subject": _JSON,
        "from": _JSON
        | st.lists(st.dictionaries(st.sampled_from(["name", "email"]), st.none() | st.text()), max_size=3),
        "sentAt": _JSON,
        "messageId": _JSON | st.lists(st.text(max_size=20), max_size=3),
        "bodyValues": _JSON | st.dictionaries(st.sampled_from("tu"), st.fixed_dictionaries({"value": st.text()})),
        "bodyStructure": _JSON | _PART,
        "textBody": _JSON | st.lists(_PART, max_size=2),
        "attachments": _JSON | st.lists(_PART, max_size=3),
        "keywords": _JSON,
        "header:X-Y:asText": _JSON,
        "header:To": _JSON,
    },
)


_NONCHARACTER = re.compile(f"[{NONCHARACTERS}]")


class AnyObjectTests(CreateBed):
    """Email objects of any shape."""

    @settings(deadline=None, max_examples=80, suppress_health_check=list(HealthCheck))
    @given(_EMAIL)
    def test_any_object(self, properties: dict[str, Any]) -> None:
        """Whatever is asked for is made or refused by a SetError, and what is made can be read."""
        assume(not _NONCHARACTER.search(json.dumps(properties, ensure_ascii=False)))
        properties["mailboxIds"] = {self.inbox: True}
        calls = [
            ["Email/set", {"accountId": self.account_id, "create": {"k": properties}}, "0"],
            [
                "Email/get",
                {
                    "accountId": self.account_id,
                    "ids": ["#k"],
                    "fetchAllBodyValues": True,
                    "properties": ["headers", "bodyStructure", "bodyValues", "subject"],
                },
                "1",
            ],
        ]
        answer = self.send(json.dumps({"using": [CORE, MAIL], "methodCalls": calls}).encode())
        made, read = answer["methodResponses"]
        self.assertEqual(made[0], "Email/set", made)
        self.assertEqual(self.failures, [])
        if made[1]["created"]:
            self.assertEqual(len(read[1]["list"]), 1)
            names = [one["name"] for one in read[1]["list"][0]["headers"]]
            self.assertTrue(all(re.fullmatch(r"[!-9;-~]+", name) for name in names))
        else:
            self.assertIn(made[1]["notCreated"]["k"]["type"], ("invalidProperties", "blobNotFound"))


_PLAIN = st.text(
    st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"), exclude_characters=NONCHARACTERS), max_size=60
).map(lambda text: unicodedata.normalize("NFC", " ".join(text.split())))
_WHO = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.none() | _PLAIN.filter(bool),
            "email": st.sampled_from(["a@b.example", '"a b"@c.example', "ü@bücher.example"]),
        }
    ),
    min_size=1,
    max_size=4,
)
_IDS = st.lists(st.from_regex(r"\A[a-z0-9.-]{1,40}@[a-z0-9.-]{1,20}\Z"), min_size=1, max_size=4)
_VALUE = st.text(st.characters(exclude_characters="\r\0" + NONCHARACTERS, codec="utf-8"), max_size=200)
_VALID = st.fixed_dictionaries(
    {},
    optional={
        "subject": _PLAIN,
        "from": _WHO,
        "to": _WHO,
        "bcc": _WHO,
        "replyTo": _WHO,
        "messageId": _IDS,
        "references": _IDS,
        "sentAt": st.sampled_from(["2020-02-29T23:59:59Z", "1999-12-31T00:00:00-11:30"]),
        "keywords": st.dictionaries(st.sampled_from(["$seen", "a", "x-y"]), st.just(True)),
        "header:X-Text:asText": _PLAIN,
        "header:X-Many:asAddresses:all": st.lists(_WHO, max_size=3),
    },
)
_ATTACHED = st.lists(
    st.tuples(
        st.binary(max_size=100), _PLAIN.filter(bool), st.sampled_from(["image/png", "text/csv", "application/x"])
    ),
    max_size=3,
)


class RoundTripTests(CreateBed):
    """What is set is what one gets."""

    @settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
    @given(_VALID, st.none() | _VALUE, st.none() | _VALUE, _ATTACHED)
    def test_comes_back(
        self, properties: dict[str, Any], text: str | None, html: str | None, attached: list[tuple[bytes, str, str]]
    ) -> None:
        """RFC 8621 §4.6: every property of a valid Email comes back from Email/get, and so do its contents."""
        bodies: dict[str, Any] = {
            "attachments": [
                {"blobId": self.upload(octets), "name": name, "type": media_type}
                for octets, name, media_type in attached
            ]
        }
        values = {"t": text, "h": html}
        bodies["bodyValues"] = {key: {"value": value} for key, value in values.items() if value is not None}
        if text is not None:
            bodies["textBody"] = [{"partId": "t"}]
        if html is not None:
            bodies["htmlBody"] = [{"partId": "h"}]
        made = self.create(**properties, **bodies)
        found = self.email(
            made, *properties, "bodyValues", "attachments", "textBody", "htmlBody", fetchAllBodyValues=True
        )
        expected = {name: [] if value == [] else value for name, value in properties.items()}
        self.assertEqual({name: found[name] for name in properties}, expected)
        for name, value, kind in (("textBody", text, "text/plain"), ("htmlBody", html, "text/html")):
            if value is not None:
                (part,) = found[name]
                self.assertEqual((part["type"], found["bodyValues"][part["partId"]]["value"]), (kind, value))
        self.assertEqual(
            [(part["name"], part["type"], part["size"], part["disposition"]) for part in found["attachments"]],
            [(name, media_type, len(octets), "attachment") for octets, name, media_type in attached],
        )
