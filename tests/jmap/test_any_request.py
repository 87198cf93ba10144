"""No request at all makes the engine fail: what it does not understand ends in an error of the RFC."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from stalwart.jmap.errors import RequestError
from stalwart.store import blob_hash
from tests.jmap.bed import CORE, MAIL, Bed, message

_ERRORS = {
    "unknownMethod",
    "invalidArguments",
    "invalidResultReference",
    "accountNotFound",
    "requestTooLarge",
    "cannotCalculateChanges",
    "anchorNotFound",
    "unsupportedSort",
    "unsupportedFilter",
    "stateMismatch",
    "tooManyChanges",
}

_SEED: dict[str, Any] = {
    "using": [CORE, MAIL],
    "createdIds": {"k": "M1"},
    "methodCalls": [
        ["Mailbox/get", {"accountId": "A1", "ids": ["M1", "#k"], "properties": ["name", "myRights"]}, "m"],
        [
            "Mailbox/query",
            {
                "accountId": "A1",
                "filter": {
                    "operator": "OR",
                    "conditions": [{"role": "inbox"}, {"name": "x", "parentId": None}],
                },
                "sort": [{"property": "name", "collation": "i;ascii-numeric"}],
                "sortAsTree": True,
                "filterAsTree": False,
            },
            "mq",
        ],
        [
            "Email/query",
            {
                "accountId": "A1",
                "filter": {
                    "operator": "AND",
                    "conditions": [
                        {"inMailbox": "M1", "text": "hello 'there'"},
                        {
                            "operator": "NOT",
                            "conditions": [{"hasKeyword": "$seen"}, {"header": ["Subject", "x"]}],
                        },
                        {"after": "2014-10-30T14:12:00Z", "minSize": 1, "inMailboxOtherThan": ["M2"]},
                    ],
                },
                "sort": [
                    {"property": "hasKeyword", "keyword": "$x", "isAscending": False},
                    {"property": "subject"},
                ],
                "position": -2,
                "anchor": "E1",
                "anchorOffset": -1,
                "limit": 10,
                "calculateTotal": True,
                "collapseThreads": True,
            },
            "q",
        ],
        [
            "Email/get",
            {
                "accountId": "A1",
                "#ids": {"resultOf": "q", "name": "Email/query", "path": "/ids"},
                "properties": [
                    "subject",
                    "threadId",
                    "header:From:asAddresses:all",
                    "bodyStructure",
                    "bodyValues",
                    "keywords",
                ],
                "bodyProperties": ["partId", "header:Content-Type"],
                "fetchAllBodyValues": True,
                "maxBodyValueBytes": 10,
            },
            "g",
        ],
        [
            "Thread/get",
            {"accountId": "A1", "#ids": {"resultOf": "g", "name": "Email/get", "path": "/list/*/threadId"}},
            "t",
        ],
        ["Email/changes", {"accountId": "A1", "sinceState": "1", "maxChanges": 5}, "c"],
        [
            "Mailbox/set",
            {
                "accountId": "A1",
                "ifInState": None,
                "create": {
                    "x": {"name": "x", "parentId": "#y", "role": None, "sortOrder": 1, "isSubscribed": False},
                    "y": {"name": "y"},
                },
                "update": {
                    "M1": {"name": "Post", "parentId": None, "myRights/mayDelete": False},
                    "#x": {"sortOrder": 2, "role": "important"},
                },
                "destroy": ["M5", "#y"],
                "onDestroyRemoveEmails": True,
            },
            "ms",
        ],
        [
            "Email/set",
            {
                "accountId": "A1",
                "update": {
                    "E1": {"keywords/$seen": True, "mailboxIds/#x": True, "subject": "Hello there"},
                    "E2": {"keywords": {"a": True}, "mailboxIds": {"M2": True, "#x": True}},
                },
                "destroy": ["E3"],
            },
            "es",
        ],
        [
            "Email/queryChanges",
            {
                "accountId": "A1",
                "filter": {"operator": "OR", "conditions": [{"inMailbox": "M1"}, {"allInThreadHaveKeyword": "a"}]},
                "sort": [{"property": "someInThreadHaveKeyword", "keyword": "$seen"}],
                "sinceQueryState": "1",
                "maxChanges": 50,
                "upToId": "E1",
                "calculateTotal": True,
                "collapseThreads": True,
            },
            "qc",
        ],
        [
            "Mailbox/queryChanges",
            {"accountId": "A1", "filter": None, "sort": None, "sinceQueryState": "1"},
            "mc",
        ],
        ["Core/echo", {"#a": {"resultOf": "t", "name": "Thread/get", "path": "/list/*/emailIds/0"}}, "e"],
    ],
}

_FIRST = message("Hello there", Message_ID="<a@x>")
_BLOB = f"b{blob_hash(_FIRST)}"

_MAKING: dict[str, Any] = {
    "using": [CORE, MAIL],
    "methodCalls": [
        ["Mailbox/set", {"accountId": "A1", "create": {"x": {"name": "x"}}}, "ms"],
        [
            "Email/set",
            {
                "accountId": "A1",
                "create": {
                    "d": {
                        "mailboxIds": {"#x": True},
                        "keywords": {"$draft": True},
                        "from": [{"name": "Ada", "email": "ada@example.org"}],
                        "header:To:asGroupedAddresses": [
                            {"name": "all", "addresses": [{"name": None, "email": "bob@example.net"}]}
                        ],
                        "header:X-Odd:asText": "\u00e9",
                        "subject": "Hello",
                        "sentAt": "2014-10-30T14:12:00+08:00",
                        "bodyValues": {"t": {"value": "Hi", "isTruncated": False}, "h": {"value": "<b>Hi</b>"}},
                        "textBody": [{"partId": "t", "type": "text/plain", "language": ["en"]}],
                        "htmlBody": [{"partId": "h", "type": "text/html", "cid": "c@x"}],
                        "attachments": [{"blobId": _BLOB, "type": "message/rfc822", "name": "a.eml", "size": 3}],
                    },
                    "s": {
                        "mailboxIds": {"M1": True},
                        "bodyValues": {"1": {"value": "x"}},
                        "bodyStructure": {
                            "type": "multipart/mixed",
                            "subParts": [{"partId": "1", "type": "text/plain"}, {"blobId": _BLOB, "type": "image/x"}],
                        },
                    },
                },
                "update": {"#d": {"keywords/$seen": True, "keywords/$draft": None}},
                "destroy": ["#s"],
            },
            "es",
        ],
        [
            "Email/import",
            {
                "accountId": "A1",
                "emails": {
                    "i": {
                        "blobId": _BLOB,
                        "mailboxIds": {"#x": True},
                        "keywords": {"a": True},
                        "receivedAt": "2014-10-30T14:12:00Z",
                    }
                },
            },
            "ei",
        ],
        [
            "Email/parse",
            {
                "accountId": "A1",
                "blobIds": [_BLOB, "lost"],
                "properties": ["subject", "bodyValues", "textBody", "header:From:asAddresses"],
                "bodyProperties": ["partId", "blobId"],
                "fetchAllBodyValues": True,
                "maxBodyValueBytes": 3,
            },
            "ep",
        ],
        [
            "SearchSnippet/get",
            {
                "accountId": "A1",
                "filter": {"operator": "NOT", "conditions": [{"text": "hello"}, {"subject": "'there'"}]},
                "emailIds": ["#d", "#i", "E1"],
            },
            "sn",
        ],
    ],
}
_SEEDS = (_SEED, _MAKING)

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**64), 2**64),
    st.floats(allow_nan=False, allow_infinity=False),
    # Copies: a mutation may put one odd value into another, which a shared one would carry into the next example.
    st.sampled_from([0, -1, 2**53, 2**63, [], {}, [[]], [{}], {"operator": "AND"}]).map(copy.deepcopy),
    st.sampled_from(["", "#", "#k", "#x", "*", "/", "~", "E1", "M1", "T1", "A1", "$seen", "header:", "\x00", "\ud7ff"]),
    st.sampled_from(["AND", "operator", "conditions", "'", '"', "\\", "é" * 300]),
    st.text(max_size=5),
)


NAMES = (
    "ids",
    "#ids",
    "filter",
    "header",
    "before",
    "subject",
    "limit",
    "",
    "#x",
    "x",
    "M1",
    "E1",
    "id",
    "parentId",
    "keywords",
    "keywords/a/b",
    "keywords/~",
    "from/0",
    "mailboxIds/#y",
    "destroy",
    "create",
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of everything that is in `value`."""
    found = [path] if path else []
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, child in items:
        found += places(child, (*path, key))
    return found


