"""The documents, octet by octet, and by the rules of those who described them."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import plistlib
import re
import uuid
from xml.etree import ElementTree as ET

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.discovery import autoconfig as autoconfig_module
from stalwart.discovery import mta_sts_policy, pacc, pacc_digest, pacc_document
from stalwart.discovery.autoconfig import client_config
from stalwart.discovery.autodiscover import (
    BadRequest,
    account_settings,
    error_answer,
    invalid_request,
    read_request,
    version_2,
    version_2_error,
)
from stalwart.discovery.mobileconfig import mobileconfig
from stalwart.discovery.security_txt import security_txt
from stalwart.discovery.services import OAuth
from tests.config.support import Pair, load_text
from tests.discovery.support import ADDRESS, DOMAIN, NAME, golden, odd_settings, odd_settings_named

_OUTLOOK = "{http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a}"
_ANSWER = "{http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006}"
_TOKENS = OAuth(
    issuer="https://mail.example.org",
    authorization_endpoint="https://mail.example.org/authorize/code",
    token_endpoint="https://mail.example.org/auth/token?a&b",
    scopes=("urn:ietf:params:jmap:core", "offline_access"),
)


def text_of(element: ET.Element, path: str) -> str:
    """The text of an element that must be there."""
    found = element.findtext(path)
    assert found is not None, path
    return found


class GoldenTests(SynchronousTestCase):
    """Each format's octets for a configuration with odd letters in it."""

    def test_client_config(self) -> None:
        """Thunderbird's, with an address and without."""
        self.assertEqual(client_config(odd_settings(), DOMAIN, ADDRESS), golden("config-v1.1.xml"))
        self.assertEqual(client_config(odd_settings(), DOMAIN), golden("config-v1.1-any.xml"))

    def test_client_config_with_oauth(self) -> None:
        """Thunderbird's says nothing of tokens where there are none for it, and escapes what it says of them."""
        self.patch(autoconfig_module, "oauth", lambda settings, domain: None)
        self.assertNotIn(b"oauth", (client_config(odd_settings(), DOMAIN, ADDRESS) or b"oauth").lower())
        self.patch(autoconfig_module, "oauth", lambda settings, domain: _TOKENS)
        told = client_config(odd_settings(), DOMAIN, ADDRESS) or b""
        self.assertIn(b"<tokenURL>https://mail.example.org/auth/token?a&amp;b<", told)

    def test_autodiscover(self) -> None:
        """Outlook's, and its refusal."""
        self.assertEqual(account_settings(odd_settings(), DOMAIN, ADDRESS), golden("autodiscover.xml"))
        answer = error_answer(BadRequest(500, "<&\"'> é"), "mail.example.org", 1_900_000_000.25)
        self.assertEqual(answer, golden("autodiscover-error.xml"))
        self.assertEqual(version_2(odd_settings(), DOMAIN), golden("autodiscover.json"))

    def test_mobileconfig(self) -> None:
        """Apple's."""
        self.assertEqual(mobileconfig(odd_settings(), DOMAIN, ADDRESS), golden("apple.mobileconfig"))

    def test_pacc(self) -> None:
        """PACC's, and its digest."""
        document = pacc_document(odd_settings(), DOMAIN)
        self.assertEqual(document, golden("user-agent-configuration.json"))
        digest = base64.b64encode(hashlib.sha256(document).digest()).decode()
        self.assertEqual(pacc_digest(document), f"v=UAAC1; a=sha256; d={digest}")

    def test_mta_sts(self) -> None:
        """MTA-STS's policy."""
        policy = mta_sts_policy(odd_settings(), DOMAIN)
        assert policy is not None
        self.assertEqual(policy[0], golden("mta-sts.txt"))

    def test_security_txt(self) -> None:
        """security.txt."""
        self.assertEqual(security_txt(odd_settings().well_known.security), golden("security.txt"))


class AnyValueTests(SynchronousTestCase):
    """Whatever letters a value has, it comes out of each document as it went in."""

    @given(
        st.text(alphabet=st.characters(categories=("L", "M", "N", "P", "S")), min_size=1, max_size=60),
        st.text(alphabet="abc<>&\"'ø]%;", min_size=1, max_size=20),
    )
    @settings(max_examples=100, deadline=None)
    def test_any_value(self, name: str, local: str) -> None:
        """A name, an address, URLs."""
        told = odd_settings_named(name)
        address = f"{local}@{DOMAIN}"
        config = client_config(told, DOMAIN, address)
        profile = mobileconfig(told, DOMAIN, address)
        assert config is not None
        assert profile is not None
        root = ET.fromstring(config)
        self.assertEqual(text_of(root, "emailProvider/displayName"), name)
        self.assertEqual({each.text for each in root.iter("username")}, {address})
        outlook = ET.fromstring(account_settings(told, DOMAIN, address))
        self.assertEqual({each.text for each in outlook.iter(f"{_OUTLOOK}LoginName")}, {address})
        document = plistlib.loads(profile)
        self.assertEqual(document["PayloadOrganization"], name)
        self.assertEqual(document["PayloadContent"][0]["EmailAddress"], address)
        self.assertEqual(json.loads(pacc_document(told, DOMAIN))["info"]["provider"]["name"], name)


