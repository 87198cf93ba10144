"""`stalwart dns check` against the daemon's own pages: what it serves is what the check wants."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import trustme
from click.testing import CliRunner
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.internet.task import deferLater
from twisted.internet.tcp import Connection
from twisted.trial.unittest import TestCase

from stalwart.cli.dns import read_domain
from stalwart.cli.dns_asking import DnsAsking
from stalwart.cli.dns_checking import examine
from stalwart.cli.dns_fetching import PublicWeb
from stalwart.cli.main import stalwart
from stalwart.delivery.mail_dns import ResolverDns
from stalwart.zone import zone_lines
from tests.live.daemon import ADDRESS, HOSTNAME, Daemon, free_port
from tests.live.nsd import Nsd

reactor: Any = _reactor
DOMAIN = ADDRESS.partition("@")[2]

CONFIG = """\
[certificate.main]
cert = "%{{file:{root}/cert.pem}}%"
private-key = "%{{file:{root}/key.pem}}%"
[server.listener.tls]
protocol = "http"
bind = "127.0.0.1:{port}"
tls.implicit = true
[autoconfig.default]
jmap.port = {port}
imap.host = "{hostname}"
smtp.host = "{hostname}"
[session.mta-sts]
mode = "enforce"
mx = "{hostname}"
"""

HEAD = """\
{domain}. 60 IN SOA ns.{domain}. hostmaster.{domain}. 1 3600 600 86400 60
{domain}. 60 IN NS ns.{domain}.
ns.{domain}. 60 IN A 127.0.0.1
{hostname}. 60 IN A 127.0.0.1
"""


class DaemonTests(TestCase):
    """The daemon, its printed zone in NSD, and the check."""

    async def test_good(self) -> None:
        """All that the daemon serves for a domain is good, once its zone is published."""
        root = Path(tempfile.mkdtemp(prefix="dns-"))
        self.addCleanup(shutil.rmtree, root)
        authority = trustme.CA()
        labels = ("autoconfig", "autodiscover", "mta-sts", "ua-auto-config")
        issued = authority.issue_cert(HOSTNAME, *(f"{label}.{DOMAIN}" for label in labels))
        (root / "cert.pem").write_bytes(b"".join(each.bytes() for each in issued.cert_chain_pems))
        (root / "key.pem").write_bytes(issued.private_key_pem.bytes())
        port = free_port()
        with Daemon.start(extra_config=CONFIG.format(root=root, port=port, hostname=HOSTNAME)) as daemon:
            config = str(daemon.config_path)
            self.assertEqual(CliRunner().invoke(stalwart, ["-c", config, "dkim", "create", DOMAIN]).exit_code, 0)
            examined = read_domain(config, DOMAIN)
            zone = HEAD.format(domain=DOMAIN, hostname=HOSTNAME) + "\n".join(zone_lines(examined.wanted)) + "\n"
            with Nsd(root, {DOMAIN: zone}) as nsd:
                asked = ResolverDns(reactor, "127.0.0.1", nsd.port)
                ask = DnsAsking(asked)
                trusted = trustRootFromCertificates([Certificate.loadPEM(authority.cert_pem.bytes())])
                web = PublicWeb(reactor, ask, trust_root=trusted)
                findings = await Deferred.fromCoroutine(examine(examined, ask, web, now=time.time(), port=port))
                asked.close()
                while any(isinstance(each, Connection) for each in reactor.getReaders()):
                    await deferLater(reactor, 0.01, lambda: None)
        other = {f"{one.check} {one.name}": (one.state, one.fix, one.note) for one in findings if one.state != "good"}
        self.assertEqual([state for state, _, _ in other.values()], ["unneeded"], other)  # TLSA
        self.assertEqual(sum(one.type == "HTTPS" for one in findings), 9)
