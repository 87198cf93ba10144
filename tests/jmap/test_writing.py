"""/set and /copy over declared types: what the engine does for each of them, shown on types made for this."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from stalwart import store
from stalwart.jmap import catalog, engine
from stalwart.jmap.arguments import GetArguments, Id, SetArguments, UserGetArguments, UserSetArguments
from stalwart.jmap.call import Account, Call
from stalwart.jmap.declare import Creation, DataType, Method, Property, Write, field, table
from stalwart.jmap.engine import Engine
from stalwart.jmap.errors import InvalidArguments, NotJson, SetError
from stalwart.jmap.limits import Limits
from stalwart.jmap.standard import methods_of
from tests.jmap.bed import CORE, MAIL, Bed, message


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """A record of these tests."""

    id: int
    text: str
    colour: str | None = None
    links: dict[str, Any] = {}


class Notes:
    """Notes of an account in memory, and the type that is declared over them."""

    def __init__(self, name: str = "Note", *, of_user: bool = False, singleton: bool = False) -> None:
        self.rows: dict[int, Note] = {}
        self.prepared: list[str] = []
        text = Annotated[str, Meta(max_length=20)]
        self.type: DataType[Note, None] = DataType(
            name=name,
            capability=CORE if of_user else MAIL,
            prefix="N",
            of_user=of_user,
            singleton=singleton,
            refers_to_itself=True,
            properties=table(
                Property(name="id", type=Id, read=lambda row: self.type.id_of(row.id), set_by="server", immutable=True),
                Property(name="text", type=text, read=field("text"), immutable=True),
                Property(name="colour", type=str | None, read=field("colour"), default=None),
                Property(name="links", type=dict[str, Any], read=field("links"), default={}, references="members"),
                Property(name="length", type=int, read=lambda row: len(row.text), set_by="server"),
            ),
            fetch=self.fetch,
            write=Write(
                arguments=UserSetArguments if of_user else SetArguments,
                prepare=self.prepare,
                create=None if singleton else self.create,
                update=self.update,
                destroy=None if singleton else self.destroy,
                copy=None if of_user or singleton else self.copy,
                prepare_copy=self.prepare_copy,
                created_properties=("id", "length") if of_user else None,
            ),
            get_arguments=UserGetArguments if of_user else GetArguments,
        )

    def fetch(self, call: Call, rows: Sequence[int] | None) -> Mapping[int, Note]:
        """The notes."""
        return {row: self.rows[row] for row in (self.rows if rows is None else rows) if row in self.rows}

    def prepare(self, call: Call, creation: Creation, arguments: Any) -> str:
        """What takes long."""
        if creation.values["text"] == "unprepared":
            raise SetError("tooLarge", "Not this one.", maxSize=1)
        self.prepared.append(creation.id)
        return f"prepared {creation.id}"

    def create(self, call: Call, creation: Creation, arguments: Any) -> int:
        """A new note."""
        assert creation.prepared == f"prepared {creation.id}"
        number = max(self.rows, default=0) + 1
        if creation.values["text"] == "lost mailbox":
            store.create_mailbox(call.session, call.account.row, f"made by {creation.id}")
            raise SetError("forbidden", "After all.")
        self.rows[number] = Note(id=number, **{name: creation.values[name] for name in ("text", "colour", "links")})
        return number

    def update(self, call: Call, row: Note, changed: Mapping[str, Any], arguments: Any) -> None:
        """A changed note."""
        self.rows[row.id] = msgspec.structs.replace(row, **changed)

    def destroy(self, call: Call, row: Note, arguments: Any) -> None:
        """A note less."""
        del self.rows[row.id]

    def prepare_copy(self, call: Call, source: Call, row: Note, creation: Creation, arguments: Any) -> str:
        """What takes long."""
        return f"from {source.account.id}"

    def copy(self, call: Call, source: Call, row: Note, creation: Creation, arguments: Any) -> int:
        """A copied note."""
        if row.text == "unique":
            raise SetError("alreadyExists", "There is one.", existingId="N1")
        number = max(self.rows) + 1
        self.rows[number] = msgspec.structs.replace(row, id=number, colour=creation.prepared, **creation.values)
        return number


class TypesBed(Bed):
    """An engine with types of the test's own, and a second account that the user sees."""

    def setUp(self) -> None:
        """Three types: of an account, of the user, and one of which there is one object."""
        super().setUp()
        self.notes = Notes()
        self.devices = Notes("Device", of_user=True)
        self.vacation = Notes("Vacation", singleton=True)
        self.vacation.rows[0] = Note(id=0, text="gone")
        types = (self.notes.type, self.devices.type, self.vacation.type)
        own = {method.name: method for declared in types for method in methods_of(declared)}
        self.permit(*own)
        self.engine = Engine(
            self.store,
            self.limits,
            self.metrics,
            still_valid=self.still_valid,
            methods={**catalog.METHODS, **own},
        )

    def call_user(self, name: str, **arguments: Any) -> Any:
        """The response to a call without an accountId."""
        response = self.request((name, arguments))["methodResponses"][0]
        self.assertEqual(response[0], name, response)
        return response[1]


