"""What is offered, as settings tell it; which domain a host stands for."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from stalwart.config import Settings
from stalwart.discovery import Service, base_url, services
from stalwart.discovery.domains import default_domain, domain_of_host, host_of
from stalwart.discovery.services import oauth
from tests.config.support import load_text


def told(settings: Settings, domain: str) -> list[tuple[str, str, int, str]]:
    """The services of a domain in short."""
    return [(each.protocol, each.host, each.port, each.security) for each in services(settings, domain)]


class ServicesTests(SynchronousTestCase):
    """`services` and `base_url`."""

    def test_nothing_set(self) -> None:
        """Without any setting JMAP is told of, which is this server's own, and nothing of other programs."""
        self.assertEqual(
            services(load_text(""), "example.org"),
            (
                Service(
                    protocol="jmap",
                    host="here.example",
                    port=443,
                    security="tls",
                    url="https://here.example/jmap/session",
                ),
            ),
        )

    def test_ports(self) -> None:
        """The port follows from how the connection is encrypted, unless it is set."""
        for protocol, tls, starttls in (("imap", 993, 143), ("pop3", 995, 110), ("smtp", 465, 587)):
            for security, port in (("tls", tls), ("starttls", starttls)):
                text = f'[autoconfig.default]\njmap.enabled = false\n{protocol}.host = "a.example"\n'
                text += f'{protocol}.security = "{security}"\n'
                self.assertEqual(told(load_text(text), "example.org"), [(protocol, "a.example", port, security)])
                other = load_text(text + f"{protocol}.port = 7\n")
                self.assertEqual(told(other, "example.org"), [(protocol, "a.example", 7, security)])

    def test_by_domain(self) -> None:
        """A domain has what its own table says, and for what that leaves open the default; false takes it away."""
        settings = load_text(
            """
            [autoconfig.default]
            imap.host = "imap.example.org"
            smtp.host = "smtp.example.org"
            [autoconfig."example.net"]
            jmap.enabled = false
            imap.host = "imap.example.net"
            imap.security = "starttls"
            smtp.host = false
            """
        )
        self.assertEqual([each[0] for each in told(settings, "example.org")], ["jmap", "imap", "smtp"])
        self.assertEqual(told(settings, "example.net"), [("imap", "imap.example.net", 143, "starttls")])

    def test_by_url(self) -> None:
        """What is reached by a URL has its host and port."""
        settings = load_text(
            '[autoconfig.default]\njmap.port = 8443\ncaldav.url = "https://a.example:444/x"\n'
            'carddav.url = "https://b.example/"\n'
        )
        jmap, caldav, carddav = services(settings, "example.org")
        self.assertEqual((jmap.url, jmap.port), ("https://here.example:8443/jmap/session", 8443))
        self.assertEqual((caldav.host, caldav.port, caldav.url), ("a.example", 444, "https://a.example:444/x"))
        self.assertEqual((carddav.host, carddav.port), ("b.example", 443))

    def test_base_url(self) -> None:
        """URLs begin with what is set for JMAP, else with `http.url` if it is the same for all, else the host name."""
        for url, base in (
            ("'https://web.example:8443'", "https://web.example:8443"),
            ("'https://web.example/'", "https://web.example"),
            ("'http://web.example'", "https://here.example"),
            ("'https://' + config_get('server.hostname')", "https://here.example"),
        ):
            settings = load_text(f'[http]\nurl = "{url}"\n')
            self.assertEqual(base_url(settings, "example.org"), base)
            self.assertEqual(services(settings, "example.org")[0].url, base + "/jmap/session")
        settings = load_text("[http]\nurl = \"'https://web.example'\"\n[autoconfig.default]\njmap.host = 'j.example'\n")
        self.assertEqual(base_url(settings, "example.org"), "https://j.example")

    def test_no_oauth(self) -> None:
        """OAuth is not told of while it isn't served."""
        self.assertIsNone(oauth(load_text(""), "example.org"))


class DomainTests(SynchronousTestCase):
    """`domain_of_host`."""

    def test_of_host(self) -> None:
        """Names made for one domain stand for that only; others for the default."""
        local = frozenset(("example.org", "example.net", "sub.example.org"))
        for host, domain in (
            ("example.net", "example.net"),
            ("example.net.", "example.net"),
            ("autoconfig.example.net", "example.net"),
            ("mta-sts.sub.example.org", "sub.example.org"),
            ("mail.example.net", "example.net"),
            ("mta-sts.foreign.example", None),
            ("autodiscover.foreign.example", None),
            ("foreign.example", "example.org"),
            ("192.0.2.1", "example.org"),
            ("[2001:db8::1]", "example.org"),
            ("", "example.org"),
        ):
            self.assertEqual(domain_of_host(host, "mail.example.org", local), domain, host)

    def test_default(self) -> None:
        """The default is the domain that the server's name lies in, else the only one."""
        self.assertEqual(default_domain("a.b.example.org", frozenset(("example.org", "x.example"))), "example.org")
        self.assertEqual(default_domain("example.org", frozenset(("example.org", "x.example"))), "example.org")
        self.assertEqual(default_domain("mail.example.com", frozenset(("x.example",))), "x.example")
        self.assertIsNone(default_domain("mail.example.com", frozenset(("x.example", "y.example"))))
        self.assertIsNone(default_domain("mail.example.com", frozenset()))

    def test_host_of(self) -> None:
        """The port goes, the brackets stay."""
        for authority, host in (("a.example:8443", "a.example"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]"), ("", "")):
            self.assertEqual(host_of(authority), host)
