"""Email/get: metadata, header fields in every form, bodies (RFC 8621 §4.1, §4.2)."""

from __future__ import annotations

import itertools
import os
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from stalwart.jmap.limits import Limits
from tests.jmap.bed import NOW, Bed, message

MIXED = (
    b"From: =?utf-8?q?J=C3=B6rg?= <joerg@example.org>\r\n"
    b"To: undisclosed-recipients:;\r\n"
    b"Subject: =?iso-8859-1?q?Gr=FC=DFe?=\r\n"
    b" aus dem Norden\r\n"
    b"Received: one\r\n"
    b"Received: two\r\n"
    b"X-Thing:  two  spaces\r\n"
    b"x-thing: last\r\n"
    b"List-Post: <mailto:list@example.org> (a comment)\r\n"
    b"Message-ID: <1@example.org>\r\n"
    b"References: <a@example.org> (c) <b@example.org>\r\n"
    b"Date: Thu, 30 Oct 2014 14:12:00 +0800\r\n"
    b"MIME-Version: 1.0\r\n"
    b'Content-Type: multipart/mixed; boundary="m"\r\n'
    b"\r\n"
    b"preamble\r\n"
    b"--m\r\n"
    b'Content-Type: multipart/alternative; boundary="a"\r\n'
    b"\r\n"
    b"--a\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n"
    b"Content-Transfer-Encoding: quoted-printable\r\n"
    b"\r\n"
    b"Gr=C3=BC=C3=9Fe\r\nzweite Zeile\r\n"
    b"--a\r\n"
    b"Content-Type: text/html; charset=nonsense\r\n"
    b"\r\n"
    b"<p>Hello <b>you</b></p>\r\n"
    b"--a--\r\n"
    b"--m\r\n"
    b"Content-Type: application/pdf; name=old.pdf\r\n"
    b"Content-Disposition: attachment; filename*=utf-8''gr%C3%BCn.pdf\r\n"
    b"Content-Transfer-Encoding: base64\r\n"
    b"Content-ID: <pdf@example.org>\r\n"
    b"Content-Language: de, en\r\n"
    b"\r\n"
    b"JVBERi0xLjQ=\r\n"
    b"--m--\r\n"
)


class MetadataTests(Bed):
    """What does not come from the message's header or body."""

    def test_metadata(self) -> None:
        """RFC 8621 §4.1.1, rule 61: receivedAt in UTC without a fraction, sentAt with its own offset."""
        data = message()
        email = self.deliver(data, "inbox", "archive", at=NOW)
        got = self.email(email, "mailboxIds", "size", "receivedAt", "sentAt", "blobId")
        self.assertEqual(got["mailboxIds"], {self.inbox: True, self.mailboxes["archive"]: True})
        self.assertEqual(got["size"], len(data))
        self.assertEqual(got["receivedAt"], "2023-11-14T22:13:20Z")
        self.assertEqual(got["sentAt"], "2014-10-30T14:12:00+08:00")
        self.assertRegex(got["blobId"], r"\Ab[a-z2-7]{52}\Z")

    def test_keywords(self) -> None:
        """Rule 57: keywords in lower case, as many as there are."""
        many = tuple(f"Word{index}" for index in range(300))
        email = self.deliver(message(), keywords=("$Seen", *many))
        keywords = self.email(email, "keywords")["keywords"]
        self.assertEqual(keywords, dict.fromkeys(("$seen", *(word.lower() for word in many)), True))
        self.assertEqual(self.email(self.deliver(message()), "keywords")["keywords"], {})

    def test_preview(self) -> None:
        """Rule 64: the preview is plain text of at most 256 characters, and there even if it is empty."""
        self.assertEqual(self.email(self.deliver(message(body="")), "preview")["preview"], "")
        long = self.email(self.deliver(message(body="words and " * 100)), "preview")["preview"]
        self.assertTrue(0 < len(long) <= 256)

    def test_only_what_was_asked_for(self) -> None:
        """Every fast property can be had by itself, and all of them together are the same."""
        email = self.deliver(MIXED)
        everything = self.email(email)
        for name in everything:
            self.assertEqual(self.email(email, name), {"id": email, name: everything[name]})