class SetTests(TypesBed):
    """What /set does for any type."""

    def test_prepared_before_the_transaction(self) -> None:
        """A new record is prepared on its own; what that refuses is refused with its own members."""
        create = {"a": {"text": "x"}, "b": {"text": "unprepared"}, "c": {"text": 1}}
        response = self.call("Note/set", create=create)
        self.assertEqual(set(response["created"]), {"a"})
        self.assertEqual(self.notes.prepared, ["a"])
        error = response["notCreated"]["b"]
        self.assertEqual((error["type"], error["maxSize"]), ("tooLarge", 1))
        self.assertEqual(response["notCreated"]["c"]["properties"], ["text"])

    def test_each_record_is_atomic(self) -> None:
        """RFC 8620 §5.3: a record that fails half-way leaves nothing, in the rows as in the states."""
        before = self.call("Mailbox/get", properties=["name"])
        response = self.call("Note/set", create={"a": {"text": "lost mailbox"}, "b": {"text": "x"}})
        self.assertEqual(response["notCreated"]["a"]["type"], "forbidden")
        self.assertEqual(self.call("Mailbox/get", properties=["name"]), before)

    def test_references_in_nested_objects(self) -> None:
        """Requirement 19: creation ids are resolved in nested objects; one map for all types, the last one wins."""
        links = {"deep": [{"boxId": "#m", "name": "#m"}], "noteId": "#a", "lostId": "#lost"}
        answer = self.request(
            ("Mailbox/set", {"accountId": self.account_id, "create": {"m": {"name": "m"}, "a": {"name": "a"}}}),
            (
                "Note/set",
                {"accountId": self.account_id, "create": {"b": {"text": "b", "links": links}, "a": {"text": "a"}}},
            ),
            createdIds={"m": "M77"},
        )
        mailbox = answer["methodResponses"][0][1]["created"]["m"]["id"]
        self.assertEqual(answer["createdIds"]["a"], "N1")
        self.assertEqual(
            self.notes.rows[2].links,
            {"deep": [{"boxId": mailbox, "name": "#m"}], "noteId": "N1", "lostId": "#lost"},
        )

    def test_patches_into_objects(self) -> None:
        """RFC 8620 §5.3: a patch reaches into objects as deep as they go, and not into what isn't there."""
        self.notes.rows[1] = Note(id=1, text="x", links={"a": {"b": {"c": 1}}, "1": [1, 2]})
        response = self.call("Note/set", update={"N1": {"links/a/b/d": 2, "links/a/b/c": None, "links/2": [3]}})
        self.assertEqual(response["updated"], {"N1": None})
        self.assertEqual(self.notes.rows[1].links, {"a": {"b": {"d": 2}}, "1": [1, 2], "2": [3]})
        for path in ("links/1/0", "links/x/y", "links/a/b/d/e", "colour/x"):
            response = self.call("Note/set", update={"N1": {path: 1}})
            self.assertEqual(response["notUpdated"]["N1"]["type"], "invalidPatch", path)

    def test_immutable(self) -> None:
        """Requirement 22: an immutable property may be sent if it is the same."""
        self.notes.rows[1] = Note(id=1, text="x")
        response = self.call("Note/set", update={"N1": {"id": "N1", "text": "x", "length": 1, "colour": "red"}})
        self.assertEqual(response["updated"], {"N1": None})
        error = self.call("Note/set", update={"N1": {"text": "y", "length": True, "colour": 7}})["notUpdated"]["N1"]
        self.assertEqual(sorted(error["properties"]), ["colour", "length", "text"])

    def test_undone_as_a_whole(self) -> None:
        """A call that ends with an error creates nothing, and its creation ids stand for nothing."""

        def fail(call: Call, row: Note, arguments: Any) -> None:
            raise RuntimeError("a fault")

        self.notes.rows[1] = Note(id=1, text="x")
        write = self.notes.type.write
        assert write is not None
        broken = msgspec.structs.replace(self.notes.type, write=msgspec.structs.replace(write, destroy=fail))
        methods = {method.name: method for method in methods_of(broken)}
        self.engine = Engine(
            self.store, self.limits, self.metrics, still_valid=self.still_valid, methods={**catalog.METHODS, **methods}
        )
        account = {"accountId": self.account_id}
        answer = self.request(
            ("Note/set", {**account, "create": {"k": {"text": "k"}}, "destroy": ["N1"]}),
            createdIds={"k": "N0"},
        )
        self.assertEqual(answer["methodResponses"][0][1]["type"], "serverFail")
        self.assertEqual(answer["createdIds"], {"k": "N0"})

    def test_large_calls(self) -> None:
        """Hundreds of records that refer to one another in the wrong order, and as many circles, take no time."""
        chain = {f"k{n}": {"text": "x", "links": {"nextId": f"#k{n + 1}"}} for n in range(499)}
        response = self.call("Note/set", create={**chain, "k499": {"text": "end"}})
        self.assertIsNone(response["notCreated"])
        self.assertEqual(self.notes.rows[1].text, "end")
        circle = {f"k{n}": {"text": "x", "links": {"nextId": f"#k{(n + 1) % 500}"}} for n in range(500)}
        response = self.call("Note/set", create=circle)
        self.assertEqual(len(response["notCreated"]), 500)
        self.assertEqual({tuple(error["properties"]) for error in response["notCreated"].values()}, {("links",)})
        every = {f"k{n}": {"text": "x", "links": {f"{m}Id": f"#k{m}" for m in range(500)}} for n in range(500)}
        self.assertEqual(len(self.call("Note/set", create=every)["notCreated"]), 500)


