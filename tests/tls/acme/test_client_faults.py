"""Renewals, nonces and faults: the client against a CA in this process, over real sockets."""

from __future__ import annotations

import datetime
import json

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from stalwart.tls.acme import AcmeClient, certificate_id, checked_agent
from tests.tls.acme.client_bed import NAMES, Bed
from tests.tls.acme.fake_ca import FakeCa, Reply, problem
from tests.tls.acme.ordering import issue


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
        chain = await issue(client, NAMES)
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
        chain = await issue(client, NAMES)
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
        chain = await issue(client, NAMES)
        self.assertIsNone(await client.renewal_info(chain[0]))
        await client.new_order(NAMES, replaces=certificate_id(chain[0]))
        self.assertNotIn("replaces", self.ca.asked("newOrder")[1])

    async def test_empty_window(self) -> None:
        """A window that ends before it begins is an error."""
        client = self.client()
        chain = await issue(client, NAMES)
        assert self.ca.window is not None
        self.ca.window = self.ca.window[::-1]
        self.assertEqual((await self.refusal(client.renewal_info(chain[0]))).type, "badAnswer")

    async def test_replaces(self) -> None:
        """An order says which certificate it replaces; one that was replaced already is ordered without."""
        client = self.client()
        known_as = certificate_id((await issue(client, NAMES))[0])
        await client.new_order(NAMES, replaces=known_as)
        await client.new_order(NAMES, replaces=known_as)
        self.assertEqual([each.get("replaces") for each in self.ca.asked("newOrder")], [None, known_as, known_as, None])

    async def test_replaces_what_is_unknown(self) -> None:
        """A CA that doesn't know what is replaced gets an order without; a limit that is reached is told at once."""
        self.ca.script("newOrder", problem("malformed", "no such certificate", status=404))
        await self.client().new_order(NAMES, replaces="AA.AQ")
        self.assertEqual([each.get("replaces") for each in self.ca.asked("newOrder")], ["AA.AQ", None])
        self.ca.script("newOrder", problem("rateLimited", status=403))
        await self.refusal(self.client().new_order(NAMES, replaces="AA.AQ"))
        self.assertEqual(len(self.ca.asked("newOrder")), 3)


class NonceTests(Bed):
    """RFC 8555 §6.5."""

    async def test_half_of_them_bad(self) -> None:
        """Requests are signed again with the nonce of the answer."""
        self.ca.bad_nonces = 0.5
        await issue(self.client(), NAMES)
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
        order = await client.new_order(NAMES)
        self.ca.script("authorization", Reply(body=b'{"status":"odd","identifier":{},"challenges":[]}'))
        self.assertIn("$.status", str(await self.refusal(client.authorization(order.authorizations[0]))))

    async def test_no_location(self) -> None:
        """An account or an order that lies nowhere is an error."""
        self.ca.script("newAccount", Reply(status=201, body=b'{"status":"valid"}'))
        self.assertIn("Location of", str(await self.refusal(self.client().register())))

    async def test_no_chain(self) -> None:
        """A certificate that is none is an error."""
        self.ca.script("certificate", Reply(body=b"<html>"))
        self.assertIn("no chain of certificates", str(await self.refusal(issue(self.client(), NAMES))))

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
