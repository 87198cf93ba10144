"""`tls.*` of listeners, and the files that values come from."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from stalwart.config import TlsOptions, UnusableFile, certificate_sources, plan_reload
from stalwart.config.tls_settings import PROTOCOLS
from tests.config.support import Pair, errors_of, listener, load_text, reader

ONE = listener("a", '"127.0.0.1:1"', more="tls.implicit = true")


def options(text: str, files: dict[str, bytes] | None = None) -> TlsOptions:
    """What the first listener of a configuration has."""
    return load_text(text, files=files).listeners[0].tls


class Reading(SynchronousTestCase):
    """Values and their checks."""

    def test_defaults(self) -> None:
        """Nothing is switched off, a handshake has 30 seconds, and nobody is asked for a certificate."""
        self.assertEqual(options(ONE), TlsOptions())
        self.assertEqual((TlsOptions().timeout, TlsOptions().client_auth), (30.0, "required"))

    def test_inherited(self) -> None:
        """`server.tls.*` counts for listeners that say nothing else; versions have two names, in any case."""
        server = '[server]\ntls.disable-protocols = ["0x0303"]\ntls.timeout = "5s"\n'
        self.assertEqual(options(server + ONE), TlsOptions(disable_protocols=("TLSv1.2",), timeout=5.0))
        own = listener(
            "a", '"127.0.0.1:1"', more='tls.disable-protocols = []\ntls.disable-ciphers = "tls13_aes_128_gcm_sha256"'
        )
        self.assertEqual(options(server + own), TlsOptions(disable_ciphers=("TLS13_AES_128_GCM_SHA256",), timeout=5.0))

    def test_something_remains(self) -> None:
        """One version has to be spoken, and each that is needs a cipher."""
        for more, key in (
            ('tls.disable-protocols = ["TLSv1.2", "TLSv1.3"]', "disable-protocols"),
            (f"tls.disable-ciphers = {list(PROTOCOLS['TLSv1.3'])}", "disable-ciphers"),
            (f"tls.disable-ciphers = {list(PROTOCOLS['TLSv1.2'])}", "disable-ciphers"),
        ):
            [error] = errors_of(listener("a", '"127.0.0.1:1"', more=more))
            self.assertEqual(error.key, f"server.listener.a.tls.{key}")
        more = f"tls.disable-protocols = 'TLSv1.2'\ntls.disable-ciphers = {list(PROTOCOLS['TLSv1.2'])}"
        self.assertEqual(errors_of(listener("a", '"127.0.0.1:1"', more=more)), ())

    def test_unknown_names(self) -> None:
        """A version or a cipher that isn't there is an error that lists those that are."""
        for more, wanted in (
            ("tls.disable-protocols = ['TLSv1.1']", '"TLSv1.2", "TLSv1.3"'),
            ("tls.disable-ciphers = ['AES128-SHA']", "TLS13_AES_256_GCM_SHA384"),
            ("tls.timeout = '0s'", '"1s"'),
            ("tls.client-auth = 'maybe'", '"required" or "optional"'),
        ):
            [error] = errors_of(listener("a", '"127.0.0.1:1"', more=more))
            self.assertIn(wanted, error.wanted)

    def test_authorities(self) -> None:
        """`client-ca` is read from its file; what is no certificate is told with its key."""
        pair = Pair()
        more = 'tls.implicit = true\ntls.client-ca = "%{file:ca.pem}%"'
        text = listener("a", '"127.0.0.1:1"', more=more)
        self.assertEqual(options(text, {"/etc/test/ca.pem": pair.cert}).client_ca, pair.cert.decode().strip())
        [error] = errors_of(text, files={"/etc/test/ca.pem": pair.key})
        self.assertEqual(error.key, "server.listener.a.tls.client-ca")
        self.assertIn("this is a private key", error.wanted)
        plain = load_text(text.replace("tls.implicit = true\n", ""), files={"/etc/test/ca.pem": pair.cert})
        self.assertIn("nobody is asked", str(plain.warnings[0]))

    def test_nobody_asked(self) -> None:
        """To want certificates of clients without authorities is an error: else all would be let in."""
        for auth in ("required", "optional"):
            text = listener("a", '"127.0.0.1:1"', more=f'tls.implicit = true\ntls.client-auth = "{auth}"')
            [error] = errors_of(text)
            self.assertEqual(error.key, "server.listener.a.tls.client-auth")
            self.assertIn("server.listener.a.tls.client-ca beside it", error.wanted)
        pair = Pair()
        server = '[server]\ntls.client-ca = "%{file:ca.pem}%"\n'
        self.assertEqual(options(server + text, {"/etc/test/ca.pem": pair.cert}).client_auth, "optional")
        [error] = errors_of(server + text)
        self.assertEqual(error.key, "server.tls.client-ca")

    def test_reloaded(self) -> None:
        """They take effect at a reload; `tls.implicit` waits."""
        before = load_text(ONE)
        after = load_text(ONE.replace("tls.implicit = true", 'tls.implicit = false\ntls.timeout = "5s"'))
        plan = plan_reload(before, after)
        [running] = plan.settings.listeners
        self.assertEqual((running.tls.timeout, running.tls_implicit), (5.0, True))
        self.assertIn("server.listener.a.tls.timeout", plan.changed)
        self.assertEqual(plan.waiting, ("server.listener.a.tls.implicit",))


class Sources(SynchronousTestCase):
    """Which files certificates come from."""

    def test_files(self) -> None:
        """Files count from the configuration's folder; a certificate that stands in the configuration has none."""
        pair, other = Pair(), Pair()
        text = (
            "[certificate.a]\ncert = '%{file:tls/a.pem}%'\nprivate-key = '%{env:KEY}%'\n"
            f"[certificate.b]\ncert = '''{other.cert.decode()}'''\nprivate-key = '''{other.key.decode()}'''\n"
            "[certificate.c]\ncert = '%{file:/both.pem}%'\nprivate-key = '%{file:/both.pem}%'\n"
        )
        files = {"/etc/test/tls/a.pem": pair.cert, "/both.pem": pair.key + pair.cert}
        environ = {"KEY": pair.key.decode()}
        settings = load_text(text, environ, files)
        found = {source.certificate.id: source for source in certificate_sources(settings)}
        self.assertEqual(
            {name: source.files for name, source in found.items()},
            {"a": ("/etc/test/tls/a.pem",), "c": ("/both.pem",)},
        )
        for source in found.values():
            self.assertEqual(source.read(environ, reader(files)), source.certificate)
        files["/etc/test/tls/a.pem"] = other.cert
        error = self.assertRaises(UnusableFile, found["a"].read, environ, reader(files))
        self.assertIn("private-key in the configuration should have the private key that belongs", str(error))
        files["/both.pem"] = other.cert + other.key
        renewed = found["c"].read(environ, reader(files))
        self.assertEqual((renewed.id, renewed.cert), ("c", (other.cert + other.key).decode().rstrip()))