class UserTypeTests(TypesBed):
    """Types whose objects belong to the user."""

    def test_without_account(self) -> None:
        """RFC 8620 §7.2: no accountId in arguments and responses, no state, no /changes."""
        response = self.call_user("Device/set", create={"d": {"text": "phone"}}, destroy=["N9"])
        self.assertEqual(set(response) & {"accountId", "oldState", "newState"}, set())
        self.assertEqual(response["created"], {"d": {"id": "N1", "length": 5}})
        self.assertEqual(response["notDestroyed"]["N9"]["type"], "notFound")
        response = self.call_user("Device/get", ids=["N1", "N2"])
        self.assertEqual(set(response), {"list", "notFound"})
        self.assertEqual(response["notFound"], ["N2"])
        self.assertEqual(self.refused("Device/get", ids=None)["arguments"], ["accountId"])
        answer = self.request(("Device/changes", {"sinceState": "0"}))["methodResponses"][0]
        self.assertEqual(answer[1]["type"], "unknownMethod")


class SingletonTests(TypesBed):
    """Types of which there is one object."""

    def test_singleton(self) -> None:
        """RFC 8620 §5.3: it can be changed, neither created nor destroyed."""
        self.assertEqual(self.call("Vacation/get", ids=None)["list"][0]["id"], "singleton")
        self.assertEqual(self.call("Vacation/get", ids=["singleton", "N0"])["notFound"], ["N0"])
        response = self.call(
            "Vacation/set",
            create={"k": {"text": "x"}},
            update={"singleton": {"colour": "red"}},
            destroy=["singleton"],
        )
        self.assertEqual(response["updated"], {"singleton": None})
        self.assertEqual(response["notCreated"]["k"]["type"], "singleton")
        self.assertEqual(
            self.call("Vacation/set", destroy=["singleton"])["notDestroyed"]["singleton"]["type"], "singleton"
        )