class HeaderTests(Bed):
    """`headers` and `header:*`."""

    def header(self, *names: str) -> Any:
        """The value of the property, or of all of them."""
        got = self.email(self.mixed, *names)
        return got[names[0]] if len(names) == 1 else [got[name] for name in names]

    def setUp(self) -> None:
        """One message with many fields."""
        super().setUp()
        self.mixed = self.deliver(MIXED)

    def test_convenience_properties(self) -> None:
        """RFC 8621 §4.1.3: each is the same as its header property."""
        for name, header in (
            ("messageId", "header:Message-ID:asMessageIds"),
            ("inReplyTo", "header:In-Reply-To:asMessageIds"),
            ("references", "header:References:asMessageIds"),
            ("sender", "header:Sender:asAddresses"),
            ("from", "header:From:asAddresses"),
            ("to", "header:To:asAddresses"),
            ("cc", "header:Cc:asAddresses"),
            ("replyTo", "header:Reply-To:asAddresses"),
            ("subject", "header:Subject:asText"),
            ("sentAt", "header:Date:asDate"),
        ):
            short, long = self.header(name, header)
            self.assertEqual(short, long, name)
        self.assertEqual(self.header("subject"), "Grüße aus dem Norden")
        self.assertEqual(self.header("from"), [{"name": "Jörg", "email": "joerg@example.org"}])
        self.assertEqual(self.header("references"), ["a@example.org", "b@example.org"])

    def test_raw_octets(self) -> None:
        """8-bit octets in a header are in the charset that the body names, alike in a property, a form and a filter."""
        fields = "From: Вася <v@example.org>\r\nSubject: Привет\r\n".encode("koi8-r")
        email = self.deliver(fields + b"Content-Type: text/plain; charset=koi8-r\r\n\r\n" + "да".encode("koi8-r"))
        got = self.email(email, "from", "subject", "header:From:asAddresses", "header:Subject:asText")
        self.assertEqual((got["subject"], got["header:Subject:asText"]), ("Привет", "Привет"))
        self.assertEqual(got["from"], [{"name": "Вася", "email": "v@example.org"}])
        self.assertEqual(got["header:From:asAddresses"], got["from"])
        found = self.query(filter={"header": ["Subject", "привет"]})
        self.assertEqual(found, [email])

    def test_headers(self) -> None:
        """RFC 8621 §4.1.3, §4.1.2.1: every field in order, in Raw form; rule 60: leading space and folding are kept."""
        headers = self.header("headers")
        self.assertEqual(len(headers), 13)
        self.assertEqual(headers[0], {"name": "From", "value": " =?utf-8?q?J=C3=B6rg?= <joerg@example.org>"})
        self.assertEqual(headers[2]["value"], " =?iso-8859-1?q?Gr=FC=DFe?=\r\n aus dem Norden")
        self.assertEqual([one["name"] for one in headers[5:7]], ["X-Thing", "x-thing"])

    def test_capitalisation_and_instances(self) -> None:
        """Rule 59: the name as it was asked for; the last instance unless :all; null or [] when there is none."""
        got = self.email(self.mixed, "header:RECEIVED", "header:received:all", "header:Nope", "header:Nope:all")
        self.assertEqual(got["header:RECEIVED"], " two")
        self.assertEqual(got["header:received:all"], [" one", " two"])
        self.assertIsNone(got["header:Nope"])
        self.assertEqual(got["header:Nope:all"], [])
        self.assertEqual(self.header("header:X-THING:asText:all"), ["two  spaces", "last"])

    def test_every_form(self) -> None:
        """Rules 59, 60: all seven forms, the form before :all; forms of fields that no RFC defines are free."""
        for name, value in (
            ("header:Subject:asRaw", " =?iso-8859-1?q?Gr=FC=DFe?=\r\n aus dem Norden"),
            ("header:To:asAddresses", []),
            ("header:To:asGroupedAddresses", [{"name": "undisclosed-recipients", "addresses": []}]),
            (
                "header:From:asGroupedAddresses",
                [{"name": None, "addresses": [{"name": "Jörg", "email": "joerg@example.org"}]}],
            ),
            ("header:List-Post:asURLs", ["mailto:list@example.org"]),
            ("header:Date:asDate:all", ["2014-10-30T14:12:00+08:00"]),
            ("header:X-Thing:asDate", None),
            ("header:X-Thing:asMessageIds", None),
            ("header:References:asMessageIds:all", [["a@example.org", "b@example.org"]]),
        ):
            self.assertEqual(self.header(name), value, name)

    def test_forbidden_forms(self) -> None:
        """Rule 59, RFC 8621 §4.2: a forbidden or unknown form, or a wrong order, is invalidArguments."""
        for name in (
            "header:From:asDate",
            "header:From:asText",
            "header:Subject:asAddresses",
            "header:subject:asURLs",
            "header:Date:asText",
            "header:List-Post:asAddresses",
            "header:Received:asText",
            "header:Received:asDate",
            "header:Return-Path:asAddresses",
            "header:Resent-Message-ID:asText",
            "header:Subject:all:asText",
            "header:Subject:astext",
            "header:Subject:asNothing",
            "header:Subject:",
            "header:Subject:as",
            "header:",
            "header::asText",
            "header:a b",
            "header:é",
            "Header:Subject",
            "header:Subject:asText:all:all",
        ):
            error = self.refused("Email/get", ids=[self.mixed], properties=[name])
            self.assertEqual((error["type"], error["arguments"]), ("invalidArguments", ["properties"]), name)
        error = self.refused("Email/get", ids=[self.mixed], bodyProperties=["header:From:asDate"])
        self.assertEqual((error["type"], error["arguments"]), ("invalidArguments", ["bodyProperties"]))


