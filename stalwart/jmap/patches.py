"""PatchObjects (RFC 8620 §5.3): JSON Pointers and values, applied to one object without touching what was there."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import UNSET

from stalwart.jmap.errors import SetError, invalid_properties

Pointer = tuple[str, ...]
"""The steps of a path; the first is the name of a property."""


class Patch(msgspec.Struct, frozen=True, kw_only=True):
    """A PatchObject that keeps to the rules which don't depend on the object; pointers in ascending order."""

    values: Mapping[Pointer, Any]

    def names(self) -> tuple[str, ...]:
        """The properties that it touches."""
        return tuple(dict.fromkeys(pointer[0] for pointer in self.values))


def parse_patch(patch: Mapping[str, Any], resolve: Callable[[Pointer], Pointer]) -> Patch:
    """The patch with its paths taken apart; `resolve` puts ids in the place of creation ids in a path.

    Raises:
        SetError: `invalidPatch`.
    """
    entries = sorted(((resolve(_steps(path)), value) for path, value in patch.items()), key=lambda entry: entry[0])
    for (pointer, _), (following, _) in itertools.pairwise(entries):
        # RFC 8620 §5.3: no pointer is the prefix of another. In this order those that it is a prefix of come next.
        if following[: len(pointer)] == pointer:
            raise _invalid(f"{'/'.join(pointer)} and {'/'.join(following)} are both patched, one inside the other.")
    return Patch(values=dict(entries))


def apply_patch(patch: Patch, current: Mapping[str, Any], default: Callable[[str], Any]) -> dict[str, Any]:
    """The new values of the properties that the patch touches; `current` has their values now.

    `default` gives the value that a property has when it is removed, UNSET if it can't be.

    Raises:
        SetError: `invalidPatch`, or `invalidProperties` for a property that can't be removed.
    """
    changed: dict[str, Any] = {}
    irremovable: list[str] = []
    for pointer, value in patch.values.items():
        name = pointer[0]
        if len(pointer) == 1:
            if value is None and name in current:
                # RFC 8620 §5.3: null sets to the default value if there is one
                value = default(name)
                if value is UNSET:
                    irremovable.append(name)
            changed[name] = value
            continue
        if name not in changed:
            changed[name] = _copied(current.get(name, UNSET))
        parent = changed[name]
        for step in pointer[1:-1]:
            parent = parent.get(step, UNSET) if isinstance(parent, dict) else UNSET
        if not isinstance(parent, dict):
            # RFC 8620 §5.3: not inside an array, and all parts prior to the last exist already
            raise _invalid(f"{'/'.join(pointer)}: there is no object for {pointer[-1]!r} to be in.")
        if value is None:
            parent.pop(pointer[-1], None)  # RFC 8620 §5.3: a no-op if the key is not present
        else:
            parent[pointer[-1]] = value
    if irremovable:
        raise invalid_properties(f"{', '.join(irremovable)}: can't be null.", irremovable)
    return changed


def _steps(path: str) -> Pointer:
    steps = path.split("/")
    for index, step in enumerate(steps):
        if "~" in step:
            if step.count("~") != step.count("~0") + step.count("~1"):
                raise _invalid(f"{path!r} has a tilde that is neither ~0 nor ~1 (RFC 6901).")
            steps[index] = step.replace("~1", "/").replace("~0", "~")  # RFC 6901 §4: first ~1, then ~0
    return tuple(steps)


def _copied(value: Any) -> Any:
    """A copy whose objects can be written to. The depth is bounded by what the type itself has."""
    if isinstance(value, dict):
        return {name: _copied(item) for name, item in value.items()}
    return value


def _invalid(description: str) -> SetError:
    return SetError("invalidPatch", description)
