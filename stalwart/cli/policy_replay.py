"""`stalwart policy replay`: which requests of the past would be judged differently under other rules."""

from __future__ import annotations

import functools
import re
import zlib
from collections.abc import Callable, Iterator, Sequence

import click
import msgspec

from stalwart.cli.access_lines import Past, Unreadable, open_log, read_lines
from stalwart.cli.output import as_json
from stalwart.cli.policy_asking import (
    NOT_KNOWN,
    USAGE,
    OfflineAnswers,
    config_option,
    context_of,
    decide,
    ends_from,
    http_listeners,
    offline_policy,
    settings_of,
)
from stalwart.config import Settings
from stalwart.config.errors import printable
from stalwart.http import ListenerContext
from stalwart.http.asked import Visit
from stalwart.http.rules import RulePolicy
from stalwart.ops.networks import LOOPBACK

_MOST_GROUPS = 10_000
_MOST_ADDRESSES = 10_000  # told apart in one group
_MOST_SEGMENTS = 3
_LONGEST_SEGMENT = 24
_REMEMBERED = 65_536
_LONGEST_REMEMBERED = 256  # characters of a path
_SHOWN = 50  # groups in the text
_VARIES = re.compile(r"[0-9@%]")
_OTHERS = "(other paths)"


class _Group:
    """Requests that are alike and judged alike."""

    def __init__(self) -> None:
        self.count = 0
        self.addresses: set[str] = set()
        self.first = ""
        self.last = ""

    def add(self, past: Past) -> None:
        """Count one."""
        self.count += 1
        if len(self.addresses) < _MOST_ADDRESSES:
            self.addresses.add(past.client)
        self.first = past.time if not self.first else min(self.first, past.time)
        self.last = max(self.last, past.time)


Key = tuple[str, str, str, int, int]
Judge = Callable[[Past], tuple[int, int] | None]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A group of requests that would be judged differently; `addresses` is how many there were, 10,000 at most."""

    listener: str
    method: str
    path: str
    old: int
    new: int
    count: int
    addresses: int
    first: str
    last: str


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay found. `changes` come most frequent first."""

    changes: tuple[Change, ...]
    differing: int
    judged: int
    not_judged: int
    """Requests of which the log has no path, or whose old verdict it doesn't tell."""

    other_lines: int
    unreadable: int
    example: str | None
    loopback: int
    """Requests over loopback: whether a proxy passed them on is not in the log."""


@click.command(short_help="Which past requests other rules would judge differently.")
@config_option
@click.option(
    "--log", "logs", metavar="FILE", multiple=True, required=True, help="An access log, or `-`; may be repeated."
)
@click.option("--rules", "rules", metavar="FILE", help="A whole configuration with the new rules.")
@click.option("--json", "json_", is_flag=True, help="One object with the groups and the counts.")
@click.pass_obj
def replay(
    config_path: str | None, own_config: str | None, logs: tuple[str, ...], rules: str | None, json_: bool
) -> None:
    """Judge the requests of the daemon's access log again, and show those that would be judged differently.

    Each is judged by the rules of the present configuration and by those of the file after --rules. Without --rules,
    what the present rules deny is compared with the requests that were answered well (2xx, 3xx), and so let in. Text
    and JSON lines are read, packed by gzip or not.

    Exit code 0: nothing would change, 1: something would, 2: called wrongly, a file can't be read, or the log has no
    request.
    """
    present = settings_of(config_path, own_config)
    new = present if rules is None else settings_of(rules, None)
    asked = OfflineAnswers(present), OfflineAnswers(new)
    policies = offline_policy(present, asked[0]), offline_policy(new, asked[1])
    outcome = _run(logs, judging(present, None if rules is None else new, policies))
    notes = list(_notes(present, new, outcome, policies, asked))
    if json_:
        click.echo(as_json({**msgspec.to_builtins(outcome), "notes": notes}))
    else:
        click.echo("\n".join(_as_text(outcome, notes)))
    if not outcome.judged + outcome.not_judged:
        # A script must not take a log that isn't one for consent.
        click.echo("stalwart: there is no request in the log, so that nothing was tried", err=True)
        raise SystemExit(2)
    raise SystemExit(1 if outcome.differing else 0)


def judging(present: Settings, new: Settings | None, policies: tuple[RulePolicy, RulePolicy]) -> Judge:
    """What gives the old and the new status of a request; None for one that can't be compared."""
    listeners = {**({} if new is None else http_listeners(new)), **http_listeners(present)}
    contexts = {name: context_of(listener) for name, listener in listeners.items()}

    @functools.lru_cache(maxsize=_REMEMBERED)
    def ask(listener: str, client: str, peer: str | None, method: str, path: str) -> tuple[int, int]:
        visit = Visit(
            listener=contexts.get(listener, ListenerContext(id=listener)),
            ends=ends_from(client, listeners.get(listener), peer=peer),
            method=method.encode("utf-8", "replace"),
            uri=path.encode("ascii", "replace"),
        )
        visit.path = visit.uri  # it was normalised when it was logged
        old = decide(policies[0], visit)
        return old, old if new is None else decide(policies[1], visit)

    def judge(past: Past) -> tuple[int, int] | None:
        if past.path == "-" or past.method == "-":
            return None  # refused before there was anything to judge
        # Long paths come once, and many of them would fill the memory.
        asking = ask if len(past.path) <= _LONGEST_REMEMBERED else ask.__wrapped__
        old, later = asking(past.listener, past.client, past.peer, past.method, past.path)
        if new is None:
            # A rule may deny with any status: then this one tells nothing.
            let_in = past.status < 400 and (later == 200 or later != past.status)
            return (200, later) if let_in else None
        return old, later

    return judge