class BodyTests(Bed):
    """Body parts and values."""

    def setUp(self) -> None:
        """One message with three parts."""
        super().setUp()
        self.mixed = self.deliver(MIXED)

    def test_structure(self) -> None:
        """Rule 62: partId and blobId are null if and only if a part is multipart; names, charsets, dispositions."""
        root = self.email(self.mixed, "bodyStructure")["bodyStructure"]
        alternative, pdf = root["subParts"]
        plain, html = alternative["subParts"]
        for part in (root, alternative):
            self.assertEqual((part["partId"], part["blobId"], part["charset"]), (None, None, None))
        for part in (plain, html, pdf):
            self.assertNotIn("subParts", part)
            self.assertIsInstance(part["partId"], str)
            self.assertRegex(part["blobId"], r"\A[A-Za-z][A-Za-z0-9_-]{0,254}\Z")
        self.assertEqual([root["type"], plain["type"], html["charset"]], ["multipart/mixed", "text/plain", "nonsense"])
        self.assertEqual(
            {name: pdf[name] for name in ("name", "type", "charset", "disposition", "cid", "language", "size")},
            {
                "name": "grün.pdf",
                "type": "application/pdf",
                "charset": None,
                "disposition": "attachment",
                "cid": "pdf@example.org",
                "language": ["de", "en"],
                "size": 8,
            },
        )

    def test_lists(self) -> None:
        """RFC 8621 §4.1.4: textBody, htmlBody, attachments; none of their parts has subParts."""
        got = self.email(self.mixed, "textBody", "htmlBody", "attachments", "hasAttachment")
        types = {name: [part["type"] for part in got[name]] for name in ("textBody", "htmlBody", "attachments")}
        self.assertEqual(
            types, {"textBody": ["text/plain"], "htmlBody": ["text/html"], "attachments": ["application/pdf"]}
        )
        self.assertIs(got["hasAttachment"], True)
        self.assertEqual(
            set(got["textBody"][0]),
            {
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
            },
        )

    def test_body_properties(self) -> None:
        """RFC 8621 §4.2: only the part properties asked for, header fields of the part among them."""
        got = self.email(
            self.mixed,
            "bodyStructure",
            "attachments",
            bodyProperties=["type", "headers", "header:content-id:asRaw", "header:X:all", "subParts"],
        )
        (pdf,) = got["attachments"]
        self.assertEqual(set(pdf), {"type", "headers", "header:content-id:asRaw", "header:X:all", "subParts"})
        self.assertEqual(pdf["header:content-id:asRaw"], " <pdf@example.org>")
        self.assertEqual(pdf["header:X:all"], [])
        self.assertIsNone(pdf["subParts"])
        self.assertEqual(pdf["headers"][0]["value"], " application/pdf; name=old.pdf")
        self.assertEqual(got["bodyStructure"]["headers"][0]["name"], "From")
        self.assertEqual(len(got["bodyStructure"]["subParts"][0]["subParts"]), 2)
        for wrong in ("nope", "", "header:", "partID"):
            for properties in (["bodyStructure"], ["id"]):
                error = self.refused("Email/get", ids=[self.mixed], properties=properties, bodyProperties=[wrong])
                self.assertEqual((error["type"], error["arguments"]), ("invalidArguments", ["bodyProperties"]))

    def test_values(self) -> None:
        """RFC 8621 §4.2: values of no part, of the text body, of the HTML body, of all; rule 63 on their text."""
        self.assertEqual(self.email(self.mixed, "bodyValues")["bodyValues"], {})
        text = self.email(self.mixed, "bodyValues", fetchTextBodyValues=True)["bodyValues"]
        html = self.email(self.mixed, "bodyValues", fetchHTMLBodyValues=True)["bodyValues"]
        both = self.email(self.mixed, "bodyValues", fetchAllBodyValues=True)["bodyValues"]
        self.assertEqual({**text, **html}, both)
        self.assertEqual(len(both), 2)
        (plain,) = text.values()
        self.assertEqual(plain, {"value": "Grüße\nzweite Zeile", "isEncodingProblem": False, "isTruncated": False})
        (page,) = html.values()
        self.assertEqual(page["value"], "<p>Hello <b>you</b></p>")
        self.assertIs(page["isEncodingProblem"], True)

    def test_values_need_their_property(self) -> None:
        """RFC 8621 §4.2: the flags say what is in bodyValues, not whether it is there."""
        self.assertEqual(self.email(self.mixed, "id", fetchAllBodyValues=True), {"id": self.mixed})

    def test_truncation(self) -> None:
        """Rule 63: at most so many octets, never inside a code point nor, in HTML, inside a tag; 0 is no limit."""
        for most, value in ((4, "Grü"), (3, "Gr"), (2, "Gr")):
            (plain,) = self.email(self.mixed, "bodyValues", fetchTextBodyValues=True, maxBodyValueBytes=most)[
                "bodyValues"
            ].values()
            self.assertEqual((plain["value"], plain["isTruncated"]), (value, True))
        (page,) = self.email(self.mixed, "bodyValues", fetchHTMLBodyValues=True, maxBodyValueBytes=11)[
            "bodyValues"
        ].values()
        self.assertEqual((page["value"], page["isTruncated"]), ("<p>Hello ", True))
        (page,) = self.email(self.mixed, "bodyValues", fetchHTMLBodyValues=True, maxBodyValueBytes=0)[
            "bodyValues"
        ].values()
        self.assertIs(page["isTruncated"], False)
        self.assertEqual(
            self.refused("Email/get", ids=[self.mixed], maxBodyValueBytes=-1)["arguments"],
            ["maxBodyValueBytes"],
        )

    def test_digest(self) -> None:
        """Rule 62: a part of a multipart/digest is a message unless it says otherwise; text is us-ascii."""
        data = message(body="--d\r\n\r\nSubject: in\r\n\r\nx\r\n--d--", Content_Type='multipart/digest; boundary="d"')
        root = self.email(self.deliver(data), "bodyStructure")["bodyStructure"]
        self.assertEqual(root["subParts"][0]["type"], "message/rfc822")
        plain = self.email(self.deliver(message()), "textBody")["textBody"][0]
        self.assertEqual((plain["type"], plain["charset"]), ("text/plain", "us-ascii"))

    def test_large_messages_are_read_in_parts(self) -> None:
        """Of a message of many octets only the wanted part is read; the answers are the same."""
        large = MIXED.replace(b"zweite Zeile\r\n", b"zweite Zeile\r\n" * 10_000)
        email = self.deliver(large)
        got = self.email(email, "bodyValues", "header:Subject:asText", fetchHTMLBodyValues=True)
        self.assertEqual(got["header:Subject:asText"], "Grüße aus dem Norden")
        self.assertEqual([value["value"] for value in got["bodyValues"].values()], ["<p>Hello <b>you</b></p>"])

    @given(
        st.binary(max_size=400),
        st.sampled_from([b"", MIXED[:-400], b"Content-Type: multipart/mixed; boundary=x\n\n--x\n"]),
    )
    @settings(max_examples=60, deadline=None)
    def test_any_message(self, tail: bytes, head: bytes) -> None:
        """Every property of any message at all can be had."""
        email = self.deliver(head + tail)
        names = [
            "headers",
            "bodyStructure",
            "textBody",
            "htmlBody",
            "attachments",
            "bodyValues",
            "subject",
            "from",
        ]
        for form in ("Raw", "Text", "Addresses", "GroupedAddresses", "MessageIds", "Date", "URLs"):
            names += [f"header:X:as{form}", f"header:X:as{form}:all"]
        got = self.email(
            email,
            *names,
            fetchAllBodyValues=True,
            maxBodyValueBytes=50,
            bodyProperties=["partId", "blobId", "headers", "size", "subParts"],
        )
        self.assertEqual(set(got), {"id", *names})
        self.assertEqual(self.failures, [])


