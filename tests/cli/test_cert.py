"""`stalwart cert …`."""

from __future__ import annotations

import datetime
import json
import shutil
import socket
import stat
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import trustme
from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from stalwart.cli.main import stalwart
from stalwart.tls.acme.folder import StoreFolder
from stalwart.tls.acme.policy import Failure, NameState


class CertTests(SynchronousTestCase):
    """Over a configuration with one certificate of its own, and two names that an authority is asked for."""

    def setUp(self) -> None:
        """Write it."""
        self.root = Path(tempfile.mkdtemp(prefix="cert-"))  # short, for the socket in it
        self.addCleanup(shutil.rmtree, self.root)
        self.authority = trustme.CA(organization_name="Own CA", key_type=trustme.KeyType.ECDSA)
        self.write("configured", "own.example.org", "alias.example.org")
        self.store = StoreFolder(str(self.root / "acme" / "le"))
        self.config = self.root / "stalwart.toml"
        self.configure(
            f'[certificate.main]\ncert = "%{{file:{self.root}/configured.pem}}%"\n'
            f'private-key = "%{{file:{self.root}/configured.key}}%"\n'
            '[acme.le]\ndirectory = "https://ca.example.org/dir"\ncontact = ["a@example.org"]\nagree-to-terms = true\n'
            'domains = ["mail.example.org", "jmap.example.org", "192.0.2.7"]\ndefault = true\n'
        )

    def configure(self, more: str) -> None:
        """A configuration."""
        self.config.write_text(
            '[server]\nhostname = "host.example.org"\n'
            '[server.listener.http]\nprotocol = "http"\nbind = "127.0.0.1:0"\n'
            '[storage]\ndata = "db"\nblob = "b"\n'
            f'[store.db]\ntype = "sqlite"\npath = "{self.root}/mail.sqlite"\n'
            f'[store.b]\ntype = "fs"\npath = "{self.root}/blobs"\n{more}'
        )

    def write(self, stem: str, *names: str, **options: Any) -> tuple[Path, Path]:
        """A certificate and its key, as files."""
        made = self.authority.issue_cert(*names, key_type=trustme.KeyType.ECDSA, **options)
        cert, key = self.root / f"{stem}.pem", self.root / f"{stem}.key"
        cert.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        key.write_bytes(made.private_key_pem.bytes())
        return cert, key

    def run_cert(self, *arguments: str) -> Result:
        """`stalwart cert ARGUMENTS`."""
        return CliRunner().invoke(stalwart, ["-c", str(self.config), "cert", *arguments])

    def fine(self, *arguments: str) -> str:
        """The output of a command that has to succeed."""
        result = self.run_cert(*arguments)
        self.assertEqual(result.exit_code, 0, result.output + repr(result.exception))
        return result.stdout

    def refused(self, *arguments: str) -> str:
        """What a command says that has to be refused with exit code 1."""
        result = self.run_cert(*arguments)
        self.assertEqual(result.exit_code, 1, result.output)
        return result.stderr

    def test_names_as_configured(self) -> None:
        """A name is understood as the configuration understands it: IDNA 2008, and addresses in any form."""
        self.config.write_text(
            self.config.read_text().replace('"192.0.2.7"', '"192.0.2.7", "straße.example.org", "2001:db8::1"')
        )
        for name in ("straße.example.org", "xn--strae-oqa.example.org", "2001:DB8:0::1", "[2001:db8::1]"):
            self.fine("show", name)
        self.assertIn("no certificate has ..", self.refused("show", ".."))

    def take_over(self, name: str = "mail.example.org", *names: str, **options: Any) -> None:
        """Import a certificate."""
        cert, key = self.write("import", name, *names, **options)
        self.fine("import", name, "--cert", str(cert), "--key", str(key))

    def listed(self) -> dict[str, dict[str, Any]]:
        """`list --json` by name."""
        return {one["name"]: one for one in json.loads(self.fine("list", "--json"))}

    def test_list(self) -> None:
        """The configured one is renewed by hand; a name without a certificate is due, and told to be self-signed."""
        lines = self.fine("list").splitlines()
        self.assertRegex(lines[0], r"^NAME +SOURCE +FROM +NOT AFTER +ISSUER +KEY +RENEWED$")
        self.assertRegex(
            lines[1], r"^own.example.org +configured +certificate.main +[0-9-]+T.*Z +Own CA +ECDSA P-256 +by hand$"
        )
        self.assertRegex(lines[2], r"^mail.example.org +self-signed +acme.le +- +- +- +due now$")
        self.assertEqual(len(lines), 5)

    def test_nothing(self) -> None:
        """Without any the self-signed one is all there is."""
        self.configure("")
        [one] = json.loads(self.fine("list", "--json"))
        self.assertEqual((one["name"], one["source"], one["certificate"]), ("host.example.org", "self-signed", None))

    def test_issued(self) -> None:
        """What is on the disk is told with issuer, key, names, dates, and when it is renewed."""
        self.take_over("mail.example.org", "other.example.org")
        one = self.listed()["mail.example.org"]
        self.assertEqual((one["source"], one["by"], one["default"], one["failure"]), ("issued", "acme.le", True, None))
        self.assertEqual(one["certificate"]["names"], ["mail.example.org", "other.example.org"])
        self.assertEqual(one["certificate"]["key"], "ECDSA P-256")
        self.assertIn("Own CA", one["certificate"]["issuer"])
        self.assertTrue(one["certificate"]["notBefore"] < one["nextRenewal"] < one["certificate"]["notAfter"])
        self.assertNotIn("PRIVATE", json.dumps(one))

    def test_failure(self) -> None:
        """What failed last, and when it is tried again, stands below the table and in `show`."""
        now = time.time()
        failure = Failure(count=3, at=now - 60, retry_at=now + 6000, reason="dns", text="there is no A record")
        self.store.prepare()
        self.store.write_states({"jmap.example.org": NameState(failure=failure)})
        for output in (self.fine("list"), self.fine("show", "jmap.example.org")):
            self.assertIn("ordering failed 3 times, last at ", output)
            self.assertIn("there is no A record", output)
            self.assertIn("it is tried again at 20", output)
        told = self.listed()["jmap.example.org"]["failure"]
        self.assertEqual((told["count"], told["reason"]), (3, "dns"))
        self.assertRegex(told["retryAt"], r"^20.*Z$")

    def test_unusable(self) -> None:
        """Looking changes nothing: a file that can't be used is told of with the reason, and stays where it is."""
        self.store.prepare()
        broken, state = Path(self.store.path) / "mail.example.org.pem", Path(self.store.path) / "state.json"
        for path in (broken, state):
            path.write_text("nonsense")
        for output in (self.fine("list"), self.fine("show", "mail.example.org")):
            self.assertIn(f"what lies in {self.store.path} can't be used (0 certificates", output)
        self.assertIn("orders anew", self.listed()["mail.example.org"]["hindrance"])
        self.assertEqual({path.read_text() for path in Path(self.store.path).iterdir()}, {"nonsense"})
        self.assertEqual(len(list(Path(self.store.path).iterdir())), 2)

    def test_terms(self) -> None:
        """A name isn't called due that nothing is ordered for."""
        self.config.write_text(self.config.read_text().replace("agree-to-terms = true", "agree-to-terms = false"))
        output = self.fine("list")
        self.assertNotIn("due now", output)
        self.assertIn("mail.example.org: nothing is ordered until acme.le.agree-to-terms is true", output)

    def test_notes_in_the_file(self) -> None:
        """Text around the PEM, in any script, is no obstacle."""
        cert = self.root / "configured.pem"
        cert.write_text("Gültig für die Vereinsseite\n" + cert.read_text())
        self.assertEqual(self.listed()["own.example.org"]["source"], "configured")

    def test_show(self) -> None:
        """A certificate is found by each of its names, however they are written; by no others."""
        for name in ("own.example.org", "ALIAS.example.org."):
            self.assertIn("names:         own.example.org, alias.example.org\n", self.fine("show", name))
        self.assertIn("a self-signed one stands in", self.fine("show", "192.0.2.7"))
        self.assertEqual(json.loads(self.fine("show", "--json", "own.example.org"))[0]["by"], "certificate.main")
        self.assertIn("stalwart cert list", self.refused("show", "x.example.org"))

    def test_import(self) -> None:
        """It is for its owner only, in a folder of its owner; the failures of before are forgotten."""
        self.store.prepare()
        failure = Failure(count=3, at=1, retry_at=time.time() + 6000, reason="dns", text="x")
        kept = NameState(failure=failure)
        self.store.write_states({"mail.example.org": kept, "jmap.example.org": kept})
        self.take_over("mail.example.org")
        [path] = Path(self.store.path).glob("*.pem")
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(path.parent.stat().st_mode), 0o700)
        self.assertEqual(self.store.states(), {"mail.example.org": NameState(), "jmap.example.org": kept})

    def test_import_again(self) -> None:
        """A second one takes the place of the first; a bad one leaves it."""
        self.take_over("mail.example.org")
        first = self.store.read("mail.example.org")
        self.take_over("mail.example.org")
        second = self.store.read("mail.example.org")
        assert first is not None and second is not None
        self.assertNotEqual(first.fingerprint, second.fingerprint)
        cert, key = self.write("other", "other.example.org")
        self.refused("import", "mail.example.org", "--cert", str(cert), "--key", str(key))
        self.assertEqual(self.store.read("mail.example.org"), second)

    def test_import_address(self) -> None:
        """IP addresses have certificates as well."""
        self.take_over("192.0.2.7")
        self.assertEqual(self.listed()["192.0.2.7"]["source"], "issued")

    def test_import_refused(self) -> None:
        """Nothing is taken over that doesn't fit: name, key, dates, files; and no name that isn't configured."""
        now = datetime.datetime.now(datetime.UTC)
        cert, key = map(str, self.write("good", "mail.example.org"))
        other_cert, other_key = map(str, self.write("other", "x.example.org"))
        old = map(str, self.write("old", "mail.example.org", not_after=now - datetime.timedelta(hours=1)))
        old_cert, old_key = old
        new = self.write("new", "mail.example.org", not_before=now + datetime.timedelta(days=1))
        new_cert, new_key = map(str, new)
        locked = self.root / "locked.key"
        locked.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")
        empty = self.root / "empty"
        empty.write_text("")
        for name, cert_path, key_path, wanted in (
            ("nobody.example.org", cert, key, "acme.<id>.domains"),
            ("own.example.org", cert, key, "acme.<id>.domains"),
            ("mail.example.org", other_cert, other_key, "not for mail.example.org"),
            ("mail.example.org", cert, other_key, "does not belong"),
            ("mail.example.org", old_cert, old_key, "expired at"),
            ("mail.example.org", new_cert, new_key, "valid only from"),
            ("mail.example.org", cert, str(locked), "can't be read"),
            ("mail.example.org", str(empty), str(empty), "wanted a chain and one key"),
        ):
            said = self.refused("import", name, "--cert", cert_path, "--key", key_path)
            self.assertIn(wanted, said)
            self.assertNotIn("PRIVATE KEY-----", said)
        self.assertFalse(Path(self.store.path).exists())
        missing = self.run_cert("import", "mail.example.org", "--cert", cert, "--key", str(self.root / "no"))
        self.assertEqual(missing.exit_code, 2)

    def test_renew_without_daemon(self) -> None:
        """Only a running daemon orders."""
        self.assertIn("no daemon runs", self.refused("renew", "mail.example.org"))

    def test_renew(self) -> None:
        """The daemon is asked by its control socket, and its answer is printed; exit code 1 if it failed."""
        for done in (True, False):
            asked = self.answer(json.dumps({"done": done, "lines": ["what became of it"]}).encode() + b"\n")
            result = self.run_cert("renew", "MAIL.example.org.")
            self.assertEqual((result.exit_code, result.output), (0 if done else 1, "what became of it\n"))
            self.assertEqual(json.loads(asked[0]), {"command": "renew", "name": "mail.example.org"})

    def answer(self, octets: bytes) -> list[bytes]:
        """A daemon that answers once; what it was asked."""
        asked: list[bytes] = []
        path = self.root / "mail.sqlite.control"
        path.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(path))
        listening.listen()

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                asked.append(connection.recv(4096))
                connection.sendall(octets)
            listening.close()

        thread = threading.Thread(target=serve)
        thread.start()
        self.addCleanup(thread.join)
        return asked