class ClientConfigTests(SynchronousTestCase):
    """By the description of the format (draft-ietf-mailmaint-autoconfig, and Mozilla's of version 1.1)."""

    def test_structure(self) -> None:
        """Every server has what a client needs, and only words that the format has."""
        document = client_config(odd_settings(), DOMAIN, ADDRESS)
        assert document is not None
        root = ET.fromstring(document)
        self.assertEqual((root.tag, root.get("version")), ("clientConfig", "1.1"))
        (provider,) = root.findall("emailProvider")
        self.assertEqual(provider.get("id"), DOMAIN)
        self.assertEqual([each.text for each in provider.findall("domain")], [DOMAIN])
        self.assertEqual(text_of(provider, "displayName"), NAME)
        self.assertLessEqual(len(text_of(provider, "displayShortName")), 20)
        incoming, outgoing = provider.findall("incomingServer"), provider.findall("outgoingServer")
        self.assertEqual([each.get("type") for each in incoming], ["imap", "pop3", "jmap"])
        self.assertEqual([each.get("type") for each in outgoing], ["smtp"])
        for server in [*incoming[:2], *outgoing]:
            self.assertRegex(text_of(server, "hostname"), r"\A[a-z0-9.-]+\Z")
            self.assertIn(int(text_of(server, "port")), range(1, 65536))
            self.assertIn(text_of(server, "socketType"), ("SSL", "STARTTLS"))
            self.assertEqual(text_of(server, "authentication"), "password-cleartext")
            self.assertEqual(text_of(server, "username"), ADDRESS)
        self.assertEqual(text_of(incoming[2], "url"), "https://mail.example.org/jmap/session")
        self.assertEqual([each.text for each in incoming[2].findall("authentication")], ["OAuth2", "basic"])
        self.assertEqual(text_of(root, "calendar/serverURL"), "https://dav.example.org:8443/it's?a=1&b=2")
        self.assertEqual(text_of(root, "addressBook/serverURL"), "https://dav.example.org/")

    def test_nothing_offered(self) -> None:
        """Where nothing is offered there is no document."""
        for text in ("jmap.enabled = false", 'jmap.enabled = false\nsmtp.host = "a.example"'):
            self.assertIsNone(client_config(load_text(f"[autoconfig.default]\n{text}\n"), DOMAIN))

    def test_long_name(self) -> None:
        """Names are cut to the lengths that the format has."""
        document = client_config(load_text(""), "a" * 60 + ".example.org")
        assert document is not None
        root = ET.fromstring(document)
        self.assertEqual(text_of(root, "emailProvider/displayName"), "a" * 60)
        self.assertEqual(text_of(root, "emailProvider/displayShortName"), "a" * 20)