class BudgetTests(Bed):
    """What one request may have read."""

    limits = Limits(max_octets_read=300_000)

    def test_reading_is_bounded(self) -> None:
        """A request that would read too much mail is requestTooLarge; in parts it can be had."""
        emails = [self.deliver(message(str(index), os.urandom(45_000).hex())) for index in range(4)]
        wanted = {"properties": ["bodyValues"], "fetchTextBodyValues": True}
        self.assertEqual(self.refused("Email/get", ids=emails, **wanted)["type"], "requestTooLarge")
        self.assertEqual(len(self.call("Email/get", ids=emails[:3], **wanted)["list"]), 3)
        self.assertEqual(len(self.call("Email/get", ids=emails, properties=["subject"])["list"]), 4)

    def test_one_field_under_many_names(self) -> None:
        """A header field counts each time it is asked for: names without case are many, and so would be the octets."""
        email = self.deliver(message("x" * 3000))
        names = ["header:" + "".join(letters) for letters in itertools.product(*zip("subject", "SUBJECT", strict=True))]
        for wanted in ({"properties": names}, {"properties": ["textBody"], "bodyProperties": names}):
            self.assertEqual(self.refused("Email/get", ids=[email], **wanted)["type"], "requestTooLarge")
        got = self.email(email, *names[:50])
        self.assertEqual({got[name] for name in names[:50]}, {" " + "x" * 3000})

    def test_small_mail_large_answer(self) -> None:
        """Parts and header fields count by what they are in the answer: of each octet of a message could be twenty."""
        parts = self.deliver(message(body="--m\r\n\r\nx\r\n" * 900, Content_Type="multipart/mixed; boundary=m"))
        fields = self.deliver(b"a:\r\n" * 5000 + b"\r\nx")
        for email, wanted in (
            (parts, {"properties": ["bodyStructure", "attachments"]}),
            (fields, {"properties": ["headers"]}),
            (fields, {"properties": ["bodyStructure"], "bodyProperties": ["headers"]}),
        ):
            self.assertEqual(self.refused("Email/get", ids=[email], **wanted)["type"], "requestTooLarge", wanted)

    def test_rows_count(self) -> None:
        """What comes from the rows counts too: every call of a request could ask for the same large ones."""
        email = self.deliver(
            message(Cc=", ".join(f"Person {number} <p{number}@example.org>" for number in range(1000)))
        )
        wanted = {"accountId": self.account_id, "ids": [email], "properties": ["cc"]}
        answers = self.request(*[("Email/get", wanted)] * 10)["methodResponses"]
        self.assertEqual([answers[0][0], answers[-1][1].get("type")], ["Email/get", "requestTooLarge"])
        self.assertEqual(self.refused("Email/query", filter={"header": ["a"] * 1000})["type"], "invalidArguments")


