"""Email/query: each condition and each sort key (RFC 8621 §4.4)."""

from __future__ import annotations

from typing import Any

from stalwart.jmap.limits import Limits
from tests.jmap.bed import Bed, message


class FilterTests(Bed):
    """Conditions."""

    def found(self, **condition: Any) -> set[str]:
        """What matches one condition."""
        return set(self.query(filter=condition))

    def test_mailboxes(self) -> None:
        """Rule 68: inMailboxOtherThan is in at least one mailbox that isn't listed."""
        inbox, archive = self.mailboxes["inbox"], self.mailboxes["archive"]
        one, both, trash = (
            self.deliver(message()),
            self.deliver(message(), "inbox", "archive"),
            self.deliver(message(), "trash"),
        )
        self.assertEqual(self.found(inMailbox=inbox), {one, both})
        self.assertEqual(self.found(inMailbox="M999"), set())
        self.assertEqual(self.found(inMailbox="nope"), set())
        self.assertEqual(self.found(inMailboxOtherThan=[inbox]), {both, trash})
        self.assertEqual(self.found(inMailboxOtherThan=[inbox, archive]), {trash})
        self.assertEqual(self.found(inMailboxOtherThan=[]), {one, both, trash})
        self.assertEqual(self.found(inMailboxOtherThan=["nope", "M999"]), {one, both, trash})
        self.assertEqual(
            self.refused("Email/query", filter={"inMailboxOtherThan": [f"M{n}" for n in range(1, 600)]})["type"],
            "unsupportedFilter",
        )

    def test_times(self) -> None:
        """Rule 67: before is exclusive, after inclusive; fractions of a second count."""
        early, late = self.deliver(message(), at=1000), self.deliver(message(), at=1001)
        for name, date, found in (
            ("before", "1970-01-01T00:16:40Z", set()),
            ("before", "1970-01-01T00:16:40.5Z", {early}),
            ("before", "1970-01-01T00:16:41Z", {early}),
            ("before", "1970-01-01T00:16:42Z", {early, late}),
            ("after", "1970-01-01T00:16:40Z", {early, late}),
            ("after", "1970-01-01T00:16:40.001Z", {late}),
            ("after", "1970-01-01T00:16:41.000Z", {late}),
            ("after", "1970-01-01T00:16:42Z", set()),
            ("after", "0001-01-01T00:00:00Z", {early, late}),
            ("before", "9999-12-31T23:59:59.9Z", {early, late}),
        ):
            self.assertEqual(self.found(**{name: date}), found, (name, date))
        for wrong in (
            "1970-01-01T00:16:40",
            "1970-01-01T00:16:40+00:00",
            "1970-01-01t00:16:40z",
            "1970-01-01 00:16:40Z",
            "1970-13-01T00:16:40Z",
            "1970-02-30T00:16:40Z",
            "1970-01-01T24:16:40Z",
            "1970-01-01",
            "0000-01-01T00:00:00Z",
            "\u0661970-01-01T00:16:40Z",
            1000,
        ):
            self.assertEqual(self.refused("Email/query", filter={"after": wrong})["arguments"], ["filter"])

    def test_sizes(self) -> None:
        """Rule 67: minSize is at least, maxSize is less than."""
        data = message()
        email = self.deliver(data)
        size = len(data)
        self.assertEqual(self.found(minSize=size), {email})
        self.assertEqual(self.found(minSize=size + 1), set())
        self.assertEqual(self.found(maxSize=size), set())
        self.assertEqual(self.found(maxSize=size + 1), {email})
        self.assertEqual(self.found(minSize=2**53 - 1), set())

    def test_keywords(self) -> None:
        """hasKeyword and notKeyword, without regard to case."""
        seen, flagged = (
            self.deliver(message(), keywords=("$seen",)),
            self.deliver(message(), keywords=("$flagged",)),
        )
        self.assertEqual(self.found(hasKeyword="$Seen"), {seen})
        self.assertEqual(self.found(notKeyword="$seen"), {flagged})
        self.assertEqual(self.found(hasKeyword=""), set())

    def test_thread_keywords(self) -> None:
        """Rule 69: all, some and none count the whole thread, also what the other conditions leave out."""
        first = self.deliver(message("A", Message_ID="<a@x>"), keywords=("$flagged",))
        reply = self.deliver(message("Re: A", In_Reply_To="<a@x>"), "archive")
        alone = self.deliver(message("B"), keywords=("$flagged",))
        plain = self.deliver(message("C"))
        self.assertEqual(self.found(someInThreadHaveKeyword="$flagged"), {first, reply, alone})
        self.assertEqual(self.found(allInThreadHaveKeyword="$flagged"), {alone})
        self.assertEqual(self.found(noneInThreadHaveKeyword="$flagged"), {plain})
        self.assertEqual(self.found(inMailbox=self.inbox, allInThreadHaveKeyword="$flagged"), {alone})
        self.assertEqual(self.found(inMailbox=self.mailboxes["archive"], someInThreadHaveKeyword="$flagged"), {reply})

    def test_attachments(self) -> None:
        """Rule 65: the hasAttachment filter agrees with the property in both directions."""
        with_one = message(
            body="--m\r\n\r\ntext\r\n--m\r\nContent-Type: application/pdf\r\n\r\nx\r\n--m--",
            Content_Type="multipart/mixed; boundary=m",
        )
        emails = [self.deliver(with_one), self.deliver(message())]
        for value in (True, False):
            matching = {email for email in emails if self.email(email, "hasAttachment")["hasAttachment"] is value}
            self.assertEqual(len(matching), 1)
            self.assertEqual(self.found(hasAttachment=value), matching)

    def test_text(self) -> None:
        """RFC 8621 §4.4.1: text in each field and anywhere; all words, phrases, without case or accents."""
        email = self.deliver(
            message(
                "Ein Gruß aus Tromsø",
                "The quick brown fox.",
                From="Jörg Test <joerg@example.org>",
                To="anna@example.net",
                Cc="Carl <carl@example.com>",
                Bcc="bert@example.com",
            )
        )
        other = self.deliver(message("Other", "quick and brown"))
        for condition, matches in (
            ({"text": "fox"}, True),
            ({"text": "JORG"}, True),
            ({"text": "gruß fox anna carl"}, True),
            ({"text": "gruß cow"}, False),
            ({"text": '"quick brown"'}, True),
            ({"text": '"brown quick"'}, False),
            ({"text": "'quick brown' anna"}, True),
            ({"from": "joerg@example.org"}, True),
            ({"from": "anna"}, False),
            ({"to": "anna"}, True),
            ({"cc": "Carl"}, True),
            ({"bcc": "bert"}, True),
            ({"subject": "gruss"}, True),
            ({"subject": "aus"}, True),
            ({"body": "aus"}, False),
            ({"body": "fox"}, True),
            ({"subject": "aus", "body": "fox", "to": "anna"}, True),
        ):
            self.assertEqual(email in self.found(**condition), matches, condition)
        self.assertEqual(self.found(text="quick brown"), {email, other})
        self.assertEqual(self.found(text='" OR * NEAR( ^ AND'), set())

    def test_text_of_new_mail(self) -> None:
        """Rule 72: mail is found as soon as it is there."""
        email = self.deliver(message("Zebra"))
        self.assertEqual(self.found(text="zebra"), {email})

    def test_headers(self) -> None:
        """Rule 66: any field, the name alone or with text in it; encoded words are decoded first."""
        one = self.deliver(message(X_Odd="=?utf-8?q?Gr=C3=BCn?= and more"))
        two = self.deliver(message(x_odd="blue", Subject="x"))
        self.assertEqual(self.found(header=["X-ODD"]), {one, two})
        self.assertEqual(self.found(header=["x-odd", "GRÜN and"]), {one})
        self.assertEqual(self.found(header=["x-odd", ""]), {one, two})
        self.assertEqual(self.found(header=["X-Even"]), set())
        self.assertEqual(self.found(header=["subject", "x"]), {two})
        both = {"operator": "NOT", "conditions": [{"header": ["x-odd", "blue"]}, {"header": ["x-even"]}]}
        self.assertEqual(self.query(filter=both), [one])
        three = self.deliver(message(Message_ID="<One.Two@Example.org>", References="<a@b>\r\n <c@d>"))
        for value in ("<one.two@example.org>", "One.Two", "two@example", "<one"):
            self.assertEqual(self.found(header=["message-id", value]), {three}, value)
        self.assertEqual(self.found(header=["references", "a@b> <c@d"]), {three})
        self.assertEqual(self.found(header=["references", "c@d"]), {three})
        self.assertEqual(self.found(header=["message-id", "three"]), set())
        junk = self.deliver(message(Message_ID="not an id"))
        self.assertEqual(self.found(header=["message-id", "not"]), {junk})
        self.store.blobs.delete(self.email(one, "blobId")["blobId"][1:])
        self.assertEqual(self.found(header=["x-odd"]), {one, two})
        self.assertEqual(self.found(header=["x-odd", ""]), {two})
        for wrong in ([], ["a", "b", "c"], "a", [1], [""]):
            self.assertEqual(self.refused("Email/query", filter={"header": wrong})["arguments"], ["filter"])


