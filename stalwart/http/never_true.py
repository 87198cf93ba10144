"""Comparisons that hold for no request: a listener that isn't there, a path that isn't normalised."""

from __future__ import annotations

from stalwart.config import RuleNames
from stalwart.expr import Finding
from stalwart.expr.errors import nearest
from stalwart.expr.tree import Binary, Call, Literal, Node, Variable
from stalwart.http.paths import parse_target
from stalwart.http.problem import Problem

_SCHEMES = ("http", "https")
_PATHS = ("path", "url_path", "url")


def never_true(text: str, node: Node, names: RuleNames) -> Finding | None:
    """What is odd about a part of a rule that stands in `text`, at the value that is compared."""
    compared = _compared(node)
    if compared is None:
        return None
    variable, literal, is_prefix = compared
    value = str(literal.value)
    fault: tuple[str, str | None] | None = None
    if variable in _PATHS:
        fault = _path_fault(variable, value, is_prefix=is_prefix)
    elif is_prefix:
        return None
    elif variable == "listener" and names.listeners and value not in names.listeners:
        known = ", ".join(names.listeners)
        fault = f'no http listener is called "{value}"', nearest(value, names.listeners) or f"There is: {known}."
    elif variable == "protocol" and value not in _SCHEMES:
        fault = f'protocol is never "{value}"', "It is 'http' or 'https'."
    if fault is None:
        return None
    message, hint = fault
    return Finding(text=text, position=literal.position, end=literal.end, message=message, hint=hint)


def _compared(node: Node) -> tuple[str, Literal, bool] | None:
    """The variable and the text that it is compared with, and whether it need only begin with it."""
    match node:
        case Binary(operator="==" | "!=", left=Variable(name=name), right=Literal(value=str()) as literal):
            return name, literal, False
        case Binary(operator="==" | "!=", left=Literal(value=str()) as literal, right=Variable(name=name)):
            return name, literal, False
        case Call(name="starts_with", arguments=(Variable(name=name), Literal(value=str()) as literal)):
            return name, literal, True
    return None


def _path_fault(variable: str, value: str, *, is_prefix: bool) -> tuple[str, str | None] | None:
    path, mark, _ = value.partition("?")
    if value == "*" or (is_prefix and not value):  # RFC 9112 §3.2.4: OPTIONS *
        return None
    if variable != "url" and mark:
        return f"{variable} has no query, so it is never this", "The query is in url."
    if not path.startswith("/"):
        return f"{variable} never begins like this: it begins with a slash", None
    # A prefix may end within a name, or within an encoded octet.
    end = "" if mark or not is_prefix else "x"
    if end and "%" in path[-2:]:
        return None
    try:
        written = parse_target(b"GET", (path + end).encode("utf-8")).path.decode("ascii")
    except Problem as problem:
        return f"{variable} is never written like this: {problem.detail}", None
    if written == path + end:
        return None
    return f"{variable} is normalised and never written like this", f"Write '{written.removesuffix(end)}'."
