"""`stalwart queue …`: mail on its way out."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import click
import msgspec

from stalwart.cli.opening import open_store
from stalwart.cli.output import as_json, as_size, as_time, table
from stalwart.store import (
    NotFound,
    QueueMessageRow,
    QueueRecipientRow,
    Session,
    get_queue_message,
    list_queue,
    queue_figures,
)
from stalwart.store import queue_control as entries

_AT_ONCE = 1000


@click.group("queue", short_help="Mail on its way out.")
def queue() -> None:
    """Mail on its way out: to other servers, and to accounts on this one.

    A running daemon takes changes over within seconds; without one they hold from its next start.
    """


@queue.command("list")
@click.option("--all", "finished", is_flag=True, help="Those that are done as well, as far as they are kept.")
@click.option("--json", "json_wanted", is_flag=True, help="Print JSON.")
@click.pass_obj
def show_all(config_path: str | None, finished: bool, json_wanted: bool) -> None:
    """List the messages that somebody waits for, the oldest first."""
    with open_store(config_path) as store, store.read() as session:
        rows = _rows(session, finished)
        figures = queue_figures(session)
    if json_wanted:
        click.echo(as_json([_plain(row) for row in rows]))
        return
    if figures.is_paused:
        click.echo("the queue is paused: nothing is sent until `stalwart queue resume`", err=True)
    if not rows:
        click.echo("the queue is empty", err=True)
        return
    cells = [
        (
            str(row.id),
            as_time(row.created_at),
            as_size(row.size),
            row.return_path or "<>",
            _recipients(row),
            _state(row, time.time()),
        )
        for row in rows
    ]
    table(("ID", "SINCE", "SIZE", "FROM", "TO", "STATE"), cells)


@queue.command("show")
@click.argument("message", type=click.IntRange(min=1))
@click.option("--json", "json_wanted", is_flag=True, help="Print JSON.")
@click.pass_obj
def show(config_path: str | None, message: int, json_wanted: bool) -> None:
    """Show MESSAGE, by its id, with every recipient and the last answer for each."""
    with open_store(config_path) as store, store.read() as session:
        row = get_queue_message(session, message)
    if json_wanted:
        click.echo(as_json(_plain(row)))
        return
    lines = {
        "id": str(row.id),
        "from": row.return_path or "<>",
        "size": as_size(row.size),
        "since": as_time(row.created_at),
        "not before": as_time(row.not_before) if row.not_before > row.created_at else "",
        "given up": as_time(row.expires_at) if row.finished_at is None else "",
        "done": "" if row.finished_at is None else as_time(row.finished_at),
        "envelope id": row.env_id,
        "state": _state(row, time.time()),
    }
    for name, value in lines.items():
        if value:
            click.echo(f"{name + ':':<12} {value}")
    click.echo()
    cells = [
        (each.address, each.status, str(each.attempts), _next(each), each.peer or "", each.reply or "")
        for each in row.recipients
    ]
    table(("TO", "STATUS", "ATTEMPTS", "NEXT", "PEER", "ANSWER"), cells)


@queue.command("retry")
@click.argument("messages", type=click.IntRange(min=1), nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All that wait.")
@click.pass_obj
def retry(config_path: str | None, messages: tuple[int, ...], everything: bool) -> None:
    """Try MESSAGES now, by their ids, also those that are held or were to go later."""
    _change(config_path, messages, everything, entries.retry, "is tried now")


@queue.command("hold")
@click.argument("messages", type=click.IntRange(min=1), nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All that wait.")
@click.pass_obj
def hold(config_path: str | None, messages: tuple[int, ...], everything: bool) -> None:
    """Keep MESSAGES, by their ids, until they are released. An attempt that is under way ends as it would."""
    _change(config_path, messages, everything, entries.hold, "is held")


@queue.command("release")
@click.argument("messages", type=click.IntRange(min=1), nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All that are held.")
@click.pass_obj
def release(config_path: str | None, messages: tuple[int, ...], everything: bool) -> None:
    """Let held MESSAGES go, by their ids: at once, or at the time that they were to go."""
    _change(config_path, messages, everything, entries.release, "is released", lambda row: row.is_held)


@queue.command("cancel")
@click.argument("messages", type=click.IntRange(min=1), nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All that wait.")
@click.pass_obj
def cancel(config_path: str | None, messages: tuple[int, ...], everything: bool) -> None:
    """Give up MESSAGES, by their ids, for all who still wait. Nobody is told; what was delivered stays delivered."""
    _change(config_path, messages, everything, entries.cancel, "is canceled")


@queue.command("pause")
@click.pass_obj
def pause(config_path: str | None) -> None:
    """Begin no attempt any more, until `stalwart queue resume`; restarts don't end it. New mail is still queued."""
    with open_store(config_path) as store, store.write() as session:
        entries.set_paused(session, True)
    click.echo("the queue is paused; attempts that are under way end as they would")


