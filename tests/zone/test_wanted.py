"""Which records there are for which settings, and how they are printed as a zone."""

from __future__ import annotations

import dns.zone
from twisted.trial.unittest import SynchronousTestCase

from stalwart.discovery import mta_sts_policy, pacc_digest, pacc_document
from stalwart.store import RECORD_SECONDS
from stalwart.zone import Record, zone_lines
from stalwart.zone.values import as_text
from tests.zone.bed import ACME, DAY, DOMAIN, KEY_DIGEST, KEYS, NOW, in_base64, key, settings, wanted

GOLDEN = """\
; records of example.org
; note: not told here: the A and AAAA records of mail.example.org, its public addresses
; MX: Other servers bring mail for example.org to this host.
example.org. 3600 IN MX 10 mail.example.org.
; SPF: It names who sends mail of example.org: mail from all others is forged.
example.org. 3600 IN TXT "v=spf1 mx -all"
; SPF of the host: Bounces have no sender, so that receivers look at the name that this machine greets with.
mail.example.org. 3600 IN TXT "v=spf1 a -all"
; DKIM: With this key receivers verify that mail is from here and unchanged.
20300101-rsa._domainkey.example.org. 3600 IN TXT "{rsa[0]}" "{rsa[1]}"
; DKIM: With this key receivers verify that mail is from here and unchanged.
20300101-ed25519._domainkey.example.org. 3600 IN TXT "v=DKIM1; k=ed25519; p={ed25519}"
; DMARC: It tells receivers what to do with mail that only claims to be from example.org, and where to report.
_dmarc.example.org. 3600 IN TXT "v=DMARC1; p=quarantine; rua=mailto:postmaster@example.org"
; MTA-STS: Servers that see a new id fetch the policy that has them deliver over checked TLS only.
_mta-sts.example.org. 3600 IN TXT "v=STSv1; id={id}"
; MTA-STS host: Servers fetch the MTA-STS policy there.
mta-sts.example.org. 3600 IN CNAME mail.example.org.
; TLS-RPT: Servers that could not deliver over TLS report it to this address.
_smtp._tls.example.org. 3600 IN TXT "v=TLSRPTv1; rua=mailto:postmaster@example.org"
; SRV: Clients that know only an address find JMAP by it.
_jmap._tcp.example.org. 3600 IN SRV 0 1 443 mail.example.org.
; SRV: Clients that know only an address find IMAP over TLS by it.
_imaps._tcp.example.org. 3600 IN SRV 0 1 993 mail.example.org.
; SRV: It tells clients not to look for IMAP with STARTTLS, which isn't offered.
_imap._tcp.example.org. 3600 IN SRV 0 0 0 .
; SRV: It tells clients not to look for POP3 over TLS, which isn't offered.
_pop3s._tcp.example.org. 3600 IN SRV 0 0 0 .
; SRV: It tells clients not to look for POP3 with STARTTLS, which isn't offered.
_pop3._tcp.example.org. 3600 IN SRV 0 0 0 .
; SRV: It tells clients not to look for submission over TLS, which isn't offered.
_submissions._tcp.example.org. 3600 IN SRV 0 0 0 .
; SRV: Clients that know only an address find submission with STARTTLS by it.
_submission._tcp.example.org. 3600 IN SRV 0 1 587 smtp.example.org.
; SRV: It tells clients not to look for CalDAV, which isn't offered.
_caldavs._tcp.example.org. 3600 IN SRV 0 0 0 .
; SRV: It tells clients not to look for CardDAV, which isn't offered.
_carddavs._tcp.example.org. 3600 IN SRV 0 0 0 .
; autoconfig: Thunderbird asks there how to set itself up.
autoconfig.example.org. 3600 IN CNAME mail.example.org.
; autodiscover: Outlook asks there how to set itself up.
autodiscover.example.org. 3600 IN CNAME mail.example.org.
; SRV: Outlook looks here if autodiscover leads nowhere.
_autodiscover._tcp.example.org. 3600 IN SRV 0 1 443 mail.example.org.
; PACC host: Clients that know PACC fetch their settings there.
ua-auto-config.example.org. 3600 IN CNAME mail.example.org.
; PACC: Clients compare the settings that they fetched with this digest; it changes with them.
_ua-auto-config.example.org. 3600 IN TXT "{pacc}"
; CAA: Only this CA may issue certificates; with `; accounturi=URL` after its name, only to your account.
example.org. 3600 IN CAA 0 issue "letsencrypt.org"
; TLSA: If the zone is signed, and the SMTP server shows this certificate, servers that use DANE take no other key: \
each renewal brings a new one, whose record has to be there a TTL before.
; _25._tcp.mail.example.org. 3600 IN TLSA 3 1 1 {tlsa}
"""


