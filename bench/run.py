"""Measures the real daemon on this machine and prints a table for docs/performance.md.

HTTP is driven by `wrk` (Debian's package), LMTP by `bench/lmtp.py`. CPU per request is the daemon's user and system
time divided by the requests it answered; beside it stands the ratio to a stock twisted.web server in the same run, as
the machine's speed differs from run to run. Every figure is the median of five runs, with the lowest and the highest.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import requests  # noqa: E402

from stalwart import config  # noqa: E402
from stalwart.mail.summary import summarize  # noqa: E402
from stalwart.store import NewEmail, Store, add_email, find_account, find_mailbox, open_blobs  # noqa: E402
from tests.live.daemon import ADDRESS, PASSWORD, Daemon, free_port  # noqa: E402

RUNS = 5
SECONDS = 4
MESSAGES = 20_000
_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_WORDS = (
    "river",
    "boat",
    "oar",
    "club",
    "meeting",
    "invoice",
    "garden",
    "ticket",
    "recipe",
    "school",
    "music",
    "repair",
)
_PROPERTIES = (
    *("id", "threadId", "mailboxIds", "keywords", "from", "to"),
    *("subject", "receivedAt", "size", "preview", "hasAttachment"),
)


def cpu_seconds(pid: int) -> float:
    """User and system time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def resident_megabytes(pid: int) -> float:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE / 1e6


def wrk(url: str, script: str, folder: Path, connections: int = 8) -> float:
    """Requests per second of one run; every answer must have been 2xx."""
    path = folder / "wrk.lua"
    path.write_text(script)
    command = ["wrk", "-t1", f"-c{connections}", f"-d{SECONDS}s", "-s", str(path), url]
    time.sleep(0.5)  # wrk leaves the last requests of a run unanswered, and they count for maxConcurrentRequests
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in output or "Socket errors" in output:
        raise SystemExit(f"bench: {url}: {output}")
    found = re.search(r"Requests/sec:\s+([\d.]+)", output)
    if found is None:
        raise SystemExit(f"bench: no rate in wrk's output: {output}")
    return float(found[1])


def measure(pid: int, run: Callable[[], float]) -> tuple[list[float], list[float]]:
    """Rates per second and CPU microseconds per request of all runs."""
    run()  # warm up
    rates, costs = [], []
    for _ in range(RUNS):
        before, started = cpu_seconds(pid), time.monotonic()
        rate = run()
        used, took = cpu_seconds(pid) - before, time.monotonic() - started
        rates.append(rate)
        costs.append(used / (rate * min(took, SECONDS)) * 1e6)
    return rates, costs


def shown(values: list[float], digits: int = 0) -> str:
    """Median, lowest and highest."""
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def message(number: int, threads: int = 5000) -> bytes:
    """A mail of about 3 KB in one of so many threads."""
    word, other = _WORDS[number % len(_WORDS)], _WORDS[number // 7 % len(_WORDS)]
    thread = number % threads
    first = number < threads
    date = time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime(1_700_000_000 + number * 60))
    reply_to = "" if first else f"In-Reply-To: <{thread}@bench.example>\r\n"
    text = "".join(f"Line {line} about the {word} and the {other}, number {number}.\r\n" for line in range(50))
    return (
        f"Received: from a by b; {date}\r\n"
        f"From: Person {number % 300} <person{number % 300}@example.net>\r\nTo: Jane Doe <{ADDRESS}>\r\n"
        f"Message-ID: <{number}@bench.example>\r\n{reply_to}Date: {date}\r\n"
        f"Subject: {'' if first else 'Re: '}The {_WORDS[thread % len(_WORDS)]} of {thread}\r\n"
        f"Content-Type: text/plain; charset=utf-8\r\n\r\n{text}"
    ).encode()


def fill(daemon: Daemon) -> float:
    """Put the messages into the account's Inbox; CPU milliseconds for each, blob included."""
    settings = config.load(str(daemon.config_path), {}, hostname="bench")
    store = Store.open(settings.data.path, open_blobs(settings.blob), clock=time.time, exclusive=False)
    with contextlib.closing(store):
        with store.read() as session:
            account = find_account(session, ADDRESS)
            assert account is not None
            inbox = find_mailbox(session, account.id, role="inbox")
            assert inbox is not None
        started = time.process_time()
        for first in range(0, MESSAGES, 200):
            batch = [message(number) for number in range(first, first + 200)]
            hashes = [store.blobs.put(octets) for octets in batch]
            with store.write() as session:
                for octets, blob_hash in zip(batch, hashes, strict=True):
                    digest = summarize(octets)
                    new = NewEmail(
                        blob_hash=blob_hash,
                        size=len(octets),
                        received_at=int(digest.received or 0),
                        mailbox_ids=(inbox.id,),
                        keywords=frozenset({"$seen"} if hash(octets) % 3 else ()),
                        digest=digest,
                    )
                    add_email(session, account.id, new)
        return (time.process_time() - started) / MESSAGES * 1000


