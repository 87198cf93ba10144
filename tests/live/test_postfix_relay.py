"""Debian's Postfix as the relay: STARTTLS with its certificate checked, and what it says of each recipient."""

from __future__ import annotations

import shutil
from typing import Any

import trustme
from twisted.internet import reactor
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from stalwart.config import RelaySettings
from stalwart.delivery.outgoing import Outgoing, OutRecipient
from stalwart.delivery.sending import make_sender
from tests.delivery.test_direct import Keeps
from tests.live.postfix import Postfix

_SETTINGS = """\
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_recipient_restrictions = check_recipient_access inline:{ nobody@example.net=REJECT }, permit_mynetworks, reject
smtpd_tls_security_level = may
message_size_limit = 100000
"""


class PostfixRelayTests(TestCase):
    """Sending through Postfix."""

    timeout = 60

    def setUp(self) -> None:
        """Postfix with a certificate for localhost."""
        self.authority = trustme.CA()
        issued = self.authority.issue_cert("localhost")
        self.postfix = Postfix(_SETTINGS)
        self.addCleanup(self.postfix.close)
        pem = self.postfix.home / "relay.pem"
        pem.write_bytes(issued.private_key_and_cert_chain_pem.bytes())
        pem.chmod(0o600)
        main = self.postfix.home / "conf" / "main.cf"
        main.write_text(main.read_text() + f"smtpd_tls_chain_files = {pem}\n")
        shutil.chown(pem, "root")

    def sender(self, authority: trustme.CA) -> Any:
        """A sender to it."""
        settings = RelaySettings(host="localhost", port=self.postfix.port, timeout_command=20.0, timeout_final=20.0)
        trusted = trustRootFromCertificates([Certificate.loadPEM(authority.cert_pem.bytes())])
        sender = make_sender(
            settings, hostname="mail.example.org", reactor=reactor, policies=Keeps([0.0]), trust_root=trusted
        )
        self.addCleanup(_settle)
        self.addCleanup(sender.close)
        return sender

    async def test_relayed(self) -> None:
        """Recipients are taken and refused one by one, over TLS, with DSN parameters and all of a long message."""
        sender = self.sender(self.authority)
        data = b"Subject: out\r\n\r\n" + b".dots\r\n" * 10_000
        outgoing = message(data, "jane@example.net", "nobody@example.net", "jürgen@example.net")
        outcomes = await sender.send(outgoing, "example.net")
        self.assertEqual([outcome.kind for outcome in outcomes], ["accepted", "permanent", "accepted"], outcomes)
        self.assertEqual([outcome.enhanced for outcome in outcomes], ["2.0.0", "5.7.1", "2.0.0"])
        self.postfix.wait_for_log("to=<jane@example.net>")
        self.postfix.wait_for_log("nrcpt=2")
        (outcome,) = await sender.send(message(b"x" * 70 + b"\r\n" * 100_000, "jane@example.net"), "example.net")
        self.assertEqual((outcome.kind, outcome.enhanced), ("permanent", "5.3.4"))

    async def test_certificate(self) -> None:
        """With a certificate of an unknown authority Postfix gets nothing."""
        (outcome,) = await self.sender(trustme.CA()).send(message(b"x\r\n", "jane@example.net"), "example.net")
        self.assertEqual((outcome.kind, outcome.enhanced), ("temporary", "4.7.5"))
        self.assertNotIn("from=<jane@example.org>", self.postfix.log)


def message(data: bytes, *recipients: str) -> Outgoing:
    """A message of jane's."""
    return Outgoing(
        return_path="jane@example.org",
        recipients=tuple(OutRecipient(address=each, notify="FAILURE") for each in recipients),
        data=data,
        size=len(data),
        env_id="q1+x",
        ret="HDRS",
    )


def _settle() -> Any:
    clock: Any = reactor
    return deferLater(clock, 0.1, lambda: None)
