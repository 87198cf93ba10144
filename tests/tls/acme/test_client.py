"""Accounts and orders: the client against a CA in this process, over real sockets."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from stalwart import __version__
from stalwart.config import Secret
from stalwart.tls.acme import AcmeClient, ExternalAccount
from tests.tls.acme.client_bed import NAMES, Bed
from tests.tls.acme.fake_ca import Reply, problem
from tests.tls.acme.fake_root import new_key, request_for
from tests.tls.acme.ordering import issue


class AccountTests(Bed):
    """RFC 8555 §7.3."""

    async def test_made_once(self) -> None:
        """Operations at the same time share one account, which has the contact that was given."""
        client = self.client(contact=["mailto:jane@example.org"])
        orders = [Deferred.fromCoroutine(client.new_order([f"{name}.example.org"])) for name in "abc"]
        await gatherResults(orders)
        self.assertEqual([each["contact"] for each in self.ca.accounts.values()], [["mailto:jane@example.org"]])
        self.assertEqual(len(self.ca.asked("newAccount")), 1)

    async def test_found_by_its_key(self) -> None:
        """Another client with the same key gets the same account."""
        self.assertEqual(await self.client().register(), await self.client().register())

    async def test_other_contact(self) -> None:
        """The account is told a contact that has changed, and isn't touched where the CA tells none."""
        await self.client(contact=["mailto:jane@example.org"]).register()
        await self.client(contact=["mailto:jane@example.org"]).register()
        self.assertEqual(self.ca.asked("account"), [])
        self.ca.tells_contact = False
        await self.client(contact=["mailto:joe@example.org"]).register()
        self.assertEqual(self.ca.asked("account"), [])
        self.ca.tells_contact = True
        await self.client(contact=["mailto:joe@example.org"]).register()
        self.assertEqual([each["contact"] for each in self.ca.accounts.values()], [["mailto:joe@example.org"]])
        self.ca.script("account", problem("serverInternal", "not today", status=500))
        await self.client(contact=["mailto:jim@example.org"]).register()

    async def test_terms(self) -> None:
        """Without a word about the terms nothing is asked of the CA, and the error says where they are."""
        client = self.client(agree_to_terms=False)
        self.assertEqual(await client.terms(), "https://ca.example/terms")
        error = await self.refusal(client.new_order(NAMES))
        self.assertEqual((error.type, error.detail), ("termsNotAgreed", "https://ca.example/terms"))
        self.assertEqual(self.ca.asked("newAccount"), [])

    async def test_no_terms(self) -> None:
        """A CA without terms has nothing to be agreed to."""
        self.ca.terms = None
        client = self.client(agree_to_terms=False)
        self.assertIsNone(await client.terms())
        await client.register()
        self.assertEqual(self.ca.asked("newAccount"), [{}])

    async def test_external_account(self) -> None:
        """The binding is one that the CA can verify (RFC 8555 §7.3.4); a CA that wants one and gets none says so."""
        self.ca.external_accounts = {"kid-1": b"sixteen octets.."}
        self.assertEqual((await self.refusal(self.client().register())).type, "externalAccountRequired")
        await self.client(eab=ExternalAccount(kid="kid-1", hmac_key=Secret("c2l4dGVlbiBvY3RldHMuLg=="))).register()
        self.assertEqual(len(self.ca.accounts), 1)

    async def test_external_account_taken_once(self) -> None:
        """An account that is there is found without its binding, which a CA may take only once."""
        self.ca.external_accounts = {"kid-1": b"sixteen octets.."}
        eab = ExternalAccount(kid="kid-1", hmac_key=Secret("c2l4dGVlbiBvY3RldHMuLg"))
        first = await self.client(eab=eab).register()
        self.ca.external_accounts = {"kid-2": b"another"}
        self.assertEqual(await self.client(eab=eab).register(), first)

    async def test_new_terms(self) -> None:
        """Where a person has to agree to something stands in the error (RFC 8555 §7.3.3)."""
        self.ca.script("newOrder", problem("userActionRequired", "New terms.", status=403, instance="https://ca/agree"))
        error = await self.refusal(self.client().new_order(NAMES))
        self.assertEqual(error.detail, "New terms. https://ca/agree")

    async def test_forgotten_by_the_ca(self) -> None:
        """An account that the CA doesn't know any more is made anew, and the order goes through."""
        client = self.client()
        await client.new_order(NAMES)
        self.ca.forget()
        await issue(client, NAMES)
        self.assertEqual(len(self.ca.accounts), 1)

    async def test_forgotten_over_and_over(self) -> None:
        """A CA that never knows the account it has just made isn't asked for ever."""
        self.ca.script("newOrder", *[problem("accountDoesNotExist")] * 3)
        error = await self.refusal(self.client().new_order(NAMES))
        self.assertEqual(error.type, "accountDoesNotExist")
        self.assertEqual(len(self.ca.asked("newOrder")), 2)

    async def test_deactivated(self) -> None:
        """An account that is closed is an error that says so."""
        self.ca.script("newAccount", Reply(body=b'{"status":"deactivated"}', headers={"Location": self.ca.url}))
        self.assertIn("it is deactivated", str(await self.refusal(self.client().register())))


