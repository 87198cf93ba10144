"""A clause of a rule with the values of its parts, drawn as a tree for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from stalwart.config.errors import printable
from stalwart.expr import ClauseSteps, Step, Value
from stalwart.expr.unparser import literal

_LONGEST = 60  # characters of a value
_INDENT = "  "


def clause_lines(name: str, clause: ClauseSteps, *, decides: bool) -> Iterator[str]:
    """The lines of one clause; a clause that was not reached is one line."""
    mark = "  <- decides" if decides else ""
    if clause.condition is None:
        yield f"{name}{mark}"
        yield from _lines(clause.then, _INDENT)
        return
    if not clause.condition.asked:
        yield f"{name}: not asked"
        return
    yield f"{name}{mark}"
    yield from _lines(clause.condition, f"{_INDENT}if ")
    yield from _lines(clause.then, f"{_INDENT}then ")


def _lines(step: Step, lead: str) -> Iterator[str]:
    yield f"{lead}{printable(step.text)}{_outcome(step)}"
    if step.asked:
        inside = " " * (len(lead) - len(lead.lstrip())) + _INDENT
        for part in step.parts:
            yield from _lines(part, inside)


def _outcome(step: Step) -> str:
    if not step.asked:
        return "  (not asked)"
    if step.error is not None or step.value is None:
        return f"  failed: {printable(step.error or '')}"
    value = shown_value(step.value)
    if step.lookup is not None:
        known = "" if step.known else "  (not known, taken as '')"
        return f" = {value}  asked: {printable(step.lookup)}{known}"
    return "" if value == step.text else f" = {value}"


def shown_value(value: Value) -> str:
    """A value as one would write it, on one line and not too long."""
    text = printable(literal(value))
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
