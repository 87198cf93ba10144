"""`stalwart import`: brings mail from files into an account.

Messages that the account already has (the same octets) are skipped, which also makes an interrupted import
resumable: run it again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial
from pathlib import Path

import click
from msgspec.structs import replace

from stalwart.cli.mailfiles import FoundMessage, UnknownFormat, Unreadable, read_mail, total_octets
from stalwart.cli.opening import open_store
from stalwart.config.errors import printable
from stalwart.mail.summary import Digest, summarize
from stalwart.store import (
    InvalidName,
    NewEmail,
    NotFound,
    OverQuota,
    Session,
    Store,
    StoreError,
    add_email,
    blob_hash,
    create_mailbox,
    find_account,
    has_blob,
    list_mailboxes,
)

_BATCH = 50
_BATCH_OCTETS = 16 * 1024 * 1024
_LAST_SECOND = 253_402_300_799  # of the year 9999, the last one that a date of JMAP can name
_ROLE_NAMES = {
    "inbox": "inbox",
    "drafts": "drafts",
    "sent": "sent",
    "sent items": "sent",
    "sent mail": "sent",
    "trash": "trash",
    "deleted items": "trash",
    "deleted messages": "trash",
    "junk": "junk",
    "spam": "junk",
    "junk e-mail": "junk",
    "archive": "archive",
}


@click.command("import")
@click.argument("address")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--mailbox",
    metavar="NAME",
    help="The mailbox to import into, made if there is none of that name; levels are parted by '/'. Without it: the "
    "Inbox, and for the folders of a Maildir++ the mailboxes of their names.",
)
@click.option("--seen", is_flag=True, help="Mark all as read. What a file says of a message is kept in any case.")
@click.pass_obj
def import_mail(config_path: str | None, address: str, path: Path, mailbox: str | None, seen: bool) -> None:
    """Import mail into the account ADDRESS.

    PATH is an mbox file, a Maildir, a message file or a folder of .eml files. Messages that the account already has
    are skipped; an interrupted import goes on when it is run again.
    """
    with open_store(config_path) as store:
        with store.read() as session:
            account = find_account(session, address)
        if account is None:
            raise NotFound(f"there is no account {address}: make it with `stalwart account create {address}`")
        run = _Import(store, account.id, mailbox, frozenset({"$seen"} if seen else ()))
        try:
            with click.progressbar(length=max(total_octets(path), 1), label="importing", width=0) as bar:
                run.take(read_mail(path), bar.update)
        except UnknownFormat as error:
            raise click.ClickException(str(error)) from None
        except OSError as error:
            raise click.ClickException(f"{error.filename or path}: {error.strerror or error}") from None
        except (KeyboardInterrupt, StoreError):
            _report(run)
            click.echo("not finished: the same command, run again, goes on from here", err=True)
            raise
    _report(run)
    if run.failed:
        raise SystemExit(1)


def _report(run: _Import) -> None:
    click.echo(f"{run.imported} imported, {run.skipped} already there, {len(run.failed)} failed")
    for failed in run.failed:
        click.echo(f"not imported: {printable(failed.where)}: {printable(failed.reason)}", err=True)


class _Import:
    """One run of the command: what it did so far."""

    def __init__(self, store: Store, account_id: int, mailbox: str | None, keywords: frozenset[str]) -> None:
        self.imported = 0
        self.skipped = 0
        self.failed: list[Unreadable] = []
        self._store = store
        self._account_id = account_id
        self._mailbox = mailbox
        self._keywords = keywords
        self._mailbox_ids: dict[str, int] = {}
        self._progress = 0
        self._over_quota: OverQuota | None = None

    def take(self, messages: Iterable[FoundMessage | Unreadable], advance: Callable[[int], object]) -> None:
        """Import in batches that are one transaction each. StoreError; after OverQuota all before it is imported."""
        batch: list[FoundMessage] = []
        octets = 0
        for found in messages:
            if isinstance(found, Unreadable):
                self.failed.append(found)
                continue
            batch.append(found)
            octets += len(found.octets)
            if len(batch) == _BATCH or octets >= _BATCH_OCTETS:
                self._store_batch(batch, advance)
                batch, octets = [], 0
        if batch:
            self._store_batch(batch, advance)

    def _store_batch(self, found: list[FoundMessage], advance: Callable[[int], object]) -> None:
        hashes = [blob_hash(message.octets) for message in found]
        with self._store.read() as session:
            known = {one for one in hashes if has_blob(session, self._account_id, one)}
        fresh = {one: message for one, message in zip(hashes, found, strict=True) if one not in known}
        jobs = []
        for one, message in fresh.items():
            self._store.blobs.put(message.octets)
            digest = summarize(message.octets)
            new = NewEmail(
                blob_hash=one,
                size=len(message.octets),
                received_at=_received_at(message, digest),
                mailbox_ids=(),
                keywords=message.keywords | self._keywords,
                digest=digest,
            )
            jobs.append(partial(self._add, message.folder, new))
        self.skipped += len(found) - len(fresh)
        trouble: BaseException | None = None
        for message, result in zip(fresh.values(), self._store.run_batch(jobs), strict=True):
            if isinstance(result, bool):
                self.imported += result
                self.skipped += not result
            elif isinstance(result, InvalidName) and self._mailbox is None:
                # The folder of this message has a name that no mailbox can have; others may be fine.
                self.failed.append(Unreadable(where=message.where, reason=str(result)))
            else:
                trouble = trouble or result
        if trouble is not None:
            raise trouble
        advance(found[-1].progress - self._progress)
        self._progress = found[-1].progress

    def _add(self, folder: str | None, new: NewEmail, session: Session) -> bool:
        """In a transaction shared with others, but undone alone if it fails; False if the message is there by now."""
        if self._over_quota is not None:
            raise self._over_quota  # a smaller one could still go in, but then nobody knows what is missing
        if has_blob(session, self._account_id, new.blob_hash):
            return False
        try:
            mailbox_id = self._mailbox_for(session, folder)
            add_email(session, self._account_id, replace(new, mailbox_ids=(mailbox_id,)))
        except StoreError as error:
            self._mailbox_ids.clear()  # those made in this job are undone with it
            self._over_quota = error if isinstance(error, OverQuota) else None
            raise
        return True

    def _mailbox_for(self, session: Session, folder: str | None) -> int:
        name = self._mailbox or folder or "Inbox"
        if name not in self._mailbox_ids:
            self._mailbox_ids[name] = _find_or_create(session, self._account_id, name)
        return self._mailbox_ids[name]


def _find_or_create(session: Session, account_id: int, path: str) -> int:
    boxes = list_mailboxes(session, account_id)
    role = _ROLE_NAMES.get(path.casefold())
    parent: int | None = None
    for name in path.split("/"):
        same = [box for box in boxes if box.parent_id == parent and box.name.casefold() == name.casefold()]
        if same:
            parent = same[0].id
            continue
        by_role = [box for box in boxes if role is not None and box.role == role]
        parent = (by_role[0] if by_role else create_mailbox(session, account_id, name, parent_id=parent)).id
    assert parent is not None  # str.split gives at least one name
    return parent


def _received_at(message: FoundMessage, digest: Digest) -> int:
    """When the mail came: by its newest Received field, else by its keeper, else by its Date, else now."""
    received: float = time.time()
    if digest.received is not None:
        received = digest.received
    elif message.stored_at is not None:
        received = message.stored_at
    elif digest.summary.sent_at is not None:
        received = datetime.fromisoformat(digest.summary.sent_at).timestamp()
    return int(min(max(received, 0), _LAST_SECOND))