class AutodiscoverTests(SynchronousTestCase):
    """By [MS-OXDSCLI]."""

    def test_structure(self) -> None:
        """Outlook finds each element in its namespace; encryption has the words that it knows."""
        root = ET.fromstring(account_settings(odd_settings(), DOMAIN, ADDRESS))
        self.assertEqual(root.tag, f"{_ANSWER}Autodiscover")
        (response,) = root
        self.assertEqual(response.tag, f"{_OUTLOOK}Response")
        account = response.find(f"{_OUTLOOK}Account")
        assert account is not None
        self.assertEqual(text_of(account, f"{_OUTLOOK}AccountType"), "email")
        self.assertEqual(text_of(account, f"{_OUTLOOK}Action"), "settings")
        found = [
            tuple(text_of(each, _OUTLOOK + name) for name in ("Type", "Server", "Port", "SSL", "Encryption"))
            for each in account.findall(f"{_OUTLOOK}Protocol")
        ]
        self.assertEqual(
            found,
            [
                ("IMAP", "imap.example.org", "993", "on", "SSL"),
                ("POP3", "pop.example.org", "1995", "on", "SSL"),
                ("SMTP", "smtp.example.org", "587", "on", "TLS"),
            ],
        )
        for each in account.findall(f"{_OUTLOOK}Protocol"):
            self.assertEqual(text_of(each, f"{_OUTLOOK}LoginName"), ADDRESS)

    def test_error_structure(self) -> None:
        """A refusal is one Error with time, id, code and message, all in the namespace of the frame."""
        (response,) = ET.fromstring(error_answer(invalid_request(), "mail.example.org", 0.0))
        (error,) = response
        self.assertEqual((response.tag, error.tag), (f"{_ANSWER}Response", f"{_ANSWER}Error"))
        self.assertRegex(error.get("Time") or "", r"\A\d\d:\d\d:\d\d\.\d+\Z")
        self.assertTrue((error.get("Id") or "").isdigit())
        self.assertEqual(text_of(error, f"{_ANSWER}ErrorCode"), "600")
        self.assertEqual(text_of(error, f"{_ANSWER}Message"), "Invalid Request")

    def test_nothing_for_outlook(self) -> None:
        """JMAP alone is nothing for Outlook."""
        with self.assertRaises(BadRequest) as caught:
            account_settings(load_text(""), DOMAIN, ADDRESS)
        self.assertEqual(caught.exception.code, 601)

    def test_reading(self) -> None:
        """The address is found in any namespace and case of names, behind comments, and in UTF-16 as well."""
        for text in (
            "<Autodiscover><Request><EMailAddress>a@b.example</EMailAddress></Request></Autodiscover>",
            "<!-- hello --><AUTODISCOVER><x/><request><y>1</y><emailaddress> a@b.example\n</emailaddress></request>"
            "</AUTODISCOVER>",
            '<?xml version="1.0" encoding="utf-8"?>\n<Autodiscover xmlns="http://schemas.microsoft.com/exchange/'
            'autodiscover/outlook/requestschema/2006"><Request><EMailAddress>a@b.example</EMailAddress>'
            "<AcceptableResponseSchema>http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"
            "</AcceptableResponseSchema></Request></Autodiscover>",
        ):
            self.assertEqual(read_request(text.encode()), "a@b.example")
            self.assertEqual(read_request(re.sub(r"<\?xml.*\?>", "", text).encode("utf-16")), "a@b.example")

    def test_refused(self) -> None:
        """What asks for nothing that there is, and what is meant to do harm."""
        address = "<EMailAddress>a@b.example</EMailAddress>"
        lol = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
        external = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
        mobile = "http://schemas.microsoft.com/exchange/autodiscover/mobilesync/responseschema/2006"
        for code, text in (
            (600, ""),
            (600, "no XML"),
            (600, "<Autodiscover>"),
            (600, f"<Other><Request>{address}</Request></Other>"),
            (600, "<Autodiscover/>"),
            (600, "<Autodiscover><Request/></Autodiscover>"),
            (600, "<Autodiscover><Request><EMailAddress/></Request></Autodiscover>"),
            (600, "<Autodiscover><Request><EMailAddress>nobody</EMailAddress></Request></Autodiscover>"),
            (600, f"{lol}<Autodiscover><Request><EMailAddress>&b;@x.example</EMailAddress></Request></Autodiscover>"),
            (600, f"{external}<Autodiscover><Request><EMailAddress>&a;@x</EMailAddress></Request></Autodiscover>"),
            (600, '<!DOCTYPE x SYSTEM "http://192.0.2.1/x.dtd"><Autodiscover/>'),
            (600, '<?xml version="1.0" encoding="nonsense"?><Autodiscover/>'),
            (600, '<?xml version="1.0" encoding="utf-7"?><Autodiscover/>'),
            (
                601,
                f"<Autodiscover><Request>{address}<AcceptableResponseSchema>{mobile}</AcceptableResponseSchema>"
                "</Request></Autodiscover>",
            ),
        ):
            with self.assertRaises(BadRequest) as caught:
                read_request(text.encode())
            self.assertEqual(caught.exception.code, code, text)

    @given(st.one_of(st.binary(max_size=300), st.text(max_size=300).map(lambda text: text.encode("utf-8", "replace"))))
    @settings(max_examples=200, deadline=None)
    def test_any_octets(self, body: bytes) -> None:
        """No octets do anything else than be read or refused."""
        with contextlib.suppress(BadRequest):
            self.assertIn("@", read_request(body))

    @given(st.data())
    @settings(max_examples=200, deadline=None)
    def test_mutated(self, data: st.DataObject) -> None:
        """Nor does a request with octets changed, put in or left out, cut anywhere."""
        body = bytearray(
            b'<?xml version="1.0" encoding="utf-8"?><!DOCTYPE a [<!ENTITY b "c">]><Autodiscover xmlns="x:y"><Request>'
            b"<EMailAddress>a&amp;b@example.org</EMailAddress></Request></Autodiscover>"
        )
        for _ in range(data.draw(st.integers(1, 4))):
            place = data.draw(st.integers(0, len(body)))
            body[place : place + data.draw(st.integers(0, 30))] = data.draw(st.binary(max_size=8))
        with contextlib.suppress(BadRequest):
            self.assertIn("@", read_request(bytes(body)))

    def test_version_2(self) -> None:
        """The JSON has the members that [MS-OXDISCO] names."""
        document = json.loads(version_2(odd_settings(), DOMAIN))
        self.assertEqual(
            document,
            {"Protocol": "AutodiscoverV1", "Url": "https://mail.example.org/autodiscover/autodiscover.xml"},
        )
        self.assertEqual(json.loads(version_2_error("A", "b")), {"ErrorCode": "A", "ErrorMessage": "b"})


