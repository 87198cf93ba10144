"""The whole of it, from the settings to what is served, against a CA in this process over real sockets."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from stalwart.config import AcmeProvider, Secret
from stalwart.ops.metrics import Metrics
from stalwart.tls import Certificates
from stalwart.tls.acme.failures import AcmeFailure
from stalwart.tls.acme.folder import StoreFolder
from stalwart.tls.acme.service import AcmeService
from tests.tls.acme.fake_ca import FakeCa, Reply, problem
from tests.tls.acme.issuing_bed import Pool, Responder, provider

A, B = "a.example.org", "b.example.org"


class FakeCaTests(TestCase):
    """One daemon's service and a CA."""

    timeout = 30

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.ca = FakeCa(reactor)
        self.addCleanup(self.ca.close)
        (self.folder / "ca.pem").write_text(self.ca.ca_bundle)
        self.front = Certificates((), "here.example")
        self.metrics = Metrics("")

    def start(self, *domains: str, **more: Any) -> AcmeService:
        """Begin to order."""
        bundle = str(self.folder / "ca.pem")
        wanted: AcmeProvider = provider(*domains, directory=self.ca.directory_url, ca_bundle=bundle, **more)
        service = AcmeService(
            (wanted,),
            str(self.folder / "stalwart.sqlite"),
            reactor,
            pool=Pool(),
            front=self.front,
            responders=lambda provider, folder: [Responder("http-01")],
            metrics=self.metrics,
            random=lambda: 0.0,
        )
        service.startService()
        self.addCleanup(service.stopService)
        return service

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for something to be true."""
        while not condition():
            await deferLater(reactor, 0.02)

    def outcome(self, outcome: str) -> float:
        """How many orders ended so."""
        return self.metrics.registry.get_sample_value("stalwart_acme_orders_total", {"outcome": outcome}) or 0.0

    def state(self, name: str = A) -> Any:
        """What is remembered of a name."""
        return StoreFolder(str(self.folder / "acme" / "le")).states()[name]

    async def test_issue(self) -> None:
        """Two names with bad nonces, an external account and a profile: both are served."""
        self.ca.bad_nonces = 0.2
        self.ca.external_accounts = {"kid-1": b"k" * 32}
        self.ca.profiles = {"short": "six days"}
        self.ca.lifetime = datetime.timedelta(days=6)
        key = Secret("a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s")
        self.start(A, B, eab_kid="kid-1", eab_hmac_key=key, profile="short")
        await self.until(lambda: self.outcome("issued") == 2)
        self.assertEqual(sorted(self.front.names()), [A, B])
        self.assertEqual({order["profile"] for order in self.ca.asked("newOrder") if order}, {"short"})
        self.assertEqual([each["contact"] for each in self.ca.accounts.values()], [["mailto:a@example.org"]])

    async def test_renew(self) -> None:
        """A renewal replaces the certificate by its ARI name; a CA that forgot the account gets it anew."""
        now = datetime.datetime.now(datetime.UTC)
        self.ca.window = (now + datetime.timedelta(days=50), now + datetime.timedelta(days=51))
        service = self.start(A)
        await self.until(lambda: self.outcome("issued") == 1)
        self.ca.forget()
        await service.renew(A)
        self.assertEqual(len(self.ca.issued), 2)
        self.assertEqual(len([each for each in self.ca.asked("newOrder") if each and "replaces" in each]), 2)
        (served,) = self.front.names().values()
        self.assertEqual(int(served.serial, 16), self.ca.issued[1].serial_number)

    async def test_refusals(self) -> None:
        """Each is remembered with its reason, the CA's words and what to do."""
        subproblem = {"type": "urn:ietf:params:acme:error:caa", "detail": "CAA forbids it", "identifier": {"value": A}}
        for reply, reason, words in (
            (problem("rateLimited", "too many", status=429, retry_after=7200), "rate-limited", "too many"),
            (problem("rejectedIdentifier", "no", subproblems=[subproblem]), "refused-name", "CAA forbids it"),
            (Reply(body=b"{"), "bad-answer", "newOrder"),
            (Reply(status=503, body=b"<html>"), "bad-answer", "503"),
        ):
            self.ca.script("newOrder", reply)
            service = self.start(A)
            await self.until(lambda: self.outcome("failed"))
            failure = self.state().failure
            self.assertEqual((failure.reason, words in failure.text), (reason, True), failure.text)
            self.assertNotIn("\n", failure.text)
            if reason == "rate-limited":
                self.assertAlmostEqual(failure.retry_at - failure.at, 7200.0, delta=5)
            await service.stopService()
            os.unlink(self.folder / "acme" / "le" / "state.json")
            self.metrics = Metrics("")

    async def test_external_account_wanted(self) -> None:
        """A CA that wants an external account is a failure that names the settings."""
        self.ca.external_accounts = {"kid-1": b"k" * 32}
        self.start(A)
        await self.until(lambda: self.outcome("failed"))
        self.assertIn("acme.le.eab.kid", self.state().failure.text)

    async def test_stopped_in_the_middle(self) -> None:
        """A CA that hangs does not hold up the stop, nor the next start."""
        self.ca.script("finalize", Reply(end="hang"))
        service = self.start(A)
        await self.until(lambda: self.ca.asked("finalize"))
        await service.stopService()
        self.assertIsNone(self.state().failure)
        self.start(A)
        await self.until(lambda: self.outcome("issued") == 1)

    async def test_unknown_authority(self) -> None:
        """A CA whose own certificate nobody vouches for is not talked to; the clock and `ca-bundle` are named."""
        other = FakeCa(reactor)
        self.addCleanup(other.close)
        (self.folder / "ca.pem").write_text(other.ca_bundle)
        service = self.start(A)
        await self.until(lambda: self.outcome("failed"))
        self.assertEqual(self.state().failure.reason, "unreachable")
        self.assertIn("ca-bundle", self.state().failure.text)
        with self.assertRaises(AcmeFailure):
            await service.renew(A)
        self.assertEqual(self.ca.requests, [])

    async def test_bundle_gone(self) -> None:
        """A `ca-bundle` that can't be read any more stops nothing; it is looked at again."""
        os.rename(self.folder / "ca.pem", self.folder / "away.pem")
        service = self.start(A)
        await self.until(service.thumbprints)
        self.assertEqual(self.ca.requests, [])
        os.rename(self.folder / "away.pem", self.folder / "ca.pem")
        await self.until(lambda: self.outcome("issued") == 1)
