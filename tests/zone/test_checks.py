"""Compares zones with the wanted records: all good, each missing, each wrong, each unknown, and what is as good."""

from __future__ import annotations

import re

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from stalwart.zone import Answer, Finding, Record, Surroundings, exit_code
from stalwart.zone.record import zone_line
from stalwart.zone.report import check_host, check_record
from stalwart.zone.values import Raw, RecordType, Txt
from tests.zone.bed import ACME, ADDRESSES, DOMAIN, HOST, KEY_DIGEST, KEYS, Zones, in_base64, wanted

WANTED = wanted()
RECORDS = {f"{record.check} {record.name}": record for record in WANTED.records}
RSA, ED25519 = (f"DKIM {key.selector}._domainkey.{DOMAIN}" for key in KEYS)
RSA_VALUE, ED25519_VALUE = (in_base64(key.public_key) for key in KEYS)

OTHER_HOST = "other.example.org. 3600 IN A 192.0.2.99\n"

# By record: lines in its place, and a part of what is said then.
# More digits than Python makes an int of.
ENDLESS = '"v=DMARC1; p=reject; pct=" ' + " ".join([f'"{"9" * 250}"'] * 20)

WRONG = {
    f"MX {DOMAIN}": [
        ("example.org. 3600 IN MX 10 other.example.org.", "add the record"),
        ("example.org. 3600 IN MX 0 .", "takes no mail"),
    ],
    f"SPF {DOMAIN}": [
        ('example.org. 3600 IN TXT "v=spf1 -all"', "192.0.2.1 (fail)"),
        ('example.org. 3600 IN TXT "v=spf1 ip4:192.0.2.1 ~all"', "2001:db8::1 (softfail)"),
        ('example.org. 3600 IN TXT "v=spf1 mx -all"\nexample.org. 3600 IN TXT "v=spf1 a -all"', "2 SPF records"),
        ('example.org. 3600 IN TXT "v=spf1 mxx -all"', "'mxx' is no mechanism"),
        ('example.org. 3600 IN TXT "v=spf1 include:none.example -all"', "leads to no SPF record"),
    ],
    f"SPF of the host {HOST}": [('mail.example.org. 3600 IN TXT "v=spf1 -all"', "(fail)")],
    RSA: [
        (f'{RSA[5:]}. 3600 IN TXT "v=DKIM1; k=rsa; p={ED25519_VALUE}"', "another key"),
        (f'{RSA[5:]}. 3600 IN TXT "v=DKIM1; k=rsa; p="', "withdrawn"),
        (f'{RSA[5:]}. 3600 IN TXT "v=DKIM1; k=rsa; p=AB*"', "not base64"),
        (f'{RSA[5:]}. 3600 IN TXT "hello"', "no list of tags"),
    ],
    ED25519: [
        (f'{ED25519[5:]}. 3600 IN TXT "v=DKIM1; p={ED25519_VALUE}"', "of the type ed25519"),
        (f'{ED25519[5:]}. 3600 IN TXT "v=DKIM1; k=ed25519; h=sha1; p={ED25519_VALUE}"', "sha256"),
        (f'{ED25519[5:]}. 3600 IN TXT "v=DKIM1; k=ed25519; s=other; p={ED25519_VALUE}"', "not for mail"),
        (f'{ED25519[5:]}. 3600 IN TXT "v=DKIM2; k=ed25519; p={ED25519_VALUE}"', "no version"),
        (
            f'{ED25519[5:]}. 3600 IN TXT "v=DKIM1; k=ed25519; p={ED25519_VALUE}"\n{ED25519[5:]}. 3600 IN TXT "x=1"',
            "only this record",
        ),
    ],
    f"DMARC _dmarc.{DOMAIN}": [
        ('_dmarc.example.org. 3600 IN TXT "v=DMARC1; p=none; rua=mailto:a@example.org"', "none to quarantine"),
        ('_dmarc.example.org. 3600 IN TXT "v=DMARC1; p=quarantine; pct=20"', "pct="),
        (f"_dmarc.example.org. 3600 IN TXT {ENDLESS}", "pct="),
        ('_dmarc.example.org. 3600 IN TXT "v=DMARC1; p=reject; t=y"', "t=y"),
        ('_dmarc.example.org. 3600 IN TXT "v=DMARC1; p=perhaps"', "no policy"),
        ('_dmarc.example.org. 3600 IN TXT "v=DMARC1; p"', "can't be read"),
        (
            '_dmarc.example.org. 3600 IN TXT "v=DMARC1; p=reject"\n_dmarc.example.org. 3600 IN TXT "v=DMARC1"',
            "only one",
        ),
    ],
    f"MTA-STS _mta-sts.{DOMAIN}": [
        ('_mta-sts.example.org. 3600 IN TXT "v=STSv1; id=1"', "until the id changes"),
        ('_mta-sts.example.org. 3600 IN TXT "v=STSv1 id=1"', "can't be read"),
        (
            '_mta-sts.example.org. 3600 IN TXT "v=STSv1; id=1"\n_mta-sts.example.org. 3600 IN TXT "v=STSv1; id=2"',
            "only one",
        ),
    ],
    f"MTA-STS host mta-sts.{DOMAIN}": [("mta-sts.example.org. 3600 IN A 192.0.2.99", "other addresses")],
    f"TLS-RPT _smtp._tls.{DOMAIN}": [
        ('_smtp._tls.example.org. 3600 IN TXT "v=TLSRPTv1; rua=ftp://x"', "rua="),
        ('_smtp._tls.example.org. 3600 IN TXT "v=TLSRPTv1"', "rua="),
    ],
    f"SRV _jmap._tcp.{DOMAIN}": [
        ("_jmap._tcp.example.org. 3600 IN SRV 0 1 8443 mail.example.org.", "tell it in autoconfig"),
        ("_jmap._tcp.example.org. 3600 IN SRV 0 0 0 .", "tell it in autoconfig"),
    ],
    f"SRV _imap._tcp.{DOMAIN}": [("_imap._tcp.example.org. 3600 IN SRV 0 1 143 mail.example.org.", "another program")],
    f"autoconfig autoconfig.{DOMAIN}": [
        ("autoconfig.example.org. 3600 IN CNAME other.example.org.", "other addresses"),
        ("autoconfig.example.org. 3600 IN CNAME nowhere.example.org.", "leads to nowhere.example.org"),
    ],
    f"autodiscover autodiscover.{DOMAIN}": [
        ("autodiscover.example.org. 3600 IN CNAME other.example.org.", "other addresses")
    ],
    f"PACC host ua-auto-config.{DOMAIN}": [("ua-auto-config.example.org. 3600 IN A 192.0.2.99", "other addresses")],
    f"PACC _ua-auto-config.{DOMAIN}": [
        ('_ua-auto-config.example.org. 3600 IN TXT "v=UAAC1; a=sha256; d=AAAA"', "clients refuse")
    ],
    f"CAA {DOMAIN}": [
        ('example.org. 3600 IN CAA 0 issue "other.example"', "will not renew"),
        ('example.org. 3600 IN CAA 0 issue ";"', "will not renew"),
        ('example.org. 3600 IN CAA 0 issue "letsencrypt.org"\nexample.org. 3600 IN CAA 128 tbs "x"', "(flags 128)"),
        (
            'example.org. 3600 IN CAA 0 issue "letsencrypt.org"\nmail.example.org. 3600 IN CAA 0 issue "other.example"',
            "certificate of mail.example.org",
        ),
    ],
    f"TLSA _25._tcp.{HOST}": [(f"_25._tcp.mail.example.org. 3600 IN TLSA 3 1 1 {'ab' * 32}", "for other keys")],
}

