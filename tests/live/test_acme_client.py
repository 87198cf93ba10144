"""The ACME client alone against Debian's pebble."""

from __future__ import annotations

import datetime
from collections.abc import Awaitable
from typing import Any

from cryptography import x509
from twisted.internet import reactor
from twisted.internet.interfaces import IListeningPort
from twisted.trial.unittest import TestCase
from twisted.web.iweb import IRequest
from twisted.web.resource import Resource
from twisted.web.server import Site

from stalwart.config import Secret
from stalwart.tls.acme import (
    AcmeClient,
    AcmeError,
    Challenge,
    ExternalAccount,
    certificate_id,
    checked_agent,
    key_authorization,
)
from tests.live.pebble import Pebble
from tests.tls.acme.fake_root import new_key
from tests.tls.acme.ordering import issue

_MAC_KEY = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"


class _Answers(Resource):
    """Key authorizations by their path."""

    isLeaf = True

    def __init__(self, answers: dict[bytes, bytes]) -> None:
        super().__init__()
        self._answers = answers

    def render_GET(self, request: IRequest) -> bytes:
        return self._answers.get(request.path, b"there is no such token")


class PebbleTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        """Answer challenges on a free port."""
        self.key = new_key()
        self.answers: dict[bytes, bytes] = {}
        site: Any = Site(_Answers(self.answers))
        port: IListeningPort = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.http_port: int = port.getHost().port  # type: ignore[attr-defined]

    def pebble(self, **settings: Any) -> Pebble:
        """A CA that looks for challenges here."""
        pebble = Pebble(http_port=self.http_port, **settings)
        self.addCleanup(pebble.close)
        return pebble

    def client(self, pebble: Pebble, **settings: Any) -> AcmeClient:
        """A client that trusts this CA."""
        agent = checked_agent(reactor, pebble.ca_bundle)
        return AcmeClient(pebble.directory_url, self.key, agent=agent, reactor=reactor, agree_to_terms=True, **settings)

    def prepare(self, challenge: Challenge) -> None:
        """Answer a challenge over HTTP."""
        assert challenge.token is not None
        path = f"/.well-known/acme-challenge/{challenge.token}".encode()
        self.answers[path] = key_authorization(challenge.token, self.key).encode()

    async def issue(self, client: AcmeClient, *names: str) -> x509.Certificate:
        """A certificate for names."""
        return (await issue(client, names, prepare=self.prepare))[0]

    async def refusal(self, pending: Awaitable[object]) -> AcmeError:
        """The AcmeError that is raised."""
        try:
            await pending
        except AcmeError as error:
            return error
        raise self.failureException("nothing was raised")

    async def test_several_names(self) -> None:
        """One certificate for host names, one of them in another script, and an address; its root vouches for it."""
        pebble = self.pebble()
        names = ["a.example.org", "b.example.org", "bücher.example.org", "127.0.0.1"]
        chain = await issue(self.client(pebble), names, prepare=self.prepare)
        held = chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual(
            set(held.get_values_for_type(x509.DNSName)), {"a.example.org", "b.example.org", "xn--bcher-kva.example.org"}
        )
        self.assertEqual([str(address) for address in held.get_values_for_type(x509.IPAddress)], ["127.0.0.1"])
        root = x509.load_pem_x509_certificate(pebble.root().encode())
        chain[0].verify_directly_issued_by(chain[1])
        chain[-1].verify_directly_issued_by(root)
        self.assertIsNotNone(certificate_id(chain[0]))

    async def test_every_authorization_new(self) -> None:
        """A CA that remembers no proof has each name proven for each order."""
        pebble = self.pebble(reused_percent=0)
        client = self.client(pebble)
        await self.issue(client, "a.example.org")
        await self.issue(client, "a.example.org")
        self.assertEqual(pebble.validations, 2)

    async def test_every_authorization_reused(self) -> None:
        """A CA that remembers proofs isn't answered again."""
        pebble = self.pebble(reused_percent=100)
        client = self.client(pebble)
        first = await self.issue(client, "a.example.org")
        second = await self.issue(client, "a.example.org")
        self.assertEqual(pebble.validations, 1)
        self.assertNotEqual(first.serial_number, second.serial_number)

    async def test_a_fifth_of_all_nonces_refused(self) -> None:
        """Five certificates come nevertheless."""
        pebble = self.pebble(bad_nonce_percent=20)
        client = self.client(pebble)
        for number in range(5):
            await self.issue(client, f"{number}.example.org")

    async def test_external_account(self) -> None:
        """With the key that the CA handed out there is an account; without it, or with another, there is none."""
        pebble = self.pebble(external_accounts={"kid-1": _MAC_KEY})
        self.assertEqual((await self.refusal(self.client(pebble).register())).type, "externalAccountRequired")
        wrong = ExternalAccount(kid="kid-1", hmac_key=Secret(_MAC_KEY[::-1]))
        self.assertEqual((await self.refusal(self.client(pebble, eab=wrong).register())).status, 403)
        right = ExternalAccount(kid="kid-1", hmac_key=Secret(_MAC_KEY))
        await self.issue(self.client(pebble, eab=right), "a.example.org")

    async def test_certificates_for_a_minute(self) -> None:
        """What is valid for a minute is issued, and issued again."""
        pebble = self.pebble(validity_seconds=60)
        client = self.client(pebble)
        for _ in range(2):
            issued = await self.issue(client, "a.example.org")
            lifetime = issued.not_valid_after_utc - issued.not_valid_before_utc
            self.assertLessEqual(lifetime, datetime.timedelta(seconds=60))

    async def test_wildcard(self) -> None:
        """For a wildcard the CA takes no challenge but dns-01, and says that the name is one."""
        client = self.client(self.pebble())
        order = await client.new_order(["*.example.org"])
        authorization = await client.authorization(order.authorizations[0])
        self.assertTrue(authorization.wildcard)
        self.assertEqual([each.type for each in authorization.challenges], ["dns-01"])

    async def test_unanswered_challenge(self) -> None:
        """The error says which name, which challenge and what the CA found."""
        pebble = self.pebble()
        with self.assertRaises(AcmeError) as caught:
            await issue(self.client(pebble), ["a.example.org"])
        self.assertEqual(caught.exception.type, "unauthorized")
        self.assertIn("the CA could not verify a.example.org by http-01: ", str(caught.exception))

    async def test_killed_and_brought_back(self) -> None:
        """A CA that is away is an error at once; back without its memory it gets the account anew."""
        pebble = self.pebble()
        client = self.client(pebble)
        before = await client.new_order(["a.example.org"])
        pebble.kill()
        self.assertEqual((await self.refusal(client.new_order(["a.example.org"]))).type, "unreachable")
        pebble.run()
        self.assertEqual((await self.refusal(client.authorization(before.authorizations[0]))).status, 404)
        await self.issue(client, "a.example.org")

    async def test_a_ca_that_is_not_trusted(self) -> None:
        """With the system's roots the test CA can't be talked to, and the error says why."""
        pebble = self.pebble()
        client = AcmeClient(pebble.directory_url, self.key, agent=checked_agent(reactor), reactor=reactor)
        error = await self.refusal(client.terms())
        self.assertEqual(error.type, "unreachable")
        self.assertIn("certificate verify failed", str(error))