def _run(logs: Sequence[str], judge: Judge) -> Outcome:
    groups: dict[Key, _Group] = {}
    judged = not_judged = others = unreadable = differing = loopback = 0
    example: str | None = None
    for name in logs:
        for line in _lines(name):
            if line is None:
                others += 1
            elif isinstance(line, Unreadable):
                unreadable += 1
                example = line.text if example is None else example
            elif (statuses := judge(line)) is None:
                not_judged += 1
            else:
                judged += 1
                loopback += line.peer is None and line.client in LOOPBACK
                if statuses[0] != statuses[1]:
                    differing += 1
                    _group(groups, line, *statuses).add(line)
    return Outcome(
        changes=tuple(_changes(groups)),
        differing=differing,
        judged=judged,
        not_judged=not_judged,
        other_lines=others,
        unreadable=unreadable,
        example=example,
        loopback=loopback,
    )


def _lines(name: str) -> Iterator[Past | Unreadable | None]:
    try:
        with open_log(name) as log:
            yield from read_lines(log)
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        click.echo(f"stalwart: can't read the log {printable(name)}: {reason}", err=True)
        raise SystemExit(USAGE) from None


def _group(groups: dict[Key, _Group], past: Past, old: int, new: int) -> _Group:
    key = (past.listener, past.method, pattern_of(past.path), old, new)
    found = groups.get(key)
    if found is None:
        if len(groups) >= _MOST_GROUPS:
            key = (past.listener, past.method, _OTHERS, old, new)
        found = groups.setdefault(key, _Group())
    return found


def pattern_of(path: str) -> str:
    """A path with what differs from request to request replaced: ids by `*`, what lies deep by `…`."""
    segments = path[1:].split("/")
    parts = [
        "*" if len(segment) > _LONGEST_SEGMENT or (_VARIES.search(segment) and at > 0) else segment
        for at, segment in enumerate(segments[:_MOST_SEGMENTS])
    ]
    return "/" + "/".join(parts) + ("/…" if len(segments) > _MOST_SEGMENTS else "")


def _changes(groups: dict[Key, _Group]) -> Iterator[Change]:
    for (listener, method, path, old, new), group in sorted(groups.items(), key=lambda item: (-item[1].count, item[0])):
        yield Change(
            listener=listener,
            method=method,
            path=path,
            old=old,
            new=new,
            count=group.count,
            addresses=len(group.addresses),
            first=group.first,
            last=group.last,
        )


def _notes(
    present: Settings,
    new: Settings,
    outcome: Outcome,
    policies: Sequence[RulePolicy],
    asked: Sequence[OfflineAnswers],
) -> Iterator[str]:
    """What the log doesn't hold, as far as it counts here."""
    variables = frozenset[str]().union(*(policy.rule.variables for policy in policies))
    if "headers" in variables:
        yield "a rule asks for headers: the log has none, and they are taken as none"
    if "url" in variables:
        yield "a rule asks for url: the log leaves out queries, and url is taken as the path alone"
    if variables & {"protocol", "is_tls"}:
        yield "a rule asks for the scheme: the log doesn't tell it, and it is taken by whether the listener has TLS"
    for name in sorted(variables & NOT_KNOWN.keys()):
        yield f"a rule asks for {name}: {NOT_KNOWN[name]}"
    for name in sorted(asked[0].unknown | asked[1].unknown):
        yield f"a rule asks {name}(): only the running daemon knows the answer, and it is taken as ''"
    if present.http.believed_proxies != new.http.believed_proxies:
        yield "the trusted proxies differ: clients have the addresses that were logged in either case"
    if outcome.loopback and (present.http.loopback_exempt or new.http.loopback_exempt):
        yield (
            f"{outcome.loopback} requests came over loopback: whether a proxy passed them on is not in the log, and "
            "they are taken as this machine's own (http.allow-loopback)"
        )


def _as_text(outcome: Outcome, notes: Sequence[str]) -> Iterator[str]:
    shown = outcome.changes[:_SHOWN]
    if not shown:
        yield "Nothing would be judged differently." if outcome.judged else "Nothing was judged."
    else:
        yield f"{outcome.differing} of {outcome.judged} requests would be judged differently:"
        yield ""
    for change in shown:
        clients = f"{change.addresses} address{'' if change.addresses == 1 else 'es'}"
        asked = printable(f"{change.listener} {change.method} {change.path}")
        yield f"{change.count:>8}  {change.old} -> {change.new}  {asked}"
        yield f"          {clients}, {change.first} to {change.last}"
    if len(outcome.changes) > len(shown):
        yield f"and {len(outcome.changes) - len(shown)} more groups: --json has them all"
    yield ""
    yield (
        f"{outcome.judged} requests judged, {outcome.not_judged} that can't be compared, "
        f"{outcome.other_lines} lines about other things, {outcome.unreadable} unreadable lines"
    )
    if outcome.example is not None:
        yield f"unreadable, for example: {printable(outcome.example)}"
    for note in notes:
        yield f"note: {note}"