@queue.command("resume")
@click.pass_obj
def resume(config_path: str | None) -> None:
    """Go on after `stalwart queue pause`."""
    with open_store(config_path) as store, store.write() as session:
        entries.set_paused(session, False)
    click.echo("the queue goes on")


def _change(
    config_path: str | None,
    messages: tuple[int, ...],
    everything: bool,
    action: Callable[[Session, int], object],
    said: str,
    among: Callable[[QueueMessageRow], bool] = lambda row: True,
) -> None:
    """Do it to each message in a transaction of its own; those that aren't there are told at the end."""
    if bool(messages) == everything:
        raise click.UsageError("give either ids of messages, which `stalwart queue list` shows, or --all")
    missing: list[str] = []
    with open_store(config_path) as store:
        if everything:
            with store.read() as session:
                messages = tuple(row.id for row in _rows(session) if among(row))
        for message in messages:
            try:
                with store.write() as session:
                    action(session, message)
                    row = get_queue_message(session, message)
            except NotFound as error:
                missing.append(str(error))
                continue
            click.echo(f"message {message} {said}")
            if any(each.begun_at is not None for each in row.recipients):
                click.echo(f"message {message}: an attempt is under way, and ends as it would", err=True)
    for line in missing:
        click.echo(f"stalwart: {line}", err=True)
    if missing:
        raise SystemExit(1)


def _rows(session: Session, finished: bool = False) -> list[QueueMessageRow]:
    rows: list[QueueMessageRow] = []
    while portion := list_queue(session, after=rows[-1].id if rows else 0, limit=_AT_ONCE, finished=finished):
        rows += portion
    return rows


def _plain(row: QueueMessageRow) -> object:
    """As JSON has it: times as RFC 3339."""
    times = ("created_at", "not_before", "expires_at", "warn_at", "finished_at")
    recipient_times = ("next_attempt_at", "begun_at", "ending_at", "last_attempt_at")
    plain: dict[str, object] = msgspec.to_builtins(row)
    plain["recipients"] = [_with_times(msgspec.to_builtins(each), recipient_times) for each in row.recipients]
    return _with_times(plain, times)


def _with_times(plain: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return plain | {name: as_time(plain[name]) for name in names if plain[name] is not None}


def _recipients(row: QueueMessageRow) -> str:
    waiting = [each.address for each in row.recipients if each.status == "queued"] or [
        each.address for each in row.recipients
    ]
    more = f" and {len(waiting) - 1} more" if len(waiting) > 1 else ""
    return f"{waiting[0]}{more}"


def _state(row: QueueMessageRow, now: float) -> str:
    if row.finished_at is not None:
        counts = Counter(each.status for each in row.recipients)
        return ", ".join(f"{count} {status}" if len(row.recipients) > 1 else status for status, count in counts.items())
    if row.is_held:
        return "held"
    if any(each.begun_at is not None for each in row.recipients):
        return "being sent"
    times = [each.next_attempt_at for each in row.recipients if each.next_attempt_at is not None]
    return f"next {as_time(min(times))}" if times and min(times) > now else "due"


def _next(recipient: QueueRecipientRow) -> str:
    if recipient.begun_at is not None:
        return "now"
    return "" if recipient.next_attempt_at is None else as_time(recipient.next_attempt_at)
