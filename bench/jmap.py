"""Measures JMAP calls in process at several sizes of one mailbox: CPU time of the engine, octets in to octets out.

Beside each figure stands its ratio to reading 50 rows by primary key with bare `sqlite3` in the same run, as the
machine's speed differs from run to run. Figures are medians of many calls, with the lowest and the highest of five
rounds. `python bench/jmap.py 1000 20000 1000000` takes about ten minutes, most of it to make the mailboxes, and 7 GB
below $TMPDIR. `--keep FOLDER` keeps them there, and takes those that are there already.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from grow import timed  # noqa: E402
from run import message  # noqa: E402

from stalwart.auth import Principal  # noqa: E402
from stalwart.jmap.engine import Caller, Engine  # noqa: E402
from stalwart.jmap.limits import Limits  # noqa: E402
from stalwart.mail.summary import summarize  # noqa: E402
from stalwart.ops.metrics import Metrics  # noqa: E402
from stalwart.store import (  # noqa: E402
    BUILT_IN_ROLES,
    AccountRow,
    FsBlobs,
    NewEmail,
    Store,
    add_email,
    create_account,
    create_domain,
    find_account,
    list_mailboxes,
)

ADDRESS = "jane@example.org"
ORIGINALS = 1000
THREADS = 250
ROUNDS = 5
SIZES = (1_000, 20_000, 1_000_000)
LISTED = (
    *("id", "threadId", "mailboxIds", "keywords", "from", "to"),
    *("subject", "receivedAt", "size", "preview", "hasAttachment"),
)
_KEYWORDS = {"$seen": 0.9, "$answered": 0.1, "$flagged": 0.01}
USING = ["urn:ietf:params:jmap:core", "urn:ietf:params:jmap:mail"]


class Mailbox:
    """One account with a mailbox of a certain size, and an engine over its store."""

    def __init__(self, folder: Path, size: int) -> None:
        self.path = str(folder / "stalwart.sqlite")
        blobs = FsBlobs(str(folder / "blobs"))
        is_made = (folder / "stalwart.sqlite").exists()
        with contextlib.closing(self._open(blobs)) as store:
            if not is_made:
                _deliver(store)
            with store.read() as session:
                account = _account(session)
        if is_made:
            self.count, self.seconds = account.message_count, 0.0
        else:
            self.count, self.seconds = timed(self.path, account.id, size // ORIGINALS)
        self.store = self._open(blobs)
        limits = Limits()
        self.engine = Engine(self.store, limits, Metrics("bench"), still_valid=lambda session, principal: True)
        principal = Principal(
            account_id=account.id,
            address=ADDRESS,
            name="",
            permissions=BUILT_IN_ROLES["user"],
            credential_version=account.credential_version,
        )
        self.caller = Caller(
            principal=principal, base_url="http://localhost", request_id="bench", on_error=_refuse_errors
        )
        self.account_id = f"A{account.id}"
        answer = self.ask(
            ["Mailbox/query", {"filter": {"role": "inbox"}}], ["Mailbox/query", {"filter": {"role": "trash"}}]
        )
        self.inbox, self.trash = answer[0]["ids"][0], answer[1]["ids"][0]

    def _open(self, blobs: FsBlobs) -> Store:
        return Store.open(self.path, blobs, clock=time.time, exclusive=False)

    def request(self, *calls: list[Any]) -> bytes:
        """The octets of a request; the account's id is put in."""
        made = [
            [name, {"accountId": self.account_id, **arguments}, str(index)]
            for index, (name, arguments) in enumerate(calls)
        ]
        return json.dumps({"using": USING, "methodCalls": made}).encode()

    def ask(self, *calls: list[Any]) -> list[dict[str, Any]]:
        """The arguments of the responses; an error ends the run."""
        answer = json.loads(self.engine.handle(self.request(*calls), self.caller))
        for name, arguments, _ in answer["methodResponses"]:
            if name == "error":
                raise SystemExit(f"bench: {calls}: {arguments}")
        return [arguments for _, arguments, _ in answer["methodResponses"]]


