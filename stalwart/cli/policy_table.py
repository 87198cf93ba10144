"""`stalwart policy table`: what each listener lets through, for every endpoint that the daemon serves."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence

import click
import msgspec
from twisted.internet.task import Clock
from twisted.web.resource import IResource

from stalwart.backend import tree_to_look_at
from stalwart.cli.output import as_json
from stalwart.cli.policy_asking import (
    NOT_KNOWN,
    OfflineAnswers,
    address_option,
    config_option,
    context_of,
    ends_from,
    http_listeners,
    is_blocked,
    offline_policy,
    offline_site,
    settings_of,
    where,
)
from stalwart.config import Listener, Settings
from stalwart.config.errors import printable
from stalwart.http import Branch, Endpoint
from stalwart.http.asked import Visit
from stalwart.http.lockout import judge
from stalwart.http.settings import SiteSettings
from stalwart.ops.networks import LOOPBACK

_PUBLIC = "203.0.113.7"  # RFC 5737: for examples
_WIDTH = 100
_ANY = "*"


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """A path with a page; one that ends in `/*` stands for everything below it."""

    path: str
    methods: tuple[str, ...]


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """What a listener does with requests for a path: methods by the status of the policy, 200 for letting in."""

    listener: str
    statuses: dict[str, int]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A path, and what the listeners do with it."""

    path: str
    cells: tuple[Cell, ...]


@click.command(short_help="What each listener lets through, endpoint by endpoint.")
@config_option
@click.option(
    "--ip",
    "address",
    metavar="ADDRESS",
    default=_PUBLIC,
    show_default=True,
    callback=address_option,
    help="Who asks.",
)
@click.option("--json", "json_", is_flag=True, help="An array of objects with path and the statuses of each listener.")
@click.pass_obj
def table(config_path: str | None, own_config: str | None, address: str, json_: bool) -> None:
    """Show which endpoints each http listener lets an address reach, by method.

    The endpoints are those that the daemon really serves. They are asked for without any header fields or query.
    """
    settings = settings_of(config_path, own_config)
    rows = matrix(settings, address)
    if json_:
        value = [{"path": row.path, "listeners": {cell.listener: cell.statuses for cell in row.cells}} for row in rows]
        click.echo(as_json(value))
        return
    click.echo("\n".join(_as_text(settings, address, rows)))


def matrix(settings: Settings, address: str) -> list[Row]:
    """Every endpoint on every http listener, for a client at `address`."""
    with tempfile.TemporaryDirectory(prefix="stalwart-table-") as folder:
        served = sorted(endpoints(tree_to_look_at(settings, folder, Clock())), key=lambda one: one.path)
    site, listeners = offline_site(settings), http_listeners(settings).values()
    if is_blocked(settings, address):
        return [Row(path=one.path, cells=tuple(_blocked(listener, one) for listener in listeners)) for one in served]
    return [
        Row(path=one.path, cells=tuple(_cell(site, listener, address, one) for listener in listeners)) for one in served
    ]


def endpoints(node: IResource, path: str = "") -> Iterator[Served]:
    """All pages of a resource tree; a leaf takes whatever lies below it."""
    if not isinstance(node, Branch):
        yield Served(path=path or "/", methods=("GET", "HEAD"))
        return
    if isinstance(node, Endpoint):
        yield Served(path=path or "/", methods=type(node).allowed)
        if node.isLeaf:
            yield Served(path=f"{path}/{_ANY}", methods=type(node).allowed)
    if node.pages_below is not None:
        yield Served(path=f"{path}/{_ANY}", methods=node.pages_below.allowed)
    for name, child in node.children.items():
        yield from endpoints(child, f"{path}/{name.decode('utf-8', 'replace')}")


def _blocked(listener: Listener, served: Served) -> Cell:
    return Cell(listener=listener.id, statuses=dict.fromkeys(served.methods, 403))


def _cell(site: SiteSettings, listener: Listener, address: str, served: Served) -> Cell:
    def status(method: str) -> int:
        target = served.path.encode("ascii", "replace")
        found = judge(
            site,
            Visit(
                listener=context_of(listener),
                ends=ends_from(address, listener),
                method=method.encode("ascii"),
                uri=target,
            ),
        )
        assert isinstance(found, int), "offline answers are at hand"
        return found

    return Cell(listener=listener.id, statuses={method: status(method) for method in served.methods})


def _as_text(settings: Settings, address: str, rows: Sequence[Row]) -> Iterator[str]:
    rule = settings.http.allowed_endpoint
    first = rule.clauses[0].if_ if rule.clauses else rule.otherwise
    yield f"What {address} reaches, by {rule.key} ({where(first.file, first.line)}):"
    if is_blocked(settings, address):
        yield "nothing: server.blocked-ip keeps it out, whatever the rule says"
    if address in LOOPBACK and settings.http.loopback_exempt:
        yield "it comes from this machine over loopback and is let in whatever the rule says (http.allow-loopback)"
    yield from _notes(offline_policy(settings, OfflineAnswers(settings)).rule.variables)
    names = [printable(cell.listener) for cell in rows[0].cells]
    if not names:
        yield "There is no listener of protocol http."
        return
    head = ["PATH", "METHODS"]
    lines = [[row.path, " ".join(row.cells[0].statuses)] for row in rows]
    cells = [[_shown(cell.statuses) for cell in row.cells] for row in rows]
    widths = [max(len(names[at]), *(len(line[at]) for line in cells)) for at in range(len(names))]
    lead = [max(len(line[at]) for line in [head, *lines]) for at in range(2)]
    for block in _blocks(widths, _WIDTH - sum(lead) - 4):
        yield ""
        chosen = lead + [widths[at] for at in block]
        yield _line(head + [names[at] for at in block], chosen)
        for line, row in zip(lines, cells, strict=True):
            yield _line(line + [row[at] for at in block], chosen)


def _notes(variables: frozenset[str]) -> Iterator[str]:
    """What the rule asks for and the table can't know."""
    if "headers" in variables:
        yield "note: the rule asks for headers: these requests have none"
    for name in sorted(variables & NOT_KNOWN.keys()):
        yield f"note: the rule asks for {name}: {NOT_KNOWN[name]}"


def _shown(statuses: dict[str, int]) -> str:
    """One cell: `allow`, a status, or the methods that are let in and the status of the others."""
    let_in = [method for method, status in statuses.items() if status == 200]
    denied = sorted({status for status in statuses.values() if status != 200})
    if not denied:
        return "allow"
    others = "/".join(map(str, denied))
    return f"{' '.join(let_in)}, else {others}" if let_in else others


def _blocks(widths: Sequence[int], room: int) -> Iterator[list[int]]:
    """Columns, as many beside each other as there is room for."""
    block: list[int] = []
    used = 0
    for at, width in enumerate(widths):
        if block and used + width > room:
            yield block
            block, used = [], 0
        block.append(at)
        used += width + 2
    yield block


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