class CopyTests(TypesBed):
    """RFC 8620 §5.4."""

    def setUp(self) -> None:
        """A note, in both accounts as far as these tests go."""
        super().setUp()
        self.notes.rows[1] = Note(id=1, text="x")
        self.notes.rows[2] = Note(id=2, text="unique")
        self.from_id = f"A{self.other.id}"
        own = Account(
            row=self.account.id,
            id=self.account_id,
            name="ada@example.org",
            is_personal=True,
            is_read_only=False,
            capabilities={MAIL: {}},
        )
        other = msgspec.structs.replace(own, id=self.from_id, row=self.other.id)
        bare = msgspec.structs.replace(other, id="A99", capabilities={})
        accounts = {account.id: account for account in (own, other, bare)}
        self.patch(engine, "accounts_of", lambda *_: accounts)

    def copy(self, **arguments: Any) -> Any:
        """The responses to one Note/copy."""
        account = {"accountId": self.account_id, "fromAccountId": self.from_id}
        return self.request(("Note/copy", {**account, **arguments}))["methodResponses"]

    def test_copied(self) -> None:
        """The id in each object is that of the original; what else is given replaces what the original has."""
        create = {
            "a": {"id": "N1", "text": "y"},
            "b": {"id": "N2"},
            "c": {"id": "N9"},
            "d": {},
            "e": {"id": "N1", "length": 1},
        }
        [[name, response, _]] = self.copy(create=create)
        self.assertEqual(name, "Note/copy")
        self.assertEqual((response["fromAccountId"], response["accountId"]), (self.from_id, self.account_id))
        self.assertEqual(response["created"]["a"]["id"], "N3")
        self.assertEqual((self.notes.rows[3].text, self.notes.rows[3].colour), ("y", f"from {self.from_id}"))
        errors = response["notCreated"]
        self.assertEqual((errors["b"]["type"], errors["b"]["existingId"]), ("alreadyExists", "N1"))
        self.assertEqual(errors["c"]["type"], "notFound")
        self.assertEqual(errors["d"]["properties"], ["id"])
        self.assertEqual(errors["e"]["properties"], ["length"])

    def test_originals_destroyed(self) -> None:
        """Requirement 39: one implicit Note/set, same call id, after the response; it destroys the source ids."""
        create = {"a": {"id": "N1"}, "b": {"id": "N2"}, "c": {"id": "N1"}}
        first, second = self.copy(create=create, onSuccessDestroyOriginal=True)
        self.assertEqual((second[0], second[2]), ("Note/set", first[2]))
        self.assertEqual((second[1]["accountId"], second[1]["destroyed"]), (self.from_id, ["N1"]))
        self.assertEqual(set(first[1]["created"]), {"a", "c"})
        first, second = self.copy(
            create={"a": {"id": "N3"}}, onSuccessDestroyOriginal=True, destroyFromIfInState="other"
        )
        self.assertEqual((first[0], second[0], second[1]["type"]), ("Note/copy", "error", "stateMismatch"))
        self.assertEqual(len(self.copy(create={"a": {"id": "N9"}}, onSuccessDestroyOriginal=True)), 1)

    def test_refused(self) -> None:
        """The errors of the whole call."""
        for arguments, error in (
            ({"fromAccountId": self.account_id}, "invalidArguments"),
            ({"fromAccountId": "A98"}, "fromAccountNotFound"),
            ({"fromAccountId": "A99"}, "fromAccountNotSupportedByMethod"),
            ({"ifInState": "x"}, "stateMismatch"),
            ({"ifFromInState": "x"}, "stateMismatch"),
            ({"create": {f"k{n}": {} for n in range(501)}}, "requestTooLarge"),
            ({"create": None}, "invalidArguments"),
        ):
            given: dict[str, Any] = {"create": {"a": {"id": "N1"}}, **arguments}
            [[name, response, _]] = self.copy(**given)
            self.assertEqual((name, response["type"]), ("error", error), arguments)


