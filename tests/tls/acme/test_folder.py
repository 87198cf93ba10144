"""What lies on disk: whole, private, and never a stop."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pem
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from stalwart.config import AcmeProvider
from stalwart.tls.acme.folder import StoreFolder, store_path
from stalwart.tls.acme.pair import BadPair, read_pair
from stalwart.tls.acme.policy import NameState
from stalwart.tls.acme.store import CertificateStore
from tests.tls.acme.pairs import make_pair, odd_pairs

NAME = "mail.example.org"


class AtOnce:
    """Runs blocking work in place."""

    def run(self, function: Any) -> Deferred[Any]:
        """As a pool of threads does, but now."""
        return maybeDeferred(function)


class FolderTests(SynchronousTestCase):
    """One folder."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute() / "acme" / "le"
        self.folder = StoreFolder(str(self.path), clock=lambda: 1000.0)
        old = os.umask(0)
        self.addCleanup(os.umask, old)
        self.folder.prepare()

    def modes(self) -> dict[str, int]:
        """The modes of all files."""
        return {each.name: stat.S_IMODE(each.stat().st_mode) for each in self.path.iterdir()}

    def test_private(self) -> None:
        """The folder is for this user only and so is each file, whatever the umask is."""
        self.folder.write(NAME, *make_pair(NAME))
        self.folder.account_key()
        self.folder.write_states({NAME: NameState()})
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o700)
        self.assertEqual(stat.S_IMODE(self.path.parent.stat().st_mode), 0o700)
        self.assertEqual(self.modes(), {f"{NAME}.pem": 0o600, "account.key": 0o600, "state.json": 0o600})

    def test_made_private(self) -> None:
        """A folder and files that all may read become private when they are used."""
        self.folder.write(NAME, *make_pair(NAME))
        self.path.chmod(0o755)
        (self.path / f"{NAME}.pem").chmod(0o644)
        self.folder.prepare()
        self.assertIsNotNone(self.folder.read(NAME))
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o700)
        self.assertEqual(self.modes(), {f"{NAME}.pem": 0o600})

    def test_pair(self) -> None:
        """Chain and key come back as they were, with dates and fingerprint."""
        chain, key = make_pair(NAME, now=5000.0, days=1)
        written = self.folder.write(NAME, chain, key)
        read = self.folder.read(NAME)
        assert read is not None
        self.assertEqual((read, read.chain_pem, read.key_pem), (written, chain, key))
        self.assertEqual((read.validity.not_before, read.validity.lifetime), (5000.0, 86_400.0))
        self.assertIsNone(self.folder.read("other.example.org"))

    def test_mismatch(self) -> None:
        """A key of another certificate, or a certificate for another name, is refused and changes nothing."""
        chain, key = make_pair(NAME)
        self.folder.write(NAME, chain, key)
        before = (self.path / f"{NAME}.pem").read_bytes()
        other_chain, other_key = make_pair(NAME)
        for bad in ((chain, other_key), (other_chain, b""), make_pair("other.example")):
            self.assertRaises(BadPair, self.folder.write, NAME, *bad)
        self.assertRaises(BadPair, self.folder.write, "../x", chain, key)
        self.assertEqual((self.path / f"{NAME}.pem").read_bytes(), before)
        self.assertEqual(list(self.modes()), [f"{NAME}.pem"])

    def test_addresses_and_wildcards(self) -> None:
        """An IP address has its file, too; a certificate for all names below covers one of them."""
        for name in ("192.0.2.1", "2001:db8::1"):
            self.folder.write(name, *make_pair(name))
            self.assertIsNotNone(self.folder.read(name))
        read_pair("a.example.org", b"".join(make_pair("*.example.org")))
        for name in ("example.org", "b.a.example.org"):
            self.assertRaises(BadPair, read_pair, name, b"".join(make_pair("*.example.org")))

    def test_odd(self) -> None:
        """A key that OpenSSL finds too small, and a certificate with an extension twice, can't be used."""
        for odd, pem_text in odd_pairs(NAME).items():
            self.assertRaises(BadPair, read_pair, NAME, pem_text)
            (self.path / f"{NAME}.pem").write_bytes(pem_text)
            self.assertIsNone(self.folder.read(NAME), odd)

    def test_cannot_be_closed(self) -> None:
        """A folder of another user that is open to others is used as far as it goes."""
        self.path.chmod(0o755)

        def refuse(path: str, mode: int) -> None:
            raise PermissionError(errno.EPERM, "Operation not permitted", path)

        self.patch(os, "chmod", refuse)
        self.folder.prepare()

    def test_put_aside(self) -> None:
        """A torn, foreign or empty file is no certificate; it is kept beside under another name."""
        whole = b"".join(make_pair(NAME))
        for octets in (b"", whole[: len(whole) // 2], b"\x00\xff" * 100, b"".join(make_pair("other.example"))):
            (self.path / f"{NAME}.pem").write_bytes(octets)
            self.assertIsNone(self.folder.read(NAME))
            self.assertEqual(self.folder.stamps(), {})
        asides = sorted(each.name for each in self.path.iterdir())
        self.assertEqual(asides, [f"{NAME}.pem.aside-1000" + "x" * count for count in range(4)])
        (self.path / f"{NAME}.pem").mkdir()
        self.assertIsNone(self.folder.read(NAME))

    @settings(max_examples=30, deadline=None)
    @given(st.binary(max_size=200), st.integers(0, 2000))
    def test_cut_anywhere(self, noise: bytes, place: int) -> None:
        """A file that was cut and scribbled on is read or put aside, and never anything else."""
        whole = b"".join(PAIR)
        (self.path / f"{NAME}.pem").write_bytes(whole[:place] + noise + whole[place + len(noise) :])
        self.folder.read(NAME)

    def test_other_files(self) -> None:
        """What isn't named like a certificate is left alone."""
        for name in (".hidden.pem", "UPPER.pem", "a..b.pem", "notes.txt", f"{NAME}.pem.aside-1"):
            (self.path / name).write_bytes(b"x")
        self.assertEqual(self.folder.stamps(), {})

    def test_account_key(self) -> None:
        """Made once; who comes second gets the first one's. One that can't be read is put aside and made anew."""
        self.assertIsNone(self.folder.account_thumbprint())
        first = self.folder.account_key()
        second = StoreFolder(str(self.path)).account_key()
        self.assertEqual(first.private_numbers(), second.private_numbers())
        thumbprint = self.folder.account_thumbprint()
        (self.path / "account.key").write_bytes(b"torn")
        self.folder.account_key()
        self.assertNotIn(self.folder.account_thumbprint(), (None, thumbprint))
        self.assertEqual((self.path / "account.key.aside-1000").read_bytes(), b"torn")

    def test_account_key_race(self) -> None:
        """Of two that make a key at the same time one is kept, and both use it."""
        other = StoreFolder(str(self.path))
        write = other._write

        def late(*args: Any, **more: Any) -> None:
            self.folder.account_key()
            write(*args, **more)

        self.patch(other, "_write", late)
        self.assertEqual(other.account_key().private_numbers(), self.folder.account_key().private_numbers())

    def test_states(self) -> None:
        """What failed is remembered; what can't be read is put aside and counts as nothing."""
        self.assertEqual(self.folder.states(), {})
        states = {NAME: NameState(directory="d", issued_at=1.5)}
        self.folder.write_states(states)
        self.assertEqual(self.folder.states(), states)
        for octets in (b'{"names": {"a": {"directory": 1}}}', b"{", b"\xff", b"[]"):
            (self.path / "state.json").write_bytes(octets)
            self.assertEqual(self.folder.states(), {})

    def test_full_disk(self) -> None:
        """A disk that is full fails the write, leaves what was there and nothing half written."""
        self.folder.write(NAME, *make_pair(NAME))
        before = (self.path / f"{NAME}.pem").read_bytes()

        def full(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        self.patch(os, "fsync", full)
        self.assertRaises(OSError, self.folder.write, NAME, *make_pair(NAME))
        self.assertEqual((self.path / f"{NAME}.pem").read_bytes(), before)
        self.assertEqual(list(self.modes()), [f"{NAME}.pem"])

    def test_leftovers(self) -> None:
        """What a killed process left half written is cleared away, but not what is being written now."""
        (self.path / ".new-old").write_bytes(b"x")
        os.utime(self.path / ".new-old", (1, 1))
        (self.path / ".new-young").write_bytes(b"x")
        self.folder.prepare()
        self.assertEqual(list(self.modes()), [".new-young"])

    def test_killed(self) -> None:
        """A process that is killed while it writes again and again leaves a whole certificate."""
        chain, key = make_pair(NAME)
        self.folder.write(NAME, chain, key)
        program = (
            "import sys\nfrom stalwart.tls.acme.folder import StoreFolder\n"
            "folder = StoreFolder(sys.argv[1])\npair = folder.read(sys.argv[2])\nprint('on', flush=True)\n"
            "while True:\n    folder._write(folder._file(pair.name), pair.chain_pem + pair.key_pem)\n"
        )
        environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
        for pause in (0.0, 0.003, 0.01):
            writer = subprocess.Popen(
                [sys.executable, "-c", program, str(self.path), NAME], stdout=subprocess.PIPE, env=environ
            )
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(pause)
            writer.send_signal(signal.SIGKILL)
            writer.communicate()
            pair = StoreFolder(str(self.path)).read(NAME)
            assert pair is not None
            self.assertEqual((pair.chain_pem, pair.key_pem), (chain, key))


PAIR = make_pair(NAME)


class PathTests(SynchronousTestCase):
    """Where the folder of a provider is."""

    def test_paths(self) -> None:
        """`cache` if it is set, else beside the database, where no id leads elsewhere."""
        provider = AcmeProvider(id="le", contact=(), domains=())
        self.assertEqual(store_path(provider, "/d/stalwart.sqlite"), "/d/acme/le")
        for name, folder in (("..", "%2E."), (".", "%2E"), ("a/../b", "a%2F..%2Fb"), ("bücher", "b%C3%BCcher")):
            provider = AcmeProvider(id=name, contact=(), domains=())
            self.assertEqual(store_path(provider, "/d/x"), f"/d/acme/{folder}")
        self.assertEqual(store_path(AcmeProvider(id="le", contact=(), domains=(), cache="/c"), "/d/x"), "/c")


class StoreTests(SynchronousTestCase):
    """txacme's store over a folder."""

    def setUp(self) -> None:
        self.path = self.mktemp()
        self.first, self.second = self.store(), self.store()
        self.changes: list[CertificateStore] = []

    def store(self) -> CertificateStore:
        """One process's view of the folder."""
        folder = StoreFolder(self.path)
        folder.prepare()
        store = CertificateStore(folder, AtOnce(), lambda: self.changes.append(store))
        return store

    def test_two_on_one_folder(self) -> None:
        """What one process stores the other one sees at its next look, once."""
        self.successResultOf(self.first.put(NAME, *make_pair(NAME)))
        for _ in range(2):
            self.successResultOf(self.second.refresh())
        self.assertEqual(self.changes, [self.first, self.second])
        self.assertEqual(self.first.pairs, self.second.pairs)
        os.unlink(os.path.join(self.path, f"{NAME}.pem"))
        self.successResultOf(self.second.refresh())
        self.assertEqual(dict(self.second.pairs), {})

    def test_pem_objects(self) -> None:
        """What txacme gives comes back from it: chain, then key."""
        chain, key = make_pair(NAME)
        self.successResultOf(self.first.store(NAME, [*pem.parse(key), *pem.parse(chain)]))
        known = self.successResultOf(self.second.as_dict())
        self.assertEqual(b"".join(each.as_bytes() for each in known[NAME]), chain + key)
        self.assertEqual(self.successResultOf(self.second.get(NAME)), known[NAME])
        self.failureResultOf(self.second.get("other"), KeyError)

    def test_mismatch(self) -> None:
        """A chain that doesn't belong to the key is refused, and the one before stays."""
        self.successResultOf(self.first.put(NAME, *make_pair(NAME)))
        before = dict(self.first.pairs)
        self.failureResultOf(self.first.put(NAME, make_pair(NAME)[0], make_pair(NAME)[1]), BadPair)
        self.successResultOf(self.first.refresh())
        self.assertEqual((self.first.pairs, self.changes), (before, [self.first]))

    def test_folder_gone(self) -> None:
        """A folder that can't be read is a failure of the look; what was known is still served."""
        self.successResultOf(self.first.put(NAME, *make_pair(NAME)))
        os.rename(self.path, self.path + ".away")
        self.failureResultOf(self.first.refresh(), OSError)
        self.assertIn(NAME, self.first.pairs)