def _deliver(store: Store) -> None:
    with store.write() as session:
        create_domain(session, "example.org")
        create_account(session, ADDRESS, password_hash="-")
    with store.read() as session:
        account = _account(session)
        roles = {row.role: row.id for row in list_mailboxes(session, account.id)}
    chance = random.Random(1)
    for first in range(0, ORIGINALS, 200):
        batch = [message(number, THREADS) for number in range(first, first + 200)]
        hashes = [store.blobs.put(octets) for octets in batch]
        with store.write() as session:
            for octets, blob_hash in zip(batch, hashes, strict=True):
                digest = summarize(octets)
                new = NewEmail(
                    blob_hash=blob_hash,
                    size=len(octets),
                    received_at=int(digest.received or 0),
                    mailbox_ids=(roles["inbox"],) if chance.random() < 0.9 else (roles["inbox"], roles["archive"]),
                    keywords=frozenset(word for word, share in _KEYWORDS.items() if chance.random() < share),
                    digest=digest,
                )
                add_email(session, account.id, new)


def _account(session: Any) -> AccountRow:
    account = find_account(session, ADDRESS)
    assert account is not None
    return account


def _refuse_errors(reference: str, cause: str) -> None:
    raise SystemExit(f"bench: {cause}")


def cpu(work: Callable[[], object], calls: int) -> list[float]:
    """CPU microseconds of one call: the median of each round."""
    work()
    rounds = []
    for _ in range(ROUNDS):
        spent = []
        for _ in range(calls):
            started = time.thread_time_ns()
            work()
            spent.append((time.thread_time_ns() - started) / 1000)
        rounds.append(statistics.median(spent))
    return rounds


