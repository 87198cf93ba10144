"""No API request at all is answered with a 5xx or a serverFail, or takes long: each method, valid and mutated."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from stalwart import store
from stalwart.jmap.catalog import CAPABILITIES, METHODS
from stalwart.jmap.errors import MethodError
from stalwart.jmap.limits import Limits
from tests.jmap.bed import message
from tests.jmap.receiver import Receiver
from tests.jmap.test_any_request import mutate, places
from tests.web.test_jmap import WebBed

USING = [capability.uri for capability in CAPABILITIES]
MEGABYTE = 1_000_000

# What begins with @ stands for what is there when the request is sent; each method has all its arguments at least once.
_GET = {"accountId": "A1", "ids": None, "properties": None}
_FIND = {
    "accountId": "A1",
    "filter": None,
    "sort": None,
    "position": 0,
    "anchor": None,
    "anchorOffset": 0,
    "limit": 9,
    "calculateTotal": True,
}
_FOLLOW = {
    "accountId": "A1",
    "filter": None,
    "sort": None,
    "maxChanges": 99,
    "upToId": None,
    "calculateTotal": True,
}
_BODIES = {
    "bodyProperties": ["partId", "blobId", "size", "type", "header:Content-Type:asText"],
    "fetchTextBodyValues": True,
    "fetchHTMLBodyValues": True,
    "fetchAllBodyValues": True,
    "maxBodyValueBytes": 20,
}
_EMAIL_FILTER = {
    "operator": "OR",
    "conditions": [
        {"inMailbox": "@inbox", "text": "hello 'there'", "before": "2034-10-30T14:12:00Z"},
        {"operator": "NOT", "conditions": [{"hasKeyword": "$seen"}, {"header": ["Subject", "x"]}]},
        {"allInThreadHaveKeyword": "a", "someInThreadHaveKeyword": "b", "noneInThreadHaveKeyword": "c"},
        {"from": "a", "to": "b", "cc": "c", "bcc": "d", "subject": "e", "body": "f", "hasAttachment": True},
        {"after": "2014-10-30T14:12:00Z", "minSize": 1, "maxSize": 9, "inMailboxOtherThan": ["@inbox"]},
    ],
}
_EMAIL_SORT = [
    {"property": "someInThreadHaveKeyword", "keyword": "$seen", "isAscending": False},
    {"property": "subject", "collation": "i;unicode-casemap"},
    {"property": "receivedAt"},
]
SAMPLES: Mapping[str, list[dict[str, Any]]] = {
    "Core/echo": [{"hello": [True, {"": None}]}],
    "PushSubscription/get": [{"ids": None, "properties": ["id", "expires"]}, {"ids": ["@push"], "properties": None}],
    "PushSubscription/set": [
        {
            "create": {
                "k": {
                    "deviceClientId": "d",
                    "url": "https://push.example.net/x",
                    "keys": {"p256dh": "@p256dh", "auth": "@auth"},
                    "expires": "2023-11-16T00:00:00Z",
                    "types": ["Email"],
                }
            },
            "update": {"@push": {"types": ["Mailbox"]}},
            "destroy": ["#k"],
        }
    ],
    "Mailbox/get": [_GET, {**_GET, "ids": ["@box", "nope"], "properties": ["name", "myRights"]}],
    "Mailbox/changes": [{"accountId": "A1", "sinceState": "@Mailbox", "maxChanges": 5}],
    "Mailbox/query": [
        {
            **_FIND,
            "filter": {
                "operator": "AND",
                "conditions": [
                    {"name": "x", "parentId": None, "role": None, "hasAnyRole": False, "isSubscribed": True}
                ],
            },
            "sort": [{"property": "sortOrder"}, {"property": "name", "collation": "i;ascii-casemap"}],
            "anchor": "@box",
            "sortAsTree": True,
            "filterAsTree": True,
        }
    ],
    "Mailbox/queryChanges": [{**_FOLLOW, "sinceQueryState": "@Mailbox", "filter": {"hasAnyRole": True}}],
    "Mailbox/set": [
        {
            "accountId": "A1",
            "ifInState": "@Mailbox",
            "create": {
                "x": {"name": "x", "parentId": "#y", "role": None, "sortOrder": 1, "isSubscribed": False},
                "y": {"name": "y", "parentId": "@box"},
            },
            "update": {"@box": {"name": "Other", "sortOrder": 2}},
            "destroy": ["#x", "#y"],
            "onDestroyRemoveEmails": True,
        }
    ],
    "Thread/get": [{**_GET, "ids": ["@thread"], "properties": ["emailIds"]}],
    "Thread/changes": [{"accountId": "A1", "sinceState": "@Thread", "maxChanges": 5}],
    "Email/get": [
        {
            "accountId": "A1",
            "ids": ["@email", "@other"],
            "properties": ["bodyStructure", "bodyValues", "headers", "header:From:asAddresses:all", "preview"],
            **_BODIES,
        }
    ],
    "Email/changes": [{"accountId": "A1", "sinceState": "@Email", "maxChanges": 5}],
    "Email/query": [
        {**_FIND, "filter": _EMAIL_FILTER, "sort": _EMAIL_SORT, "collapseThreads": True},
        {**_FIND, "position": -1, "anchor": "@email", "anchorOffset": -1},
    ],
    "Email/queryChanges": [
        {
            **_FOLLOW,
            "filter": _EMAIL_FILTER,
            "sort": _EMAIL_SORT,
            "sinceQueryState": "@Email",
            "upToId": "@email",
            "collapseThreads": True,
        }
    ],
    "Email/set": [
        {
            "accountId": "A1",
            "ifInState": "@Email",
            "create": {
                "d": {
                    "mailboxIds": {"@inbox": True},
                    "keywords": {"$draft": True},
                    "from": [{"name": "Ada", "email": "ada@example.org"}],
                    "header:X-Odd:asText": "\u00e9",
                    "bodyValues": {"t": {"value": "Hi"}},
                    "bodyStructure": {
                        "type": "multipart/mixed",
                        "subParts": [{"partId": "t", "type": "text/plain"}, {"blobId": "@blob", "type": "image/x"}],
                    },
                }
            },
            "update": {"@email": {"keywords/$seen": True, "mailboxIds/@box": True}},
            "destroy": ["#d", "@other"],
        }
    ],
    "Email/copy": [
        {
            "accountId": "A2",
            "fromAccountId": "A1",
            "ifFromInState": "@Email",
            "ifInState": None,
            "create": {"c": {"id": "@email", "mailboxIds": {"@theirs": True}, "keywords": {"x": True}}},
            "onSuccessDestroyOriginal": True,
            "destroyFromIfInState": None,
        }
    ],
    "Email/import": [
        {
            "accountId": "A1",
            "ifInState": None,
            "emails": {
                "i": {
                    "blobId": "@blob",
                    "mailboxIds": {"@box": True},
                    "keywords": {"a": True},
                    "receivedAt": "2014-10-30T14:12:00Z",
                }
            },
        }
    ],
    "Email/parse": [
        {"accountId": "A1", "blobIds": ["@blob", "lost"], "properties": ["subject", "textBody"], **_BODIES}
    ],
    "SearchSnippet/get": [{"accountId": "A1", "filter": {"text": "hello"}, "emailIds": ["@email", "nope"]}],
    "Identity/get": [{**_GET, "properties": ["email", "replyTo"]}],
    "Identity/changes": [{"accountId": "A1", "sinceState": "@Identity", "maxChanges": 5}],
    "Identity/set": [
        {
            "accountId": "A1",
            "ifInState": None,
            "create": {
                "k": {"email": "ada@example.org", "name": "A", "replyTo": [{"name": None, "email": "b@c.example"}]}
            },
            "update": {"@identity": {"textSignature": "x", "bcc": None}},
            "destroy": ["#k"],
        }
    ],
    "EmailSubmission/get": [{**_GET, "properties": ["undoStatus", "deliveryStatus"]}],
    "EmailSubmission/changes": [{"accountId": "A1", "sinceState": "@EmailSubmission", "maxChanges": 5}],
    "EmailSubmission/query": [
        {
            **_FIND,
            "filter": {"identityIds": ["@identity"], "emailIds": ["@email"], "undoStatus": "pending"},
            "sort": [{"property": "sentAt"}],
        }
    ],
    "EmailSubmission/queryChanges": [{**_FOLLOW, "sinceQueryState": "@EmailSubmission"}],
    "EmailSubmission/set": [
        {
            "accountId": "A1",
            "ifInState": None,
            "create": {
                "s": {
                    "identityId": "@identity",
                    "emailId": "@email",
                    "envelope": {
                        "mailFrom": {"email": "ada@example.org", "parameters": {"HOLDFOR": "3600"}},
                        "rcptTo": [{"email": "bob@example.net", "parameters": None}],
                    },
                }
            },
            "update": {},
            "destroy": ["#s"],
            "onSuccessUpdateEmail": {"#s": {"keywords/$draft": None}},
            "onSuccessDestroyEmail": [],
        }
    ],
    "VacationResponse/get": [{**_GET, "ids": ["singleton"], "properties": ["isEnabled", "textBody"]}],
    "VacationResponse/set": [
        {
            "accountId": "A1",
            "ifInState": None,
            "create": {},
            "update": {"singleton": {"isEnabled": True, "fromDate": "2014-10-30T14:12:00Z", "textBody": "Away"}},
            "destroy": [],
        }
    ],
    "Quota/get": [_GET],
    "Quota/changes": [{"accountId": "A1", "sinceState": "@Quota", "maxChanges": 5}],
    "Quota/query": [
        {
            **_FIND,
            "filter": {"name": "M", "scope": "account", "resourceType": "count", "type": "Mailbox"},
            "sort": [{"property": "used"}],
        }
    ],
    "Quota/queryChanges": [{**_FOLLOW, "sinceQueryState": "@Quota"}],
    "Blob/copy": [{"accountId": "A2", "fromAccountId": "A1", "blobIds": ["@blob", "lost"]}],
    "Blob/upload": [
        {
            "accountId": "A1",
            "create": {
                "b": {"data": [{"data:asText": "x"}, {"data:asBase64": "eA=="}], "type": "text/plain"},
                "c": {"data": [{"blobId": "#b", "offset": 0, "length": 1}, {"blobId": "@blob"}]},
            },
        }
    ],
    "Blob/get": [
        {"accountId": "A1", "ids": ["@blob"], "properties": ["data", "digest:sha", "size"], "offset": 1, "length": 9}
    ],
    "Blob/lookup": [{"accountId": "A1", "typeNames": ["Mailbox", "Thread", "Email"], "ids": ["@blob"]}],
}

_STATES = ("Mailbox", "Thread", "Email", "Identity", "EmailSubmission", "Quota")


def _codes(kind: type[MethodError]) -> set[str]:
    found = {kind.code} if "code" in vars(kind) else set()
    return found.union(*map(_codes, kind.__subclasses__()))


_ERRORS = _codes(MethodError) - {"serverFail", "serverUnavailable"}


@st.composite
def _requests(draw: st.DrawFn) -> Any:
    """A request of one to three methods, each mutated or not, with results and creation ids of one in the next."""
    calls: list[Any] = []
    for index in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from(sorted(METHODS)))
        arguments = draw(st.sampled_from(SAMPLES[name]))
        if draw(st.integers(0, 4)):
            arguments = mutate(draw, arguments, places(arguments))
        refers: bool = draw(st.booleans())
        if calls and refers and isinstance(arguments, dict):
            key = draw(st.sampled_from(["#ids", "#emailIds", "#blobIds", "#properties", "#sinceState", "#filter"]))
            path = draw(
                st.sampled_from(["/ids", "/list/*/id", "/list/*/threadId", "/created/x", "/newState", "/*", ""])
            )
            arguments = {**arguments, key: {"resultOf": "0", "name": calls[0][0], "path": path}}
        calls.append([name, arguments, str(index)])
    return calls


class AnyRequestBed(WebBed):
    """Sends requests over HTTP, in memory, and looks whether the answers are fine."""

    limits = Limits()

    def setUp(self) -> None:
        """Eve's account is shared with Ada, for Ada to copy to."""
        super().setUp()
        receiver = Receiver().keys()
        self.keys = {"@p256dh": receiver["p256dh"], "@auth": receiver["auth"]}
        self.data = message("Hello there", Message_ID="<a@x>")
        with self.store.write() as s:
            store.share_account(s, self.other.id, self.account.id, writing=True)
            theirs = store.find_mailbox(s, self.other.id, role="inbox")
        assert theirs is not None
        self.keys["@theirs"] = f"M{theirs.id}"

    def known(self) -> Mapping[str, str]:
        """What the tokens stand for now. What a request has destroyed is made anew."""
        push = {"deviceClientId": "d", "url": "https://push.example.net/"}
        calls: list[Any] = [
            *(
                [f"{name}/get", {"accountId": "A1", "ids": None if name in ("Mailbox", "Identity") else []}, name]
                for name in _STATES
            ),
            ["Email/query", {"accountId": "A1", "limit": 2}, "emails"],
            ["PushSubscription/get", {"ids": None}, "push"],
        ]
        found = {call_id: arguments for _, arguments, call_id in self.ask(calls)}
        boxes = [box["id"] for box in found["Mailbox"]["list"] if box["role"] is None]
        emails = found["emails"]["ids"]
        if not boxes or len(boxes) > 50 or len(emails) < 2:
            self.ask([["Mailbox/set", {"accountId": "A1", "destroy": boxes[1:], "onDestroyRemoveEmails": True}, "0"]])
            if not boxes:
                self.make_mailbox(f"Box {found['Mailbox']['state']}")
            for _ in range(2 - len(emails)):
                self.deliver(self.data)
            return self.known()
        pushes = [one["id"] for one in found["push"]["list"]]
        if len(pushes) != 1:
            self.ask([["PushSubscription/set", {"destroy": pushes, "create": {"k": push}}, "0"]])
            return self.known()
        [email, *_] = self.ask([["Email/get", {"accountId": "A1", "ids": emails[:1]}, "0"]])[0][1]["list"]
        return {
            **self.keys,
            **{f"@{name}": found[name]["state"] for name in _STATES},
            "@inbox": next(box["id"] for box in found["Mailbox"]["list"] if box["role"] == "inbox"),
            "@box": boxes[0],
            "@email": emails[0],
            "@other": emails[1],
            "@thread": email["threadId"],
            "@blob": email["blobId"],
            "@identity": found["Identity"]["list"][0]["id"],
            "@push": pushes[0],
        }

    def ask(self, calls: Any, **more: Any) -> Any:
        """The responses to calls that the server has to answer with 200."""
        answer = self.send_octets(
            json.dumps({"using": USING, "methodCalls": calls, **more}, ensure_ascii=False).encode()
        )
        self.assertIsInstance(answer, list, answer)
        return answer

    def send_octets(self, body: bytes) -> Any:
        """The responses, or the problem's type. Neither may be the server's fault, nor take long."""
        started = time.process_time()
        answer = self.post("/jmap/", body, Content_Type="application/json")
        self.assertLess(time.process_time() - started, 5.0, body[:400])
        if answer.status != 200:
            self.assertIn(answer.status, (400, 413), answer.body)
            return answer.problem()["type"].removeprefix("urn:ietf:params:jmap:error:")
        responses = json.loads(answer.body)["methodResponses"]
        for name, arguments, _ in responses:
            if name == "error":
                self.assertIn(arguments["type"], _ERRORS, arguments)
            else:
                self.assertIn(name, METHODS)
        return responses

    def outcome(self, name: str, arguments: Any) -> Any:
        """The type of the error that one call ends with, or the arguments of its response."""
        [(found, response, _)] = self.ask([[name, arguments, "0"]])
        return response["type"] if found == "error" else response


