"""What holds for every regular expression of the package."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterable, Iterator
from re import _constants, _parser  # type: ignore[attr-defined]  # undocumented, but the only way to see the structure
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

import stalwart

_LOOK = (_constants.ASSERT, _constants.ASSERT_NOT)


def _patterns() -> Iterator[tuple[str, Any]]:
    """Every compiled expression that stands at the top of a module: its name and what it is parsed to."""
    for module in pkgutil.walk_packages(stalwart.__path__, "stalwart."):
        if ".migrations" in module.name:
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, re.Pattern):
                text = value.pattern if isinstance(value.pattern, str) else value.pattern.decode("latin-1")
                yield f"{module.name}.{name}", _parser.parse(text, value.flags & re.VERBOSE)


def _trees(value: object) -> Iterator[Any]:
    """The sequences of items inside an item's arguments."""
    if isinstance(value, _parser.SubPattern):
        yield value
    elif isinstance(value, Iterable) and not isinstance(value, str | bytes):
        for part in value:
            yield from _trees(part)


def _faults(tree: Any, *, possessive: bool = False) -> Iterator[str]:
    items = list(tree)
    for index, (kind, arguments) in enumerate(items):
        if possessive and kind in _LOOK:
            yield "a look-around inside a possessive group"
        fails_behind = kind is _constants.POSSESSIVE_REPEAT and index and any(map(_least, items[index + 1 :]))
        if possessive and fails_behind:
            yield "a possessive group that can fail behind a possessive part of its own"
        for inner in _trees(arguments):
            yield from _faults(inner, possessive=possessive or kind is _constants.POSSESSIVE_REPEAT)


def _least(item: object) -> int:
    """How many characters an item matches at least."""
    tree = _parser.SubPattern(_parser.State(), [item])
    return int(tree.getwidth()[0])


class PossessiveTests(SynchronousTestCase):
    """Possessive groups, whose matching was mended in Python 3.11.5 only (CPython issue 106052)."""

    def test_old_python(self) -> None:
        """No expression needs what the 3.11.2 of Debian 12 gets wrong: nothing decoded, or an endless loop."""
        found = {name: set(_faults(tree)) for name, tree in _patterns()}
        self.assertIn("stalwart.mail.words._WORD", found)
        self.assertEqual({name: faults for name, faults in found.items() if faults}, {})

    def test_faults_are_seen(self) -> None:
        """The check sees both of the faults, and nothing in expressions without them."""
        for text in (r"(?:a|b(?!c))*+", r"(?:\[[^\]]*+\])*+"):
            self.assertTrue(set(_faults(_parser.parse(text))), text)
        for text in (r'(?:\\.[^"\\]*+)*+', r"(?:\[[^\]]*+\])*", r"(?:\"[^\"]*+\"?+)*+", r"a*+(?!b)"):
            self.assertEqual(set(_faults(_parser.parse(text))), set(), text)
