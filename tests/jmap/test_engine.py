"""Requests as a whole: capabilities, limits, order, creation ids, and what becomes of errors."""

from __future__ import annotations

import json
from typing import Any

from prometheus_client import CollectorRegistry

from stalwart import store
from stalwart.jmap.arguments import AccountArguments
from stalwart.jmap.call import Call
from stalwart.jmap.catalog import METHODS
from stalwart.jmap.declare import Method
from stalwart.jmap.engine import Engine
from stalwart.jmap.errors import MethodError, NotRequest, OverLimit, SignInExpired, UnknownCapability
from stalwart.jmap.limits import Limits
from tests.jmap.bed import CORE, MAIL, Bed, Calls, message


class RequestTests(Bed):
    """What holds for a request before and beside its calls."""

    limits = Limits(max_size_request=20_000)

    def test_echo(self) -> None:
        """RFC 8620 §4: Core/echo gives back its arguments; rule 11: a name may be written with escapes."""
        arguments = {"hello": True, "high": 5, "n": [None, 1.5, "é\u2028", 10**20]}
        body = json.dumps({"using": [CORE], "methodCalls": [["Core/echo", arguments, "b3ff"]]}).encode()
        answer = self.send(body.replace(b"Core/echo", b"Core\\/echo"))
        self.assertEqual(answer["methodResponses"], [["Core/echo", arguments, "b3ff"]])
        self.assertNotIn("createdIds", answer)

    def test_unknown_capability(self) -> None:
        """RFC 8620 §3.6, rule 12: an unknown URI in `using` refuses the whole request."""
        error = self.assertRaises(UnknownCapability, self.request, ("Core/echo", {}), using=(CORE, "urn:example:x"))
        self.assertEqual(
            json.loads(error.document()),
            {
                "type": "urn:ietf:params:jmap:error:unknownCapability",
                "status": 400,
                "detail": "The capability 'urn:example:x' is not supported by this server.",
            },
        )
        self.assertRaises(UnknownCapability, self.request, using=("urn:ietf:params:jmap:calendars",))

    def test_method_of_capability_that_is_not_used(self) -> None:
        """Rule 12: a method whose capability isn't in `using` is an unknownMethod, as is one that there is not."""
        get = ("Mailbox/get", {"accountId": self.account_id})
        for using, call in (((CORE,), get), ((), ("Core/echo", {})), ((MAIL,), ("Core/echo", {}))):
            self.assertEqual(self.request(call, using=using)["methodResponses"][0][1]["type"], "unknownMethod")
        for name in ("Mailbox/foo", "core/echo", "", "Mailbox/get "):
            self.assertEqual(self.refused(name)["type"], "unknownMethod")

    def test_limits(self) -> None:
        """Rule 13: too many octets and too many calls are `limit` problems that name the limit."""
        calls: Calls = [("Core/echo", {})] * 17
        error = self.assertRaises(OverLimit, self.request, *calls)
        self.assertEqual(error.properties()["limit"], "maxCallsInRequest")
        self.assertEqual(error.status, 400)
        self.assertEqual(len(self.request(*calls[1:])["methodResponses"]), 16)
        error = self.assertRaises(OverLimit, self.send, b" " * 20_001)
        self.assertEqual((error.properties()["limit"], error.status), ("maxSizeRequest", 413))

    def test_calls_run_in_order(self) -> None:
        """RFC 8620 §3.3, §3.10: calls run in order, a failed one does not stop the next; call ids may be alike."""
        answer = self.send(
            json.dumps(
                {
                    "using": [CORE],
                    "methodCalls": [
                        ["Core/echo", {"a": 1}, "x"],
                        ["Nope", {}, "x"],
                        ["Core/echo", {"a": 2}, ""],
                    ],
                }
            ).encode()
        )
        self.assertEqual(
            [(name, call) for name, _, call in answer["methodResponses"]],
            [("Core/echo", "x"), ("error", "x"), ("Core/echo", "")],
        )

    def test_no_calls(self) -> None:
        """An empty list of calls is fine."""
        self.assertEqual(self.request()["methodResponses"], [])

    def test_created_ids(self) -> None:
        """RFC 8620 §3.4, rule 15: createdIds is echoed if and only if it was sent, even when empty."""
        for given in ({}, {"k1": "M1", "k2": "E5"}):
            self.assertEqual(self.request(("Core/echo", {}), createdIds=given)["createdIds"], given)
        self.assertRaises(NotRequest, self.request, createdIds={"": "M1"})
        self.assertRaises(NotRequest, self.request, createdIds={"a": "x" * 256})

    def test_creation_ids_stand_for_ids(self) -> None:
        """Rule 19: `#k1` stands for what was created under k1, in ids and in filters; an unknown one is not found."""
        email = self.deliver(message())
        created = {"in": self.inbox, "e": email}
        answer = self.request(
            ("Email/get", {"accountId": self.account_id, "ids": ["#e", email, "#f"], "properties": []}),
            ("Email/query", {"accountId": self.account_id, "filter": {"inMailbox": "#in"}, "anchor": "#e"}),
            createdIds=created,
        )
        got, queried = (response[1] for response in answer["methodResponses"])
        self.assertEqual((got["list"], got["notFound"]), ([{"id": email}], ["#f"]))
        self.assertEqual(queried["ids"], [email])

    def test_accounts(self) -> None:
        """RFC 8620 §3.6.2: an account that the user can't see is accountNotFound, whether it exists or not."""
        for account in (f"A{self.other.id}", "A999", "", "x"):
            answer = self.request(("Mailbox/get", {"accountId": account}))["methodResponses"][0]
            self.assertEqual((answer[0], answer[1]["type"]), ("error", "accountNotFound"))

    def test_expired_sign_in(self) -> None:
        """A password that was changed since it was verified refuses the request."""
        self.valid = False
        self.assertRaises(SignInExpired, self.request, ("Core/echo", {}))


