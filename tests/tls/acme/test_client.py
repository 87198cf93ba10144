"""The client against a CA in this process, over real sockets."""

from __future__ import annotations

import datetime
import json
from collections.abc import Awaitable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from stalwart import __version__
from stalwart.config import Secret
from stalwart.tls.acme import AcmeClient, AcmeError, ExternalAccount, certificate_id, checked_agent
from tests.tls.acme.fake_ca import FakeCa, Reply, problem
from tests.tls.acme.fake_root import new_key, request_for
from tests.tls.acme.ordering import issue

_NAMES = ["a.example.org"]


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

    async def test_terms(self) -> None:
        """Without a word about the terms nothing is asked of the CA, and the error says where they are."""
        client = self.client(agree_to_terms=False)
        self.assertEqual(await client.terms(), "https://ca.example/terms")
        error = await self.refusal(client.new_order(_NAMES))
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
        error = await self.refusal(self.client().new_order(_NAMES))
        self.assertEqual(error.detail, "New terms. https://ca/agree")

    async def test_forgotten_by_the_ca(self) -> None:
        """An account that the CA doesn't know any more is made anew, and the order goes through."""
        client = self.client()
        await client.new_order(_NAMES)
        self.ca.forget()
        await issue(client, _NAMES)
        self.assertEqual(len(self.ca.accounts), 1)

    async def test_forgotten_over_and_over(self) -> None:
        """A CA that never knows the account it has just made isn't asked for ever."""
        self.ca.script("newOrder", *[problem("accountDoesNotExist")] * 3)
        error = await self.refusal(self.client().new_order(_NAMES))
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
        await issue(self.client(), _NAMES)
        self.assertEqual(self.ca.user_agents, {f"stalwart/{__version__}"})
        for resource in ("authorization", "order", "certificate"):
            self.assertEqual(set(self.ca.asked(resource)), {None}, resource)
        self.assertEqual(self.ca.asked("challenge"), [{}])

    async def test_proven_before(self) -> None:
        """An authorization that is valid already needs no challenge."""
        self.ca.reuse = True
        client = self.client()
        await issue(client, _NAMES)
        await issue(client, _NAMES)
        self.assertEqual((len(self.ca.issued), len(self.ca.asked("challenge"))), (2, 1))

    async def test_processing(self) -> None:
        """An order that the CA works on for a while is asked for until it is there."""
        self.ca.processing_polls = 3
        self.assertEqual(len(await issue(self.client(), _NAMES)), 2)

    async def test_processing_for_too_long(self) -> None:
        """The end of the time is an error that says what the order is, and how long the CA asked to wait."""
        self.ca.processing_polls = 1000
        error = await self.refusal(issue(self.client(seconds=1.5), _NAMES))
        self.assertEqual(error.type, "timeout")
        self.assertIn("it is still processing", str(error))

    async def test_a_wait_beyond_the_time(self) -> None:
        """A CA that asks for an hour is told so to the caller at once."""
        client = self.client()
        order = await client.new_order(_NAMES)
        pending = {"status": "pending", "identifier": {"type": "dns", "value": _NAMES[0]}, "challenges": []}
        self.ca.script("authorization", Reply(body=json.dumps(pending).encode(), headers={"Retry-After": "3600"}))
        error = await self.refusal(client.wait_for_authorization(order.authorizations[0]))
        self.assertEqual((error.type, error.retry_after), ("timeout", 3600.0))

    async def test_a_bad_moment(self) -> None:
        """A failure that may pass doesn't end the waiting."""
        client = self.client()
        order = await client.new_order(_NAMES)
        await client.respond((await client.authorization(order.authorizations[0])).challenges[0])
        self.ca.script("authorization", Reply(status=500), Reply(end="cut"), problem("serverInternal", status=503))
        self.assertEqual((await client.wait_for_authorization(order.authorizations[0])).status, "valid")

    async def test_a_lost_answer(self) -> None:
        """What was issued although the answer was lost is fetched, and a download that breaks is begun again."""
        self.ca.lost_answers["finalize"] = 1
        self.ca.script("certificate", Reply(body=b"-", end="cut"))
        await issue(self.client(), _NAMES)
        self.assertEqual((len(self.ca.issued), len(self.ca.asked("finalize"))), (1, 1))

    async def test_a_lost_request(self) -> None:
        """If the order shows that it never came through, the failure is told."""
        self.ca.script("finalize", problem("serverInternal", "try later", status=500))
        error = await self.refusal(issue(self.client(), _NAMES))
        self.assertEqual((error.type, error.status), ("serverInternal", 500))

    async def test_refused_challenge(self) -> None:
        """The error says which name, by which challenge, and what the CA found."""
        self.ca.refused["a.example.org"] = {
            "type": "urn:ietf:params:acme:error:dns",
            "detail": "NXDOMAIN looking up A\nfor a.example.org",
        }
        error = await self.refusal(issue(self.client(), _NAMES))
        self.assertEqual(
            str(error),
            "the CA could not verify a.example.org by dns-01: NXDOMAIN looking up A for a.example.org (dns)",
        )

    async def test_invalid_order(self) -> None:
        """An order that fails after all was proven brings the CA's reason."""
        client = self.client()
        order = await client.new_order(_NAMES)
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
        for expected in (120.0, 3600.0):
            error = await self.refusal(client.new_order(_NAMES))
            self.assertEqual((error.type, error.status, error.retry_after), ("rateLimited", 429, expected))

    async def test_profile(self) -> None:
        """A profile that the CA advertises is asked for; another one is an error that names those there are."""
        self.ca.profiles = {"shortlived": "six days", "classic": "ninety"}
        await issue(self.client(profile="shortlived"), _NAMES)
        self.assertEqual(self.ca.asked("newOrder")[0]["profile"], "shortlived")
        error = await self.refusal(self.client(profile="longlived").new_order(_NAMES))
        self.assertEqual((error.type, error.detail), ("invalidProfile", "it has: classic, shortlived"))


