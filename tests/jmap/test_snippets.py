"""SearchSnippet/get (RFC 8621 §5)."""

from __future__ import annotations

import time
from typing import Any

from stalwart.jmap.limits import Limits
from tests.jmap.bed import Bed, message


class SnippetTests(Bed):
    """What is shown of the messages that a search found."""

    limits = Limits(max_snippets=5)

    def snippet(self, email: str, filter: Any) -> tuple[str | None, str | None]:  # noqa: A002
        """Subject and preview for one Email."""
        response = self.call("SearchSnippet/get", filter=filter, emailIds=[email])
        self.assertIsNone(response["notFound"])
        (shown,) = response["list"]
        self.assertEqual(shown["emailId"], email)
        return shown["subject"], shown["preview"]

    def test_marked(self) -> None:
        """RFC 8621 §5.1, rule 77: subject and preview are escaped and marked, each null without a match in it."""
        email = self.deliver(message("Foosball & more", "We play <foosball> tonight.", From="Foo <foo@example.org>"))
        both = ("<mark>Foosball</mark> &amp; more", "We play &lt;<mark>foosball</mark>&gt; tonight.")
        for condition, expected in (
            ({"text": "foosball"}, both),
            ({"subject": "foosball"}, (both[0], None)),
            ({"body": "foosball"}, (None, both[1])),
            ({"from": "foo"}, (None, None)),
            ({"text": "wolf"}, (None, None)),
            ({"text": "tonight"}, (None, "We play &lt;foosball&gt; <mark>tonight</mark>.")),
            ({"operator": "NOT", "conditions": [{"text": "foosball"}]}, (None, None)),
            ({"hasAttachment": False, "header": ["subject", "foosball"]}, (None, None)),
            ({}, (None, None)),
            (None, (None, None)),
        ):
            self.assertEqual(self.snippet(email, condition), expected, condition)
        either = {"operator": "OR", "conditions": [{"subject": "foosball"}, {"body": '"foosball tonight"'}]}
        self.assertEqual(self.snippet(email, either), (both[0], "We play &lt;<mark>foosball&gt; tonight</mark>."))

    def test_html(self) -> None:
        """The text of an HTML body is shown, not its markup; no preview is over 255 octets."""
        body = "<head><title>needle</title></head><p>" + "é<b>日</b> " * 200 + "a <i>needle</i> &amp; " + "é " * 300
        email = self.deliver(message(body=body, Content_Type="text/html; charset=utf-8"))
        preview = self.snippet(email, {"text": "needle"})[1]
        assert preview is not None
        self.assertIn("a <mark>needle</mark> &amp; é", preview)
        self.assertLessEqual(len(preview.encode()), 255)

    def test_what_is_found_is_shown(self) -> None:
        """Folded, CJK and encoded text: what the query finds, the snippet marks."""
        email = self.deliver(
            message(
                "=?utf-8?q?Gr=C3=BC=C3=9Fe?= aus =?utf-8?b?5p2x5Lqs?=",
                "Cr=C3=A8me br=C3=BBl=C3=A9e in =E6=97=A5=E6=9C=AC",
                Content_Type="text/plain; charset=utf-8",
                Content_Transfer_Encoding="quoted-printable",
            )
        )
        for query in ("grusse", "東京", '"creme brulee"', "brulee 日本", "GRÜSSE"):
            self.assertEqual(self.query(filter={"text": query}), [email], query)
            subject, preview = self.snippet(email, {"text": query})
            self.assertTrue(subject or preview, query)

    def test_ids(self) -> None:
        """Ids are answered once; unknown ones are in notFound; more than max-results are requestTooLarge."""
        email = self.deliver(message("x"))
        response = self.call("SearchSnippet/get", filter={"text": "x"}, emailIds=[email, "nope", "E999", email])
        self.assertEqual(
            ([one["emailId"] for one in response["list"]], response["notFound"]), ([email], ["nope", "E999"])
        )
        foreign = self.deliver(message("x"), account=self.other.id)
        self.assertEqual(self.call("SearchSnippet/get", emailIds=[foreign])["notFound"], [foreign])
        refused = self.refused("SearchSnippet/get", filter=None, emailIds=[f"E{number}" for number in range(6)])
        self.assertEqual(refused["type"], "requestTooLarge")
        refused = self.refused("SearchSnippet/get", filter={"nope": 1}, emailIds=[])
        self.assertEqual(refused["type"], "unsupportedFilter")

    def test_lost_blob(self) -> None:
        """A message whose octets are gone has no preview, and its subject all the same."""
        email = self.deliver(message("needle", "needle"))
        self.store.blobs.delete(self.email(email, "blobId")["blobId"][1:])
        self.assertEqual(self.snippet(email, {"text": "needle"}), ("<mark>needle</mark>", None))

    def test_bounded(self) -> None:
        """A body of megabytes costs no more than its first part, whatever is looked for in it."""
        email = self.deliver(message(body="word é " * 1_000_000))
        started = time.process_time()
        for query in ("missing", "wor", '"word é word"'):
            self.snippet(email, {"text": query})
        self.assertLess(time.process_time() - started, 5)