class FollowingTests(TypesBed):
    """Calls that bring others with them."""

    def answers(self, *methods: Method, call: str) -> list[tuple[str, str]]:
        """Names and call ids of the responses to one call and another, of an engine that has these methods too."""
        known = {**catalog.METHODS, **{method.name: method for method in methods}}
        self.permit(*known)
        self.engine = Engine(self.store, self.limits, self.metrics, still_valid=self.still_valid, methods=known)
        answer = self.request((call, {}), ("Core/echo", {}), using=(CORE,))
        return [(name, call_id) for name, _, call_id in answer["methodResponses"]]

    def test_order(self) -> None:
        """RFC 8620 §5.4: after the response and before the next method, with its call id, of whatever capability."""

        def first(call: Call, arguments: Any) -> object:
            call.follow("Mailbox/get", {"accountId": call.account.id, "ids": []})
            call.follow("Second", {})
            return {}

        def second(call: Call, arguments: Any) -> object:
            return {}

        methods = [
            Method(name=run.__name__.title(), capability=CORE, arguments=None, run=run) for run in (first, second)
        ]
        self.assertEqual(
            self.answers(*methods, call="First"),
            [("First", "0"), ("Mailbox/get", "0"), ("Second", "0"), ("Core/echo", "1")],
        )

    def test_after_an_error(self) -> None:
        """A call that ends with an error brings nothing with it."""

        def fail(call: Call, arguments: Any) -> object:
            call.follow("Core/echo", {})
            raise InvalidArguments("never")

        method = Method(name="Fail", capability=CORE, arguments=None, run=fail)
        self.assertEqual(self.answers(method, call="Fail"), [("error", "0"), ("Core/echo", "1")])


class BoundTests(Bed):
    """Requests that are made to hurt."""

    limits = Limits()

    def test_deep_and_long(self) -> None:
        """Deep patches, giant ids, long paths and thousands of creation ids end in errors of the RFC."""
        email = self.deliver(message())
        deep: Any = {}
        for _ in range(50):
            deep = {"operator": "NOT", "conditions": [deep]}
        self.assertEqual(self.refused("Email/query", filter=deep)["type"], "unsupportedFilter")
        nested = '{"operator":"NOT","conditions":[' * 1000 + "{}" + "]}" * 1000
        call = f'["Email/queryChanges",{{"accountId":"{self.account_id}","filter":{nested}}},"0"]'
        body = f'{{"using":["{CORE}","{MAIL}"],"methodCalls":[{call}]}}'
        self.assertRaises(NotJson, self.send, body.encode())
        for patch in ({"keywords/" + "a/" * 50_000: True}, {"x" * 100_000: True}, {"mailboxIds/" + "M" * 300: True}):
            response = self.call("Email/set", update={email: patch})
            self.assertIn(response["notUpdated"][email]["type"], ("invalidPatch", "invalidProperties"))
        self.assertEqual(self.refused("Email/set", destroy=["E" * 256])["type"], "invalidArguments")
        self.assertEqual(self.refused("Mailbox/set", create={"": {}})["type"], "invalidArguments")
        many = {f"k{n}": f"M{n}" for n in range(5000)}
        answer = self.request(("Core/echo", {}), createdIds=many)
        self.assertEqual(answer["createdIds"], many)
        patch = {f"keywords/k{n}": True for n in range(20_000)}
        response = self.call("Email/set", update={email: patch})
        self.assertEqual(response["notUpdated"][email]["type"], "tooManyKeywords")
