"""A CA in this process and a client of it, for each test."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from stalwart.tls.acme import AcmeClient, AcmeError, checked_agent
from tests.tls.acme.fake_ca import FakeCa
from tests.tls.acme.fake_root import new_key

NAMES = ["a.example.org"]


class Bed(TestCase):
    """A CA and an account key for each test."""

    timeout = 20

    def setUp(self) -> None:
        """Start the CA."""
        self.ca = FakeCa(reactor)
        self.addCleanup(self.ca.close)
        self.key = new_key()

    def client(self, *, seconds: float = 10.0, agree_to_terms: bool = True, **settings: Any) -> AcmeClient:
        """A client that trusts the CA."""
        return AcmeClient(
            self.ca.directory_url,
            self.key,
            agent=checked_agent(reactor, self.ca.ca_bundle),
            reactor=reactor,
            operation_seconds=seconds,
            agree_to_terms=agree_to_terms,
            **settings,
        )

    async def refusal(self, pending: Awaitable[object]) -> AcmeError:
        """The AcmeError that is raised."""
        try:
            await pending
        except AcmeError as error:
            return error
        raise self.failureException("nothing was raised")