class BoundTests(Bed):
    """What looking into every message may cost."""

    limits = Limits(max_octets_read=9000)

    def test_headers_of_much_mail(self) -> None:
        """Where reading every header is too much, the filter is unsupportedFilter; names alone are known at once."""
        rare = self.deliver(message(X_Rare="here"))
        for _ in range(10):
            self.deliver(message(X_Long="x" * 500))
        refused = self.refused("Email/query", filter={"header": ["x-long", "x"]})
        self.assertEqual(refused["type"], "unsupportedFilter")
        self.assertEqual(len(self.query(filter={"header": ["x-long"]})), 10)
        self.assertEqual(self.query(filter={"header": ["x-rare", "here"]}), [rare])

    def test_ids_of_much_mail(self) -> None:
        """RFC 8621 §4.4.1: looking for many message ids costs a bounded amount of work, too."""
        for number in range(10):
            self.deliver(message(Message_ID=f"<{number}@ids>"))
        ids: list[object] = [{"header": ["message-id", f"{number}@ids"]} for number in range(6)]
        self.assertEqual(len(self.query(filter={"operator": "OR", "conditions": ids[:2]})), 2)
        refused = self.refused("Email/query", filter={"operator": "OR", "conditions": ids * 2})
        self.assertEqual(refused["type"], "unsupportedFilter")


