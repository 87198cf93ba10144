"""Measures the real daemon on this machine and prints a table for docs/performance.md.

HTTP is driven by `wrk` (Debian's package), LMTP by `bench/lmtp.py`. CPU per request is the daemon's user and system time
divided by the requests it answered, so another program on the machine changes the rates but hardly the CPU. Every figure
is the median of five runs with the lowest and the highest beside it.
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

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from stalwart import config, mail  # noqa: E402
from stalwart.store import NewEmail, Store, add_email, find_account, find_mailbox, open_blobs  # noqa: E402
from tests.live.daemon import ADDRESS, PASSWORD, Daemon, free_port  # noqa: E402

RUNS = 5
SECONDS = 4
MESSAGES = 20_000
_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_WORDS = "river boat oar club meeting invoice garden holiday ticket recipe school train music weather repair".split()


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


def message(number: int) -> bytes:
    """A mail of about 3 KB in one of 5,000 threads."""
    word, other = _WORDS[number % len(_WORDS)], _WORDS[number // 7 % len(_WORDS)]
    thread = number % 5000
    refs = f"In-Reply-To: <{thread}@bench.example>\r\n" if number >= 5000 else ""
    text = "".join(f"Line {line} about the {word} and the {other}, number {number}.\r\n" for line in range(50))
    return (
        f"Received: from a by b; {time.strftime('%a, %d %b %Y %H:%M:%S +0000', time.gmtime(1_700_000_000 + number * 60))}"
        f"\r\nFrom: Person {number % 300} <person{number % 300}@example.net>\r\nTo: Jane Doe <{ADDRESS}>\r\n"
        f"Message-ID: <{number if number >= 5000 else thread}@bench.example>\r\n{refs}"
        f"Date: {time.strftime('%a, %d %b %Y %H:%M:%S +0000', time.gmtime(1_700_000_000 + number * 60))}\r\n"
        f"Subject: {'Re: ' if number >= 5000 else ''}The {_WORDS[thread % len(_WORDS)]} of {thread}\r\n"
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
                    digest = mail.summarize(octets)
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


def ask(daemon: Daemon, request: dict[str, object]) -> dict[str, object]:
    """Send one JMAP request and take its answer."""
    import requests

    answer = requests.post(f"{daemon.base_url}/jmap/", json=request, auth=(ADDRESS, PASSWORD), timeout=60)
    answer.raise_for_status()
    result: dict[str, object] = answer.json()
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


def main() -> None:
    """Run everything; about three minutes."""
    if shutil.which("wrk") is None:
        raise SystemExit("bench: wrk is not installed: apt install wrk")
    folder = Path(tempfile.mkdtemp(prefix="stalwart-bench-"))
    rows: list[tuple[str, str, str, str]] = []
    with yardstick() as (pid, url):
        rates, costs = measure(pid, lambda: wrk(url, "", folder))
        rows.append(("stock twisted.web, constant answer", shown(rates), shown(costs), "41 µs"))
        base = statistics.median(costs)
    with Daemon.start() as daemon:
        at_rest = resident_megabytes(daemon.pid)
        rates, costs = measure(daemon.pid, lambda: wrk(f"{daemon.base_url}/healthz/live", "", folder))
        rows.append(("GET /healthz/live", shown(rates), shown(costs), f"35 µs; {statistics.median(costs) / base:.2f} x stock"))
        url = f"{daemon.base_url}/jmap/"
        echo = post(jmap(["Core/echo", {"hello": True}, "0"]))
        rates, costs = measure(daemon.pid, lambda: wrk(url, echo, folder, 4))
        rows.append(("JMAP Core/echo", shown(rates), shown(costs), f"- ; {statistics.median(costs) / base:.2f} x stock"))
        filling = fill(daemon)
        mailboxes = ask(daemon, jmap(["Mailbox/query", {"accountId": None, "filter": {"role": "inbox"}}, "0"]))
        session = __import__("requests").get(f"{daemon.base_url}/jmap/session", auth=(ADDRESS, PASSWORD), timeout=60).json()
        account_id = session["primaryAccounts"]["urn:ietf:params:jmap:mail"]
        mailboxes = ask(daemon, jmap(["Mailbox/query", {"accountId": account_id, "filter": {"role": "inbox"}}, "0"]))
        inbox = mailboxes["methodResponses"][0][1]["ids"][0]  # type: ignore[index]
        properties = "id threadId mailboxIds keywords from to subject receivedAt size preview hasAttachment".split()
        listing = jmap(
            [
                "Email/query",
                {
                    "accountId": account_id,
                    "filter": {"inMailbox": inbox},
                    "sort": [{"property": "receivedAt", "isAscending": False}],
                    "limit": 50,
                },
                "0",
            ],
            [
                "Email/get",
                {
                    "accountId": account_id,
                    "#ids": {"resultOf": "0", "name": "Email/query", "path": "/ids"},
                    "properties": properties,
                },
                "1",
            ],
        )
        answer = ask(daemon, listing)
        assert len(answer["methodResponses"][1][1]["list"]) == 50  # type: ignore[index]
        rates, costs = measure(daemon.pid, lambda: wrk(url, post(listing), folder, 4))
        rows.append(("Email/query + Email/get of 50 in 20,000", shown(rates), shown(costs), "600 µs"))
        searching = jmap(
            ["Email/query", {"accountId": account_id, "filter": {"text": "garden repair"}, "limit": 50}, "0"]
        )
        rates, costs = measure(daemon.pid, lambda: wrk(url, post(searching), folder, 4))
        rows.append(("Email/query by text in 20,000", shown(rates), shown(costs), "-"))
        loaded = resident_megabytes(daemon.pid)
        credentials = subprocess.run(
            [sys.executable, str(ROOT / "bench" / "lmtp.py"), f"127.0.0.1:{daemon.lmtp_port}", ADDRESS, str(daemon.pid)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    shutil.rmtree(folder)
    print("| What | per second | CPU µs each | Budget |\n| --- | --- | --- | --- |")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print(f"\nfilling the mailbox: {filling:.2f} ms CPU a message of 3 KB, blob and index included")
    print(f"resident memory at rest {at_rest:.0f} MB (budget 60), after these runs {loaded:.0f} MB\n")
    print(credentials)


if __name__ == "__main__":
    main()
