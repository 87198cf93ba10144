"""Files of certificates that are replaced while they are served."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from stalwart.config import Certificate, CertificateSource, UnusableFile, certificate_sources, load
from stalwart.tls import Certificates, CertificateWatch, Credential, self_signed
from stalwart.tls import certificates as certificates_module
from stalwart.tls.credentials import configured
from stalwart.tls.watch import LOOK_SECONDS

T = TypeVar("T")
NOW = datetime.datetime.now(datetime.UTC)

CONFIG = """
[certificate.main]
cert = "%{file:live/fullchain.pem}%"
private-key = "%{file:live/privkey.pem}%"
[certificate.other]
cert = '''
CERT'''
private-key = '''
KEY'''
"""


class AtOnce:
    """No thread at all."""

    def run(self, function: Callable[[], T], /) -> Deferred[T]:
        """Run it here."""
        return succeed(function())


class Slowly:
    """Runs at once, and tells later."""

    def __init__(self) -> None:
        self.tell: list[Callable[[], None]] = []

    def run(self, function: Callable[[], T], /) -> Deferred[T]:
        """Run it here."""
        done: Deferred[T] = Deferred()
        found = function()
        self.tell.append(lambda: done.callback(found))
        return done


class Watch(SynchronousTestCase):
    """A configuration with a certificate from files, and one without."""

    def setUp(self) -> None:
        """The first pair is in place and served."""
        self.folder = Path(os.path.abspath(self.mktemp()))
        self.live = self.folder / "live"
        self.live.mkdir(parents=True)
        self.write(*self_signed(["old.example"], now=NOW))
        cert, key = self_signed(["inline.example"], now=NOW)
        file = self.folder / "stalwart.toml"
        file.write_text(CONFIG.replace("CERT", cert).replace("KEY", key))
        settings = load(str(file), {})
        self.clock = Clock()
        self.certificates = Certificates(settings.certificates, "host")
        self.watch = CertificateWatch(
            self.certificates, self.clock, AtOnce(), environ={}, wall=lambda: NOW.timestamp() + self.clock.seconds()
        )
        self.replaced: list[list[Certificate]] = []
        self.watch.on_replaced = lambda every: self.replaced.append(list(every))
        self.watch.configure(settings.certificates, certificate_sources(settings))

    def write(self, cert: str | None = None, key: str | None = None) -> None:
        """Write over the files as they are."""
        if cert is not None:
            (self.live / "fullchain.pem").write_text(cert)
        if key is not None:
            (self.live / "privkey.pem").write_text(key)

    def look(self, times: int = 1) -> list[str]:
        """Look so often; the lines of the log."""
        with capturedLogs() as lines:
            if not self.watch.running:
                self.watch.startService()
                self.clock.advance(0)
            for _ in range(times):
                self.clock.advance(LOOK_SECONDS)
        return [f"{line['log_level'].name}: {line['log_format'].format(**line)}" for line in lines]

    def names(self) -> list[str]:
        """Whom certificates are served for."""
        return sorted(self.certificates.names())

    def test_replaced(self) -> None:
        """A new pair is served at the next look, with one line; the certificate without files stays."""
        self.assertEqual(self.look(3), [])
        self.assertEqual((self.names(), self.replaced), (["inline.example", "old.example"], []))
        self.write(*self_signed(["new.example"], now=NOW))
        [line] = self.look()
        self.assertTrue(line.startswith("info: certificate.main: its files were replaced"), line)
        self.assertIn("for new.example, until 20", line)
        self.assertEqual(self.names(), ["inline.example", "new.example"])
        self.assertEqual([[one.id for one in every] for every in self.replaced], [["main", "other"]])
        self.assertEqual(self.look(3), [])

    def test_one_after_the_other(self) -> None:
        """Certificate first or key first: the new pair is served when both are there, with one warning at most."""
        for number, (first, second) in enumerate(((0, 1), (1, 0))):
            for looks, wanted in ((1, 1), (5, 2)):
                name = f"n{number}-{looks}.example"
                pair: list[str | None] = list(self_signed([name], now=NOW))
                before = self.names()
                self.look()
                self.write(*(part if at == first else None for at, part in enumerate(pair)))
                lines = self.look(looks)
                self.assertEqual(self.names(), before)
                self.write(*(part if at == second else None for at, part in enumerate(pair)))
                lines += self.look(2)
                self.assertEqual(self.names(), ["inline.example", name])
                self.assertEqual(len(lines), wanted, lines)

    def test_broken(self) -> None:
        """What can't be used is refused, the old one stays, and one line names file and reason; so for each fault."""
        cert, key = self_signed(["new.example"], now=NOW)
        for (new_cert, new_key), file, reason in (
            (("nonsense", None), "fullchain.pem", "a certificate in PEM"),
            ((cert, None), "privkey.pem", "the private key that belongs to the certificate"),
            ((None, key[:100]), "privkey.pem", "a private key in PEM that can be read"),
            ((key, None), "fullchain.pem", "are the two exchanged?"),
            ((cert[:200], key), "fullchain.pem", "a certificate in PEM"),
        ):
            self.write(new_cert, new_key)
            [line] = self.look(5)
            self.assertTrue(line.startswith("error: certificate.main: its files have changed and can't be used"), line)
            self.assertIn(str(self.live / file), line)
            self.assertIn(reason, line)
            self.assertEqual(self.names(), ["inline.example", "old.example"])
        os.unlink(self.live / "privkey.pem")
        [line] = self.look(5)
        self.assertIn(f'"{self.live / "privkey.pem"}" that can be read (No such file or directory)', line)
        self.write(cert, key)
        self.assertEqual(len(self.look(2)), 1)
        self.assertEqual(self.names(), ["inline.example", "new.example"])

    def test_renamed_and_linked(self) -> None:
        """Files that are put in place by rename, and links that are set to others (certbot), are seen."""
        cert, key = self_signed(["renamed.example"], now=NOW)
        self.look()
        for name, text in (("fullchain.pem", cert), ("privkey.pem", key)):
            (self.live / "new").write_text(text)
            os.replace(self.live / "new", self.live / name)
        self.look()
        self.assertEqual(self.names(), ["inline.example", "renamed.example"])
        for number in (1, 2):
            archive = self.folder / "archive"
            archive.mkdir(exist_ok=True)
            cert, key = self_signed([f"linked{number}.example"], now=NOW)
            for name, text in (("fullchain.pem", cert), ("privkey.pem", key)):
                (archive / f"{name}.{number}").write_text(text)
                (self.live / "link").symlink_to(archive / f"{name}.{number}")
                os.replace(self.live / "link", self.live / name)
            self.look()
            self.assertEqual(self.names(), ["inline.example", f"linked{number}.example"])

    def test_same_time_and_size(self) -> None:
        """Files written over with as many octets and given their old times (`rsync --times`, images) are seen."""
        self.look()
        cert, key = (self.live / "fullchain.pem").read_text(), (self.live / "privkey.pem").read_text()
        times = {name: os.stat(self.live / name).st_mtime_ns for name in ("fullchain.pem", "privkey.pem")}
        while True:
            new_cert, new_key = self_signed(["new.example"], now=NOW)
            if (len(new_cert), len(new_key)) == (len(cert), len(key)):
                break
        self.write(new_cert, new_key)
        for name, nanoseconds in times.items():
            os.utime(self.live / name, ns=(nanoseconds, nanoseconds))
        self.look()
        self.assertEqual(self.names(), ["inline.example", "new.example"])

    def test_permission_lost(self) -> None:
        """Files that may not be read any more are told of while the old certificate is served, not at a restart."""
        self.look()

        def refused(source: CertificateSource, environ: Mapping[str, str]) -> Certificate:
            raise UnusableFile("Permission denied")  # which root never gets

        self.patch(CertificateSource, "read", refused)
        os.chmod(self.live / "privkey.pem", 0)
        [line] = self.look(5)
        self.assertIn("Permission denied", line)
        self.assertEqual(self.names(), ["inline.example", "old.example"])

    def test_expired(self) -> None:
        """An expired certificate takes the place of one that has expired too, and of no other."""
        self.look()
        self.write(*self_signed(["late.example"], now=NOW - datetime.timedelta(days=500)))
        [line] = self.look(5)
        self.assertIn("the certificate expired on 20", line)
        self.assertEqual(self.names(), ["inline.example", "old.example"])
        self.clock.advance(400 * 86_400)
        self.look(2)
        self.assertEqual(self.names(), ["inline.example", "late.example"])

    def test_no_file(self) -> None:
        """A pipe, which would be waited for without end, is refused; so is a folder."""
        self.look()
        path = self.live / "privkey.pem"
        for make in (os.mkfifo, os.mkdir):
            path.unlink()
            make(path)
            [line] = self.look(5)
            self.assertIn(f"{path} should be a regular file", line)
            os.rename(path, self.folder / make.__name__)
            path.write_text("")
        self.assertEqual(self.names(), ["inline.example", "old.example"])

    def test_between_loading_and_watching(self) -> None:
        """What was replaced before the first look is seen by it."""
        self.write(*self_signed(["new.example"], now=NOW))
        self.assertEqual(len(self.look()), 1)
        self.assertEqual(self.names(), ["inline.example", "new.example"])

    def test_stopped(self) -> None:
        """After the end nothing is looked at."""
        self.look()
        self.watch.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_overtaken(self) -> None:
        """What a look finds that began before other certificates were configured is left alone."""
        pool = Slowly()
        self.watch._pool = pool
        self.write(*self_signed(["new.example"], now=NOW))
        self.look()
        self.watch.configure((), ())
        pool.tell[0]()
        self.assertEqual((self.names(), self.replaced), (["inline.example", "old.example"], []))

    def test_expiry(self) -> None:
        """Two weeks before its end a certificate is warned of once a day, and beyond it."""
        self.assertEqual(self.look(), [])
        for days, wanted in ((382, []), (2, ["expires", "expires"]), (20, ["has expired", "has expired"])):
            with capturedLogs() as events:
                self.clock.advance(days * 86_400)
            self.assertEqual([event["expires"] for event in events], wanted)
            self.assertEqual(self.look(3), [])
        with capturedLogs() as events:
            self.clock.advance(86_400 - 3 * LOOK_SECONDS)
        self.assertEqual(len(events), 2)

    def test_hundreds(self) -> None:
        """Certificates are loaded in the thread, and only those that are new; all that are new are served at once."""
        folder = self.folder / "many"
        folder.mkdir()
        text = ""
        for number in range(30):
            self.write_numbered(folder, number, "old")
            text += (
                f'[certificate.n{number}]\ncert = "%{{file:many/{number}.pem}}%"\n'
                f'private-key = "%{{file:many/{number}.key}}%"\n'
            )
        (self.folder / "many.toml").write_text(text)
        settings = load(str(self.folder / "many.toml"), {})
        pool = Slowly()
        certificates = Certificates(settings.certificates, "host")
        watch = CertificateWatch(certificates, self.clock, pool, environ={})
        watch.configure(settings.certificates, certificate_sources(settings))
        swaps: list[int] = []
        watch.on_replaced = lambda every: swaps.append(len(every))
        loading: list[str] = []
        before = list(certificates.configured_ones())

        def counted(certificate: Certificate) -> Credential:
            loading.append(certificate.id)
            return configured(certificate)

        self.patch(certificates_module, "configured", counted)
        watch.startService()
        self.addCleanup(watch.stopService)
        self.clock.advance(0)
        pool.tell.pop()()
        self.assertEqual((loading, swaps), ([], []))
        for number in range(20):
            self.write_numbered(folder, number, "new")
        self.clock.advance(LOOK_SECONDS)
        self.assertEqual(sorted(loading), sorted(f"n{number}" for number in range(20)))
        pool.tell.pop()()
        self.assertEqual((len(loading), swaps), (20, [30]))
        now = list(certificates.configured_ones())
        self.assertEqual([one is other for one, other in zip(before, now, strict=True)], [False] * 20 + [True] * 10)
        self.assertEqual(sum(name.startswith("new") for name in certificates.names()), 20)

    def write_numbered(self, folder: Path, number: int, kind: str) -> None:
        """A pair of files by a number."""
        cert, key = self_signed([f"{kind}{number}.example"], now=NOW)
        (folder / f"{number}.pem").write_text(cert)
        (folder / f"{number}.key").write_text(key)
