"""Rules as they stand in a configuration: clauses and a last word, all of them text with its place in the file.

Only the form is read here. What the texts mean is the business of the expression language.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Literal, Protocol

import msgspec

from stalwart.config.errors import KeyPath, describe

_CLAUSE_WANTED = 'a clause such as { if = "is_tls", then = "200" }'
_SCALAR_WANTED = "an expression as text, or a whole number"
_RULE_WANTED = (
    'an expression, or an array of clauses { if = "…", then = "…" } that ends with { else = "…" }, '
    "or a table with match and else"
)


class SourceText(msgspec.Struct, frozen=True, kw_only=True):
    """The text of an expression, macros expanded, and the place where it was written (no file: a default)."""

    text: str
    file: str | None = None
    line: int | None = None
    key: str


class RuleClause(msgspec.Struct, frozen=True, kw_only=True):
    """One condition, and what counts if it is the first that holds."""

    if_: SourceText
    then: SourceText


class RuleText(msgspec.Struct, frozen=True, kw_only=True):
    """A rule that is not yet parsed. A bare value is `otherwise` alone; `key` is the setting as it was written."""

    clauses: tuple[RuleClause, ...] = ()
    otherwise: SourceText
    key: str


class RuleFault(msgspec.Struct, frozen=True, kw_only=True):
    """What the expression language says of a rule's text: a sentence, then the text with carets under the place."""

    source: SourceText
    text: str
    is_error: bool


class UsedStore(msgspec.Struct, frozen=True, kw_only=True):
    """A rule asks the store of this id."""

    id: str


class RuleNames(msgspec.Struct, frozen=True, kw_only=True):
    """What rules can name: values by lookup store and key, database files by the id of their store, http listeners."""

    lookups: Mapping[str, Mapping[str, str]]
    databases: Mapping[str, str]
    listeners: tuple[str, ...] = ()
    """Ids; empty where they are not known."""


DEFAULT_LOOKUPS = "default"
"""The lookup store that is always there."""

DIRECTORIES = ("default", "internal", "*", "")
"""The names that the one directory of accounts goes by."""

NO_NAMES = RuleNames(lookups={DEFAULT_LOOKUPS: {}}, databases={})

CheckRule = Callable[[RuleText, Literal["status", "text"], RuleNames], Iterable[RuleFault | UsedStore]]


def no_check(rule: RuleText, wanted: Literal["status", "text"], names: RuleNames) -> Iterable[RuleFault]:
    """Finds nothing wrong."""
    return ()


class Ground(Protocol):
    """Where a value with parts stands: knows places, expands macros, takes errors."""

    def error(self, path: KeyPath, *, found: str | None, wanted: str) -> None:
        """Note a fault of a part; it must end in the whole being refused."""

    def expand(self, path: KeyPath, text: str) -> str | None:
        """The text with its macros replaced; None if that failed and was noted."""

    def source(self, path: KeyPath, text: str) -> SourceText:
        """The text with its place."""

    def key(self, path: KeyPath) -> str:
        """The key as it was written."""


def default_rule(key: str, text: str) -> RuleText:
    """The rule of a setting that no file sets."""
    return RuleText(otherwise=SourceText(text=text, key=key), key=key)


def read_rule(path: KeyPath, raw: object, ground: Ground) -> RuleText | None:
    """The rule in any of its forms; None if it has faults, which have been noted."""
    if isinstance(raw, list):
        return _Reading(ground, path).blocks([((*path, index), item) for index, item in enumerate(raw)])
    if isinstance(raw, Mapping):
        if raw and all(is_index(key) for key in raw):
            items = indexed(path, raw, ground)
            return None if items is None else _Reading(ground, path).blocks(items)
        return _Reading(ground, path).table(raw)
    otherwise = _Reading(ground, path).text(path, raw, _RULE_WANTED)
    return None if otherwise is None else RuleText(otherwise=otherwise, key=ground.key(path))


def is_index(key: str) -> bool:
    """Whether a key of a table is the place of an item in a list, as in `headers.0000`."""
    return key.isascii() and key.isdigit() and len(key) <= 9


def indexed(path: KeyPath, table: Mapping[str, object], ground: Ground) -> list[tuple[KeyPath, object]] | None:
    """The items, with their paths, of a list that is written as a table with numbers for keys."""
    found: dict[int, str] = {}
    for key in table:
        other = found.setdefault(int(key), key)
        if other != key:
            wanted = f"each number once; {ground.key((*path, other))} is the same place in the list"
            ground.error((*path, key), found=describe(key), wanted=wanted)
            return None
    return [((*path, found[number]), table[found[number]]) for number in sorted(found)]


