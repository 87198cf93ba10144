"""What can be seen to be wrong with a lookup before it is asked: stores, directories and metrics that don't exist."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from stalwart.config import DIRECTORIES, RuleNames
from stalwart.expr import Finding
from stalwart.expr.errors import nearest
from stalwart.expr.tree import Call, Literal, Node
from stalwart.ops.metrics import metric_names

_LOOKUP_STORES = ("key_get", "key_exists", "key_set", "counter_get", "counter_incr")
_DIRECTORIES = ("is_local_domain", "is_local_address")
_READING = ("select", "with", "values")

Fault = tuple[Node, str, str | None]


def lookup_fault(text: str, call: Call, names: RuleNames) -> Finding | None:
    """The fault of a call that stands in `text`, if it has one that shows."""
    check = _CHECKS.get(call.name)
    fault = check(call, names) if check is not None else None
    if fault is None:
        return None
    node, message, hint = fault
    return Finding(text=text, position=node.position, end=node.end, message=message, hint=hint)


def _text_of(node: Node) -> str | None:
    return node.value if isinstance(node, Literal) and isinstance(node.value, str) else None


def _lookup_store(call: Call, names: RuleNames) -> Fault | None:
    store = _text_of(call.arguments[0])
    if store is None:
        return None
    if store not in names.lookups:
        message = f'there is no lookup store "{store}"'
        hint = nearest(store, names.lookups) or f"A table [lookup.{store}] in the configuration makes one."
        return call.arguments[0], message, hint
    key = _text_of(call.arguments[1])
    if call.name == "key_set" and key is not None and key in names.lookups[store]:
        return call.arguments[1], f'the configuration sets "{key}" of "{store}", so that a rule can\'t', None
    return None


def _directory(call: Call, names: RuleNames) -> Fault | None:
    directory = _text_of(call.arguments[0])
    if len(call.arguments) == 1 or directory is None or directory in DIRECTORIES:
        return None
    return call.arguments[0], f'there is no directory "{directory}"', "There is one; it may be left out."


def _sql(call: Call, names: RuleNames) -> Fault | None:
    store, query = _text_of(call.arguments[0]), _text_of(call.arguments[1])
    if store is not None and store not in names.databases:
        message = f'there is no [store.<id>] of type sqlite named "{store}"'
        return call.arguments[0], message, nearest(store, names.databases)
    if query is not None and not query.lower().lstrip().startswith(_READING):
        return (
            call.arguments[1],
            "the query is no SELECT",
            "Queries can only read. Write SELECT …, with ? for arguments.",
        )
    return None


def _metric(call: Call, names: RuleNames) -> Fault | None:
    name = _text_of(call.arguments[0])
    known = metric_names()
    if name is None or name in known:
        return None
    return call.arguments[0], f'there is no metric "{name}"', nearest(name, known)


_CHECKS: Mapping[str, Callable[[Call, RuleNames], Fault | None]] = {
    **dict.fromkeys(_LOOKUP_STORES, _lookup_store),
    **dict.fromkeys(_DIRECTORIES, _directory),
    "sql_query": _sql,
    "metric": _metric,
}
