"""The tables `acme.<id>`."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.config import LETS_ENCRYPT, RenewBefore, Secret, plan_reload
from tests.config.support import Pair, errors_of, listener, load_text

HTTP = listener("web", '"192.0.2.1:80"')
LOOPBACK = listener("web", '["127.0.0.1:80", "[::1]:80"]')
HTTPS = listener("tls", '"127.0.0.1:443"', more="tls.implicit = true")


def provider(more: str = "", *, name: str = "le", domains: str = '["mail.example.org"]') -> str:
    """The TOML of a provider that agrees to the terms."""
    return f'[acme.{name}]\ndomains = {domains}\ncontact = "a@example.org"\nagree-to-terms = true\n{more}\n'


class AcmeSettingsTests(SynchronousTestCase):
    """What the tables say."""

    def test_defaults(self) -> None:
        """Names and a contact are enough for Let's Encrypt and http-01; `mailto:` is added."""
        (le,) = load_text(HTTP + provider()).acme
        self.assertEqual((le.id, le.directory, le.challenge), ("le", LETS_ENCRYPT, "http-01"))
        self.assertEqual(le.contact, ("mailto:a@example.org",))
        self.assertEqual((le.renew_before, le.default, le.cache, le.ca_bundle), (None, False, None, None))
        self.assertEqual(load_text("").acme, ())

    def test_required(self) -> None:
        """Without names or without a contact it is an error."""
        self.assertEqual([e.key for e in errors_of('[acme.le]\ncontact = "a@b.c"\n')], ["acme.le.domains"])
        self.assertEqual([e.key for e in errors_of('[acme.le]\ndomains = "a.example"\n')], ["acme.le.contact"])

    def test_names(self) -> None:
        """Host names in lower case, international ones as A-labels, and IP addresses."""
        names = '["Mail.Example.org.", "Bücher.example", "192.0.2.1", "[2001:DB8::0:1]"]'
        (le,) = load_text(HTTP + provider(domains=names)).acme
        self.assertEqual(le.domains, ("mail.example.org", "xn--bcher-kva.example", "192.0.2.1", "2001:db8::1"))

    def test_wrong_names(self) -> None:
        """What can't be had is refused, a wildcard with the reason."""
        for name in ("*.example.org", "a..b", "-a.example", "a_b.example", "a.1", "x" * 64 + ".example", "a." * 128):
            found = errors_of(HTTP + provider(domains=f'["{name}"]'))
            self.assertEqual(len(found), 1, name)
        (error,) = errors_of(HTTP + provider(domains='["*.example.org"]'))
        self.assertIn("dns-01", str(error))

    def test_each_name_once(self) -> None:
        """A name has one provider, and stands there once."""
        (error,) = errors_of(HTTP + provider(domains='["a.example", "A.example"]'))
        self.assertEqual(error.key, "acme.le.domains[1]")
        (error,) = errors_of(HTTP + provider() + provider(name="other"))
        self.assertIn("acme.le.domains", str(error))

    def test_single_label(self) -> None:
        """A name without a dot is warned of, unless the directory itself has such a name."""
        (warning,) = load_text(HTTP + provider(domains='"mailhost"')).warnings
        self.assertIn("no dot", str(warning))
        directory = 'directory = "https://localhost:14000/dir"'
        self.assertEqual(load_text(HTTP + provider(directory, domains='"mailhost"')).warnings, ())

    def test_renew_before(self) -> None:
        """A duration, a fraction in two spellings; nothing that orders all the time, nor 30 of no unit."""
        for value, wanted in (
            ('"30d"', RenewBefore(seconds=30 * 86_400.0)),
            ('"1/4"', RenewBefore(fraction=0.25)),
            ("0.25", RenewBefore(fraction=0.25)),
            ('"0.25"', RenewBefore(fraction=0.25)),
        ):
            (le,) = load_text(HTTP + provider(f"renew-before = {value}")).acme
            self.assertEqual(le.renew_before, wanted)
        for value in ('"1/0"', '"9/10"', "0.001", '"soon"', "-0.2", "nan", "inf", "true", "30", '"30"'):
            self.assertEqual(len(errors_of(HTTP + provider(f"renew-before = {value}"))), 1, value)

    @settings(max_examples=50, deadline=None)
    @given(st.text(max_size=20))
    def test_any_text(self, text: str) -> None:
        """Any text is read or is an error of its own key."""
        escaped = "".join(f"\\U{ord(c):08x}" for c in text if not 0xD800 <= ord(c) < 0xE000)
        for key in ("domains", "contact", "renew-before", "directory", "eab.hmac-key", "challenge"):
            body = {"domains": '"a.example"', "contact": '"a@b.example"', "agree-to-terms": "true"}
            body[key] = f'"{escaped}"'
            lines = "\n".join(f"{name} = {value}" for name, value in body.items())
            for error in errors_of(f"{HTTP}[acme.le]\n{lines}\n"):
                self.assertTrue(error.key.startswith("acme.le."), error)

    def test_contact(self) -> None:
        """One address each, with or without the scheme, and nothing that a mailto URL would read as more."""
        (le,) = load_text(HTTP + provider().replace("a@example.org", "mailto:A@example.org")).acme
        self.assertEqual(le.contact, ("mailto:A@example.org",))
        for text in ("a", "a@b,c@d", "a@b?cc=x@y", "tel:123", "ä@example.org"):
            self.assertEqual(len(errors_of(HTTP + provider().replace("a@example.org", text))), 1, text)

    def test_directory(self) -> None:
        """Only https, without anything in it that a request would not carry (RFC 8555 §6.1)."""
        for url in ("http://ca.example/dir", "ca.example", "https://", "https://u:p@ca.example/", "https://a:x/"):
            self.assertEqual(len(errors_of(HTTP + provider(f'directory = "{url}"'))), 1, url)

    def test_external_account(self) -> None:
        """Both halves or none; the key is not shown, and has to be base64url."""
        settings = load_text(HTTP + provider('eab.kid = "k"\neab.hmac-key = "c2VjcmV0LWtleQ"'))
        self.assertEqual(settings.acme[0].eab_hmac_key, Secret("c2VjcmV0LWtleQ"))
        self.assertNotIn("c2VjcmV0", repr(settings.entries) + repr(settings))
        for half in ('eab.kid = "k"', 'eab.hmac-key = "c2VjcmV0"'):
            self.assertEqual(len(errors_of(HTTP + provider(half))), 1)
        (error,) = errors_of(HTTP + provider('eab.kid = "k"\neab.hmac-key = "geheim!"'))
        self.assertNotIn("geheim", str(error))