class OrderTests(Bed):
    """RFC 8555 §7.4."""

    async def test_from_nothing_to_a_certificate(self) -> None:
        """Names are proven and the certificate comes with its chain; another one that is linked is left alone."""
        chain = await issue(self.client(), ["a.example.org", "bücher.example.org", "::1"])
        self.assertEqual(chain[0], self.ca.issued[0])
        self.assertEqual(len(chain), 2)
        asked = self.ca.asked("newOrder")[0]["identifiers"]
        self.assertEqual(
            [(each["type"], each["value"]) for each in asked],
            [("dns", "a.example.org"), ("dns", "xn--bcher-kva.example.org"), ("ip", "::1")],
        )

    async def test_who_asks(self) -> None:
        """Every request says that it is ours (RFC 8555 §6.1); what is only read has no payload (RFC 8555 §6.3)."""
        await issue(self.client(), NAMES)
        self.assertEqual(self.ca.user_agents, {f"stalwart/{__version__}"})
        for resource in ("authorization", "order", "certificate"):
            self.assertEqual(set(self.ca.asked(resource)), {None}, resource)
        self.assertEqual(self.ca.asked("challenge"), [{}])

    async def test_proven_before(self) -> None:
        """An authorization that is valid already needs no challenge."""
        self.ca.reuse = True
        client = self.client()
        await issue(client, NAMES)
        await issue(client, NAMES)
        self.assertEqual((len(self.ca.issued), len(self.ca.asked("challenge"))), (2, 1))

    async def test_processing(self) -> None:
        """An order that the CA works on for a while is asked for until it is there."""
        self.ca.processing_polls = 3
        self.assertEqual(len(await issue(self.client(), NAMES)), 2)

    async def test_processing_for_too_long(self) -> None:
        """The end of the time is an error that says what the order is, and how long the CA asked to wait."""
        self.ca.processing_polls = 1000
        error = await self.refusal(issue(self.client(seconds=1.5), NAMES))
        self.assertEqual(error.type, "timeout")
        self.assertIn("it is still processing", str(error))

    async def test_a_wait_beyond_the_time(self) -> None:
        """A CA that asks for an hour is told so to the caller at once."""
        client = self.client()
        order = await client.new_order(NAMES)
        pending = {"status": "pending", "identifier": {"type": "dns", "value": NAMES[0]}, "challenges": []}
        self.ca.script("authorization", Reply(body=json.dumps(pending).encode(), headers={"Retry-After": "3600"}))
        error = await self.refusal(client.wait_for_authorization(order.authorizations[0]))
        self.assertEqual((error.type, error.retry_after), ("timeout", 3600.0))

    async def test_a_bad_moment(self) -> None:
        """A failure that may pass doesn't end the waiting."""
        client = self.client()
        order = await client.new_order(NAMES)
        await client.respond((await client.authorization(order.authorizations[0])).challenges[0])
        self.ca.script("authorization", Reply(status=500), Reply(end="cut"), problem("serverInternal", status=503))
        self.assertEqual((await client.wait_for_authorization(order.authorizations[0])).status, "valid")

    async def test_a_lost_answer(self) -> None:
        """What was issued although the answer was lost is fetched, and a download that breaks is begun again."""
        self.ca.lost_answers["finalize"] = 1
        self.ca.script("certificate", Reply(body=b"-", end="cut"))
        await issue(self.client(), NAMES)
        self.assertEqual((len(self.ca.issued), len(self.ca.asked("finalize"))), (1, 1))

    async def test_a_lost_request(self) -> None:
        """If the order shows that it never came through, the failure is told."""
        self.ca.script("finalize", problem("serverInternal", "try later", status=500))
        error = await self.refusal(issue(self.client(), NAMES))
        self.assertEqual((error.type, error.status), ("serverInternal", 500))

    async def test_refused_challenge(self) -> None:
        """The error says which name, by which challenge, and what the CA found."""
        self.ca.refused["a.example.org"] = {
            "type": "urn:ietf:params:acme:error:dns",
            "detail": "NXDOMAIN looking up A\nfor a.example.org",
        }
        error = await self.refusal(issue(self.client(), NAMES))
        self.assertEqual(
            str(error),
            "the CA could not verify a.example.org by dns-01: NXDOMAIN looking up A for a.example.org (dns)",
        )

    async def test_invalid_order(self) -> None:
        """An order that fails after all was proven brings the CA's reason."""
        client = self.client()
        order = await client.new_order(NAMES)
        failed = {
            "status": "invalid",
            "identifiers": [{"type": "dns", "value": "a.example.org"}],
            "authorizations": [],
            "finalize": order.finalize,
            "error": {"type": "urn:ietf:params:acme:error:caa", "detail": "CAA forbids it"},
        }
        self.ca.script("order", Reply(body=json.dumps(failed).encode()))
        error = await self.refusal(issue_rest(client, order))
        self.assertEqual(str(error), "the CA refuses the order for a.example.org: CAA forbids it (caa)")

    async def test_rejected_identifiers(self) -> None:
        """Subproblems are a line each."""
        sub = [
            {
                "type": "urn:ietf:params:acme:error:rejectedIdentifier",
                "detail": "blocked",
                "identifier": {"value": name},
            }
            for name in ("a.example.org", "b.example.org")
        ]
        self.ca.script("newOrder", problem("rejectedIdentifier", "two names", subproblems=sub))
        error = await self.refusal(self.client().new_order(["a.example.org", "b.example.org"]))
        self.assertEqual(
            error.lines(),
            [
                f"{self.ca.url}/newOrder: two names (rejectedIdentifier)",
                "a.example.org: blocked (rejectedIdentifier)",
                "b.example.org: blocked (rejectedIdentifier)",
            ],
        )

    async def test_rate_limits(self) -> None:
        """Retry-After is told in seconds, whichever of its forms the CA uses, by the CA's own clock."""
        dated = problem("rateLimited", "too many", status=429, retry_after="Fri, 01 Jan 2027 01:00:00 GMT")
        dated = Reply(status=429, body=dated.body, headers={**dated.headers, "Date": "Fri, 01 Jan 2027 00:00:00 GMT"})
        self.ca.script("newOrder", problem("rateLimited", "too many", status=429, retry_after=120), dated)
        client = self.client()
        self.ca.script("newOrder", problem("rateLimited", "for a week", status=429, retry_after=600_000))
        for expected in (120.0, 3600.0, 600_000.0):
            error = await self.refusal(client.new_order(NAMES))
            self.assertEqual((error.type, error.status, error.retry_after), ("rateLimited", 429, expected))

    async def test_profile(self) -> None:
        """A profile that the CA advertises is asked for; another one is an error that names those there are."""
        self.ca.profiles = {"shortlived": "six days", "classic": "ninety"}
        await issue(self.client(profile="shortlived"), NAMES)
        self.assertEqual(self.ca.asked("newOrder")[0]["profile"], "shortlived")
        error = await self.refusal(self.client(profile="longlived").new_order(NAMES))
        self.assertEqual((error.type, error.detail), ("invalidProfile", "it has: classic, shortlived"))


async def issue_rest(client: AcmeClient, order: Any) -> object:
    """Prove all names of an order and finalize it."""
    for url in order.authorizations:
        await client.respond((await client.authorization(url)).challenges[0])
    return await client.finalize(order, request_for(NAMES, new_key()))