# Other ways to say the same, or more than is wanted; and a part of the note.
AS_GOOD = {
    f"MX {DOMAIN}": [
        (
            "example.org. 3600 IN MX 5 MAIL.example.org.\nexample.org. 3600 IN MX 99 other.example.org.",
            "takes mail too",
        ),
        ("example.org. 3600 IN MX 5 same.example.org.", "another name of mail.example.org"),
    ],
    f"SPF {DOMAIN}": [
        ('example.org. 3600 IN TXT "v=spf1 ip4:192.0.2.0/28 ip6:2001:db8::/64 -all"', ""),
        ('example.org. 3600 IN TXT "V=SPF1 include:_spf.example.org ~all"', ""),
        ('example.org. 3600 IN TXT "v=spf1 redirect=_spf.example.org"', ""),
        ('example.org. 3600 IN TXT "v=spf1 ?a:smtp.example.org a:mail.example.org/24//64 -all"', ""),
        ('example.org. 3600 IN TXT "v=spf1 mx " "-all"', ""),
        ('example.org. 3600 IN TXT "v=spf1 +all"', "lets everybody send"),
    ],
    RSA: [
        (f'{RSA[5:]}. 3600 IN TXT "p={RSA_VALUE[:100]} " "{RSA_VALUE[100:250]}" "{RSA_VALUE[250:]}"', ""),
        (f"{RSA[5:]}. 3600 IN CNAME keys.example.net.", ""),
    ],
    ED25519: [
        (f'{ED25519[5:]}. 3600 IN TXT "v=DKIM1;k=ed25519;h=sha1 : sha256;t=s;s=email;n=hi;p={ED25519_VALUE};"', ""),
        (f'{ED25519[5:]}. 3600 IN TXT "v=DKIM1; k=ed25519; t=y:s; p={ED25519_VALUE}"', "tries DKIM out"),
    ],
    f"DMARC _dmarc.{DOMAIN}": [
        ('_dmarc.example.org. 3600 IN TXT "v=DMARC1;p=REJECT;rua=mailto:x@example.net;aspf=s"', ""),
        ('_dmarc.example.org. 3600 IN TXT "v=DMARC1; p=quarantine"', "nobody tells you"),
    ],
    f"TLS-RPT _smtp._tls.{DOMAIN}": [
        ('_smtp._tls.example.org. 3600 IN TXT "v=TLSRPTv1;rua=https://r.example.net/,mailto:x@example.net"', "")
    ],
    f"MTA-STS host mta-sts.{DOMAIN}": [
        ("mta-sts.example.org. 3600 IN A 192.0.2.1", ""),
        ("mta-sts.example.org. 3600 IN CNAME same.example.org.", ""),
    ],
    f"SRV _jmap._tcp.{DOMAIN}": [
        (
            "_jmap._tcp.example.org. 3600 IN SRV 7 9 443 Mail.Example.org.\n"
            "_jmap._tcp.example.org. 3600 IN SRV 9 9 443 other.example.org.",
            "",
        )
    ],
    f"CAA {DOMAIN}": [
        (
            'example.org. 3600 IN CAA 128 issue "letsencrypt.org; accounturi=https://ca.example/acct/1"\n'
            'example.org. 3600 IN CAA 0 issue "other.example"',
            "only for 'accounturi=https://ca.example/acct/1",
        ),
        ('mail.example.org. 3600 IN CAA 0 issue "letsencrypt.org"', ""),
        ('example.org. 3600 IN CAA 0 iodef "mailto:x@example.org"', ""),
    ],
    f"TLSA _25._tcp.{HOST}": [
        (
            f"_25._tcp.mail.example.org. 3600 IN TLSA 3 1 1 {'ab' * 32}\n"
            f"_25._tcp.mail.example.org. 3600 IN TLSA 3 1 1 {KEY_DIGEST}",
            "",
        )
    ],
}

