"""/get, /changes and /query as they are for every data type (RFC 8620 §5)."""

from __future__ import annotations

from typing import Any

from stalwart.jmap.limits import Limits
from tests.jmap.bed import Anything, Bed, message


class GetTests(Bed):
    """Foo/get."""

    limits = Limits(max_objects_in_get=8)

    def test_not_found(self) -> None:
        """Rule 24: notFound is always an array, also for ids that this server would never give out."""
        email = self.deliver(message())
        for ids in (
            ["E999", "M1", "", "e1", "1", "E01", "E+1", "E 1", "E1_0", "E-1", "E", "E\u0661", "x" * 255],
            ["E9223372036854775808", "E" + "9" * 254],
        ):
            answer = self.call("Email/get", ids=ids[:8])
            self.assertEqual(answer["list"], [])
            self.assertCountEqual(answer["notFound"], ids[:8])
            answer = self.call("Email/get", ids=[*ids[8:], email], properties=["id"])
            self.assertEqual((answer["list"], answer["notFound"]), ([{"id": email}], ids[8:]))
        self.assertEqual(self.call("Email/get", ids=[email])["notFound"], [])

    def test_no_ids(self) -> None:
        """Rule 25: `ids: []` is an empty list, not everything."""
        self.deliver(message())
        for name in ("Email/get", "Mailbox/get", "Thread/get"):
            answer = self.call(name, ids=[])
            self.assertEqual((answer["list"], answer["notFound"]), ([], []))

    def test_ids_twice(self) -> None:
        """Rule 25: an id that is asked for twice is answered once, in the list or in notFound."""
        email = self.deliver(message())
        answer = self.call("Email/get", ids=[email, "E77", email, "E77"], properties=["id"])
        self.assertEqual((answer["list"], answer["notFound"]), ([{"id": email}], ["E77"]))

    def test_order_is_the_one_asked_for(self) -> None:
        """The list is in the order of the ids, so that clients need not sort it."""
        emails = [self.deliver(message(str(index))) for index in range(4)]
        wanted = [emails[2], emails[0], emails[3], emails[1]]
        self.assertEqual([email["id"] for email in self.call("Email/get", ids=wanted)["list"]], wanted)

    def test_properties(self) -> None:
        """Rule 25: the properties asked for and the id, nothing else; an unknown one is invalidArguments."""
        email = self.deliver(message())
        self.assertEqual(set(self.email(email, "subject", "subject", "id")), {"id", "subject"})
        self.assertEqual(self.call("Email/get", ids=[email], properties=[])["list"], [{"id": email}])
        self.assertEqual(
            set(self.call("Mailbox/get", ids=[self.inbox], properties=["name"])["list"][0]), {"id", "name"}
        )
        for name, wrong in (
            ("Email/get", "Subject"),
            ("Mailbox/get", "header:x"),
            ("Thread/get", ""),
            ("Email/get", "id "),
        ):
            self.assertEqual(self.refused(name, ids=[], properties=[wrong])["type"], "invalidArguments")

    def test_null_properties(self) -> None:
        """Null properties are all of them, for Email the default list of RFC 8621 §4.2."""
        mailbox = self.call("Mailbox/get", properties=None)["list"][0]
        self.assertEqual(len(mailbox), 11)
        email = self.email(self.deliver(message()))
        self.assertEqual(len(email), 24)
        self.assertNotIn("headers", email)
        self.assertNotIn("bodyStructure", email)

    def test_all(self) -> None:
        """Rule 26: `ids: null` is everything, up to maxObjectsInGet; more is requestTooLarge."""
        emails = [self.deliver(message(str(index))) for index in range(8)]
        for name, count in (("Email/get", 8), ("Thread/get", 8), ("Mailbox/get", 6)):
            self.assertEqual(len(self.call(name, ids=None)["list"]), count)
        emails.append(self.deliver(message("one more")))
        for index in range(3):
            self.make_mailbox(f"More {index}")
        for name in ("Email/get", "Thread/get", "Mailbox/get"):
            self.assertEqual(self.refused(name)["type"], "requestTooLarge")
        self.assertEqual(self.refused("Email/get", ids=emails)["type"], "requestTooLarge")
        self.assertEqual(len(self.call("Email/get", ids=[*emails[:8], emails[0]])["list"]), 8)

    def test_of_another_account(self) -> None:
        """Rule 32: what is in another account is not found, by no way of asking."""
        foreign = self.deliver(message("Foreign"), account=self.other.id)
        self.assertEqual(self.call("Email/get", ids=[foreign])["notFound"], [foreign])
        self.assertEqual(self.call("Email/get", ids=None)["list"], [])
        self.assertEqual(self.call("Thread/get", ids=["T1"])["notFound"], ["T1"])
        self.assertEqual(self.query(), [])
        self.assertEqual(self.query(filter={"text": "foreign"}), [])
        self.assertEqual(self.query(filter={"header": ["subject"]}), [])
        self.assertEqual(self.call("Email/changes", sinceState="0")["created"], [])

    def test_state(self) -> None:
        """RFC 8620 §5.1: the state of a type moves when its data does, and not otherwise."""
        before = {name: self.call(f"{name}/get", ids=[])["state"] for name in ("Email", "Mailbox", "Thread")}
        self.make_mailbox("New")
        after = {name: self.call(f"{name}/get", ids=[])["state"] for name in ("Email", "Mailbox", "Thread")}
        self.assertEqual({name for name in before if before[name] != after[name]}, {"Mailbox"})
        self.deliver(message())
        last = {name: self.call(f"{name}/get", ids=[])["state"] for name in ("Email", "Mailbox", "Thread")}
        self.assertEqual({name for name in before if last[name] != after[name]}, {"Email", "Mailbox", "Thread"})


