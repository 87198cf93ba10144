"""Health, metrics, and their places in the tree."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from stalwart.http import Endpoint, Request, Response
from stalwart.ops.threads import Stopped
from stalwart.web import build_root
from tests.http.bed import Bed


class Threads:
    """Runs what it is given when the test says so."""

    def __init__(self) -> None:
        self.jobs: list[tuple[Callable[[], Any], Deferred[Any]]] = []

    def run(self, function: Callable[[], Any]) -> Deferred[Any]:
        """Keep `function` for later."""
        deferred: Deferred[Any] = Deferred()
        self.jobs.append((function, deferred))
        return deferred

    def work(self) -> None:
        """Run all."""
        jobs, self.jobs = self.jobs, []
        for function, deferred in jobs:
            try:
                result = function()
            except Exception as error:  # noqa: BLE001 - as a thread pool does
                deferred.errback(error)
            else:
                deferred.callback(result)


class Extra(Endpoint):
    """A surface of another room."""

    async def get(self, request: Request) -> Response:
        """Its answer."""
        return Response(body=b"extra")


class Pages(SynchronousTestCase):
    """A whole tree."""

    def setUp(self) -> None:
        """A bed with the tree of a listener."""
        self.bed = Bed()
        self.threads = Threads()
        self.fault: Exception | None = None
        self.bed.site.resource = build_root(
            ping=self.ping,
            pool=self.threads,
            reactor=self.bed.clock,
            metrics=self.bed.metrics,
            more={"/extra": Extra(), "/.well-known/extra": Extra()},
        )

    def ping(self) -> None:
        """The store's answer."""
        if self.fault is not None:
            raise self.fault

    def test_live(self) -> None:
        """A live process says so in the shape of a problem document that is none."""
        answer = self.bed.get("/healthz/live")
        self.assertEqual((answer.status, answer.headers["cache-control"]), (200, "no-store"))
        self.assertEqual(json.loads(answer.body)["status"], 200)
        self.assertEqual(self.bed.count("health", "GET", 200), 1)

    def test_ready(self) -> None:
        """Ready is who has a store that answers."""
        wire = self.bed.connect()
        wire.send(b"GET /healthz/ready HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual(wire.raw(), b"")
        self.threads.work()
        self.assertEqual([answer.status for answer in wire.answers()], [200])

    def test_store_fails(self) -> None:
        """A store that fails makes it 503, and the cause is not told to strangers."""
        self.fault = OSError("/secret/path")
        wire = self.bed.connect()
        wire.send(b"GET /healthz/ready HTTP/1.1\r\nHost: a\r\n\r\n")
        self.threads.work()
        (answer,) = wire.answers()
        self.assertEqual((answer.status, answer.headers["retry-after"]), (503, "5"))
        self.assertNotIn(b"secret", answer.body)

    def test_asked_together(self) -> None:
        """Who asks while the store is being asked gets the same true answer, and the store is asked once."""
        for fault, status in ((None, 200), (OSError("gone"), 503)):
            self.fault = fault
            wires = [self.bed.connect() for _ in range(3)]
            for wire in wires:
                wire.send(b"GET /healthz/ready HTTP/1.1\r\nHost: a\r\n\r\n")
            self.assertEqual(len(self.threads.jobs), 1)
            self.threads.work()
            self.assertEqual([wire.answers()[0].status for wire in wires], [status] * 3)

    def test_store_hangs(self) -> None:
        """A store that hangs makes it 503 after two seconds, and takes one thread, however often one asks."""
        ask = b"GET /healthz/ready HTTP/1.1\r\nHost: a\r\n\r\n"
        wire, other = self.bed.connect(), self.bed.connect()
        wire.send(ask)
        self.bed.clock.advance(1)
        other.send(ask)
        self.bed.clock.advance(1)
        self.assertEqual([answer.status for answer in wire.answers()], [503])
        self.assertEqual(other.raw(), b"")
        self.bed.clock.advance(1)
        self.assertEqual([answer.status for answer in other.answers()], [503])
        self.assertEqual(len(self.threads.jobs), 1)
        self.threads.work()
        wire.send(ask)
        self.threads.work()
        self.assertEqual([answer.status for answer in wire.answers()], [200])

    def test_no_threads(self) -> None:
        """When the threads have ended, as at the end of the service, nobody is told that all is well."""

        def refuse(_: Callable[[], Any]) -> Deferred[Any]:
            raise Stopped

        self.patch(self.threads, "run", refuse)
        for _ in range(2):
            self.assertEqual(self.bed.get("/healthz/ready").status, 503)

    def test_asker_leaves(self) -> None:
        """When the one who asked goes away, those who share the answer still get it."""
        wires = [self.bed.connect() for _ in range(2)]
        for wire in wires:
            wire.send(b"GET /healthz/ready HTTP/1.1\r\nHost: a\r\n\r\n")
        wires[0].hang_up()
        self.threads.work()
        self.assertEqual([answer.status for answer in wires[1].answers()], [200])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_metrics(self) -> None:
        """Metrics are in the text format."""
        self.bed.get("/healthz/live")
        wire = self.bed.connect()
        wire.send(b"GET /metrics/prometheus HTTP/1.1\r\nHost: a\r\n\r\n")
        self.threads.work()
        (answer,) = wire.answers()
        self.assertEqual(answer.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8")
        families = {family.name: family for family in text_string_to_metric_families(answer.body.decode())}
        requests = [
            sample
            for sample in families["stalwart_http_requests"].samples
            if sample.name == "stalwart_http_requests_total"
        ]
        self.assertEqual(
            [(sample.labels, sample.value) for sample in requests],
            [({"listener": "test", "surface": "health", "method": "GET", "status": "200"}, 1.0)],
        )
        self.assertTrue(all(family.documentation for family in families.values()))

    def test_every_page(self) -> None:
        """Every page has HEAD, OPTIONS and 405, and nothing below it."""
        for path in ("/healthz/live", "/extra"):
            self.assertEqual(self.bed.get(path, method="HEAD").status, 200)
            self.assertEqual(self.bed.get(path, method="OPTIONS").status, 204)
            self.assertEqual(self.bed.get(path, method="POST").headers["allow"], "GET, HEAD, OPTIONS")
            self.assertEqual(self.bed.get(path + "/x").status, 404)
        for path in ("/", "/healthz", "/healthz/", "/metrics", "/.well-known", "/.well-known/acme-challenge"):
            self.assertEqual(self.bed.get(path).problem()["status"], 404)

    def test_more(self) -> None:
        """Other rooms' surfaces are where they were put, beside what is there."""
        self.assertEqual(self.bed.get("/extra").body, b"extra")
        self.assertEqual(self.bed.get("/.well-known/extra").body, b"extra")