class SortTests(Bed):
    """Sort keys."""

    def sorted_by(self, name: str, **more: Any) -> list[str]:
        """All Emails in order."""
        return self.query(sort=[{"property": name, **more}])

    def test_properties(self) -> None:
        """RFC 8621 §4.4.2: receivedAt, size, from and to (name, else address), base subject, sentAt."""
        a = self.deliver(
            message(
                "Re: Zoo",
                "x" * 50,
                From="zed@example.org",
                To="<b@x>",
                Date="Thu, 30 Oct 2014 10:00:00 +0000",
            ),
            at=3,
        )
        b = self.deliver(
            message(
                "apple",
                "x",
                From="anna <z@example.org>",
                To="Zoe <a@x>",
                Date="Thu, 30 Oct 2014 10:30:00 +0100",
            ),
            at=1,
        )
        c = self.deliver(
            message(
                "Fwd: Middle",
                "x" * 99,
                From="Bob <a@example.org>",
                To="c@x",
                Date="Thu, 30 Oct 2014 12:00:00 +0000",
            ),
            at=2,
        )
        for name, order in (
            ("receivedAt", [b, c, a]),
            ("size", [b, a, c]),
            ("from", [b, c, a]),
            ("to", [a, c, b]),
            ("subject", [b, c, a]),
            ("sentAt", [b, a, c]),
        ):
            self.assertEqual(self.sorted_by(name), order, name)
            self.assertEqual(self.sorted_by(name, isAscending=False), order[::-1], name)

    def test_numbers(self) -> None:
        """RFC 4790 §9.1: i;ascii-numeric compares the numbers that texts begin with; what has none comes last."""
        ten, none, nine = (self.deliver(message(subject)) for subject in ("10 apples", "apples", "9 pears"))
        self.assertEqual(self.sorted_by("subject", collation="i;ascii-numeric"), [nine, ten, none])
        self.assertEqual(self.sorted_by("subject", collation="i;unicode-casemap"), [ten, nine, none])

    def test_keyword_sorts(self) -> None:
        """Rule 70: keyword sorts need a keyword, and false comes before true."""
        first = self.deliver(message("A", Message_ID="<a@x>"), keywords=("$flagged",), at=1)
        reply = self.deliver(message("Re: A", In_Reply_To="<a@x>"), at=2)
        alone = self.deliver(message("B"), keywords=("$flagged",), at=3)
        plain = self.deliver(message("C"), at=4)
        for name, no, yes in (
            ("hasKeyword", {reply, plain}, {first, alone}),
            ("someInThreadHaveKeyword", {plain}, {first, reply, alone}),
            ("allInThreadHaveKeyword", {first, reply, plain}, {alone}),
        ):
            order = self.sorted_by(name, keyword="$flagged")
            self.assertEqual((set(order[: len(no)]), set(order[len(no) :])), (no, yes), name)
            order = self.sorted_by(name, keyword="$flagged", isAscending=False)
            self.assertEqual((set(order[: len(yes)]), set(order[len(yes) :])), (yes, no), name)
            error = self.refused("Email/query", sort=[{"property": name}])
            self.assertEqual((error["type"], error["arguments"]), ("invalidArguments", ["sort"]))

    def test_collapse(self) -> None:
        """Rule 71: threads are collapsed after filter and sort, and the total counts threads."""
        old = self.deliver(message("A", Message_ID="<a@x>"), at=1)
        new = self.deliver(message("Re: A", In_Reply_To="<a@x>"), at=3)
        other = self.deliver(message("B"), at=2)
        for arguments, ids, total in (
            ({}, [new, other, old], 3),
            ({"collapseThreads": True}, [new, other], 2),
            ({"collapseThreads": True, "sort": [{"property": "receivedAt"}]}, [old, other], 2),
            ({"collapseThreads": True, "filter": {"before": "1970-01-01T00:00:03Z"}}, [other, old], 2),
            ({"collapseThreads": True, "filter": {"inMailbox": self.inbox}, "position": 1}, [other], 2),
            ({"collapseThreads": True, "position": -1}, [other], 2),
            ({"collapseThreads": True, "anchor": other, "anchorOffset": -1, "limit": 1}, [new], 2),
        ):
            answer = self.call("Email/query", calculateTotal=True, **arguments)
            self.assertEqual((answer["ids"], answer["total"]), (ids, total), arguments)
        self.assertEqual(self.refused("Email/query", collapseThreads=True, anchor=old)["type"], "anchorNotFound")


class TextBudgetTests(Bed):
    """How much text the filters of one request may search for."""

    limits = Limits(max_text_searched=100)

    def test_text_is_bounded(self) -> None:
        """Each word costs a look-up in the index, so the texts of all filters count together, and for one request."""
        texts = {"operator": "OR", "conditions": [{"text": "x" * 40}, {"subject": "y" * 40}]}
        self.assertEqual(self.call("Email/query", filter=texts)["ids"], [])
        wanted = {"accountId": self.account_id, "filter": texts}
        answers = self.request(("Email/query", wanted), ("Email/query", wanted))["methodResponses"]
        self.assertEqual([answers[0][0], answers[1][1].get("type")], ["Email/query", "unsupportedFilter"])
        self.assertEqual(self.refused("Email/query", filter={"header": ["X", "z" * 101]})["type"], "unsupportedFilter")