class ArgumentTests(Bed):
    """Arguments are decoded strictly, and errors name them."""

    def test_names(self) -> None:
        """RFC 8620 §3.9, rule 14: a missing, unknown or mistyped argument is invalidArguments and named."""
        for arguments, name in (
            ({"ids": "x"}, "ids"),
            ({"ids": [1]}, "ids"),
            ({"ids": ["x" * 256]}, "ids"),
            ({"properties": {}}, "properties"),
            ({"bogus": 1}, "bogus"),
            ({"properties": ["bogus"]}, "properties"),
        ):
            error = self.refused("Mailbox/get", **arguments)
            self.assertEqual((error["type"], error["arguments"]), ("invalidArguments", [name]))
            self.assertIn(name, error["description"])
        missing = self.request(("Mailbox/get", {}))["methodResponses"][0][1]
        self.assertEqual((missing["type"], missing["arguments"]), ("invalidArguments", ["accountId"]))
        mistyped = self.request(("Mailbox/get", {"accountId": None}))["methodResponses"][0][1]
        self.assertEqual(mistyped["arguments"], ["accountId"])

    def test_numbers(self) -> None:
        """RFC 8620 §1.3: an Int is an integer within 2^53; a Boolean or a fraction is none."""
        for value in (True, 1.5, "1", 2**53, -(2**53), None):
            self.assertEqual(self.refused("Email/query", position=value)["arguments"], ["position"])
        self.call("Email/query", position=2**53 - 1)
        self.call("Email/query", position=-(2**53) + 1)


class _Boom(RuntimeError):
    pass


def _boom(call: Call, arguments: Any) -> object:
    raise _Boom("secret reason")


def _busy(call: Call, arguments: Any) -> object:
    raise store.StoreBusy("locked")


def _unsendable(call: Call, arguments: Any) -> object:
    return {"value": object()}


def _make(call: Call, arguments: Any) -> object:
    row = store.create_mailbox(call.session, call.account.row, "Made")
    call.exchange.created.add("made", f"M{row.id}")
    return {"state": call.state("Mailbox")}