class AnyRequestTests(AnyRequestBed):
    """The samples, and what becomes of them."""

    def test_samples_are_whole(self) -> None:
        """Each method of the catalog has a sample, and each of its arguments is in one."""
        self.assertEqual(SAMPLES.keys(), METHODS.keys())
        for name, method in METHODS.items():
            if method.arguments is not None:
                given = set().union(*SAMPLES[name])
                self.assertEqual(given, set(method.arguments.__struct_encode_fields__), name)

    def test_samples(self) -> None:
        """As they are they succeed, one by one."""
        for name, samples in SAMPLES.items():
            for sample in samples:
                text = json.dumps(sample)
                for token, value in sorted(self.known().items(), reverse=True):
                    text = text.replace(token, value)
                [(found, response, _), *_] = self.ask([[name, json.loads(text), "0"]])
                self.assertEqual(found, name, response)
                for refused in ("notCreated", "notUpdated", "notDestroyed"):
                    self.assertIsNone(response.get(refused), (name, response))

    @given(_requests())
    @settings(max_examples=400, deadline=None)
    def test_mutated(self, calls: Any) -> None:
        """Wrong values, wrong places, missing and additional members, results of one call in another."""
        text = json.dumps({"using": USING, "methodCalls": calls, "createdIds": {}})
        for token, value in sorted(self.known().items(), reverse=True):
            text = text.replace(token, value)
        self.send_octets(text.encode())


