"""`stalwart dns …`: what it prints, and what it refuses."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import trustme
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_pem_x509_certificate
from twisted.trial.unittest import SynchronousTestCase

from stalwart.cli.dns import Server
from stalwart.cli.dns_public import documents
from stalwart.cli.dns_report import findings_json, findings_text
from stalwart.cli.main import stalwart
from stalwart.store import StoreError
from stalwart.tls.acme.folder import StoreFolder
from stalwart.zone import Answer, Finding
from stalwart.zone.finding import State
from stalwart.zone.values import RecordType
from tests.config.support import load_text

CONFIG = """\
[server]
hostname = "{hostname}"
[server.listener.http]
protocol = "http"
bind = "127.0.0.1:0"
[storage]
data = "db"
blob = "files"
[store.db]
type = "sqlite"
path = "{root}/data/mail.sqlite"
[store.files]
type = "fs"
path = "{root}/blobs"
"""

TEXT = """\
example.org, as told by 192.0.2.1:53

good      MX     example.org  10 mail.example.org.  [AD]
wrong     SPF    example.org
          found:  v=spf1 -all
          wanted: wanted
          why:    why
          to do:  mend it
missing   DKIM   x._domainkey.example.org
          wanted: wanted
          why:    why
          to do:  publish the record
optional  SRV    _imap._tcp.example.org
          wanted: wanted
          why:    why
          to do:  publish the record
unneeded  TLSA   _25._tcp.mail.example.org
          note:   not signed