class FailureTests(Bed):
    """What becomes of faults, and of methods that write."""

    def setUp(self) -> None:
        """Add methods that fail, and one that writes."""
        super().setUp()
        made = [
            Method(name=name, capability=MAIL, arguments=AccountArguments, run=run, writes=writes)
            for name, run, writes in (
                ("Test/boom", _boom, False),
                ("Test/busy", _busy, False),
                ("Test/unsendable", _unsendable, False),
                ("Test/make", _make, True),
                (
                    "Test/makeAndFail",
                    lambda call, arguments: [_make(call, arguments), _boom(call, arguments)],
                    True,
                ),
            )
        ]
        methods = {**METHODS, **{method.name: method for method in made}}
        self.permit(*methods)
        self.engine = Engine(self.store, self.limits, self.metrics, still_valid=self.still_valid, methods=methods)

    def test_server_fail(self) -> None:
        """A bug in one call is that call's serverFail, with a reference id that is also given to the log."""
        calls = [(name, {"accountId": self.account_id}) for name in ("Test/boom", "Mailbox/get", "Test/unsendable")]
        answers = self.request(*calls)["methodResponses"]
        self.assertEqual([name for name, _, _ in answers], ["error", "Mailbox/get", "error"])
        self.assertEqual(answers[0][1]["type"], "serverFail")
        self.assertNotIn("secret reason", json.dumps(answers))
        (reference, failure), (second, _) = self.failures
        self.assertIn(reference, answers[0][1]["description"])
        self.assertIn("_Boom: secret reason", failure)
        self.assertIn("Test/boom", failure)
        self.assertEqual((reference, second), ("request-0", "request-2"))

    def test_unavailable(self) -> None:
        """A busy store is serverUnavailable: trying again helps."""
        self.assertEqual(self.refused("Test/busy")["type"], "serverUnavailable")

    def test_writes_are_seen_by_later_calls(self) -> None:
        """A call that writes is one transaction, and the next call reads what it wrote; created ids are returned."""
        account = {"accountId": self.account_id}
        answer = self.request(
            ("Mailbox/get", account),
            ("Test/make", account),
            ("Mailbox/get", {**account, "ids": ["#made"]}),
            createdIds={},
        )
        before, _, after = (response[1] for response in answer["methodResponses"])
        self.assertEqual(len(before["list"]), 6)
        self.assertEqual(after["list"][0]["name"], "Made")
        self.assertEqual(after["list"][0]["id"], answer["createdIds"]["made"])
        self.assertNotEqual(before["state"], after["state"])

    def test_failed_write_changes_nothing(self) -> None:
        """RFC 8620 §3.6.2: a method-level error means that nothing was changed."""
        before = self.call("Mailbox/get")
        self.assertEqual(self.refused("Test/makeAndFail")["type"], "serverFail")
        self.assertEqual(self.call("Mailbox/get"), before)

    def test_counted(self) -> None:
        """Calls are counted by method and outcome; names that clients make up share one label."""
        self.call("Mailbox/get")
        self.refused("Test/boom")
        self.refused("Made/up")
        self.assertEqual(self.counted("Mailbox/get", "ok"), 1)
        self.assertEqual(self.counted("Test/boom", "serverFail"), 1)
        self.assertEqual(self.counted("unknown", "unknownMethod"), 1)
        self.assertIsNone(self.counted("Made/up", "unknownMethod"))

    def counted(self, method: str, outcome: str) -> float | None:
        """A sample of the metrics."""
        registry: CollectorRegistry = self.metrics.registry
        return registry.get_sample_value("stalwart_jmap_method_calls_total", {"method": method, "outcome": outcome})

    def test_every_error_has_a_code(self) -> None:
        """Each method error has a wire code of RFC 8620 or RFC 8621."""
        codes = {kind.code for kind in MethodError.__subclasses__()}
        self.assertEqual(len(codes), len(MethodError.__subclasses__()))
        self.assertIn("invalidResultReference", codes)
