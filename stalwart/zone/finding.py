"""What a check found out: the outcome of one check, and the line of the report that it becomes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

State = Literal["good", "wrong", "missing", "unknown", "unneeded"]

EXIT_GOOD, EXIT_WRONG, EXIT_UNKNOWN = 0, 1, 3


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What one check says.

    `found` is what is there, `fix` what to do (empty if nothing is), `note` what is good to know beside it.
    `secure` is what the resolver says of DNSSEC, None where it wasn't asked for. `unneeded`: neither there, nor wanted.
    """

    state: State
    found: tuple[str, ...] = ()
    fix: str = ""
    note: str = ""
    secure: bool | None = None


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the report; these names are the keys of its JSON.

    `type` is a record's type, or `HTTPS` for what was fetched. `required` is False for what does without.
    """

    check: str
    name: str
    type: str
    state: State
    required: bool
    found: tuple[str, ...]
    wanted: str
    why: str
    fix: str
    note: str
    secure: bool | None


def exit_code(findings: Iterable[Finding]) -> int:
    """0: all is good; 1: something is wrong, or missing although it is required; 3: only unknown."""
    findings = tuple(findings)
    if any(one.state == "wrong" or (one.state == "missing" and one.required) for one in findings):
        return EXIT_WRONG
    return EXIT_UNKNOWN if any(one.state == "unknown" for one in findings) else EXIT_GOOD
