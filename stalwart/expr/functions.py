"""Every function: its parameters, the type of its result, and what it calls.

Functions without an implementation are either compiled in place (`matches`, `if_then`) or lookups, which the caller of
the evaluation answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import msgspec

from stalwart.expr import addresses, arrays, text
from stalwart.expr.errors import EvalError
from stalwart.expr.limits import MAX_ITEMS_TEXT
from stalwart.expr.lookups import DNS_TYPES, SYSTEM_NAMES
from stalwart.expr.types import Type, only
from stalwart.expr.values import Value, is_empty, to_text

Result: TypeAlias = "Type | Callable[[Sequence[Type]], Type]"


class Parameter(msgspec.Struct, frozen=True, kw_only=True):
    """What one argument may be."""

    name: str
    accepts: Type = Type.ANY
    # The texts that make sense, if the argument is known beforehand.
    choices: tuple[str, ...] = ()
    # A text in quotes and nothing else.
    literal: bool = False
    # "regex" and "network": what a text known beforehand has to spell.
    spells: str | None = None


class Function(msgspec.Struct, frozen=True, kw_only=True):
    """One function; `required` arguments at least, one for each parameter at most."""

    name: str
    parameters: tuple[Parameter, ...]
    required: int
    result: Result
    call: Callable[..., Value | bool] | None = None
    is_lookup: bool = False

    def result_type(self, arguments: Sequence[Type]) -> Type:
        """The type of the result for arguments of these types."""
        return self.result if isinstance(self.result, Type) else self.result(arguments)

    def arity(self) -> str:
        """The number of arguments in words."""
        most = len(self.parameters)
        count = str(most) if most == self.required else f"{self.required} or {most}"
        return f"{count} argument{'' if count == '1' else 's'}"

    def signature(self) -> str:
        """The function as one would write it."""
        return f"{self.name}({', '.join(parameter.name for parameter in self.parameters)})"


def _text(name: str, *choices: str) -> Parameter:
    return Parameter(name=name, accepts=Type.SCALAR, choices=choices)


def _literal(name: str, *choices: str, spells: str | None = None) -> Parameter:
    return Parameter(name=name, accepts=Type.STRING, choices=choices, literal=True, spells=spells)


def _any(name: str) -> Parameter:
    return Parameter(name=name)


def _list(name: str) -> Parameter:
    return Parameter(name=name, accepts=Type.LIST)


def _number(name: str) -> Parameter:
    return Parameter(name=name, accepts=Type.SCALAR)


def _pure(name: str, call: Callable[..., Value | bool], result: Result, *parameters: Parameter) -> Function:
    return Function(name=name, parameters=parameters, required=len(parameters), result=result, call=call)


def _mapped(name: str, call: Callable[[str], str]) -> Function:
    """A function of one text that also maps over the items of an array."""

    def apply(value: Value) -> Value:
        if isinstance(value, tuple):
            return tuple(_mapped_items(call, value))
        return call(to_text(value))

    def result(arguments: Sequence[Type]) -> Type:
        known = arguments[0]
        return (
            Type.TEXT if only(known, Type.SCALAR) else Type.TEXTS if only(known, Type.LIST) else Type.TEXT | Type.TEXTS
        )

    return _pure(name, apply, result, _any("value"))


def _mapped_items(call: Callable[[str], str], items: Sequence[Value]) -> Iterator[str]:
    room = MAX_ITEMS_TEXT
    for item in items:
        made = call(to_text(item))
        room -= len(made)
        if room < 0:
            raise EvalError(f"an array with more than {MAX_ITEMS_TEXT} characters")
        yield made


def _lookup(name: str, result: Type, *parameters: Parameter, required: int | None = None) -> Function:
    least = len(parameters) if required is None else required
    return Function(name=name, parameters=parameters, required=least, result=result, is_lookup=True)


def _same_list(arguments: Sequence[Type]) -> Type:
    return arguments[0] & Type.LIST if only(arguments[0], Type.LIST) else Type.LIST


def _either_branch(arguments: Sequence[Type]) -> Type:
    return arguments[1] | arguments[2]


_PAIR = Type.TEXT | Type.TEXTS

FUNCTIONS: dict[str, Function] = {
    function.name: function
    for function in (
        # Arrays
        _pure("count", arrays.count, Type.INTEGER, _any("array")),
        _pure("sort", arrays.sort, _same_list, _list("array"), _any("ascending")),
        _pure("dedup", arrays.dedup, _same_list, _list("array")),
        _pure("winnow", arrays.winnow, _same_list, _list("array")),
        _pure("is_intersect", arrays.is_intersect, Type.TRUTH, _any("array"), _any("array")),
        _pure("contains", arrays.contains, Type.TRUTH, _any("hay"), _any("needle")),
        _pure("contains_ignore_case", arrays.contains_ignore_case, Type.TRUTH, _any("hay"), _text("needle")),
        # Kinds of values
        _pure("is_empty", is_empty, Type.TRUTH, _any("value")),
        _pure("is_number", arrays.is_number, Type.TRUTH, _any("value")),
        # Addresses
        _pure("is_email", text.is_email, Type.TRUTH, _text("text")),
        _pure("email_part", text.email_part, Type.TEXT, _text("text"), _text("part", "local", "domain")),
        _pure("is_ip_addr", addresses.is_ip_addr, Type.TRUTH, _text("text")),
        _pure("is_ipv4_addr", addresses.is_ipv4_addr, Type.TRUTH, _text("text")),
        _pure("is_ipv6_addr", addresses.is_ipv6_addr, Type.TRUTH, _text("text")),
        _pure("ip_reverse_name", addresses.ip_reverse_name, Type.TEXT, _text("address")),
        _pure(
            "is_ip_in_cidr",
            addresses.is_ip_in_cidr,
            Type.TRUTH,
            _text("address"),
            Parameter(name="network", accepts=Type.STRING, spells="network"),
        ),
        # Texts
        _mapped("trim", text.trim),
        _mapped("trim_start", text.trim_start),
        _mapped("trim_end", text.trim_end),
        _mapped("to_lowercase", text.to_lowercase),
        _mapped("to_uppercase", text.to_uppercase),
        _pure("len", text.length, Type.INTEGER, _any("value")),
        _pure("is_uppercase", text.is_uppercase, Type.TRUTH, _text("text")),
        _pure("is_lowercase", text.is_lowercase, Type.TRUTH, _text("text")),
        _pure("has_digits", text.has_digits, Type.TRUTH, _text("text")),
        _pure("count_spaces", text.count_spaces, Type.INTEGER, _text("text")),
        _pure("count_uppercase", text.count_uppercase, Type.INTEGER, _text("text")),
        _pure("count_lowercase", text.count_lowercase, Type.INTEGER, _text("text")),
        _pure("count_chars", text.count_chars, Type.INTEGER, _text("text")),
        _pure("eq_ignore_case", text.eq_ignore_case, Type.TRUTH, _text("text"), _text("text")),
        _pure("starts_with", text.starts_with, Type.TRUTH, _text("text"), _text("prefix")),
        _pure("ends_with", text.ends_with, Type.TRUTH, _text("text"), _text("suffix")),
        _pure("lines", text.lines, Type.TEXTS, _text("text")),
        _pure("substring", text.substring, Type.TEXT, _text("text"), _number("start"), _number("count")),
        _pure("strip_prefix", text.strip_prefix, Type.TEXT, _text("text"), _text("prefix")),
        _pure("strip_suffix", text.strip_suffix, Type.TEXT, _text("text"), _text("suffix")),
        _pure("split", text.split, Type.TEXTS, _text("text"), _text("separator")),
        _pure("rsplit", text.rsplit, Type.TEXTS, _text("text"), _text("separator")),
        _pure("split_once", text.split_once, _PAIR, _text("text"), _text("separator")),
        _pure("rsplit_once", text.rsplit_once, _PAIR, _text("text"), _text("separator")),
        _pure("split_n", text.split_n, Type.TEXTS, _text("text"), _text("separator"), _number("count")),
        _pure("split_words", text.split_words, Type.TEXTS, _text("text")),
        _pure("hash", text.hash_text, Type.TEXT, _text("text"), _text("algorithm", *text.HASHES)),
        # Compiled in place
        Function(
            name="if_then",
            parameters=(_any("condition"), _any("then"), _any("else")),
            required=3,
            result=_either_branch,
        ),
        Function(
            name="matches",
            parameters=(_literal("'regex'", spells="regex"), _any("value")),
            required=2,
            result=Type.TRUTH,
        ),
        # Lookups
        _lookup("config_get", Type.ANY, _literal("'key'")),
        _lookup("system", Type.ANY, _literal("'name'", *SYSTEM_NAMES)),
        _lookup("metric", Type.ANY, _literal("'name'")),
        # The directory is left out in 0.16: with one argument it is the address.
        _lookup("is_local_domain", Type.ANY, _text("directory"), _text("domain"), required=1),
        _lookup("is_local_address", Type.ANY, _text("directory"), _text("address"), required=1),
        _lookup("key_get", Type.ANY, _text("store"), _text("key")),
        _lookup("key_exists", Type.ANY, _text("store"), _text("key")),
        _lookup("key_set", Type.ANY, _text("store"), _text("key"), _any("value")),
        _lookup("counter_incr", Type.ANY, _text("store"), _text("key"), _number("n")),
        _lookup("counter_get", Type.ANY, _text("store"), _text("key")),
        _lookup("dns_query", Type.ANY, _text("name"), _text("type", *DNS_TYPES)),
        _lookup("sql_query", Type.ANY, _text("store"), _literal("'query'"), _any("arguments")),
    )
}