unknown   DMARC  _dmarc.example.org
          wanted: wanted
          why:    why
          note:   SERVFAIL \\x1b[31m

DNSSEC: the resolver says of 1 of 2 answers that they are authentic (AD)
1 good, 1 wrong, 1 missing, 1 optional and missing, 1 not needed, 1 unknown
"""


def finding(check: str, name: str, state: State, *found: str, **more: object) -> Finding:
    """A line of a report."""
    plain: dict[str, object] = {"required": True, "fix": "", "note": "", "secure": None, **more}
    return Finding(check=check, name=name, type="TXT", state=state, found=found, wanted="wanted", why="why", **plain)  # type: ignore[arg-type]


FINDINGS = (
    finding("MX", "example.org", "good", "10 mail.example.org.", secure=True),
    finding("SPF", "example.org", "wrong", "v=spf1 -all", fix="mend it", secure=False),
    finding("DKIM", "x._domainkey.example.org", "missing", fix="publish the record"),
    finding("SRV", "_imap._tcp.example.org", "missing", fix="publish the record", required=False),
    finding("TLSA", "_25._tcp.mail.example.org", "unneeded", note="not signed", required=False),
    finding("DMARC", "_dmarc.example.org", "unknown", note="SERVFAIL \x1b[31m"),
)


class ReportTests(SynchronousTestCase):
    """How findings are printed."""

    def test_text(self) -> None:
        """What is good is one line; what isn't says what is there, what is wanted, why, and what to do."""
        lines = findings_text("example.org", "192.0.2.1:53", FINDINGS)
        self.assertEqual("".join(f"{line}\n" for line in lines), TEXT)

    def test_long(self) -> None:
        """However long what was found is, it is one line of a bounded length; in JSON it is whole."""
        long = finding("SPF", "example.org", "wrong", "a" * 60_000, fix="b" * 60_000, note="c" * 60_000)
        lines = list(findings_text("example.org", None, [long]))
        self.assertIn("          found:  " + "a" * 997 + "...", lines)
        self.assertLess(max(map(len, lines)), 1100)
        self.assertEqual(findings_json("example.org", None, [long])["findings"][0]["found"], ["a" * 60_000])

    def test_json(self) -> None:
        """The keys of the JSON are these, for programs to rely on."""
        report = findings_json("example.org", None, FINDINGS)
        self.assertEqual(list(report), ["domain", "server", "summary", "findings"])
        self.assertEqual(report["summary"], {"good": 1, "wrong": 1, "missing": 2, "unknown": 1, "unneeded": 1})
        self.assertEqual(
            report["findings"][0],
            {
                "check": "MX",
                "name": "example.org",
                "type": "TXT",
                "state": "good",
                "required": True,
                "found": ["10 mail.example.org."],
                "wanted": "wanted",
                "why": "why",
                "fix": "",
                "note": "",
                "secure": True,
            },
        )
        json.dumps(report)


class DocumentsTests(SynchronousTestCase):
    """What is fetched."""

    def checks(self, more: str) -> list[str]:
        """The documents for a domain whose settings are these."""

        async def ask(name: str, kind: RecordType) -> Answer:
            raise AssertionError(name)

        config = CONFIG.format(hostname="mail.example.org", root="/nowhere") + more
        return [document.url for document in documents(load_text(config), "example.org", ask, port=443)]

    def test_offered(self) -> None:
        """Only documents that there are: one for Thunderbird if there is something to tell, a policy if it has one."""
        self.assertEqual(
            self.checks(""),
            [
                "https://autoconfig.example.org/mail/config-v1.1.xml?emailaddress=postmaster%40example.org",
                "https://mta-sts.example.org/.well-known/mta-sts.txt",
                "https://mail.example.org/.well-known/jmap",
                "https://ua-auto-config.example.org/.well-known/user-agent-configuration.json",
            ],
        )
        more = '[autoconfig.default.jmap]\nenabled = false\n[session.mta-sts]\nmode = "disable"\n'
        self.assertEqual(len(self.checks(more)), 1)


class RecordsTests(SynchronousTestCase):
    """`stalwart dns records`."""

    def setUp(self) -> None:
        """A configuration without a store."""
        self.root = Path(self.mktemp()).absolute()
        self.root.mkdir(parents=True)
        self.config = self.root / "stalwart.toml"
        self.configure("mail.example.org")

    def configure(self, hostname: str, more: str = "") -> None:
        """The configuration of a machine."""
        self.config.write_text(CONFIG.format(hostname=hostname, root=self.root) + more)

    def run_command(self, *arguments: str) -> Result:
        """Run the command; errors of the store count as its own."""
        result = CliRunner().invoke(stalwart, ["--config", str(self.config), *arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit | StoreError):
            raise result.exception
        return result

    def run_fine(self, *arguments: str) -> str:
        """Run a command that has to succeed; what it prints."""
        result = self.run_command(*arguments)
        self.assertEqual(result.exit_code, 0, result.output + repr(result.exception))
        return result.stdout

    def test_no_store(self) -> None:
        """The records are told before there is a store, and none is made."""
        self.assertIn("; note: no DKIM keys yet", self.run_fine("dns", "records", "example.org"))
        self.assertEqual([path.name for path in self.root.iterdir()], ["stalwart.toml"])

    def test_foreign(self) -> None:
        """Of a domain that this server doesn't have it is said that its mail is refused, and what makes it one."""
        told = "mail for example.org is refused until `stalwart domain create example.org`"
        for form in ("zone", "table", "json"):
            self.assertIn(told, self.run_fine("dns", "records", "example.org", "--format", form))
        self.run_fine("domain", "create", "example.org")
        self.assertNotIn(told, self.run_fine("dns", "records", "example.org"))

    def test_formats(self) -> None:
        """Zone, table and JSON have the same records, the DKIM keys of the store among them."""
        self.run_fine("domain", "create", "example.org")
        self.run_fine("dkim", "create", "example.org")
        zone = self.run_fine("dns", "records", "example.org").splitlines()
        told = json.loads(self.run_fine("dns", "records", "example.org", "--format", "json"))
        rows = self.run_fine("dns", "records", "example.org", "--format", "table").splitlines()
        self.assertEqual(sum(" IN " in line for line in zone), len(told["records"]))
        self.assertEqual(rows[0].split(), ["NAME", "TYPE", "VALUE", "WHY"])
        self.assertEqual(sum(not row.startswith("note: ") for row in rows), 1 + len(told["records"]))
        keys = json.loads(self.run_fine("dkim", "show", "example.org", "--json"))
        values = {record["name"]: record["value"] for record in told["records"] if record["check"] == "DKIM"}
        self.assertEqual(values, {key["recordName"]: key["recordValue"] for key in keys})
        self.assertEqual(
            list(told["records"][0]), ["check", "name", "type", "ttl", "value", "required", "onlyIfSigned", "why"]
        )
        self.assertTrue(all(record["why"].endswith(".") for record in told["records"]))

    def test_issued(self) -> None:
        """The key of a certificate that ACME brought is in the TLSA record; what can't be used is left where it is."""
        self.configure("mail.example.org", '[acme.le]\ndomains = ["mail.example.org"]\ncontact = ["a@example.org"]\n')
        self.assertNotIn("TLSA", self.run_fine("dns", "records", "example.org"))
        folder = StoreFolder(str(self.root / "data" / "acme" / "le"))
        folder.prepare()
        issued = trustme.CA().issue_cert("mail.example.org", key_type=trustme.KeyType.ECDSA)
        chain = b"".join(each.bytes() for each in issued.cert_chain_pems)
        folder.write("mail.example.org", chain, issued.private_key_pem.bytes())
        key = load_pem_x509_certificate(chain).public_key()
        digest = hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
        line = f"\n; _25._tcp.mail.example.org. 3600 IN TLSA 3 1 1 {digest}\n"
        self.assertIn(line, self.run_fine("dns", "records", "example.org"))
        path = self.root / "data" / "acme" / "le" / "mail.example.org.pem"
        path.write_bytes(b"torn")
        self.assertNotIn("TLSA", self.run_fine("dns", "records", "example.org"))
        self.assertEqual((path.read_bytes(), len(list(path.parent.iterdir()))), (b"torn", 1))

    def test_server(self) -> None:
        """The address of a server, with or without a port."""
        for text, expected in (
            ("192.0.2.1", ("192.0.2.1", 53)),
            ("192.0.2.1:5353", ("192.0.2.1", 5353)),
            ("2001:db8::1", ("2001:db8::1", 53)),
            ("[2001:db8::1]", ("2001:db8::1", 53)),
            ("[2001:db8::1]:5353", ("2001:db8::1", 5353)),
        ):
            self.assertEqual(Server().convert(text, None, None), expected)

    def test_names(self) -> None:
        """A domain may have capitals, other letters and a dot at the end."""
        zone = self.run_fine("dns", "records", "Bücher.Example.")
        self.assertIn("\nxn--bcher-kva.example. 3600 IN MX 10 mail.example.org.\n", zone)

    def test_refused(self) -> None:
        """Exit code 2 for what is no domain or no server, and for a machine without a full name."""
        for arguments, part in (
            (["records", "exa mple"], "is not a domain name"),
            (["check", "example.org", "--server", "ns.example.org"], "is no IP address"),
            (["check", "example.org", "--server", "192.0.2.1:0"], "is no IP address"),
            (["check", "example.org", "--server", "[::1"], "is no IP address"),
            (["check", "example.org", "--server", "[::1]:70000"], "is no IP address"),
            (["records"], "Missing argument"),
            (["records", ".".join(["a" * 63] * 3 + ["b" * 57])], "would have more than 253 characters"),
        ):
            result = self.run_command("dns", *arguments)
            self.assertEqual(result.exit_code, 2, result.output)
            self.assertIn(part, result.output)
        for hostname, part in (
            ("localhost", "server.hostname"),
            ("192.0.2.1", "server.hostname"),
            ("autoconfig.example.org", "an alias of this server's name"),
        ):
            self.configure(hostname)
            result = self.run_command("dns", "records", "example.org")
            self.assertEqual(result.exit_code, 2)
            self.assertIn(part, result.output)
        self.config.write_text("nonsense")
        self.assertEqual(self.run_command("dns", "records", "example.org").exit_code, 2)