class MobileConfigTests(SynchronousTestCase):
    """By Apple's description of profiles."""

    def test_structure(self) -> None:
        """Each payload has its type, version, identifier and a UUID of its own."""
        profile = mobileconfig(odd_settings(), DOMAIN, ADDRESS)
        assert profile is not None
        document = plistlib.loads(profile)
        self.assertEqual((document["PayloadType"], document["PayloadVersion"]), ("Configuration", 1))
        self.assertIn("not signed", document["PayloadDescription"])
        self.assertEqual(document["PayloadOrganization"], NAME)
        contents = document["PayloadContent"]
        self.assertEqual(
            [each["PayloadType"] for each in contents],
            ["com.apple.mail.managed", "com.apple.caldav.account", "com.apple.carddav.account"],
        )
        payloads = [document, *contents]
        self.assertEqual(len({uuid.UUID(each["PayloadUUID"]) for each in payloads}), 4)
        self.assertEqual(len({each["PayloadIdentifier"] for each in payloads}), 4)
        mail = contents[0]
        self.assertEqual((mail["EmailAddress"], mail["EmailAccountType"]), (ADDRESS, "EmailTypeIMAP"))
        ways = ("Incoming", "Outgoing")
        servers = [(mail[f"{way}MailServerHostName"], mail[f"{way}MailServerPortNumber"]) for way in ways]
        self.assertEqual(servers, [("imap.example.org", 993), ("smtp.example.org", 587)])

    def test_stable(self) -> None:
        """The same address has the same profile, another address another one."""
        first, again = (mobileconfig(odd_settings(), DOMAIN, ADDRESS) for _ in range(2))
        other = mobileconfig(odd_settings(), DOMAIN, "b@example.org")
        assert first is not None
        assert other is not None
        self.assertEqual(first, again)
        self.assertNotEqual(plistlib.loads(first)["PayloadUUID"], plistlib.loads(other)["PayloadUUID"])

    def test_needs_both(self) -> None:
        """Without IMAP or POP3, or without submission, there is nothing to set up; POP3 will do."""
        for text, kind in (
            ("", None),
            ('imap.host = "a.example"', None),
            ('smtp.host = "a.example"', None),
            ('pop3.host = "a.example"\nsmtp.host = "a.example"', "EmailTypePOP"),
        ):
            profile = mobileconfig(load_text(f"[autoconfig.default]\n{text}\n"), DOMAIN, ADDRESS)
            found = None if profile is None else plistlib.loads(profile)["PayloadContent"][0]["EmailAccountType"]
            self.assertEqual(found, kind)


class PaccTests(SynchronousTestCase):
    """draft-ietf-mailmaint-pacc."""

    def test_stable(self) -> None:
        """The order of settings changes nothing: the digest in DNS stays true."""
        one = load_text('[autoconfig.default]\nimap.host = "a.example"\nsmtp.host = "b.example"\n')
        other = load_text('[autoconfig.default]\nsmtp.host = "b.example"\nimap.host = "a.example"\n')
        self.assertEqual(pacc_document(one, DOMAIN), pacc_document(other, DOMAIN))

    def test_oauth(self) -> None:
        """The issuer is told of where tokens are given out."""
        self.assertEqual(
            json.loads(pacc_document(odd_settings(), DOMAIN))["authentication"],
            {"oauth-public": {"issuer": "https://mail.example.org"}, "password": True},
        )
        self.patch(pacc, "oauth", lambda settings, domain: None)
        self.assertEqual(json.loads(pacc_document(odd_settings(), DOMAIN))["authentication"], {"password": True})


ACME = """\
[acme.ca]
directory = "https://ca.example/directory"
domains = {domains}
contact = ["postmaster@example.org"]
agree-to-terms = true
"""