class ContradictionTests(SynchronousTestCase):
    """What can't work is told before the start."""

    def test_challenges(self) -> None:
        """http-01 wants a listener for HTTP, tls-alpn-01 one with TLS; dns-01 isn't there, and says so."""
        lmtp = listener("lmtp", '"127.0.0.1:24"', "lmtp")
        self.assertEqual([e.key for e in errors_of(lmtp + provider())], ["acme.le.challenge"])
        alpn = 'challenge = "tls-alpn-01"'
        self.assertEqual([e.key for e in errors_of(HTTP + provider(alpn))], ["acme.le.challenge"])
        self.assertEqual(errors_of(HTTPS + provider(alpn)), ())
        self.assertEqual(errors_of(HTTPS + provider()), ())
        (error,) = errors_of(HTTP + provider('challenge = "dns-01"'))
        self.assertIn("wildcards", str(error))

    def test_defaults(self) -> None:
        """One certificate is the default, whether it is ordered or given."""
        both = provider("default = true") + provider("default = true", name="two", domains='"b.example"')
        self.assertEqual([e.key for e in errors_of(HTTP + both)], ["acme.two.default"])
        pair = Pair()
        files = {"/c": pair.cert, "/k": pair.key}
        given_one = '[certificate.c]\ncert = "%{file:/c}%"\nprivate-key = "%{file:/k}%"\ndefault = true\n'
        found = errors_of(HTTP + given_one + provider("default = true"), files=files)
        self.assertEqual([e.key for e in found], ["acme.le.default"])

    def test_folders(self) -> None:
        """Two providers can't share a folder: there is one account in it."""
        both = provider('cache = "/c"') + provider('cache = "/c/."', name="two", domains='"b.example"')
        self.assertEqual([e.key for e in errors_of(HTTP + both)], ["acme.two.cache"])

    def test_ca_bundle(self) -> None:
        """The file has to be there and hold certificates."""
        bundle = 'ca-bundle = "/ca.pem"'
        self.assertEqual(errors_of(HTTP + provider(bundle), files={"/ca.pem": Pair().cert}), ())
        for files in ({}, {"/ca.pem": b"nothing"}, {"/ca.pem": b"\xff"}):
            self.assertEqual([e.key for e in errors_of(HTTP + provider(bundle), files=files)], ["acme.le.ca-bundle"])

    def test_warnings(self) -> None:
        """Terms that aren't agreed to, an empty list of names, and a port 80 that all speak TLS on; nothing else."""
        self.assertEqual(load_text(HTTP + provider()).warnings, ())
        (warning,) = load_text(HTTPS + provider()).warnings
        self.assertEqual(warning.key, "acme.le.challenge")
        self.assertEqual(load_text(HTTPS + provider('challenge = "tls-alpn-01"')).warnings, ())
        (warning,) = load_text(HTTP + provider().replace("agree-to-terms = true", "")).warnings
        self.assertEqual(warning.key, "acme.le.agree-to-terms")
        (warning,) = load_text(HTTP + provider(domains="[]")).warnings
        self.assertEqual(warning.key, "acme.le.domains")

    def test_loopback(self) -> None:
        """A CA that comes to port 80 finds nothing on loopback, unless a proxy is there that passes it on."""
        (warning,) = load_text(LOOPBACK + provider()).warnings
        self.assertEqual(warning.key, "acme.le.challenge")
        self.assertIn("loopback", str(warning))
        proxied = listener("web", '"127.0.0.1:80"', more='proxy.trusted-networks = "127.0.0.1"')
        forwarded = "[http]\nuse-x-forwarded = true\ntrusted-proxies = '127.0.0.1'\n"
        for text in (
            HTTP + LOOPBACK.replace("web", "inner"),
            proxied,
            listener("s", '"unix:/run/s"'),
            LOOPBACK + forwarded,
        ):
            self.assertEqual(load_text(text + provider()).warnings, (), text)

    def test_reload(self) -> None:
        """Providers come, go and change while the daemon runs; a change of a secret is one, too."""
        eab = 'eab.kid = "k"\neab.hmac-key = "{}"'
        before = load_text(HTTP + provider(eab.format("c2VjcmV0")))
        plan = plan_reload(before, load_text(HTTP + provider(eab.format("YW5kZXJz"))))
        self.assertEqual((plan.changed, plan.waiting), (("acme.le",), ()))
        self.assertEqual(plan.settings.acme[0].eab_hmac_key, Secret("YW5kZXJz"))
        self.assertEqual(plan_reload(before, load_text(HTTP)).settings.acme, ())