def post(body: object) -> str:
    """A wrk script that posts a JMAP request."""
    credentials = base64.b64encode(f"{ADDRESS}:{PASSWORD}".encode()).decode()
    return (
        'wrk.method = "POST"\n'
        f'wrk.headers["Authorization"] = "Basic {credentials}"\n'
        'wrk.headers["Content-Type"] = "application/json"\n'
        f"wrk.body = [=[{json.dumps(body)}]=]\n"
    )


def jmap(*calls: list[object]) -> dict[str, object]:
    """A JMAP request."""
    return {"using": ["urn:ietf:params:jmap:core", "urn:ietf:params:jmap:mail"], "methodCalls": list(calls)}


def ask(daemon: Daemon, request: dict[str, object]) -> dict[str, Any]:
    """Send one JMAP request and take its answer."""
    answer = requests.post(f"{daemon.base_url}/jmap/", json=request, auth=(ADDRESS, PASSWORD), timeout=60)
    answer.raise_for_status()
    result: dict[str, Any] = answer.json()
    return result


@contextlib.contextmanager
def yardstick() -> Iterator[tuple[int, str]]:
    """The stock server: its process id and address."""
    port = free_port()
    process = subprocess.Popen([sys.executable, str(ROOT / "bench" / "yardstick.py"), str(port)])
    try:
        time.sleep(1.5)
        yield process.pid, f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait()


class Table:
    """The rows measured so far."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lines = ["| What | per second | CPU µs each | x stock | Budget µs |", "| --- | --- | --- | --- | --- |"]
        self.stock = 0.0

    def add(self, name: str, pid: int, url: str, script: str = "", *, budget: str = "-", connections: int = 8) -> None:
        """Measure, and add a row. The first one is the stock server, which the others are compared to."""
        rates, costs = measure(pid, lambda: wrk(url, script, self.folder, connections))
        self.stock = self.stock or statistics.median(costs)
        ratio = statistics.median(costs) / self.stock
        self.lines.append(f"| {name} | {shown(rates)} | {shown(costs)} | {ratio:.2f} | {budget} |")


def jmap_scripts(daemon: Daemon) -> tuple[str, str]:
    """The wrk scripts for a list of the newest 50 mails, and for a search."""
    session = requests.get(f"{daemon.base_url}/jmap/session", auth=(ADDRESS, PASSWORD), timeout=60).json()
    account = session["primaryAccounts"]["urn:ietf:params:jmap:mail"]
    answer = ask(daemon, jmap(["Mailbox/query", {"accountId": account, "filter": {"role": "inbox"}}, "0"]))
    inbox = answer["methodResponses"][0][1]["ids"][0]
    newest = [{"property": "receivedAt", "isAscending": False}]
    query = {"accountId": account, "filter": {"inMailbox": inbox}, "sort": newest, "limit": 50}
    ids = {"resultOf": "0", "name": "Email/query", "path": "/ids"}
    get = {"accountId": account, "#ids": ids, "properties": _PROPERTIES}
    listing = jmap(["Email/query", query, "0"], ["Email/get", get, "1"])
    if len(ask(daemon, listing)["methodResponses"][1][1]["list"]) != 50:
        raise SystemExit("bench: the list has not 50 mails")
    search = {"accountId": account, "filter": {"text": "garden repair"}, "limit": 50}
    return post(listing), post(jmap(["Email/query", search, "0"]))


def main() -> None:
    """Run everything; about four minutes."""
    if shutil.which("wrk") is None:
        raise SystemExit("bench: wrk is not installed: apt install wrk")
    with tempfile.TemporaryDirectory(prefix="stalwart-bench-") as folder:
        table = Table(Path(folder))
        with yardstick() as (pid, url):
            table.add("stock twisted.web, two octets", pid, url)
        # What is measured is searching, not remembering what was found.
        with Daemon.start(extra_config="[cache]\nids.size = 0\n") as daemon:
            at_rest = resident_megabytes(daemon.pid)
            url = f"{daemon.base_url}/jmap/"
            table.add("GET /healthz/live", daemon.pid, f"{daemon.base_url}/healthz/live", budget="35")
            table.add("JMAP Core/echo", daemon.pid, url, post(jmap(["Core/echo", {"hello": True}, "0"])), connections=4)
            filling = fill(daemon)
            listing, search = jmap_scripts(daemon)
            name = f"Email/query + Email/get of 50 in {MESSAGES:,}"
            table.add(name, daemon.pid, url, listing, budget="600", connections=4)
            table.add(f"Email/query by two words in {MESSAGES:,}", daemon.pid, url, search, connections=4)
            loaded = resident_megabytes(daemon.pid)
            command = [sys.executable, str(ROOT / "bench" / "lmtp.py"), f"127.0.0.1:{daemon.lmtp_port}", ADDRESS]
            lmtp = subprocess.run([*command, str(daemon.pid)], capture_output=True, text=True, check=True).stdout
    print("\n".join(table.lines))
    print(f"\nFilling the mailbox: {filling:.2f} ms CPU a message of 3 KB, blob and index included.")
    print(f"Resident memory at rest: {at_rest:.0f} MB (budget 60); after these runs {loaded:.0f} MB.\n")
    print(lmtp)


if __name__ == "__main__":
    main()
