"""`stalwart import`: brings mail from files into an account.

Messages that the account already has (the same octets) are skipped, which also makes an interrupted import
resumable: run it again.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path

import click

from stalwart.cli.mailfiles import FoundMessage, UnknownFormat, Unreadable, read_mail, total_octets
from stalwart.cli.opening import open_store
from stalwart.mail.summary import Digest, summarize
from stalwart.store import (
    NewEmail,
    NotFound,
    Session,
    Store,
    add_email,
    blob_hash,
    create_mailbox,
    find_account,
    has_blob,
    list_mailboxes,
)

_BATCH = 50
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
        try:
            run = _Import(store, account.id, mailbox, frozenset({"$seen"} if seen else ()))
            with click.progressbar(length=max(total_octets(path), 1), label="importing", width=0) as bar:
                run.take(read_mail(path), bar.update)
        except UnknownFormat as error:
            raise click.ClickException(str(error)) from None
    click.echo(f"{run.imported} imported, {run.skipped} already there, {len(run.unreadable)} unreadable")
    for failed in run.unreadable:
        click.echo(f"not imported: {failed.where}: {failed.reason}", err=True)
    if run.unreadable:
        raise SystemExit(1)


class _Import:
    """One run of the command: what it did so far."""

    def __init__(self, store: Store, account_id: int, mailbox: str | None, keywords: frozenset[str]) -> None:
        self.imported = 0
        self.skipped = 0
        self.unreadable: list[Unreadable] = []
        self._store = store
        self._account_id = account_id
        self._mailbox = mailbox
        self._keywords = keywords
        self._mailbox_ids: dict[str, int] = {}
        self._progress = 0

    def take(self, messages: Iterable[FoundMessage | Unreadable], advance: Callable[[int], object]) -> None:
        """Import in batches that are one transaction each."""
        iterator = iter(messages)
        while batch := list(itertools.islice(iterator, _BATCH)):
            self.unreadable.extend(entry for entry in batch if isinstance(entry, Unreadable))
            found = [entry for entry in batch if isinstance(entry, FoundMessage)]
            self._store_batch(found)
            if found:
                advance(found[-1].progress - self._progress)
                self._progress = found[-1].progress

    def _store_batch(self, found: list[FoundMessage]) -> None:
        hashes = [blob_hash(message.octets) for message in found]
        with self._store.read() as session:
            known = {one for one in hashes if has_blob(session, self._account_id, one)}
        fresh = {one: message for one, message in zip(hashes, found, strict=True) if one not in known}
        digests = {one: summarize(message.octets) for one, message in fresh.items()}
        for message in fresh.values():
            self._store.blobs.put(message.octets)
        with self._store.write() as session:
            for one, message in fresh.items():
                digest = digests[one]
                new = NewEmail(
                    blob_hash=one,
                    size=len(message.octets),
                    received_at=_received_at(message, digest),
                    mailbox_ids=(self._mailbox_for(session, message.folder),),
                    keywords=message.keywords | self._keywords,
                    digest=digest,
                )
                add_email(session, self._account_id, new)
        self.imported += len(fresh)
        self.skipped += len(found) - len(fresh)

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
    if digest.received is not None:
        return digest.received
    if message.stored_at is not None:
        return int(message.stored_at)
    if digest.summary.sent_at is not None:
        return int(datetime.fromisoformat(digest.summary.sent_at).timestamp())
    return int(time.time())
