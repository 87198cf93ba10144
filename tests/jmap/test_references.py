"""Result references (RFC 8620 §3.7)."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from stalwart.jmap.limits import Limits
from tests.jmap.bed import Anything, Bed, Calls, message


def ref(path: str, of: str = "0", name: str = "Core/echo") -> dict[str, str]:
    """A ResultReference."""
    return {"resultOf": of, "name": name, "path": path}


class ReferenceTests(Bed):
    """References into the result of a Core/echo."""

    limits = Limits(max_size_request=100_000)

    def follow(self, source: dict[str, Any], path: str) -> Any:
        """What the path leads to, or the type of the error."""
        answer = self.request(("Core/echo", source), ("Core/echo", {"#x": ref(path)}))["methodResponses"][1]
        return answer[1]["type"] if answer[0] == "error" else answer[1]["x"]

    def test_pointers(self) -> None:
        """RFC 6901: members, items, escapes; the empty path is the whole."""
        source = {"a": {"b/c": 1, "~": 2, "": 3, "*": 4, "~1": 5}, "l": [10, [11, 12]], "0": "zero"}
        for path, value in (
            ("", source),
            ("/a/b~1c", 1),
            ("/a/~0", 2),
            ("/a/", 3),
            ("/a/*", 4),
            ("/a/~01", 5),
            ("/l/0", 10),
            ("/l/1/1", 12),
            ("/0", "zero"),
        ):
            self.assertEqual(self.follow(source, path), value, path)

    def test_maps(self) -> None:
        """Rule 16: `*` maps through arrays, nested too, and flattens arrays of arrays by one level each time."""
        source = {
            "list": [
                {"x": [{"y": 1}, {"y": 2}], "z": [1, 2]},
                {"x": [], "z": []},
                {"x": [{"y": [3, 4]}], "z": [[5]]},
            ]
        }
        self.assertEqual(self.follow(source, "/list/*/x/*/y"), [1, 2, 3, 4])
        self.assertEqual(self.follow(source, "/list/*/z"), [1, 2, [5]])
        self.assertEqual(self.follow(source, "/list/*/z/*"), [1, 2, 5])
        self.assertEqual(self.follow({"l": [[1], 2, [[3]]]}, "/l/*"), [1, 2, [3]])

    def test_empty(self) -> None:
        """Rule 17: an empty array is a value like others."""
        self.assertEqual(self.follow({"l": []}, "/l"), [])
        self.assertEqual(self.follow({"l": []}, "/l/*/id"), [])
        self.assertEqual(self.follow({"l": None}, "/l"), None)

    def test_dead_ends(self) -> None:
        """A path that leads nowhere is an invalidResultReference."""
        source = {"a": {"b": 1}, "l": [{"x": 1}, {}], "s": "text"}
        for path in (
            "a",
            "/b",
            "/a/b/c",
            "/l/2",
            "/l/-",
            "/l/00",
            "/l/-1",
            "/l/+0",
            "/l/\u0661",
            "/l/*/x",
            "/a/*",
            "/s/0",
            "/s/*",
            "/a/~2",
            "/a/b~",
            "/l/99999999999999999999",
            "/ ",
        ):
            self.assertEqual(self.follow(source, path), "invalidResultReference", path)

    def test_which_response(self) -> None:
        """Rule 16: the first response with the call id counts and must have the name; errors are never referred to."""
        calls: Calls = [
            ("Core/echo", {"a": 1}),
            ("Nope", {}),
            ("Core/echo", {"#x": ref("/a", of="1", name="Nope")}),
            ("Core/echo", {"#x": ref("/type", of="1")}),
            ("Core/echo", {"#x": ref("/a", of="7")}),
            ("Core/echo", {"#x": ref("/a", of="5")}),
            ("Core/echo", {"#x": ref("/a", name="Mailbox/get")}),
        ]
        answers = self.request(*calls)["methodResponses"]
        for answer in answers[2:]:
            self.assertEqual((answer[0], answer[1]["type"]), ("error", "invalidResultReference"))

    def test_both(self) -> None:
        """Rule 18: `foo` beside `#foo` is invalidArguments."""
        answers = self.request(("Core/echo", {"a": 1}), ("Core/echo", {"x": 1, "#x": ref("/a")}))["methodResponses"]
        self.assertEqual((answers[1][0], answers[1][1]["type"]), ("error", "invalidArguments"))
        self.assertEqual(answers[1][1]["arguments"], ["x"])

    def test_wrong_shape(self) -> None:
        """Something else than a ResultReference under a name with `#` is invalidArguments."""
        shapes: Anything = (
            1,
            None,
            [],
            {"resultOf": "0", "name": "Core/echo"},
            {**ref(""), "more": 1},
            {**ref(""), "path": 1},
        )
        for wrong in shapes:
            answers = self.request(("Core/echo", {}), ("Core/echo", {"#x": wrong}))["methodResponses"]
            self.assertEqual((answers[1][0], answers[1][1]["type"]), ("error", "invalidArguments"))

    def test_only_top_level(self) -> None:
        """Only the arguments themselves may be references."""
        arguments = {"a": {"#x": ref("/a")}}
        answers = self.request(("Core/echo", {"a": 1}), ("Core/echo", arguments))["methodResponses"]
        self.assertEqual(answers[1][1], arguments)

    def test_growth_is_bounded(self) -> None:
        """References to references to references can't make an answer grow without end."""
        calls: Calls = [("Core/echo", {"a": "x" * 1000})]
        for index in range(15):
            calls.append(("Core/echo", {f"#{name}": ref("", of=str(index)) for name in "abcdefgh"}))
        answers = self.request(*calls)["methodResponses"]
        self.assertEqual(answers[-1][1]["type"], "invalidResultReference")
        self.assertLess(len(str(answers)), 1_000_000)

    def test_work_is_bounded(self) -> None:
        """Walking a long array over and over counts, however little comes out of it."""
        calls: Calls = [
            ("Core/echo", {"l": [[]] * 20_000}),
            ("Core/echo", {f"#{index}": ref("/l/*") for index in range(100)}),
        ]
        self.assertEqual(self.request(*calls)["methodResponses"][1][1]["type"], "invalidResultReference")

    @given(
        st.recursive(
            st.integers(0, 3),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
            max_leaves=10,
        ),
        st.lists(st.sampled_from(["*", "0", "1", "a", "b", "c", "-", "~0", "~"]), max_size=5),
    )
    @settings(max_examples=100, deadline=None)
    def test_any_path(self, value: Any, steps: list[str]) -> None:
        """Any path leads somewhere or is an invalidResultReference, as a plain reading of the RFC has it."""
        path = "".join(f"/{step}" for step in ["v", *steps])
        try:
            if "~" in steps:  # no pointer at all (RFC 6901 §3), also where the path never gets there
                raise ValueError(path)
            wanted = _evaluate({"v": value}, ["v", *steps])
        except (LookupError, TypeError, ValueError):
            wanted = "invalidResultReference"
        self.assertEqual(self.follow({"v": value}, path), wanted)