_PLACES = [places(seed) for seed in _SEEDS]


def mutate(draw: st.DrawFn, value: Any, found: list[tuple[Any, ...]]) -> Any:
    """A copy of `value` with a few values replaced, members renamed, added or left out; `found` are its `places`."""
    value = json.loads(json.dumps(value))
    for _ in range(draw(st.integers(1, 4))):
        path = draw(st.sampled_from(found))
        node = value
        try:
            for key in path[:-1]:
                node = node[key]
            match draw(st.sampled_from(["replace", "remove", "rename", "add"])):
                case "replace":
                    node[path[-1]] = draw(ODD)
                case "remove":
                    del node[path[-1]]
                case "rename":
                    node[draw(st.sampled_from(NAMES))] = node.pop(path[-1])
                case _:
                    node[draw(st.text(max_size=4))] = draw(ODD)
        except (KeyError, IndexError, TypeError, AttributeError):
            continue
    return value


@st.composite
def _mutated(draw: st.DrawFn) -> Any:
    """One of the seeds, mutated."""
    number = draw(st.integers(0, len(_SEEDS) - 1))
    return mutate(draw, _SEEDS[number], _PLACES[number])


class AnyRequestTests(Bed):
    """Valid requests, changed here and there."""

    def setUp(self) -> None:
        """A little mail, so that there is something to trip over."""
        super().setUp()
        self.assertEqual(self.account_id, "A1")
        self.put_back()

    def put_back(self) -> None:
        """As it was in the beginning, as far as the ids in the seed go."""
        mailboxes = self.call("Mailbox/get", properties=["role"])["list"]
        made = [one["id"] for one in mailboxes if one["role"] is None]
        if made:
            self.call("Mailbox/set", destroy=made, onDestroyRemoveEmails=True)
        if len(self.query()) < 2:
            self.deliver(_FIRST)
            self.deliver(message("Re: Hello there", In_Reply_To="<a@x>"), keywords=("$seen",))

    def check(self, body: bytes) -> None:
        """The answer is a Response or an error of the RFC, and nothing was logged as a fault."""
        try:
            answer = self.send(body)
        except RequestError as error:
            json.loads(error.document())
            return
        finally:
            self.put_back()
        for name, arguments, _ in answer["methodResponses"]:
            if name == "error":
                self.assertIn(arguments["type"], _ERRORS, arguments)
        self.assertEqual(self.failures, [])

    def test_seed(self) -> None:
        """The requests that the others are made from succeed, and all that the second makes is made."""
        for seed in _SEEDS:
            self.put_back()
            answer = self.send(json.dumps(seed).encode())
            self.assertNotIn("error", [name for name, _, _ in answer["methodResponses"]])
        for _, arguments, _ in answer["methodResponses"]:
            for name in ("notCreated", "notUpdated", "notDestroyed"):
                self.assertIsNone(arguments.get(name))

    @given(_mutated())
    @settings(max_examples=300, deadline=None)
    def test_mutated_values(self, value: Any) -> None:
        """Wrong values, wrong places, missing and additional members."""
        self.check(json.dumps(value).encode())

    @given(st.data())
    @settings(max_examples=100, deadline=None)
    def test_mutated_octets(self, data: st.DataObject) -> None:
        """Octets replaced, removed and put in."""
        body = bytearray(json.dumps(data.draw(st.sampled_from(_SEEDS))).encode())
        for _ in range(data.draw(st.integers(1, 5))):
            at = data.draw(st.integers(0, len(body) - 1))
            body[at : at + data.draw(st.integers(0, 3))] = data.draw(
                st.binary(max_size=3) | st.sampled_from([b'"', b"{", b"}", b"[", b"]", b",", b":", b"#", b"0", b"\\"])
            )
        self.check(bytes(body))