class _Reading:
    """One rule; `faulty` once a fault was noted."""

    def __init__(self, ground: Ground, path: KeyPath) -> None:
        self._ground = ground
        self._path = path
        self._clauses: list[RuleClause] = []
        self._faulty = False

    def fault(self, path: KeyPath, found: str | None, wanted: str) -> None:
        self._faulty = True
        self._ground.error(path, found=found, wanted=wanted)

    def text(self, path: KeyPath, raw: object, wanted: str = _SCALAR_WANTED) -> SourceText | None:
        """One expression: a text, or what TOML and JSON have for short ones."""
        expanded: str | None
        if isinstance(raw, bool):
            expanded = "true" if raw else "false"
        elif isinstance(raw, int) and raw.bit_length() < 64:
            expanded = str(raw)
        elif isinstance(raw, str):
            expanded = self._ground.expand(path, raw)
            if expanded is None:
                self._faulty = True
                return None
        else:
            expanded = ""
        if not expanded.strip():
            self.fault(path, describe(raw), wanted)
            return None
        return self._ground.source(path, expanded)

    def blocks(self, items: list[tuple[KeyPath, object]]) -> RuleText | None:
        """The array form: clauses, and at the end a block with `else`."""
        otherwise: SourceText | None = None
        ended: KeyPath | None = None
        for number, (at, item) in enumerate(items):
            if not isinstance(item, Mapping):
                self.fault(at, describe(item), f'{_CLAUSE_WANTED}, or at the end {{ else = "404" }}')
            elif ended is not None:
                again = "else" in item
                found = "a second else" if again else "a clause after else"
                self.fault(
                    (*at, "else") if again else at, found, f"{self._ground.key(ended)} at the end, and only once"
                )
            elif "else" in item:
                ended = (*at, "else")
                if number == 0:
                    self.fault(
                        ended, "else before any if", f"{_CLAUSE_WANTED} first; a rule without clauses is the bare value"
                    )
                for key in item:
                    if key != "else":
                        self.fault(
                            (*at, key),
                            f"{key} beside else" if key in ("if", "then") else "an unknown key",
                            "else alone in its block",
                        )
                otherwise = self.text(ended, item["else"])
            else:
                self._clause(at, item)
        if ended is None:
            self.fault(self._path, "a rule without else", 'a block { else = "…" } at the end')
        return self._rule(otherwise)

    def table(self, table: Mapping[str, object]) -> RuleText | None:
        """The form with `match` and `else`."""
        for key in table:
            if key not in ("match", "else"):
                hint = "; clauses with if and then stand in an array" if key in ("if", "then") else ""
                self.fault((*self._path, key), "an unknown key", f"match and else{hint}")
        for at, item in self._match(table.get("match", [])):
            if not isinstance(item, Mapping):
                self.fault(at, describe(item), _CLAUSE_WANTED)
            else:
                self._clause(at, item)
        otherwise = None
        if "else" in table:
            otherwise = self.text((*self._path, "else"), table["else"])
        else:
            self.fault(self._path, "a rule without else", "else beside match: what counts if no clause holds")
        return self._rule(otherwise)

    def _match(self, match: object) -> list[tuple[KeyPath, object]]:
        path = (*self._path, "match")
        if isinstance(match, list):
            return [((*path, index), item) for index, item in enumerate(match)]
        if isinstance(match, Mapping) and all(is_index(key) for key in match):
            items = indexed(path, match, self._ground)
            self._faulty = self._faulty or items is None
            return items or []
        self.fault(path, describe(match), 'an array of clauses, or a table of them with the keys "0", "1", …')
        return []

    def _clause(self, at: KeyPath, block: Mapping[str, object]) -> None:
        for key in block:
            if key not in ("if", "then"):
                wanted = "else beside match" if key == "else" else "if and then"
                self.fault((*at, key), "else in a clause" if key == "else" else "an unknown key", wanted)
        condition = self.text((*at, "if"), block["if"]) if "if" in block else None
        then = self.text((*at, "then"), block["then"]) if "then" in block else None
        if "if" not in block:
            self.fault(at, "then without if" if "then" in block else "a clause without if and then", _CLAUSE_WANTED)
        elif "then" not in block:
            self.fault(at, "if without then", _CLAUSE_WANTED)
        if condition is not None and then is not None:
            self._clauses.append(RuleClause(if_=condition, then=then))

    def _rule(self, otherwise: SourceText | None) -> RuleText | None:
        if self._faulty or otherwise is None:
            return None
        return RuleText(clauses=tuple(self._clauses), otherwise=otherwise, key=self._ground.key(self._path))


def show_rule(rule: RuleText) -> object:
    """The rule in the form that TOML has for it: the bare text, or an array of blocks."""
    if not rule.clauses:
        return rule.otherwise.text
    return list(_blocks(rule))


def _blocks(rule: RuleText) -> Iterator[dict[str, str]]:
    for clause in rule.clauses:
        yield {"if": clause.if_.text, "then": clause.then.text}
    yield {"else": rule.otherwise.text}