def _evaluate(value: Any, steps: list[str]) -> Any:
    if not steps:
        return value
    step, rest = steps[0], steps[1:]
    if isinstance(value, list):
        if step == "*":
            found = [_evaluate(item, rest) for item in value]
            return [one for item in found for one in (item if isinstance(item, list) else [item])]
        return _evaluate(value[int(step)], rest)
    if step == "~":
        raise ValueError
    return _evaluate(value[step.replace("~0", "~")], rest)


class MailReferenceTests(Bed):
    """The example of RFC 8620 §3.7."""

    def test_threads_of_the_first_page(self) -> None:
        """A query, its Emails' threads, and all Emails of those in one request."""
        first = self.deliver(message("One", Message_ID="<a@x>"), at=1000)
        reply = self.deliver(message("Re: One", Message_ID="<b@x>", In_Reply_To="<a@x>"), "sent", at=2000)
        alone = self.deliver(message("Two"), at=3000)
        account = {"accountId": self.account_id}
        answers = self.request(
            ("Email/query", {**account, "filter": {"inMailbox": self.inbox}, "collapseThreads": True}),
            ("Email/get", {**account, "#ids": ref("/ids", "0", "Email/query"), "properties": ["threadId"]}),
            ("Thread/get", {**account, "#ids": ref("/list/*/threadId", "1", "Email/get")}),
            (
                "Email/get",
                {
                    **account,
                    "#ids": ref("/list/*/emailIds", "2", "Thread/get"),
                    "properties": ["from", "subject"],
                },
            ),
        )["methodResponses"]
        self.assertEqual(answers[0][1]["ids"], [alone, first])
        self.assertEqual([email["id"] for email in answers[3][1]["list"]], [alone, first, reply])
        self.assertEqual(answers[3][1]["list"][2]["subject"], "Re: One")
