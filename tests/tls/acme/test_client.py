"""The client against a CA in this process, over real sockets."""

from __future__ import annotations

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from stalwart.tls.acme import AcmeClient, AcmeError, checked_agent
from tests.tls.acme.fake_ca import FakeCa
from tests.tls.acme.fake_root import new_key
from tests.tls.acme.ordering import issue


class Bed(TestCase):
    """A CA and an account key for each test."""

    timeout = 20

    def setUp(self) -> None:
        self.ca = FakeCa(reactor)
        self.addCleanup(self.ca.close)
        self.key = new_key()

    def client(self, **settings: object) -> AcmeClient:
        """A client that trusts the CA and agrees to its terms."""
        options: dict[str, object] = {"agree_to_terms": True, "operation_seconds": 10.0, **settings}
        agent = checked_agent(reactor, self.ca.ca_bundle)
        return AcmeClient(self.ca.directory_url, self.key, agent=agent, reactor=reactor, **options)  # type: ignore[arg-type]

    async def refusal(self, coroutine: object) -> AcmeError:
        """The AcmeError that something raises."""
        try:
            await coroutine  # type: ignore[misc]
        except AcmeError as error:
            return error
        raise self.failureException("nothing was raised")


class IssueTests(Bed):
    async def test_from_nothing_to_a_certificate(self) -> None:
        """An account is made, names are proven and the certificate comes with its chain."""
        chain = await issue(self.client(contact=["mailto:jane@example.org"]), ["a.example.org", "b.example.org"])
        self.assertEqual(chain[0], self.ca.issued[0])
        self.assertEqual(len(chain), 2)
        self.assertEqual([each["contact"] for each in self.ca.accounts.values()], [["mailto:jane@example.org"]])