async def issue_rest(client: AcmeClient, order: Any) -> object:
    """Prove all names of an order and finalize it."""
    for url in order.authorizations:
        await client.respond((await client.authorization(url)).challenges[0])
    return await client.finalize(order, request_for(_NAMES, new_key()))


class RenewalTests(Bed):
    """RFC 9773."""

    def setUp(self) -> None:
        """The CA suggests two days from now."""
        super().setUp()
        now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
        self.ca.window = (now + datetime.timedelta(days=2), now + datetime.timedelta(days=3))

    async def test_window(self) -> None:
        """The window is told with its time zone, and when to ask again."""
        client = self.client()
        chain = await issue(client, _NAMES)
        info = await client.renewal_info(chain[0])
        assert info is not None
        self.assertEqual((info.suggested_window.start, info.suggested_window.end), self.ca.window)
        self.assertEqual(info.retry_after, 21_600.0)
        self.ca.renewal_info_seconds = 1
        info = await client.renewal_info(chain[0])
        assert info is not None
        self.assertEqual(info.retry_after, 60.0)

    async def test_reason(self) -> None:
        """Why the CA hurries can be read, and can't break a line of a log."""
        client = self.client()
        chain = await issue(client, _NAMES)
        window = {"start": "2026-01-01T00:00:00Z", "end": "2026-01-02T00:00:00+01:00"}
        document = {"suggestedWindow": window, "explanationURL": "https://ca/why\n"}
        self.ca.script("renewalInfo", Reply(body=json.dumps(document).encode()))
        info = await client.renewal_info(chain[0])
        assert info is not None
        self.assertEqual((info.explanation_url, info.retry_after), ("https://ca/why", 21_600.0))

    async def test_no_such_thing(self) -> None:
        """A CA without renewal information isn't asked, nor told what an order replaces."""
        self.ca.window = None
        client = self.client()
        chain = await issue(client, _NAMES)
        self.assertIsNone(await client.renewal_info(chain[0]))
        await client.new_order(_NAMES, replaces=certificate_id(chain[0]))
        self.assertNotIn("replaces", self.ca.asked("newOrder")[1])

    async def test_empty_window(self) -> None:
        """A window that ends before it begins is an error."""
        client = self.client()
        chain = await issue(client, _NAMES)
        assert self.ca.window is not None
        self.ca.window = self.ca.window[::-1]
        self.assertEqual((await self.refusal(client.renewal_info(chain[0]))).type, "badAnswer")

    async def test_replaces(self) -> None:
        """An order says which certificate it replaces; one that was replaced already is ordered without."""
        client = self.client()
        known_as = certificate_id((await issue(client, _NAMES))[0])
        await client.new_order(_NAMES, replaces=known_as)
        await client.new_order(_NAMES, replaces=known_as)
        self.assertEqual([each.get("replaces") for each in self.ca.asked("newOrder")], [None, known_as, known_as, None])

    async def test_replaces_what_is_unknown(self) -> None:
        """A CA that doesn't know what is replaced gets an order without; a limit that is reached is told at once."""
        self.ca.script("newOrder", problem("malformed", "no such certificate", status=404))
        await self.client().new_order(_NAMES, replaces="AA.AQ")
        self.assertEqual([each.get("replaces") for each in self.ca.asked("newOrder")], ["AA.AQ", None])
        self.ca.script("newOrder", problem("rateLimited", status=403))
        await self.refusal(self.client().new_order(_NAMES, replaces="AA.AQ"))
        self.assertEqual(len(self.ca.asked("newOrder")), 3)