MORE = (
    ADDRESSES
    + OTHER_HOST
    + "same.example.org. 3600 IN A 192.0.2.1\n"
    + '_spf.example.org. 3600 IN TXT "v=spf1 a:mail.example.org -all"\n'
    + f'keys.example.net. 3600 IN TXT "v=DKIM1; k=rsa; p={RSA_VALUE[:200]}" "{RSA_VALUE[200:]}"\n'
)


def zone_without(*left_out: str) -> str:
    """All wanted records but these."""
    return MORE + "".join(f"{zone_line(record)}\n" for key, record in RECORDS.items() if key not in left_out)


class ChecksTests(TestCase):
    """One record of a whole zone at a time."""

    async def find(self, zones: Zones, record: Record, **around: str) -> Finding:
        """What the check of a record says."""
        surroundings = Surroundings(ask=zones, domain=DOMAIN, host=HOST, certified=(HOST,), **around)
        return await Deferred.fromCoroutine(check_record(surroundings, record))

    async def states(self, zones: Zones) -> dict[str, str]:
        """The states of all records."""
        return {key: (await self.find(zones, record)).state for key, record in RECORDS.items()}

    async def test_all_good(self) -> None:
        """The zone that is printed is good in each record, with and without DNSSEC."""
        for secure in (False, True):
            states = await self.states(Zones(zone_without(), secure=secure))
            self.assertEqual(set(states.values()), {"good"}, states)

    async def test_each_missing(self) -> None:
        """A record that isn't there is missing, with what to do, and touches no other check."""
        for key, record in RECORDS.items():
            zones = Zones(zone_without(key), secure=True)
            finding = await self.find(zones, record)
            self.assertEqual((finding.state, finding.found), ("missing", ()), key)
            self.assertTrue(finding.fix.startswith("publish the record"), finding)
            self.assertEqual(finding.wanted, zone_line(record))
            others = {other: state for other, state in (await self.states(zones)).items() if state != "good"}
            # SPF names the MX host by the MX record
            touched = {key, f"SPF {DOMAIN}"} if record.check == "MX" else {key}
            self.assertEqual(set(others), touched)

    async def test_each_wrong(self) -> None:
        """Each kind of mistake is wrong, with a way out; what is there is shown."""
        self.assertLessEqual({key.split(" ")[0] for key in RECORDS}, {key.split(" ")[0] for key in WRONG})
        for key, cases in WRONG.items():
            for lines, part in cases:
                finding = await self.find(Zones(zone_without(key) + lines + "\n"), RECORDS[key])
                self.assertEqual(finding.state, "wrong", (lines, finding))
                self.assertIn(part, finding.fix, lines)
                self.assertTrue(finding.found, lines)
                self.assertEqual(exit_code([finding]), 1)

    async def test_as_good(self) -> None:
        """What means the same is good, however it is written; so is what is stricter."""
        for key, cases in AS_GOOD.items():
            for lines, part in cases:
                finding = await self.find(Zones(zone_without(key) + lines + "\n"), RECORDS[key])
                self.assertEqual((finding.state, finding.fix), ("good", ""), (lines, finding))
                self.assertIn(part, finding.note, lines)

    async def test_each_unknown(self) -> None:
        """What can't be found out is unknown, with the reason: neither good nor missing."""
        for key, record in RECORDS.items():
            finding = await self.find(Zones(zone_without(), failing={record.name}), record)
            self.assertEqual(finding.state, "unknown", key)
            self.assertIn("SERVFAIL", finding.note)
            self.assertEqual(exit_code([finding]), 3)

    async def test_unknown_on_the_way(self) -> None:
        """So is what depends on something that can't be found out."""
        zones = Zones(zone_without(f"SPF {DOMAIN}") + 'example.org. 60 IN TXT "v=spf1 include:x.example -all"\n')
        zones.failing = {"x.example"}
        self.assertEqual((await self.find(zones, RECORDS[f"SPF {DOMAIN}"])).state, "unknown")
        zones = Zones(zone_without(), failing={HOST})
        for key in (f"MX {DOMAIN}", f"SPF {DOMAIN}", f"autoconfig autoconfig.{DOMAIN}", f"CAA {DOMAIN}"):
            self.assertEqual((await self.find(zones, RECORDS[key])).state, "unknown", key)
        text = zone_without(f"SPF {DOMAIN}") + 'example.org. 60 IN TXT "v=spf1 exists:%{i}.x.example -all"\n'
        self.assertIn("macro", (await self.find(Zones(text), RECORDS[f"SPF {DOMAIN}"])).note)

    async def test_unreadable(self) -> None:
        """CAA records that can't be read are unknown, not good."""

        async def ask(name: str, kind: RecordType) -> Answer:
            return Answer(values=(Raw(b"\x01"),))

        around = Surroundings(ask=ask, domain=DOMAIN, host=HOST, certified=(HOST,))
        finding = await Deferred.fromCoroutine(check_record(around, RECORDS[f"CAA {DOMAIN}"]))
        self.assertEqual((finding.state, finding.found), ("unknown", ("\\# 1 01",)))

    async def test_alias_of_mx(self) -> None:
        """RFC 5321 §5.1: the host of an MX record is no alias."""
        text = re.sub(r"(?m)^mail\.example\.org\. .*\n", "", zone_without())
        text += "mail.example.org. 60 IN CNAME same.example.org.\n"
        finding = await self.find(Zones(text), RECORDS[f"MX {DOMAIN}"])
        self.assertEqual(finding.state, "wrong")
        self.assertIn("instead of a CNAME", finding.fix)

    async def test_tlsa_unsigned(self) -> None:
        """Without DNSSEC no TLSA record is needed; those of other kinds aren't judged."""
        key = f"TLSA _25._tcp.{HOST}"
        finding = await self.find(Zones(zone_without(key)), RECORDS[key])
        self.assertEqual((finding.state, exit_code([finding])), ("unneeded", 0))
        lines = f"_25._tcp.mail.example.org. 60 IN TLSA 2 1 1 {'ab' * 32}\n"
        self.assertEqual((await self.find(Zones(zone_without(key) + lines), RECORDS[key])).state, "unknown")

    async def test_dmarc_above(self) -> None:
        """A policy of the domain above holds, with its sp=."""
        below = "sub.example.org"
        record = next(each for each in wanted(ACME, domain=below).records if each.check == "DMARC")
        for text, state in (("p=none; sp=reject", "good"), ("p=reject; sp=none", "wrong"), ("p=reject", "good")):
            zones = Zones(f'_dmarc.example.org. 60 IN TXT "v=DMARC1; {text}"\n')
            around = Surroundings(ask=zones, domain=below, host=HOST)
            finding = await Deferred.fromCoroutine(check_record(around, record))
            self.assertEqual(finding.state, state, text)

    async def test_relay(self) -> None:
        """Where a relay sends from isn't known: SPF is good only if its own address passes."""
        record = next(each for each in wanted('[relay]\nhost = "smtp.example.org"\n').records if each.check == "SPF")
        zones = Zones(f"{ADDRESSES}{zone_line(record)}\n")
        self.assertEqual((await self.find(zones, record, relay="smtp.example.org")).state, "good")
        zones = Zones(ADDRESSES + 'example.org. 60 IN TXT "v=spf1 include:_spf.example.org -all"\n' + MORE)
        finding = await self.find(zones, record, relay="smtp.example.org")
        self.assertEqual(finding.state, "unknown")
        self.assertIn("ask the provider", finding.note)

    @given(st.sampled_from(sorted(key for key, record in RECORDS.items() if record.type == "TXT")), st.data())
    @settings(max_examples=80, deadline=None)
    def test_any(self, key: str, data: st.DataObject) -> None:
        """Whatever a TXT record has, there is a finding, and it is one that JSON can hold."""
        record = RECORDS[key]
        assert isinstance(record.data, Txt)
        start = record.data.text.encode()[: data.draw(st.integers(0, 60))]
        octets = start + data.draw(st.binary(max_size=40))
        found = msgspec.structs.replace(record, data=Txt(octets.decode("ascii", "surrogateescape")))
        zones = Zones(zone_without(key) + zone_line(found) + "\n")
        finding = self.successResultOf(Deferred.fromCoroutine(self.find(zones, record)))
        self.assertIn(finding.state, ("good", "wrong", "missing", "unknown"))
        msgspec.json.encode(finding)

    async def test_address(self) -> None:
        """A host has an address; one that others can't reach is told."""
        around = Surroundings(ask=Zones("a.example. 60 IN A 10.0.0.1\n"), domain=DOMAIN, host=HOST)
        found = await Deferred.fromCoroutine(check_host(around, "a.example"))
        self.assertEqual((found.state, found.found), ("good", ("10.0.0.1",)))
        self.assertIn("not a public address", found.note)
        self.assertEqual((await Deferred.fromCoroutine(check_host(around, "b.example"))).state, "missing")
