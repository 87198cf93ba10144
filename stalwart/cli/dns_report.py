"""How `stalwart dns` prints: records as a zone, a table or JSON; findings as lines or JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, get_args

import msgspec

from stalwart.config.errors import printable
from stalwart.zone import Finding, Record, Wanted
from stalwart.zone.finding import State
from stalwart.zone.record import TTL
from stalwart.zone.values import as_text

# Characters of what was found: a TXT record may have 60,000. The longest that is of use is that of a DKIM key.
_MOST_GOOD, _MOST_FOUND = 100, 1000
_WIDTH = 9  # of the states, with a blank


def records_json(wanted: Wanted) -> dict[str, Any]:
    """The records as one JSON object."""
    return {
        "domain": wanted.domain,
        "records": [_record(record) for record in wanted.records],
        "notes": list(wanted.notes),
    }


def _record(record: Record) -> dict[str, Any]:
    return {
        "check": record.check,
        "name": record.name,
        "type": record.type,
        "ttl": TTL,
        "value": as_text(record.data),
        "required": record.required,
        "onlyIfSigned": record.only_signed,
        "why": record.why,
    }


def findings_json(domain: str, server: str | None, findings: Sequence[Finding]) -> dict[str, Any]:
    """The report as one JSON object; `server` is who was asked, None for the system's resolvers."""
    counts = Counter(finding.state for finding in findings)
    return {
        "domain": domain,
        "server": server,
        "summary": {state: counts[state] for state in get_args(State)},
        "findings": [msgspec.json.decode(msgspec.json.encode(finding)) for finding in findings],
    }


def findings_text(domain: str, server: str | None, findings: Sequence[Finding]) -> Iterator[str]:
    """The report for people: a line for what is good, several for what isn't."""
    yield f"{domain}, as told by {server or 'the resolver of this system'}"
    yield ""
    names = max(len(finding.check) for finding in findings)
    indent = " " * (_WIDTH + 1)
    for finding in findings:
        state = "optional" if finding.state == "missing" and not finding.required else finding.state
        found = _one_line(finding.found) if finding.state == "good" else ""
        cells = [f"{state:<{_WIDTH}} {finding.check:<{names}}", finding.name, found, "[AD]" if finding.secure else ""]
        yield "  ".join(filter(None, cells)).rstrip()
        if finding.state in ("wrong", "missing", "unknown"):
            for text in finding.found:
                yield f"{indent}found:  {_cut(printable(text), _MOST_FOUND)}"
            yield f"{indent}wanted: {finding.wanted}"
            yield f"{indent}why:    {finding.why}"
        if finding.fix:
            yield f"{indent}to do:  {_cut(printable(finding.fix), _MOST_FOUND)}"
        if finding.note:
            yield f"{indent}note:   {_cut(printable(finding.note), _MOST_FOUND)}"
    yield ""
    yield _dnssec(findings)
    yield _summary(findings)


def _one_line(found: Sequence[str]) -> str:
    return _cut(" | ".join(map(printable, found)), _MOST_GOOD)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _dnssec(findings: Sequence[Finding]) -> str:
    asked = [finding for finding in findings if finding.secure is not None]
    secure = sum(bool(finding.secure) for finding in asked)
    return f"DNSSEC: the resolver says of {secure} of {len(asked)} answers that they are authentic (AD)"


def _summary(findings: Sequence[Finding]) -> str:
    counts = Counter(finding.state for finding in findings)
    optional = sum(finding.state == "missing" and not finding.required for finding in findings)
    parts = [f"{counts['good']} good", f"{counts['wrong']} wrong", f"{counts['missing'] - optional} missing"]
    parts += [f"{optional} optional and missing"] if optional else []
    parts += [f"{counts['unneeded']} not needed"] if counts["unneeded"] else []
    return ", ".join((*parts, f"{counts['unknown']} unknown"))