class WantedTests(SynchronousTestCase):
    """`wanted_records`."""

    def named(self, check: str, more: str = ACME, **options: object) -> list[Record]:
        """The records of one check."""
        return [record for record in wanted(more, **options).records if record.check == check]  # type: ignore[arg-type]

    def test_zone(self) -> None:
        """The whole, with one sentence on why for each; long texts are in strings of 255 octets."""
        rsa = f"v=DKIM1; k=rsa; p={in_base64(KEYS[0].public_key)}"
        policy = mta_sts_policy(settings(), DOMAIN)
        assert policy is not None
        expected = GOLDEN.format(
            rsa=(rsa[:255], rsa[255:]),
            ed25519=in_base64(KEYS[1].public_key),
            id=policy[1],
            pacc=pacc_digest(pacc_document(settings(), DOMAIN)),
            tlsa=KEY_DIGEST,
        )
        self.assertEqual("".join(f"{line}\n" for line in zone_lines(wanted())), expected)

    def test_parses(self) -> None:
        """dnspython reads it as a part of the zone, with as many records."""
        head = "@ 60 IN SOA ns hostmaster 1 2 3 4 5\n@ 60 IN NS ns\nns 60 IN A 192.0.2.1\n"
        text = head + "\n".join(zone_lines(wanted())) + "\n"
        zone = dns.zone.from_text(text, origin=DOMAIN, relativize=False)
        plain = [record for record in wanted().records if not record.only_signed]
        self.assertEqual(len(list(zone.iterate_rdatas())), 3 + len(plain))

    def test_international(self) -> None:
        """An IDN is in A-labels, in names and in texts."""
        found = wanted(domain="xn--bcher-kva.example")
        self.assertTrue(
            all("xn--bcher-kva.example" in record.name for record in found.records if record.check == "SRV")
        )
        self.assertTrue("\n".join(zone_lines(found)).isascii())

    def test_other_zones(self) -> None:
        """Records of names in another zone are remarks at the end, for whoever has that zone."""
        lines = list(zone_lines(wanted(domain="example.net")))
        start = lines.index("; not for the zone of example.net, but for the zones that these names are in:")
        self.assertTrue(all(line.startswith(";") for line in lines[start:]))
        self.assertIn('; mail.example.org. 3600 IN TXT "v=spf1 a -all"', lines[start:])
        self.assertFalse(any("mail.example.org. 3600" in line for line in lines[:start]))
        self.assertFalse(any("CAA" in line for line in lines))

    def test_dkim(self) -> None:
        """A key has a record before it signs, and for a week after it did; without keys that is told."""
        keys = (
            key("new", b"1", signs_from=NOW + DAY),
            key("ending", b"2", signs_until=NOW + DAY),
            key("kept", b"3", signs_until=NOW - DAY),
            key("gone", b"4", signs_until=NOW - RECORD_SECONDS),
            key("never", b"5", signs_from=NOW - DAY, signs_until=NOW - 2 * DAY),
        )
        found = [(record.name.partition(".")[0], record.required) for record in self.named("DKIM", keys=keys)]
        self.assertEqual(found, [("new", True), ("ending", True), ("kept", False)])
        self.assertIn("no DKIM keys yet: `stalwart dkim create example.org` makes them", wanted(keys=()).notes)

    def test_spf(self) -> None:
        """A relay may send, softly; one on this machine is no other; a host that takes no mail is named."""
        for more, text in (
            ('[relay]\nhost = "smtp.example.net"\n', "v=spf1 mx a:smtp.example.net ~all"),
            ('[relay]\nhost = "localhost"\n', "v=spf1 mx -all"),
            ('[relay]\nhost = "mail.example.org"\n', "v=spf1 mx -all"),
            ('[session.mta-sts]\nmx = ["mx.example.net"]\n', "v=spf1 mx a:mail.example.org -all"),
        ):
            self.assertEqual([as_text(record.data) for record in self.named("SPF", more)], [text])

    def test_mx(self) -> None:
        """The exchangers of the MTA-STS settings, in their order; patterns name none."""
        more = '[session.mta-sts]\nmx = ["mx2.example.net", "*.example.net", "mx1.example.net"]\n'
        found = [as_text(record.data) for record in self.named("MX", more)]
        self.assertEqual(found, ["10 mx2.example.net.", "20 mx1.example.net."])

    def test_addresses(self) -> None:
        """RFC 2782: SRV records name hosts; where the settings have an address there is a note instead."""
        more = '[autoconfig.default.pop3]\nhost = "192.0.2.1"\n[autoconfig.default.carddav]\nurl = "https://[2001:db8::1]/"\n'
        found = wanted(more)
        names = {record.name for record in found.records if record.check == "SRV"}
        self.assertFalse({f"_pop3s._tcp.{DOMAIN}", f"_carddavs._tcp.{DOMAIN}"} & names)
        self.assertIn("no SRV records for 192.0.2.1, 2001:db8::1: they name hosts, not addresses", found.notes)

    def test_mta_sts(self) -> None:
        """No records for a policy that isn't there."""
        found = {record.check for record in wanted('[session.mta-sts]\nmode = "disable"\n').records}
        self.assertFalse({"MTA-STS", "MTA-STS host"} & found)

    def test_jmap(self) -> None:
        """The https names lead to where JMAP is; if it isn't told of, its SRV record says so."""
        more = '[autoconfig.default.jmap]\nhost = "jmap.example.org"\nport = 8443\n'
        self.assertEqual(as_text(self.named("SRV", more)[0].data), "0 1 8443 jmap.example.org.")
        self.assertEqual(as_text(self.named("autoconfig", more)[0].data), "jmap.example.org.")
        more = "[autoconfig.default.jmap]\nenabled = false\n"
        self.assertEqual(as_text(self.named("SRV", more)[0].data), "0 0 0 .")
        self.assertEqual(as_text(self.named("autoconfig", more)[0].data), "mail.example.org.")

    def test_caa(self) -> None:
        """None without ACME in the domain; none for a CA whose name isn't known, which is told."""
        self.assertEqual(self.named("CAA", ""), [])
        own = ACME + 'directory = "https://ca.example.net/dir"\n'
        self.assertEqual(self.named("CAA", own), [])
        self.assertTrue(any("caaIdentities" in note for note in wanted(own).notes))
        google = ACME + 'directory = "https://dv.acme-v02.api.pki.goog/directory"\n'
        self.assertEqual([as_text(record.data) for record in self.named("CAA", google)], ['0 issue "pki.goog"'])

    def test_tlsa(self) -> None:
        """For the MX hosts that a certificate is for."""
        self.assertEqual(self.named("TLSA", '[session.mta-sts]\nmx = ["mx.example.net"]\n'), [])
        [record] = self.named("TLSA")
        self.assertEqual((record.only_signed, record.required), (True, False))