class ChangesTests(Bed):
    """Foo/changes."""

    def test_from_an_empty_account(self) -> None:
        """Rule 31: the state of an account in which nothing has happened yet can be gone on from."""
        state = self.call("Email/get", ids=[])["state"]
        answer = self.call("Email/changes", sinceState=state)
        self.assertEqual(
            answer,
            {
                "accountId": self.account_id,
                "oldState": state,
                "newState": state,
                "hasMoreChanges": False,
                "created": [],
                "updated": [],
                "destroyed": [],
            },
        )
        email = self.deliver(message())
        self.assertEqual(self.call("Email/changes", sinceState=state)["created"], [email])
        self.assertEqual(self.call("Thread/changes", sinceState=state)["created"], [self.email(email)["threadId"]])

    def test_parts(self) -> None:
        """Rule 31: at most maxChanges ids at a time, and the state in between can be gone on from."""
        state = self.call("Email/get", ids=[])["state"]
        emails = {self.deliver(message(str(index))) for index in range(7)}
        seen: list[str] = []
        more = True
        while more:
            answer = self.call("Email/changes", sinceState=state, maxChanges=3)
            found = answer["created"] + answer["updated"] + answer["destroyed"]
            self.assertLessEqual(len(found), 3)
            seen += found
            self.assertNotEqual(answer["newState"], state)
            state, more = answer["newState"], answer["hasMoreChanges"]
        self.assertEqual((len(seen), set(seen)), (7, emails))
        self.assertEqual(state, self.call("Email/get", ids=[])["state"])

    def test_max_changes(self) -> None:
        """Rule 31: maxChanges is a positive integer, or null."""
        for wrong in (0, -1, 1.5, "1", True):
            error = self.refused("Email/changes", sinceState="0", maxChanges=wrong)
            self.assertEqual((error["type"], error["arguments"]), ("invalidArguments", ["maxChanges"]))
        self.call("Email/changes", sinceState="0", maxChanges=None)

    def test_unknown_states(self) -> None:
        """Rule 33: a state that this server did not give is cannotCalculateChanges, never a partial answer."""
        for state in ("", "x", "-1", "01", "1.0", " 1", "\u0661", "9" * 18, "9" * 19, "9" * 300, str(2**63)):
            self.assertEqual(self.refused("Email/changes", sinceState=state)["type"], "cannotCalculateChanges", state)
        self.assertEqual(self.refused("Email/changes")["arguments"], ["sinceState"])