class MonsterTests(AnyRequestBed):
    """Requests made to be slow or large (RFC 8620 §8.5)."""

    def test_octets(self) -> None:
        """10 MB are read and answered or refused: one text, one list, brackets, a map, a number; more is 413."""
        room = self.limits.max_size_request
        frame = json.dumps({"using": USING, "methodCalls": [["Core/echo", {"a": "@"}, "0"]]}).encode()

        def echo(value: bytes) -> Any:
            return self.send_octets(frame.replace(b'"@"', value))

        text = b"x" * (room - len(frame))
        self.assertEqual(echo(b'"' + text + b'"')[0][1]["a"], text.decode())
        self.assertEqual(self.send_octets(frame.replace(b"@", text + b"xxx")), "limit")
        self.assertEqual(echo(b"[" * 9 * MEGABYTE), "notJSON")
        self.assertEqual(echo(b"[" * 4 * MEGABYTE + b"]" * 4 * MEGABYTE), "notJSON")
        self.assertEqual(echo(b'{"a":' * MEGABYTE + b"1" + b"}" * MEGABYTE), "notJSON")
        self.assertEqual(echo(b"9" * 9 * MEGABYTE), "notJSON")
        self.assertEqual(len(echo(b"[" + b"{}," * 2 * MEGABYTE + b"{}]")[0][1]["a"]), 2 * MEGABYTE + 1)
        many = b"{" + b",".join(b'"%d":0' % number for number in range(700_000)) + b"}"
        self.assertEqual(len(echo(many)[0][1]["a"]), 700_000)
        self.assertEqual(
            self.send_octets(b'{"using":[' + b'"",' * 3 * MEGABYTE + b'""],"methodCalls":[]}'), "unknownCapability"
        )
        calls = b",".join([b'["Core/echo",{},"0"]'] * 400_000)
        self.assertEqual(self.send_octets(b'{"using":[],"methodCalls":[' + calls + b"]}"), "limit")

    def test_many_ids(self) -> None:
        """RFC 8620 §5.1, §5.3: a million ids, creations and creation ids are counted before anything else is done."""
        ids = [f"E{number}" for number in range(200_000)]
        for name in ("Email/get", "Mailbox/get", "Thread/get", "Identity/get", "Blob/get", "Quota/get"):
            self.assertEqual(self.outcome(name, {"accountId": "A1", "ids": ids}), "requestTooLarge", name)
        self.assertEqual(self.outcome("PushSubscription/get", {"ids": ids}), "requestTooLarge")
        snippets = {"accountId": "A1", "filter": {"text": "x"}, "emailIds": ids}
        self.assertEqual(self.outcome("SearchSnippet/get", snippets), "requestTooLarge")
        blobs = {"accountId": "A1", "blobIds": ids}
        self.assertEqual(self.outcome("Email/parse", blobs), "requestTooLarge")
        self.assertEqual(
            self.outcome("Blob/copy", {**blobs, "accountId": "A2", "fromAccountId": "A1"}), "requestTooLarge"
        )
        lookup = {"accountId": "A1", "typeNames": ["Email"], "ids": ids}
        self.assertEqual(self.outcome("Blob/lookup", lookup), "requestTooLarge")
        many: dict[str, Any] = {f"k{number}": {} for number in range(100_000)}
        for name in ("Email/set", "Mailbox/set", "Identity/set"):
            arguments: dict[str, Any]
            for arguments in ({"create": many}, {"update": many}, {"destroy": ids}):
                self.assertEqual(self.outcome(name, {"accountId": "A1", **arguments}), "requestTooLarge", name)
        for name, member in (("Email/import", "emails"), ("Blob/upload", "create")):
            self.assertEqual(self.outcome(name, {"accountId": "A1", member: many}), "requestTooLarge", name)
        copy = {"accountId": "A2", "fromAccountId": "A1", "create": many}
        self.assertEqual(self.outcome("Email/copy", copy), "requestTooLarge")
        created = {f"k{number}": "M1" for number in range(200_000)}
        self.ask([["Mailbox/get", {"accountId": "A1", "ids": ["#k1", "#k199999"]}, "0"]], createdIds=created)

    def test_creations(self) -> None:
        """As many creations as are allowed, in chains, circles and all alike, are made or refused one by one."""
        most = self.limits.max_objects_in_set

        def mailboxes(parent: Any) -> Any:
            create = {f"k{number}": {"name": f"{number}", "parentId": parent(number)} for number in range(most)}
            return self.outcome("Mailbox/set", {"accountId": "A1", "create": create})

        for answer in (
            mailboxes(lambda number: f"#k{(number + 1) % most}"),
            mailboxes(lambda number: f"#k{number}"),
            mailboxes(lambda number: f"#k{number ^ 1}"),
        ):
            self.assertEqual((answer["created"], len(answer["notCreated"])), (None, most))
        answer = mailboxes(lambda number: f"#k{number - 1}" if number else None)
        self.assertEqual(len(answer["created"]), self.limits.max_mailbox_depth)
        boxes = [made["id"] for made in answer["created"].values()]
        circle = {one: {"parentId": boxes[(index + 1) % len(boxes)]} for index, one in enumerate(boxes)}
        answer = self.outcome("Mailbox/set", {"accountId": "A1", "update": circle})
        self.assertIsNotNone(answer["notUpdated"])
        create = {
            f"k{number}": {
                "mailboxIds": {self.inbox: True},
                "bodyValues": {"t": {"value": "x"}},
                "textBody": [{"partId": "t", "type": "text/plain"}],
            }
            for number in range(most)
        }
        self.assertEqual(len(self.outcome("Email/set", {"accountId": "A1", "create": create})["created"]), most)

    def test_filters(self) -> None:
        """RFC 8620 §5.5: filters a thousand levels deep or with 100,000 conditions are refused, sorts too."""
        for name in (name for name in METHODS if name.endswith(("/query", "/queryChanges"))):
            more = {"sinceQueryState": "0"} if name.endswith("Changes") else {}
            for depth, expected in ((1000, "notJSON"), (50, "unsupportedFilter")):
                deep: Any = {"accountId": "A1", "filter": "@", **more}
                text = json.dumps({"using": USING, "methodCalls": [[name, deep, "0"]]})
                nested = '{"operator":"NOT","conditions":[' * depth + "{}" + "]}" * depth
                answer = self.send_octets(text.replace('"@"', nested).encode())
                self.assertEqual(answer if isinstance(answer, str) else answer[0][1]["type"], expected, name)
            wide = {"operator": "OR", "conditions": [{}] * 100_000}
            self.assertEqual(self.outcome(name, {"accountId": "A1", "filter": wide, **more}), "unsupportedFilter")
            sort = [{"property": "name"}] * 100_000
            self.assertEqual(self.outcome(name, {"accountId": "A1", "sort": sort, **more}), "unsupportedSort")
        self.deliver(self.data)
        for text in ("a " * MEGABYTE, '"' * MEGABYTE, "\\" * MEGABYTE, "é" * MEGABYTE, "漢" * MEGABYTE, "*" * 4999):
            for condition in ({"text": text}, {"header": ["X", text]}, {"from": text}):
                self.outcome("Email/query", {"accountId": "A1", "filter": condition})
            self.outcome("SearchSnippet/get", {"accountId": "A1", "filter": {"text": text}, "emailIds": ["E1"]})
            self.outcome("Mailbox/query", {"accountId": "A1", "filter": {"name": text}})

    def test_patches(self) -> None:
        """RFC 8620 §5.3: patches into arrays, through what isn't there, or with long paths are invalidPatch."""
        email = self.deliver(self.data)
        known = self.known()
        for name, one, paths in (
            (
                "Email/set",
                email,
                ("from/0", "from/0/name", "textBody/0/partId", "keywords/a/b", "subject/x", "mailboxIds/"),
            ),
            ("Identity/set", known["@identity"], ("replyTo/0/email", "replyTo/-", "name/x", "bcc/0")),
            ("Mailbox/set", self.inbox, ("name/0", "myRights/x/y", "parentId/a")),
        ):
            for path in (*paths, "/" * 100_000, "~" * 100_000, "a/" * 100_000):
                answer = self.outcome(name, {"accountId": "A1", "update": {one: {path: None}}})
                refused = (answer["notUpdated"] or {}).get(one)
                if path not in ("mailboxIds/", "keywords/a/b"):
                    self.assertIn(
                        (refused or {}).get("type"), ("invalidPatch", "invalidProperties"), (name, path[:50], answer)
                    )
            many = {f"keywords/{number}": True for number in range(100_000)}
            self.outcome(name, {"accountId": "A1", "update": {one: many}})
            nested = {"/".join(["keywords"] * number): True for number in range(1, 1000)}
            self.outcome(name, {"accountId": "A1", "update": {one: nested}})

    def test_references(self) -> None:
        """RFC 8620 §3.7: references that double what they bring, or follow long paths, end with an error."""
        calls: list[Any] = [["Core/echo", {"a": "x" * 1000}, "0"]]
        for number in range(1, 16):
            last = {"resultOf": str(number - 1), "name": "Core/echo", "path": ""}
            calls.append(["Core/echo", {"#a": last, "#b": last}, str(number)])
        self.assertEqual(self.ask(calls)[-1][1]["type"], "invalidResultReference")
        for path in ("/*" * 100_000, "/a" * 100_000, "/" * MEGABYTE, "/~" * 10, "/-1", "/" + "9" * 4000):
            reference = {"resultOf": "0", "name": "Core/echo", "path": path}
            calls = [["Core/echo", {"a": [[[]]]}, "0"], ["Core/echo", {"#a": reference}, "1"]]
            self.assertEqual(self.ask(calls)[1][1]["type"], "invalidResultReference", path[:20])
        lists: Any = [[0] * 1000] * 1000
        reference = {"resultOf": "0", "name": "Core/echo", "path": "/a/*"}
        calls = [["Core/echo", {"a": lists}, "0"], *[["Email/get", {"accountId": "A1", "#ids": reference}, "1"]] * 15]
        self.ask(calls)

    def test_values(self) -> None:
        """Values of megabytes where a word is meant: names, keywords, properties, header names, ids, blobs."""
        email = self.deliver(self.data)
        long = "x" * 5 * MEGABYTE
        names = [f"header:X{number}:asText" for number in range(100_000)]
        for name, arguments in (
            ("Email/get", {"ids": [email], "properties": names}),
            ("Email/get", {"ids": [email], "properties": ["header:" + long]}),
            ("Email/get", {"ids": [email], "properties": ["bodyStructure"], "bodyProperties": names}),
            ("Email/get", {"ids": [email], "properties": ["subject"] * 200_000}),
            ("Email/get", {"ids": [email] * MEGABYTE}),
            ("Email/changes", {"sinceState": "9" * 5 * MEGABYTE}),
            ("Email/query", {"filter": {"hasKeyword": long}}),
            ("Email/query", {"filter": {"inMailboxOtherThan": [f"M{number}" for number in range(200_000)]}}),
            ("Email/query", {"filter": {"header": [long, "x"]}}),
            ("Email/set", {"update": {email: {"keywords": {long: True}}}}),
            ("Email/set", {"update": {email: {"keywords": {f"k{number}": True for number in range(200_000)}}}}),
            ("Email/set", {"update": {email: {"mailboxIds": {f"M{number}": True for number in range(200_000)}}}}),
            ("Mailbox/set", {"create": {"k": {"name": long}}}),
            ("Mailbox/set", {"create": {"k": {"name": "\u0301" * MEGABYTE}}}),
            ("Identity/set", {"create": {"k": {"email": long, "name": long[:1000]}}}),
            (
                "Identity/set",
                {"create": {"k": {"email": "ada@example.org", "replyTo": [{"email": "a@b.c"}] * 200_000}}},
            ),
            (
                "Blob/upload",
                {"create": {"k": {"data": [{"data:asBase64": base64.b64encode(bytes(6 * MEGABYTE)).decode()}]}}},
            ),
            ("Blob/upload", {"create": {"k": {"data": [{"data:asText": "x"}] * 200_000}}}),
            ("Blob/upload", {"create": {f"k{n}": {"data": [{"blobId": f"#k{n - 1}"}] * 64} for n in range(1, 400)}}),
            ("Blob/get", {"ids": ["b" + long]}),
        ):
            self.outcome(name, {"accountId": "A1", **arguments})

    def test_messages(self) -> None:
        """New messages with megabytes of text, header fields, parts and addresses are made or refused."""
        long = "é" * 2 * MEGABYTE
        part = {"partId": "t", "type": "text/plain"}
        deep: Any = part
        for _ in range(50):
            deep = {"type": "multipart/mixed", "subParts": [deep]}
        for more in (
            {"subject": long},
            {"subject": "x" * 5 * MEGABYTE},
            {"to": [{"name": "é" * 50, "email": "a@b.example"}] * 40_000},
            {"header:References:asMessageIds": [f"{number}@x" for number in range(200_000)]},
            {"header:X:asURLs:all": [["a:b"]] * 200_000},
            {f"header:X{number}": " x" for number in range(100_000)},
            {"bodyValues": {"t": {"value": long}}, "textBody": [part]},
            {"bodyValues": {"t": {"value": "\r\n" * 2 * MEGABYTE}}, "textBody": [part]},
            {"bodyValues": {f"{number}": {"value": ""} for number in range(200_000)}, "textBody": [part]},
            {"bodyValues": {"t": {"value": ""}}, "bodyStructure": deep},
            {
                "bodyValues": {"t": {"value": ""}},
                "bodyStructure": {"type": "multipart/mixed", "subParts": [part] * 100_000},
            },
            {"attachments": [{"blobId": "b", "type": "x/y", "name": "n" * 50}] * 50_000},
        ):
            email = {"mailboxIds": {self.inbox: True}, **more}
            self.outcome("Email/set", {"accountId": "A1", "create": {"k": email}})