def works(mailbox: Mailbox) -> Iterator[tuple[str, Callable[[], object], int]]:
    """What is measured: a name, the work, and calls in a round."""
    newest = [{"property": "receivedAt", "isAscending": False}]
    here: dict[str, Any] = {"filter": {"inMailbox": mailbox.inbox}, "sort": newest, "limit": 50}
    ids = {"resultOf": "0", "name": "Email/query", "path": "/ids"}
    get = ["Email/get", {"#ids": ids, "properties": LISTED}]

    def plain(*calls: list[Any]) -> Callable[[], object]:
        request = mailbox.request(*calls)
        return lambda: mailbox.engine.handle(request, mailbox.caller)

    def listed(**more: Any) -> Callable[[], object]:
        return plain(["Email/query", {**here, **more}])

    def among(*conditions: dict[str, Any], **more: Any) -> Callable[[], object]:
        return listed(filter={"operator": "AND", "conditions": [here["filter"], *conditions]}, **more)

    unread, total = {"notKeyword": "$seen"}, {"calculateTotal": True}
    middle = mailbox.ask(["Email/query", {**here, "position": mailbox.count // 2, "limit": 1}])[0]["ids"][0]
    yield "Core/echo", plain(["Core/echo", {}]), 200
    yield "Email/query + Email/get of 50", plain(["Email/query", here], get), 100
    yield (
        "the same, threads collapsed, with the total",
        plain(["Email/query", {**here, **total, "collapseThreads": True}], get),
        100,
    )
    yield "unread in the mailbox", among(unread), 30
    yield "unread, threads collapsed, with the total", among(unread, collapseThreads=True, **total), 10
    yield "flagged in the mailbox, with the total", among({"hasKeyword": "$flagged"}, **total), 30
    yield "flagged in any mailbox", listed(filter={"hasKeyword": "$flagged"}), 30
    yield "threads with something flagged", among({"someInThreadHaveKeyword": "$flagged"}), 10
    flagged_first = [{"property": "hasKeyword", "keyword": "$flagged", "isAscending": False}, *newest]
    yield "flagged first, then newest", listed(sort=flagged_first), 30
    yield "all but trash, with the total", listed(filter={"inMailboxOtherThan": [mailbox.trash]}, **total), 30
    yield "from position 10,000", listed(position=10_000), 30
    yield "from the middle", listed(position=mailbox.count // 2), 10
    yield "from an anchor in the middle", listed(anchor=middle), 10
    yield "not drafts, with the total", among({"notKeyword": "$draft"}, **total), 5
    yield "by subject", listed(sort=[{"property": "subject"}]), 5
    for name, text in {
        "a word that all have": "number",
        "a word that one in six has": "garden",
        "two words (3 %)": "garden repair",
        "a phrase": '"about the garden"',
        "the beginning of a word": "gard",
        "a word of 0.1 %": "321",
        "a word that none has": "zebra",
    }.items():
        yield f"text: {name}", among({"text": text}), 5
    yield "text: two words, with the total", among({"text": "garden repair"}, **total), 5
    (first,) = mailbox.ask(["Email/query", {**here, "limit": 1}])
    (email,) = first["ids"]

    def flag() -> None:
        flagged = random.random() < 0.5
        mailbox.ask(["Email/set", {"update": {email: {"keywords/$flagged": True if flagged else None}}}])

    (states,) = mailbox.ask(["Email/get", {"ids": []}])
    flag()
    yield "Email/changes after one change", plain(["Email/changes", {"sinceState": states["state"]}]), 100
    (queried,) = mailbox.ask(["Email/query", here])
    mailbox.ask(["Email/set", {"update": {email: {"keywords/$answered": True}}}])
    since = {
        "filter": here["filter"],
        "sort": newest,
        "sinceQueryState": queried["queryState"],
        "upToId": queried["ids"][-1],
    }
    yield "Email/queryChanges after one change", plain(["Email/queryChanges", since]), 30
    yield "Email/set of one keyword", flag, 30


def main() -> None:
    """Print a table, one column a size."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--keep", metavar="FOLDER", type=Path)
    parser.add_argument("sizes", metavar="SIZE", type=int, nargs="*", default=SIZES)
    options = parser.parse_args()
    sizes: Sequence[int] = options.sizes
    rows: dict[str, list[str]] = {}
    stock: list[str] = []
    for size in sizes:
        with _folder(options.keep, size) as folder:
            mailbox = Mailbox(folder, size)
            print(f"{mailbox.count:,} messages, copied in {mailbox.seconds:.0f} s", file=sys.stderr)
            yardstick = statistics.median(cpu(_bare_rows(mailbox.path), 200))
            stock.append(f"{yardstick:,.0f}")
            for name, work, calls in works(mailbox):
                spent = cpu(work, calls)
                middle = statistics.median(spent)
                shown = f"{middle:,.0f} ({min(spent):,.0f} to {max(spent):,.0f}), x {middle / yardstick:.1f}"
                rows.setdefault(name, []).append(shown)
            mailbox.store.close()
    print("| CPU µs | " + " | ".join(f"{size:,} messages" for size in sizes) + " |")
    print("| --- |" + " --- |" * len(sizes))
    print("| 50 rows by key, bare sqlite3 | " + " | ".join(stock) + " |")
    for name, cells in rows.items():
        print(f"| {name} | " + " | ".join(cells) + " |")


@contextlib.contextmanager
def _folder(kept: Path | None, size: int) -> Iterator[Path]:
    if kept is not None:
        folder = kept / str(size)
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
    else:
        with tempfile.TemporaryDirectory(prefix="stalwart-bench-") as temporary:
            yield Path(temporary)


def _bare_rows(path: str) -> Callable[[], object]:
    database = sqlite3.connect(path)
    ids = [row[0] for row in database.execute("SELECT id FROM email ORDER BY received_at DESC LIMIT 50")]
    marks = ", ".join("?" * len(ids))
    statement = f"SELECT * FROM email JOIN email_content ON email_id = id WHERE id IN ({marks})"
    return lambda: database.execute(statement, ids).fetchall()


if __name__ == "__main__":
    main()
