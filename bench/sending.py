"""Measures how fast the queue empties through a relay that answers at once, for some numbers of attempts at a time.

Each run is a process of its own with a new store, signs with an RSA and an Ed25519 key, and sends messages of 10 KB
with one recipient to so many domains. The relay is another process; `delay` is what it waits before each answer
to a whole message, as a relay with a disk and a filter does.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

MESSAGES = 300
RUNS = 3
# Attempts at a time, to one domain, and domains; the first is what others are compared to.
CHOICES = ((20, 4, 50), (5, 4, 50), (10, 4, 50), (40, 4, 50), (20, 4, 1), (20, 10, 1))
DELAYS = (0.0, 0.05)


async def sink(delay: float) -> None:
    """Take all mail; prints its port."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 bench\r\n")
        while line := await reader.readline():
            verb = line[:4].upper()
            if verb == b"EHLO":
                writer.write(b"250-bench\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 DSN\r\n")
            elif verb == b"DATA":
                writer.write(b"354 go\r\n")
                await reader.readuntil(b"\r\n.\r\n")
                await asyncio.sleep(delay)
                writer.write(b"250 2.0.0 ok\r\n")
            elif verb == b"QUIT":
                writer.write(b"221 bye\r\n")
                break
            else:
                writer.write(b"250 ok\r\n")
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, limit=1 << 20)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def empty_queue(port: int, attempts: int, per_destination: int, domains: int) -> tuple[float, float]:
    """Messages per second, and CPU milliseconds of each."""
    from twisted.internet import reactor as installed

    from stalwart.config import RelaySettings
    from stalwart.delivery.local import Mailroom
    from stalwart.delivery.queue_attempt import Attempts
    from stalwart.delivery.queue_journal import QueueJournal
    from stalwart.delivery.queue_runner import QueueRunner
    from stalwart.delivery.queue_signing import Signer
    from stalwart.delivery.queue_slots import Limits
    from stalwart.delivery.routes import RelayRoute
    from stalwart.delivery.smtp_client import Sender
    from stalwart.ops.cache import Cache
    from stalwart.ops.metrics import Metrics
    from stalwart.ops.threads import BatchThread, ThreadPool
    from stalwart.store import (
        FsBlobs,
        NewMessage,
        NewRecipient,
        Store,
        create_account,
        create_dkim_keys,
        create_domain,
        enqueue,
        list_queue,
    )

    reactor: Any = installed
    with tempfile.TemporaryDirectory() as home:
        store = Store.open(f"{home}/s.sqlite", FsBlobs(f"{home}/blobs"), clock=time.time, exclusive=True)
        data = b"From: jane@example.org\r\nSubject: hello\r\n\r\n" + b"A line of some length, so many times.\r\n" * 260
        with store.write() as s:
            create_domain(s, "example.org")
            create_dkim_keys(s, "example.org")
            jane = create_account(s, "jane@example.org", password_hash="x").id
            for number in range(MESSAGES):
                octets = data + b"%d\r\n" % number
                enqueue(
                    s,
                    NewMessage(
                        account_id=jane,
                        blob_hash=store.blobs.put(octets),
                        size=len(octets),
                        return_path="jane@example.org",
                        recipients=(NewRecipient(address=f"a@d{number % domains}.example"),),
                    ),
                )
        pool, thread = ThreadPool(reactor, 2, "worker"), ThreadPool(reactor, 1, "queue")
        writer: BatchThread[Any, Any] = BatchThread(reactor, store.run_batch, "writer")
        metrics = Metrics("bench")
        route = RelayRoute(RelaySettings(host="127.0.0.1", port=port, tls="none"))
        sender = Sender(hostname="bench.example.org", routes=route, reactor=reactor)
        journal = QueueJournal(metrics, time.time)
        mailroom = Mailroom(
            store,
            pool=pool,
            writer=writer,
            recipients=Cache("recipients", octets=100_000, tti=60.0, clock=time.monotonic),
            hostname="bench.example.org",
            clock=time.time,
        )
        making = Attempts(
            store,
            pool=pool,
            writer=writer,
            mailroom=mailroom,
            sender=sender,
            sign=Signer(store, time.time),
            journal=journal,
            reactor=reactor,
            hostname="bench.example.org",
            clock=time.time,
            chance=random.random,
            random_token=lambda: os.urandom(8).hex(),
        )
        limits = Limits(attempts=attempts, per_destination=per_destination, slow_after=None)
        runner = QueueRunner(
            store, making, thread=thread, reactor=reactor, journal=journal, clock=time.time, limits=limits
        )
        for each in (pool, thread, writer):
            each.start()
        started, cpu = time.monotonic(), time.process_time()
        figures: list[tuple[float, float]] = []

        def look() -> None:
            with store.read() as s:
                waiting = len(list_queue(s))
            if waiting:
                reactor.callLater(0.02, look)
                return
            took = time.monotonic() - started
            figures.append((MESSAGES / took, (time.process_time() - cpu) / MESSAGES * 1000))
            sender.close()
            runner.stopService().addBoth(lambda _: reactor.callLater(0.1, reactor.stop))

        runner.startService()
        look()
        reactor.run()
        for each in (thread, pool, writer):
            each.stop()
        runner.close()
        store.close()
    return figures[0]


def main() -> None:
    """Print a table."""
    if sys.argv[1:2] == ["--sink"]:
        asyncio.run(sink(float(sys.argv[2])))
        return
    if sys.argv[1:2] == ["--run"]:
        print(*empty_queue(*map(int, sys.argv[2:])))
        return
    print("| relay answers after | attempts | to one domain | domains | messages/s | x the first | CPU ms each |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for delay in DELAYS:
        relay = subprocess.Popen([sys.executable, __file__, "--sink", str(delay)], stdout=subprocess.PIPE, text=True)
        assert relay.stdout is not None
        port = relay.stdout.readline().strip()
        rates: dict[tuple[int, int, int], list[float]] = {choice: [] for choice in CHOICES}
        cpus: dict[tuple[int, int, int], list[float]] = {choice: [] for choice in CHOICES}
        try:
            # In turns, so that all choices meet the same load of the machine.
            for _ in range(RUNS):
                for choice in CHOICES:
                    command = [sys.executable, __file__, "--run", port, *map(str, choice)]
                    rate, cpu = map(float, subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.split())
                    rates[choice].append(rate)
                    cpus[choice].append(cpu)
        finally:
            relay.terminate()
            relay.wait()
        first = statistics.median(rates[CHOICES[0]])
        for choice in CHOICES:
            rate, cpu = statistics.median(rates[choice]), statistics.median(cpus[choice])
            cells = (f"{delay * 1000:.0f} ms", *choice, f"{rate:.0f}", f"{rate / first:.2f}", f"{cpu:.1f}")
            print("| " + " | ".join(map(str, cells)) + " |")


if __name__ == "__main__":
    main()