class QueryTests(Bed):
    """Foo/query, seen at Email/query."""

    limits = Limits(max_results=20, max_filter_conditions=10, max_filter_depth=4)

    def setUp(self) -> None:
        """Ten messages, the newest first in `self.emails`."""
        super().setUp()
        self.emails = [self.deliver(message(f"Number {index}"), at=1000 + index) for index in range(10)][::-1]

    def window(self, **arguments: Any) -> tuple[int, list[str]]:
        """The position and the ids of an answer."""
        answer = self.call("Email/query", **arguments)
        return answer["position"], answer["ids"]

    def test_answer(self) -> None:
        """RFC 8620 §5.5: what is in an answer; rule 27: null filter and sort; rule 34: total only if asked for."""
        answer = self.call("Email/query", filter=None, sort=None, limit=5)
        self.assertEqual(set(answer), {"accountId", "queryState", "canCalculateChanges", "position", "ids"})
        self.assertIs(answer["canCalculateChanges"], True)
        self.assertEqual(answer["ids"], self.emails[:5])
        self.assertEqual(self.call("Email/query", calculateTotal=True, limit=0)["total"], 10)
        self.assertNotIn("total", self.call("Email/query", calculateTotal=False))

    def test_limit(self) -> None:
        """Rule 34: a limit is echoed only if the server changed it; 0 is legal, a negative one isn't."""
        self.assertEqual(self.call("Email/query")["limit"], 20)
        self.assertEqual(self.call("Email/query", limit=21)["limit"], 20)
        self.assertNotIn("limit", self.call("Email/query", limit=20))
        self.assertEqual(self.call("Email/query", limit=0)["ids"], [])
        self.assertEqual(self.refused("Email/query", limit=-1)["arguments"], ["limit"])

    def test_positions(self) -> None:
        """Rule 34: a negative position counts from the end, clamped to 0; beyond the end is empty, no error."""
        for position, start in (
            (0, 0),
            (3, 3),
            (9, 9),
            (-1, 9),
            (-3, 7),
            (-10, 0),
            (-11, 0),
            (-(2**53) + 1, 0),
        ):
            self.assertEqual(self.window(position=position), (start, self.emails[start:]))
        self.assertEqual(self.window(position=10), (10, []))
        self.assertEqual(self.window(position=2**53 - 1)[1], [])
        self.assertEqual(self.window(position=-4, limit=2), (6, self.emails[6:8]))

    def test_anchors(self) -> None:
        """Rule 34: an anchor's offset, its sign, clamping, and the absolute position in the answer."""
        anchor = self.emails[4]
        for offset, start in (
            (0, 4),
            (1, 5),
            (-1, 3),
            (-4, 0),
            (-5, 0),
            (5, 9),
            (6, 10),
            (2**53 - 1, 2**53 + 3),
        ):
            position, ids = self.window(anchor=anchor, anchorOffset=offset)
            self.assertEqual(ids, self.emails[start:])
            if start < 10:
                self.assertEqual(position, start)
        # RFC 8620 §5.5: position is ignored beside an anchor, anchorOffset without one
        self.assertEqual(self.window(anchor=anchor, position=8, limit=1), (4, [anchor]))
        self.assertEqual(self.window(anchorOffset=3, limit=1), (0, self.emails[:1]))

    def test_anchor_not_found(self) -> None:
        """Rule 34: an anchor that is not among the results is anchorNotFound."""
        for anchor in ("E999", "x", "", self.inbox):
            self.assertEqual(self.refused("Email/query", anchor=anchor)["type"], "anchorNotFound")
        error = self.refused("Email/query", anchor=self.emails[0], filter={"before": "1970-01-01T00:16:40Z"})
        self.assertEqual(error["type"], "anchorNotFound")

    def test_stable(self) -> None:
        """Rule 35: Emails that compare equal have an order that doesn't change from call to call."""
        same = [self.deliver(message("Same"), "archive", at=5000) for _ in range(6)]
        wanted = {"filter": {"inMailbox": self.mailboxes["archive"]}, "sort": [{"property": "receivedAt"}]}
        order = self.query(**wanted)
        self.assertEqual(set(order), set(same))
        self.assertEqual([self.query(**wanted, position=index, limit=1)[0] for index in range(6)], order)

    def test_unsupported_sorts(self) -> None:
        """Rule 35: an unknown property or collation is unsupportedSort, a wrong shape invalidArguments."""
        for sort in (
            [{"property": "nope"}],
            [{"property": "subject", "collation": "i;nope"}],
            [{"property": "size"}] * 17,
        ):
            self.assertEqual(self.refused("Email/query", sort=sort)["type"], "unsupportedSort")
        wrong: Anything = (
            [{}],
            [1],
            {},
            [{"property": 1}],
            [{"property": "size", "isAscending": 1}],
            [{"property": "size", "more": 1}],
            [{"property": "size", "keyword": "a"}],
        )
        for sort in wrong:
            error = self.refused("Email/query", sort=sort)
            self.assertEqual((error["type"], error["arguments"]), ("invalidArguments", ["sort"]), sort)
        # RFC 8620 §5.5: a collation is ignored where what is compared is no text
        self.query(sort=[{"property": "size", "collation": "i;nope"}])
        for collation in ("i;ascii-numeric", "i;ascii-casemap", "i;unicode-casemap"):
            self.query(sort=[{"property": "subject", "collation": collation}])

    def test_order_of_comparators(self) -> None:
        """Rule 35: comparators count in the order given."""
        small = self.deliver(message("B", "x"), "archive", at=1)
        large = self.deliver(message("A", "x" * 500), "archive", at=2)
        same = self.deliver(message("A", "x" * 500), "archive", at=3)
        archive = {"inMailbox": self.mailboxes["archive"]}
        subject, size, newest = (
            {"property": "subject"},
            {"property": "size", "isAscending": True},
            {"property": "receivedAt", "isAscending": False},
        )
        self.assertEqual(self.query(filter=archive, sort=[subject, newest]), [same, large, small])
        self.assertEqual(self.query(filter=archive, sort=[size, newest]), [small, same, large])

    def test_operators(self) -> None:
        """Rule 36: AND, OR, NOT (none of), of no conditions and nested; an empty condition is true."""
        first = {"subject": "number 1"}
        second = {"subject": "number 2"}
        n1, n2 = self.emails[8], self.emails[7]
        both = [n2, n1]
        rest = [email for email in self.emails if email not in both]
        for operator, conditions, found in (
            ("AND", [], self.emails),
            ("OR", [], []),
            ("NOT", [], self.emails),
            ("AND", [first, second], []),
            ("OR", [first, second], both),
            ("NOT", [first, second], rest),
            ("AND", [{}], self.emails),
            ("NOT", [{}], []),
            ("OR", [{}, first], self.emails),
            ("NOT", [{"operator": "NOT", "conditions": [first]}], [n1]),
            ("OR", [{"operator": "AND", "conditions": [{"inMailbox": self.inbox}, first]}, second], both),
            ("AND", [{"operator": "OR", "conditions": [first, second]}, {"inMailbox": self.inbox}], both),
        ):
            self.assertEqual(self.query(filter={"operator": operator, "conditions": conditions}), found)
        self.assertEqual(self.query(filter={}), self.emails)
        self.assertEqual(self.query(filter={"subject": "number", "after": "1970-01-01T00:16:48Z"}), self.emails[:2])

    def test_wrong_filters(self) -> None:
        """Rule 36: an unknown condition is unsupportedFilter; a wrong type or operator is invalidArguments."""
        for value in (
            {"nope": 1},
            {"operator": "AND", "conditions": [{"Subject": "x"}]},
            {"operator": "OR", "conditions": [{}] * 11},
            {"subject": "x" * 5000},
        ):
            self.assertEqual(self.refused("Email/query", filter=value)["type"], "unsupportedFilter", value)
        wrong: Anything = (
            [],
            1,
            {"subject": 1},
            {"subject": None},
            {"minSize": -1},
            {"operator": "XOR", "conditions": []},
            {"operator": "and", "conditions": []},
            {"operator": ["AND"], "conditions": []},
            {"operator": "AND"},
            {"operator": "AND", "conditions": {}},
            {"operator": "AND", "conditions": [1]},
            {"operator": "AND", "conditions": [], "subject": "x"},
        )
        for value in wrong:
            error = self.refused("Email/query", filter=value)
            self.assertEqual((error["type"], error["arguments"]), ("invalidArguments", ["filter"]), value)

    def test_depth(self) -> None:
        """Filters nest as deep as the limit says, and no deeper."""
        value: dict[str, Any] = {"subject": "number 1"}
        for _ in range(3):
            value = {"operator": "AND", "conditions": [value]}
        self.assertEqual(self.query(filter=value), [self.emails[8]])
        error = self.refused("Email/query", filter={"operator": "AND", "conditions": [value]})
        self.assertEqual(error["type"], "unsupportedFilter")

    def test_query_state(self) -> None:
        """Rule 37: the state differs when the result does, and is the same as long as nothing changed."""
        state = self.call("Email/query")["queryState"]
        self.assertEqual(self.call("Email/query")["queryState"], state)
        self.deliver(message("One more"))
        self.assertNotEqual(self.call("Email/query")["queryState"], state)
