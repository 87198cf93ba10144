"""How a daemon's parts are put together for certificates of authorities: who answers, who looks, what is told."""

from __future__ import annotations

import datetime
import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from stalwart import config, issuing
from stalwart.config import AcmeProvider, Settings
from stalwart.issuing import Issuing
from stalwart.net.control import Answer
from stalwart.ops.metrics import Metrics
from stalwart.tls import Certificates, self_signed
from stalwart.tls.acme.alpn01 import TlsAlpn01Responder
from stalwart.tls.acme.failures import AcmeFailure


class Pool:
    """Runs blocking work in place."""

    def __init__(self, reactor: object, size: int, name: str) -> None:
        self.start = self.stop = lambda: None

    def run(self, function: Callable[[], Any]) -> Deferred[Any]:
        """As a pool of threads does, but now."""
        return maybeDeferred(function)


class Service:
    """In the place of the one that orders."""

    made: Service

    def __init__(self, providers: Sequence[AcmeProvider], data_path: str, reactor: object, **options: Any) -> None:
        self.providers = providers
        self.responders: Callable[[AcmeProvider, str], Sequence[Any]] = options["responders"]
        self.before_order: Callable[[AcmeProvider, str], Awaitable[None]] = options["before_order"]
        self.look_beside: Callable[[], None] = options["look_beside"]
        self.prints = {"a.example.org": "print-a"}
        self.renewing: Deferred[None] = Deferred()
        Service.made = self

    def startService(self) -> None:
        """Nothing to do."""

    def stopService(self) -> Deferred[None]:
        """Done at once."""
        return succeed(None)

    def configure(self, providers: Sequence[AcmeProvider]) -> Deferred[None]:
        """Take over."""
        self.providers = providers
        return succeed(None)

    def renew(self, name: str) -> Deferred[None]:
        """When the test says so."""
        return self.renewing

    def thumbprints(self) -> tuple[str, ...]:
        """All."""
        return tuple(dict.fromkeys(self.prints.values()))

    def thumbprint_for(self, name: str) -> str | None:
        """By name."""
        return self.prints.get(name)


class IssuingTests(SynchronousTestCase):
    """`Issuing` over a service that does what the test says."""

    def setUp(self) -> None:
        """Two providers: one for each challenge."""
        self.patch(issuing, "AcmeService", Service)
        self.patch(issuing, "ThreadPool", Pool)
        self.root = Path(self.mktemp()).absolute()
        self.root.mkdir(parents=True)
        self.settings = self.load('[acme.doors]\nchallenge = "tls-alpn-01"\ndomains = ["b.example.org"]\n')
        self.certificates = Certificates((), "host.example.org")
        self.issuing = Issuing(self.settings, Clock(), Metrics("0"), self.certificates)
        self.service = Service.made
        self.pages, self.doors = sorted(self.settings.acme, key=lambda each: each.id, reverse=True)

    def load(self, more: str) -> Settings:
        """A configuration."""
        path = self.root / "stalwart.toml"
        text = (
            '[server]\nhostname = "host.example.org"\n[storage]\ndata = "db"\nblob = "b"\n'
            '[server.listener.tls]\nprotocol = "http"\nbind = "127.0.0.1:0"\ntls.implicit = true\n'
            f'[store.db]\ntype = "sqlite"\npath = "{self.root}/mail.sqlite"\n'
            f'[store.b]\ntype = "fs"\npath = "{self.root}/blobs"\n'
            f'[acme.pages]\ndomains = ["a.example.org"]\n{more}'
        ).replace("domains", 'agree-to-terms = true\ncontact = ["a@example.org"]\ndomains')
        path.write_text(text)
        return config.load(str(path), {}, hostname="test")

    def test_answers(self) -> None:
        """A host's own account answers; a single account answers at every host, of several none does for strangers."""

        def answer(host: str) -> bytes | None:
            return self.issuing.responder.key_authorization(b"t" * 22, host)

        self.assertEqual(answer("a.example.org:80"), b"t" * 22 + b".print-a")
        self.assertEqual(answer("127.0.0.1:8080"), b"t" * 22 + b".print-a")
        self.service.prints["b.example.org"] = "print-b"
        self.assertEqual(answer("b.example.org"), b"t" * 22 + b".print-b")
        self.assertIsNone(answer("127.0.0.1:8080"))
        self.service.prints.clear()
        self.assertIsNone(answer("a.example.org"))

    def test_responders(self) -> None:
        """Each provider's challenge has its responder; what another process put into its folder is found."""
        folder = str(self.root / "acme" / "doors")
        [pages], [doors] = self.service.responders(self.pages, "x"), self.service.responders(self.doors, folder)
        self.assertIs(pages, self.issuing.responder.tokens)
        assert isinstance(doors, TlsAlpn01Responder)

        class Response:
            key_authorization = "t.p"

        find = self.certificates.challenges.find_challenge
        assert find is not None
        self.assertIsNone(find("b.example.org"))
        self.successResultOf(doors.start_responding("b.example.org", object(), Response()))
        self.assertIsNone(find("b.example.org"))
        self.service.look_beside()
        self.assertIsNotNone(find("b.example.org"))
        self.successResultOf(Deferred.fromCoroutine(self.issuing.configure(self.load("").acme)))
        find = self.certificates.challenges.find_challenge
        assert find is not None
        self.assertIsNone(find("b.example.org"))
        self.assertEqual(len(self.service.providers), 1)

    def look(self, provider: AcmeProvider, name: str, found: str | None) -> tuple[list[str], str]:
        """What is looked at before an order, and what is logged."""
        looked: list[str] = []

        async def check(name: str, thumbprint: str, *, token: str, reactor: object) -> str | None:
            looked.append(f"{name} {thumbprint} {len(token)}")
            return found

        self.patch(issuing, "self_check", check)

        async def run() -> None:
            await self.service.before_order(provider, name)

        with capturedLogs() as events:
            self.successResultOf(Deferred.fromCoroutine(run()))
        return looked, str([event.get("wrong") for event in events])

    def test_look(self) -> None:
        """Before an order by http-01 the own port 80 is looked at; what is wrong is logged and stops nothing."""
        self.assertEqual(self.look(self.pages, "a.example.org", None), (["a.example.org print-a 43"], "[]"))
        self.assertIn("closed", self.look(self.pages, "a.example.org", "port 80 is closed")[1])
        self.assertEqual(self.look(self.doors, "b.example.org", "x"), ([], "[]"))

    def test_renew(self) -> None:
        """The answer says that the certificate is served, that it isn't, or why there is none."""
        answering = self.issuing.renew("a.example.org")
        self.assertNoResult(answering)
        self.service.renewing.callback(None)
        self.assertEqual(
            self.successResultOf(answering),
            Answer(done=True, lines=("a new certificate for a.example.org is there and served",)),
        )
        self.service.renewing = Deferred()
        answering = self.issuing.renew("a.example.org")
        self.service.renewing.errback(AcmeFailure("the CA says no"))
        self.assertEqual(self.successResultOf(answering), Answer(done=False, lines=("the CA says no",)))

    def test_renew_beside_configuration(self) -> None:
        """A certificate of the configuration goes before one that was ordered for the same name; that is told."""
        cert, key = self_signed(["a.example.org"], now=datetime.datetime.now(datetime.UTC))
        self.certificates.replace([config.Certificate(id="x", cert=cert, private_key=config.Secret(key))])
        self.service.renewing.callback(None)
        answer = self.successResultOf(self.issuing.renew("a.example.org"))
        self.assertTrue(answer.done)
        self.assertIn("that of the configuration is served", json.dumps(answer.lines))
