"""The standard method /set (RFC 8620 §5.3), written once over the declarations of data types.

New records are decoded and prepared on a snapshot; then each record is written in a savepoint of one transaction.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from stalwart.jmap.arguments import SetArguments, UserSetArguments
from stalwart.jmap.call import Call
from stalwart.jmap.declare import Creation, DataType, Write
from stalwart.jmap.errors import Conflict, RequestTooLarge, SetError, StateMismatch
from stalwart.jmap.records import Records, creation_order, decode_creation, decode_update, resolve_creation

Row = TypeVar("Row")
F = TypeVar("F")

_MOST_ROUNDS = 8


def prepare_set(
    call: Call, data_type: DataType[Row, F], write: Write[Row], arguments: SetArguments | UserSetArguments
) -> Mapping[str, Creation | SetError]:
    """The new records of the call by creation id, decoded and prepared; or what is wrong with them.

    Raises:
        RequestTooLarge: more records than maxObjectsInSet.
    """
    create = arguments.create or {}
    count = len(create) + len(arguments.update or ()) + len(arguments.destroy or ())
    check_count(call, data_type, count)

    def resolve(text: str) -> str:
        # RFC 8620 §5.3: the most recent record of a creation id, and those of this call are yet to come
        return text if data_type.refers_to_itself and text[1:] in create else call.resolve(text)

    prepared: dict[str, Creation | SetError] = {}
    for creation_id, given in create.items():
        try:
            if write.create is None:
                raise _refusal(data_type, "created")
            creation = decode_creation(data_type, creation_id, given, resolve)
            if write.prepare is not None:
                creation = msgspec.structs.replace(creation, prepared=write.prepare(call, creation, arguments))
            prepared[creation_id] = creation
        except SetError as error:
            prepared[creation_id] = error
    return prepared


def set_records(
    call: Call, data_type: DataType[Row, F], write: Write[Row], arguments: SetArguments | UserSetArguments
) -> dict[str, Any]:
    """RFC 8620 §5.3. `call.prepared` is what `prepare_set` gave. Raises StateMismatch."""
    run = _Set(call, data_type, write, arguments)
    if isinstance(arguments, UserSetArguments):
        return run.run()
    old_state = call.state(data_type.name)
    check_state(arguments.if_in_state, old_state, "ifInState")
    outcome = run.run()
    return {"accountId": call.account.id, "oldState": old_state, "newState": call.state(data_type.name), **outcome}


def check_count(call: Call, data_type: DataType[Row, F], count: int) -> None:
    """Raises RequestTooLarge when these are more records than one call may write."""
    most = call.limits.max_objects_in_set
    if count > most:
        raise RequestTooLarge(f"{count} {data_type.name} objects to write in one call, and {most} are allowed.")


def check_state(wanted: str | None, state: str, argument: str) -> None:
    """Raises StateMismatch when a call was meant for another state."""
    if wanted is not None and wanted != state:
        raise StateMismatch(f"{argument}: the state is {state!r} by now, not {wanted[:40]!r}.")


def _refusal(data_type: DataType[Row, F], done: str) -> SetError:
    if data_type.singleton:
        return SetError("singleton", f"There is exactly one {data_type.name}; none can be {done}.")
    return SetError("forbidden", f"A {data_type.name} can't be {done}.")


class _Task:
    """One record to be written. `failed` is told why not; `conflict` is what was in the way last time."""

    __slots__ = ("act", "conflict", "failed")

    def __init__(self, act: Callable[[], None], failed: Callable[[SetError], None]) -> None:
        self.act = act
        self.failed = failed
        self.conflict: SetError | None = None


class _Set(Generic[Row]):
    """The records of one call, and what became of them."""

    def __init__(
        self,
        call: Call,
        data_type: DataType[Row, Any],
        write: Write[Row],
        arguments: SetArguments | UserSetArguments,
    ) -> None:
        self._call = call
        self._type = data_type
        self._write = write
        self._arguments = arguments
        self._update = arguments.update or {}
        self._destroy = tuple(dict.fromkeys(arguments.destroy or ()))
        self._records = Records(call, data_type)
        self._plainly_destroyed = frozenset(self._destroy)
        self._pending: set[str] = set()  # creation ids whose records are still to be made
        self._blocked: dict[int, tuple[Row, Mapping[str, Any]]] = {}  # updates that others may be in the way of
        self._joint: dict[int, SetError | Mapping[str, object] | None] = {}  # what became of them
        self._written: dict[str, Row] = {}  # what `finish` is told of
        self._created: dict[str, object] = {}
        self._updated: dict[str, object] = {}
        self._destroyed: list[str] = []
        self._not_created: dict[str, object] = {}
        self._not_updated: dict[str, object] = {}
        self._not_destroyed: dict[str, object] = {}

    def run(self) -> dict[str, Any]:
        """Write all; gives the six maps and lists of the response."""
        self._records.load((*self._update, *self._destroy))
        tasks = self._left((*self._creations(), *self._updates(), *self._destructions()))
        for _ in range(_MOST_ROUNDS):
            # What waited for one another is likely to be in the wrong order.
            left = self._left(tasks[::-1])
            if len(left) == len(tasks):
                break
            tasks = left
        if tasks and self._blocked:
            self._update_blocked()
            tasks = self._left(tasks)
        for task in tasks:
            if task.conflict is not None:
                task.failed(task.conflict)
        if self._write.finish is not None:
            self._write.finish(self._call, self._written, self._arguments)
        # RFC 8620 §5.3: null where there is none
        return {
            "created": self._created or None,
            "updated": self._updated or None,
            "destroyed": self._destroyed or None,
            "notCreated": self._not_created or None,
            "notUpdated": self._not_updated or None,
            "notDestroyed": self._not_destroyed or None,
        }

    def _left(self, tasks: Sequence[_Task]) -> list[_Task]:
        """Do the tasks; gives those that another one may be in the way of."""
        left: list[_Task] = []
        for task in tasks:
            try:
                # RFC 8620 §5.3: each creation, modification or destruction is an atomic unit
                with self._call.session.savepoint():
                    task.act()
            except Conflict as error:
                task.conflict = error
                left.append(task)
            except SetError as error:
                task.failed(error)
        return left

    def _creations(self) -> Iterator[_Task]:
        prepared: Mapping[str, Creation | SetError] = self._call.prepared
        wanted: dict[str, Creation] = {}
        for creation_id, creation in prepared.items():
            if isinstance(creation, SetError):
                self._not_created[creation_id] = creation.value()
            else:
                wanted[creation_id] = creation
        self._pending.update(wanted)
        for creation_id in creation_order(self._type, wanted):
            yield _Task(
                functools.partial(self._create_one, wanted[creation_id]),
                functools.partial(self._fail_creation, creation_id),
            )

    def _updates(self) -> Iterator[_Task]:
        for text, patch in self._update.items():
            yield _Task(
                functools.partial(self._update_one, text, patch), functools.partial(self._fail, self._not_updated, text)
            )

    def _destructions(self) -> Iterator[_Task]:
        for text in self._destroy:
            yield _Task(
                functools.partial(self._destroy_one, text), functools.partial(self._fail, self._not_destroyed, text)
            )

    def _resolve(self, text: str) -> str:
        if text.startswith("#") and text[1:] in self._pending:
            raise Conflict("notFound", f"The record {text[:100]!r} was not created.")
        return self._call.resolve(text)

    def _fail_creation(self, creation_id: str, error: SetError) -> None:
        self._pending.discard(creation_id)
        self._not_created[creation_id] = error.value()

    def _fail(self, errors: dict[str, object], text: str, error: SetError) -> None:
        errors[self._call.resolve(text)] = error.value()

    def _create_one(self, creation: Creation) -> None:
        if self._write.create is None:
            raise _refusal(self._type, "created")
        resolved = resolve_creation(self._type, creation, self._resolve)
        number = self._write.create(self._call, resolved, self._arguments)
        real_id = self._type.id_of(number)
        self._created[creation.id] = self._records.created(real_id, resolved, self._write.created_properties)
        self._call.exchange.created.add(creation.id, real_id)
        self._pending.discard(creation.id)
        if self._write.finish is not None:
            _, self._written[real_id] = self._records.find(real_id)
            self._records.forget(number)

    def _update_one(self, text: str, patch: Mapping[str, Any]) -> None:
        real_id = self._resolve(text)
        number, row = self._records.find(real_id)
        if self._write.destroy is not None and self._will_be_destroyed(real_id):
            raise SetError("willDestroy", "The same call destroys it.")
        if number in self._joint:
            outcome = self._joint.pop(number)
            if isinstance(outcome, SetError):
                raise outcome
            self._updated[real_id] = outcome
            self._written[real_id] = row
            return
        changed = decode_update(self._type, self._records, row, patch, self._resolve)
        outcome = None
        if changed:
            if self._write.update is None:
                raise _refusal(self._type, "changed")
            try:
                outcome = self._write.update(self._call, row, changed, self._arguments)
            except Conflict:
                self._blocked[number] = (row, changed)
                raise
            self._records.forget(number)
        self._blocked.pop(number, None)
        self._updated[real_id] = outcome
        self._written[real_id] = row

    def _will_be_destroyed(self, real_id: str) -> bool:
        return real_id in self._plainly_destroyed or any(
            self._call.resolve(text) == real_id for text in self._destroy if text.startswith("#")
        )

    def _update_blocked(self) -> None:
        if self._write.update_together is None:
            return
        self._joint = dict(self._write.update_together(self._call, self._blocked, self._arguments))
        for number in self._joint:
            self._records.forget(number)

    def _destroy_one(self, text: str) -> None:
        real_id = self._resolve(text)
        number, row = self._records.find(real_id)
        if self._write.destroy is None:
            raise _refusal(self._type, "destroyed")
        self._write.destroy(self._call, row, self._arguments)
        self._records.forget(number)
        self._destroyed.append(real_id)
        self._written[real_id] = row