class NonceTests(Bed):
    """RFC 8555 §6.5."""

    async def test_half_of_them_bad(self) -> None:
        """Requests are signed again with the nonce of the answer."""
        self.ca.bad_nonces = 0.5
        await issue(self.client(), _NAMES)
        self.assertEqual(len(self.ca.issued), 1)
        self.assertEqual(len(self.ca.asked("newNonce")), 1)

    async def test_all_of_them_bad(self) -> None:
        """A CA that refuses every nonce is given up on."""
        self.ca.bad_nonces = 1.0
        self.assertEqual((await self.refusal(self.client().register())).type, "badNonce")
        self.assertEqual(len(self.ca.asked("newAccount")), 10)

    async def test_none(self) -> None:
        """A CA without a usable nonce is an error that says so."""
        self.ca.script("newNonce", Reply(headers={"Replay-Nonce": "not one!"}))
        self.assertIn("no usable Replay-Nonce", str(await self.refusal(self.client().register())))


class FaultTests(Bed):
    """What a broken or hostile CA, or a network, can do."""

    async def test_broken_answers(self) -> None:
        """What is no JSON, or not what was wanted, is an error that names the URL and the field."""
        client = self.client()
        for body, expected in (
            (b"{", "truncated"),
            (b"\xff", "malformed"),
            (b"[]", "Expected `object`"),
            (b"{}", "`newNonce`"),
            (b'{"newNonce":1,"newAccount":"","newOrder":""}', "$.newNonce"),
            (b'{"newNonce":"http://a/","newAccount":"","newOrder":""}', "$.newNonce"),
            (b'{"newNonce":"https://a b/","newAccount":"","newOrder":""}', "$.newNonce"),
        ):
            self.ca.script("directory", Reply(body=body))
            error = await self.refusal(client.terms())
            self.assertEqual(error.type, "badAnswer", body)
            self.assertIn(f"{self.ca.directory_url} sent something that is no directory", str(error))
            self.assertIn(expected, str(error))

    async def test_unknown_state(self) -> None:
        """A state that RFC 8555 doesn't have is an error."""
        client = self.client()
        order = await client.new_order(_NAMES)
        self.ca.script("authorization", Reply(body=b'{"status":"odd","identifier":{},"challenges":[]}'))
        self.assertIn("$.status", str(await self.refusal(client.authorization(order.authorizations[0]))))

    async def test_no_location(self) -> None:
        """An account or an order that lies nowhere is an error."""
        self.ca.script("newAccount", Reply(status=201, body=b'{"status":"valid"}'))
        self.assertIn("Location of", str(await self.refusal(self.client().register())))

    async def test_no_chain(self) -> None:
        """A certificate that is none is an error."""
        self.ca.script("certificate", Reply(body=b"<html>"))
        self.assertIn("no chain of certificates", str(await self.refusal(issue(self.client(), _NAMES))))

    async def test_errors_without_a_problem_document(self) -> None:
        """The page of a proxy in front of a CA is an error with its status."""
        self.ca.script("directory", Reply(status=502, body=b"<html>bad gateway"))
        error = await self.refusal(self.client().terms())
        self.assertEqual((error.status, error.transient), (502, True))

    async def test_redirects(self) -> None:
        """Nobody is followed."""
        self.ca.script("directory", Reply(status=302, headers={"Location": f"{self.ca.url}/directory"}))
        self.assertEqual((await self.refusal(self.client().terms())).status, 302)
        self.assertEqual(len(self.ca.asked("directory")), 1)

    async def test_more_than_a_megabyte(self) -> None:
        """An answer that goes on and on is not read to its end."""
        self.ca.script("directory", Reply(body=b" " * 3_000_000))
        self.assertIn("more than 1048576 octets", str(await self.refusal(self.client().terms())))

    async def test_cut_off(self) -> None:
        """A connection that ends in the middle of an answer is an error, and one that may pass."""
        self.ca.script("directory", Reply(body=b"{}", end="cut"))
        error = await self.refusal(self.client().terms())
        self.assertEqual((error.type, error.transient), ("unreachable", True))

    async def test_silence(self) -> None:
        """A CA that doesn't answer is given up on in time."""
        for end in ("hang", "stall"):
            self.ca.script("directory", Reply(body=b"{", end=end))
            error = await self.refusal(self.client(seconds=0.3).terms())
            self.assertEqual((error.type, error.transient), ("timeout", True), end)

    async def test_slow(self) -> None:
        """A CA that takes its time gets it."""
        self.ca.script("directory", Reply(body=self._directory(), seconds=0.3))
        self.assertIsNone(await self.client().terms())

    def _directory(self) -> bytes:
        return json.dumps({name: f"{self.ca.url}/{name}" for name in ("newNonce", "newAccount", "newOrder")}).encode()

    async def test_nobody_there(self) -> None:
        """A CA that is away is an error, and one that may pass."""
        await self.ca.close()
        error = await self.refusal(self.client().terms())
        self.assertEqual((error.type, error.transient), ("unreachable", True))

    async def test_another_name(self) -> None:
        """A certificate for another name than that of the directory is refused."""
        self.ca = FakeCa(reactor, certified="ca.example.org")
        self.addCleanup(self.ca.close)
        error = await self.refusal(self.client().terms())
        self.assertIn("its certificate is for another name", str(error))

    async def test_odd_texts(self) -> None:
        """The CA's own words about its terms can't break a line of a log."""
        document = json.loads(self._directory())
        self.ca.script("directory", Reply(body=json.dumps({**document, "meta": {"termsOfService": "a\nb"}}).encode()))
        self.assertEqual(await self.client().terms(), "a b")

    async def test_bundles(self) -> None:
        """A bundle may hold several roots and words about them; one without a root is a ValueError."""
        other = FakeCa(reactor)
        self.addCleanup(other.close)
        bundle = f"One\n{other.ca_bundle}\nTwo, größer\n{self.ca.ca_bundle}"
        agent = checked_agent(reactor, bundle)
        await AcmeClient(self.ca.directory_url, self.key, agent=agent, reactor=reactor).terms()
        for text in ("", "words", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
            self.assertRaises(ValueError, checked_agent, reactor, text)

    async def test_cancelled(self) -> None:
        """An operation that nobody waits for any more ends at once and leaves nothing behind."""
        self.ca.script("directory", Reply(end="hang"))
        waiting = Deferred.fromCoroutine(self.client().terms())
        while not self.ca.requests:
            await deferLater(reactor, 0.01)
        waiting.cancel()
        await self.assertFailure(waiting, CancelledError)