class ThreadTests(Bed):
    """Threads (RFC 8621 §3)."""

    def test_threads(self) -> None:
        """RFC 8621 §3.1, rule 55: emailIds by the time received, then by id."""
        last = self.deliver(message("Re: A", Message_ID="<b@x>", In_Reply_To="<a@x>"), at=2000)
        first = self.deliver(message("A", Message_ID="<a@x>"), "archive", at=1000)
        same = self.deliver(message("AW: A", Message_ID="<c@x>", References="<a@x>"), at=2000)
        threads = {self.email(email, "threadId")["threadId"] for email in (first, last, same)}
        (thread,) = threads
        self.assertEqual(
            self.call("Thread/get", ids=[thread])["list"], [{"id": thread, "emailIds": [first, last, same]}]
        )
        self.assertEqual(self.call("Thread/get", ids=[thread], properties=["id"])["list"], [{"id": thread}])

    def test_one_each(self) -> None:
        """RFC 8621 §3: every Email is in a thread, if alone; the same subject alone does not join."""
        one, two = (
            self.deliver(message("A", Message_ID="<a@x>")),
            self.deliver(message("A", Message_ID="<b@x>")),
        )
        self.assertEqual(len(self.call("Thread/get", ids=None)["list"]), 2)
        self.assertNotEqual(self.email(one, "threadId")["threadId"], self.email(two, "threadId")["threadId"])

    def test_changes(self) -> None:
        """RFC 8621 §3.2: a thread that gets one more Email is updated."""
        email = self.deliver(message("A", Message_ID="<a@x>"))
        state = self.call("Thread/get", ids=[])["state"]
        self.deliver(message("Re: A", In_Reply_To="<a@x>"))
        changes = self.call("Thread/changes", sinceState=state)
        self.assertEqual((changes["created"], changes["updated"]), ([], [self.email(email, "threadId")["threadId"]]))
