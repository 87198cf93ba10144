"""Debian's Postfix as the relay between two daemons, and on the way to a server that looks at signatures."""

from __future__ import annotations

import re
from typing import Any

import dkim
from twisted.trial.unittest import SynchronousTestCase

from stalwart.mail.dkim import record_name, record_value
from stalwart.store import list_dkim_keys
from tests.live.daemon import ADDRESS, Daemon, free_port
from tests.live.jmap import Client
from tests.live.postfix import Postfix
from tests.live.relay import RecordingRelay
from tests.live.test_queue import QueueCase, wait_until

_MAY_RELAY = "mynetworks = 127.0.0.0/8\nsmtpd_relay_restrictions = permit_mynetworks, reject\n"


def relay_config(port: int) -> str:
    """The settings of a daemon that relays to a port of this machine."""
    return f'[relay]\nhost = "127.0.0.1"\nport = {port}\ntls = "none"\n'


class SignatureTests(QueueCase):
    """What Postfix hands on."""

    def setUp(self) -> None:
        """Postfix between the daemon and the server that records."""
        self.sink = RecordingRelay()
        self.addCleanup(self.sink.close)
        self.postfix = Postfix(_MAY_RELAY + f"default_transport = smtp:[127.0.0.1]:{self.sink.port}\n")
        self.addCleanup(self.postfix.close)
        super().setUp()

    def relay_port(self) -> int:
        """Postfix's."""
        return self.postfix.port

    def test_verified(self) -> None:
        """Both signatures hold behind Postfix, with headers as long as lines may be, and after a further folding."""
        self.daemon.admin("dkim", "create", "example.org")
        with self.store.read() as s:
            keys = list_dkim_keys(s, "example.org")
        records = {record_name(k.domain, k.selector): record_value(k.algorithm, k.public_key) for k in keys}

        def look_up(name: bytes, timeout: int = 5) -> bytes | None:
            found = records.get(name.decode().rstrip("."))
            return None if found is None else found.encode()

        people = ", ".join(f"Person Number {number} <person{number}@example.net>" for number in range(20))
        references = " ".join(f"<{number}.{'x' * 60}@example.net>" for number in range(11))
        header = (
            f"From: Jane <{ADDRESS}>\r\nTo: {people}\r\nSubject: {'a long line of a subject ' * 38}end\r\n"
            "Cc: someone with a comment (a   comment)\r\n\t<cc@example.net>,\r\n  other@example.net\r\n"
            f"References: {references}\r\n"
            "Date: Thu, 20 Nov 2025 10:00:00 +0000\r\nMessage-ID: <1@example.org>\r\n"
            "Content-Type: text/plain; charset=utf-8\r\n"
        )
        data = header.encode() + b"\r\n.dots\r\n..more dots\r\n" + b"x" * 990 + b"\r\nend  \r\n\r\n\r\n"
        self.assertGreater(max(map(len, data.split(b"\r\n"))), 980)
        self.put("a@example.net", data=data)
        wait_until(lambda: "a@example.net" in self.sink.messages, "the message")
        arrived = self.sink.messages["a@example.net"]
        self.assertIn(b"by mx.example.net (Postfix)", arrived)
        end = arrived.index(b"\r\n\r\n")
        own = arrived.index(b"\r\nFrom: ")
        folded = arrived[:own] + re.sub(rb"(?<=[^\s:]) (?=\S)", b"\r\n  ", arrived[own:end]) + arrived[end:]
        for octets in (arrived, folded):
            verifier = dkim.DKIM(octets)
            self.assertEqual([verifier.verify(idx=index, dnsfunc=look_up) for index in range(2)], [True, True])
        broken = dkim.DKIM(arrived.replace(b"Person Number 3", b"Person Number 4", 1))
        self.assertFalse(broken.verify(idx=0, dnsfunc=look_up))


class SecondDaemonTests(SynchronousTestCase):
    """From one daemon over Postfix to another by LMTP, and reports back."""

    def setUp(self) -> None:
        """Two daemons with Postfix between them."""
        self.other = Daemon.start(accounts=("bob@example.net",))
        self.addCleanup(self.other.close)
        # Each needs the port of the other: LMTP listens only when the daemon is up.
        port = free_port()
        self.daemon = Daemon.start(extra_config=relay_config(port))
        self.addCleanup(self.daemon.close)
        ways = {"example.net": self.other.lmtp_port, "example.org": self.daemon.lmtp_port}
        table = ", ".join(f"{{ {domain} = lmtp:inet:127.0.0.1:{at} }}" for domain, at in ways.items())
        self.postfix = Postfix(_MAY_RELAY + f"transport_maps = inline:{{ {table} }}\n", port=port)
        self.addCleanup(self.postfix.close)
        self.jane = Client(self.daemon, ADDRESS)

    def test_there_and_back(self) -> None:
        """Bob reads the mail over JMAP; jane's client sees who has it and who doesn't, with the reports as blobs."""
        mailbox = self.jane.call(("Mailbox/query", {}))[0]["ids"][0]
        identities, made = self.jane.call(
            ("Identity/get", {}),
            ("Email/set", {"create": {"e": {
                "mailboxIds": {mailbox: True}, "from": [{"email": ADDRESS}], "to": [{"email": "bob@example.net"}],
                "subject": "Grüße über Postfix", "bodyStructure": {"type": "text/plain", "partId": "1"},
                "bodyValues": {"1": {"value": "wörtlich so\n"}}}}}),
        )  # fmt: skip
        identity = identities["list"][0]["id"]
        notify = {"NOTIFY": "SUCCESS,FAILURE"}
        people = [{"email": f"{name}@example.net", "parameters": notify} for name in ("bob", "nobody")]
        (sent,) = self.jane.call(
            ("EmailSubmission/set", {"create": {"s": {
                "identityId": identity, "emailId": made["created"]["e"]["id"],
                "envelope": {"mailFrom": {"email": ADDRESS}, "rcptTo": people}}}}),
        )  # fmt: skip
        submission = sent["created"]["s"]["id"]

        bob = Client(self.other, "bob@example.net")
        wait_until(lambda: bool(bob.call(("Email/query", {}))[0]["ids"]), "bob's mail")
        wanted = {"properties": ["subject", "bodyValues", "textBody", "from"], "fetchTextBodyValues": True}
        ids = bob.call(("Email/query", {}))[0]["ids"]
        ((mail,),) = (found["list"] for found in bob.call(("Email/get", {"ids": ids, **wanted})))
        self.assertEqual(mail["subject"], "Grüße über Postfix")
        self.assertEqual([each["value"] for each in mail["bodyValues"].values()], ["wörtlich so\n"])
        self.assertEqual(mail["from"][0]["email"], ADDRESS)

        def status() -> dict[str, Any]:
            (found,) = self.jane.call(("EmailSubmission/get", {"ids": [submission]}))
            shown: dict[str, Any] = found["list"][0]
            return shown

        def delivered() -> list[str]:
            return [status()["deliveryStatus"][each["email"]]["delivered"] for each in people]

        wait_until(lambda: len(status()["dsnBlobIds"]) == 2, "both reports")
        # LMTP here has no DSN, so that Postfix says "relayed" of bob: RFC 8621 §7 has no more for that than "unknown".
        self.assertEqual(delivered(), ["unknown", "no"])
        (reports,) = self.jane.call(("Email/query", {"filter": {"from": "MAILER-DAEMON"}, "calculateTotal": True}))
        self.assertEqual(reports["total"], 2)