class MtaStsTests(SynchronousTestCase):
    """RFC 8461 §3.2."""

    def policy(self, text: str, domain: str = DOMAIN) -> str:
        """A domain's policy."""
        found = mta_sts_policy(load_text(text), domain)
        assert found is not None
        return found[0].decode()

    def test_form(self) -> None:
        """Lines end with CR LF; the id has at most 32 letters and digits (§3.1)."""
        found = mta_sts_policy(odd_settings(), DOMAIN)
        assert found is not None
        self.assertRegex(found[0].decode(), r"\A(?:[a-z_]+: [!-~]+\r\n)+\Z")
        self.assertRegex(found[1], r"\A[0-9A-Za-z]{1,32}\Z")

    def test_id(self) -> None:
        """The id changes with the policy, and with nothing else."""
        base = mta_sts_policy(load_text(""), DOMAIN)
        same = mta_sts_policy(load_text('[autoconfig.default]\nimap.host = "a.example"\n'), DOMAIN)
        other = mta_sts_policy(load_text('[session.mta-sts]\nmode = "enforce"\n'), DOMAIN)
        assert base is not None
        assert other is not None
        self.assertEqual(base, same)
        self.assertNotEqual(base[1], other[1])

    def test_modes(self) -> None:
        """Testing if nothing is said; `none` is published, without hosts; `disable` isn't."""
        self.assertEqual(self.policy(""), "version: STSv1\r\nmode: testing\r\nmax_age: 604800\r\nmx: here.example\r\n")
        none = self.policy('[session.mta-sts]\nmode = "none"\nmax-age = "1d"\n')
        self.assertEqual(none, "version: STSv1\r\nmode: none\r\nmax_age: 86400\r\n")
        self.assertIsNone(mta_sts_policy(load_text('[session.mta-sts]\nmode = "disable"\n'), DOMAIN))

    def test_by_domain(self) -> None:
        """A domain's own table goes before the others' for each key."""
        text = """
            [session.mta-sts]
            mode = "enforce"
            mx = "mx.example.org"
            [session.mta-sts.domain."example.net"]
            mx = "mx.example.net"
        """
        self.assertIn("mx: mx.example.org", self.policy(text))
        self.assertEqual(
            self.policy(text, "example.net"),
            "version: STSv1\r\nmode: enforce\r\nmax_age: 604800\r\nmx: mx.example.net\r\n",
        )

    def test_certificate(self) -> None:
        """Without names in the settings there are this host's and those of certificates, but for what no MX is called.

        This host is the one that the MX record names: a policy without it would have mail held up.
        """
        names = ("mx2.example.org", "mx1.example.org", "mta-sts.example.org", "autoconfig.example.org", "*.example.org")
        text, files = "", dict[str, bytes]()
        for number, name in enumerate(names):
            pair = Pair(name)
            text += f'[certificate.c{number}]\ncert = "%{{file:/c{number}}}%"\n'
            text += f'private-key = "%{{file:/k{number}}}%"\ndefault = {"true" if not number else "false"}\n'
            files |= {f"/c{number}": pair.cert, f"/k{number}": pair.key}
        hosts = ("mail.example.org", "mx1.example.org", "mx2.example.org")
        self.assertEqual(self.hosts(text, files), hosts)
        text += ACME.format(domains='["mx3.example.org", "autodiscover.example.org", "192.0.2.1", "2001:db8::1"]')
        self.assertEqual(self.hosts(text, files), (*hosts, "mx3.example.org"))

    def hosts(self, text: str, files: dict[str, bytes]) -> tuple[str, ...]:
        """The MX hosts of the policy."""
        found = mta_sts_policy(load_text('[server]\nhostname = "mail.example.org"\n' + text, files=files), DOMAIN)
        assert found is not None
        return tuple(re.findall(r"mx: (.*)\r", found[0].decode()))


class SecurityTxtTests(SynchronousTestCase):
    """RFC 9116."""

    def test_form(self) -> None:
        """Fields of known names; exactly one Expires, in the form of RFC 3339 (§2.5.5), and a Contact (§2.5.3)."""
        lines = (security_txt(odd_settings().well_known.security) or b"").decode().splitlines()
        names = [line.partition(": ")[0] for line in lines]
        self.assertEqual(names[0], "Contact")
        self.assertEqual(names.count("Expires"), 1)
        self.assertEqual(names.count("Preferred-Languages"), 1)
        self.assertIn("Expires: 2030-06-30T10:00:00Z", lines)

    def test_none(self) -> None:
        """Nobody is named unless the settings do."""
        self.assertIsNone(security_txt(load_text("").well_known.security))
