"""The filter and the sort of a query, decoded over the declarations of its data type (RFC 8620 §5.5)."""

from __future__ import annotations

from typing import Any, TypeVar

from stalwart.jmap.arguments import decode_arguments, decode_value
from stalwart.jmap.call import Call
from stalwart.jmap.declare import Comparator, Operator, Query
from stalwart.jmap.errors import InvalidArguments, UnsupportedFilter, UnsupportedSort

F = TypeVar("F")

# RFC 4790 and RFC 5051. Of texts that lie in the database only numbers are compared in a way of their own.
COLLATIONS = ("i;ascii-numeric", "i;ascii-casemap", "i;unicode-casemap")
_MOST_COMPARATORS = 16
_OPERATORS: dict[object, Operator] = {"AND": "AND", "OR": "OR", "NOT": "NOT"}


def decode_filter(value: dict[str, Any], query: Query[F], call: Call) -> F:
    """`value` as what the type's search understands.

    Raises:
        InvalidArguments: a value has the wrong type, or an operator is unknown.
        UnsupportedFilter: a condition is unknown, or the filter is nested too deeply or has too many conditions.
    """
    decoded: F = _Decoder(query, call).decode(value, 1, "filter")
    return decoded


class _Decoder:
    def __init__(self, query: Query[Any], call: Call) -> None:
        self._query = query
        self._call = call
        self._left = call.limits.max_filter_conditions

    def decode(self, value: object, depth: int, where: str) -> Any:
        if not isinstance(value, dict):
            raise InvalidArguments(f"{where}: a FilterOperator or FilterCondition is an object.", "filter")
        if depth > self._call.limits.max_filter_depth:
            raise UnsupportedFilter(f"The filter is nested more than {self._call.limits.max_filter_depth} deep.")
        if "operator" in value:
            return self._operator(value, depth, where)
        return self._conditions(value, where)

    def _operator(self, value: dict[str, Any], depth: int, where: str) -> Any:
        name = value["operator"]
        kind = _OPERATORS.get(name) if isinstance(name, str) else None
        if kind is None:
            raise InvalidArguments(f"{where}.operator: {name!r} is not AND, OR or NOT.", "filter")
        children = value.get("conditions")
        if not isinstance(children, list):
            raise InvalidArguments(f"{where}.conditions: an array of filters is required.", "filter")
        for name in value:
            if name not in ("operator", "conditions"):
                # RFC 8620 §5.5: a FilterCondition MUST NOT have an "operator" property
                raise InvalidArguments(f"{where}.{name}: a FilterOperator has no such property.", "filter")
        self._count(1)
        return self._query.combine(
            kind,
            [self.decode(child, depth + 1, f"{where}.conditions[{index}]") for index, child in enumerate(children)],
        )

    def _conditions(self, value: dict[str, Any], where: str) -> Any:
        self._count(max(1, len(value)))
        built: list[Any] = []
        for name, wanted in value.items():
            condition = self._query.filters.get(name)
            if condition is None:
                raise UnsupportedFilter(f"{where}: there is no condition {name!r}.")
            built.append(condition.build(self._call, decode_value(wanted, condition.type, f"{where}.{name}")))
        # RFC 8621 §4.4.1: of several properties ALL must apply; zero properties are always true
        return built[0] if len(built) == 1 else self._query.combine("AND", built)

    def _count(self, conditions: int) -> None:
        self._left -= conditions
        if self._left < 0:
            raise UnsupportedFilter(f"The filter has more than {self._call.limits.max_filter_conditions} conditions.")


def decode_sort(value: list[dict[str, Any]], query: Query[Any]) -> tuple[Comparator, ...]:
    """The comparators, in order.

    Raises:
        InvalidArguments: one has the wrong shape, or no keyword where it needs one.
        UnsupportedSort: a property or a collation that this server does not have.
    """
    comparators: list[Comparator] = []
    if len(value) > _MOST_COMPARATORS:
        raise UnsupportedSort(f"At most {_MOST_COMPARATORS} comparators are supported.")
    for index, entry in enumerate(value):
        name = entry.get("property")
        if isinstance(name, str) and name not in query.sorts:
            raise UnsupportedSort(f"sort[{index}]: {name!r} can not be sorted by.")
        try:
            comparator = decode_arguments(entry, Comparator)
        except InvalidArguments as error:
            raise InvalidArguments(f"sort[{index}].{error.description}", "sort") from None
        key = query.sorts[comparator.property]
        if key.needs_keyword != (comparator.keyword is not None):
            needs = "needs a" if key.needs_keyword else "has no"
            raise InvalidArguments(f"sort[{index}].keyword: {comparator.property!r} {needs} keyword.", "sort")
        if key.is_text and comparator.collation is not None and comparator.collation not in COLLATIONS:
            raise UnsupportedSort(f"sort[{index}]: the collation {comparator.collation!r} is not known here.")
        comparators.append(comparator)
    return tuple(comparators)
