"""tls-alpn-01 challenges (RFC 8737): the certificate that proves control, and where it lies while it is waited for.

The authority names no token on the wire, so that another process than the one that orders can answer only if it has
read the certificate from the store's folder, which they share; that takes it some seconds, and no handshake reads it.
"""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from txacme.interfaces import IResponder
from zope.interface import implementer

from stalwart.tls.acme.store import RunsInThread

_log = Logger(namespace="stalwart.acme")

CHALLENGE_SECONDS = 3600.0
"""How old a challenge is that its process can't wait for any more."""

SHARING_SECONDS = 5.0
"""How long the authority isn't called after a challenge was written, so that all who share the folder have looked.

They look every two seconds; authorities come at once when they are called, and once only (RFC 8555 §7.5.1, §8.2).
"""

_FOLDER = "challenges"
_SUFFIX = ".pem"
_KEY = b"-----BEGIN PRIVATE KEY-----"
# RFC 8737 §6.1: id-pe-acmeIdentifier.
_ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")
_DAY = datetime.timedelta(days=1)
# Nothing but host names: what is half written begins with a dot.
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]|\.(?!\.)){0,252}\Z")
_MOST_OCTETS = 16_384  # of a file
_MOST_FILES = 1000  # of a folder; few orders run at a time


class ChallengeCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """The certificate and private key, in PEM, that answer a challenge."""

    chain_pem: bytes
    key_pem: bytes


class KeyAuthorization(Protocol):
    """What txacme hands to responders as the response."""

    key_authorization: str


class ChallengeFront(Protocol):
    """The TLS front, which serves challenge certificates in handshakes for `acme-tls/1` alone."""

    def set_challenge(self, name: str, chain_pem: bytes, key_pem: bytes) -> None:
        """Serve this for a server name."""

    def clear_challenge(self, name: str) -> None:
        """Serve it no longer."""


def challenge_certificate(name: str, key_authorization: str, *, now: datetime.datetime) -> ChallengeCertificate:
    """The self-signed certificate that proves control of a host name (A-labels) or an IP address at `now` (aware)."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ACME challenge")])
    # RFC 8737 §3: an OCTET STRING of the SHA-256 digest of the key authorization, in a critical extension.
    digest = b"\x04\x20" + hashlib.sha256(key_authorization.encode("ascii")).digest()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + _DAY)
        # RFC 8737 §3, RFC 8738 §6: the one name or address, and nothing else.
        .add_extension(x509.SubjectAlternativeName([_general_name(name)]), critical=False)
        .add_extension(x509.UnrecognizedExtension(_ACME_IDENTIFIER, digest), critical=True)
        .sign(key, hashes.SHA256())
    )
    return ChallengeCertificate(
        chain_pem=certificate.public_bytes(Encoding.PEM),
        key_pem=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )


def asked_for(name: str) -> str:
    """The server name (SNI) by which an authority asks for a host name or an IP address."""
    try:
        # RFC 8738 §6: SNI takes no addresses; their names in the reverse zone stand for them.
        return ipaddress.ip_address(name).reverse_pointer
    except ValueError:
        return name.lower()


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


class SharedChallenges:
    """Challenge certificates in the folders of the stores, a file per server name, for all who share these.

    They are known from the last `look` on. That is for a thread: a folder may lie on another machine.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        """`folders` are the stores'."""
        self._folders = [folder / _FOLDER for folder in folders]
        self._found: dict[str, tuple[bytes, bytes]] = {}

    def find(self, name: str) -> tuple[bytes, bytes] | None:
        """Chain and key for a server name as a client sent it; None if no challenge was there at the last look."""
        return self._found.get(name.lower().rstrip("."))

    def look(self) -> None:
        """See what is there. Blocks on the disk; what can't be read isn't there."""
        found: dict[str, tuple[bytes, bytes]] = {}
        for folder in self._folders:
            for path in _files(folder):
                pair = self._read(path)
                if pair is not None:
                    found.setdefault(path.name.removesuffix(_SUFFIX), pair)
        self._found = found

    def _read(self, path: Path) -> tuple[bytes, bytes] | None:
        try:
            with path.open("rb") as file:
                text = file.read(_MOST_OCTETS)
        except OSError:
            return None  # it is gone by now, or another user's: who orders answers itself
        chain, mark, key = text.partition(_KEY)
        # However old it is by the clock of this machine, which may be another one than wrote it: what it proves is of
        # use for its one challenge only (RFC 8737 §3).
        return (chain, mark + key) if mark else None


def _files(folder: Path) -> list[Path]:
    try:
        names = os.listdir(folder)
    except OSError:
        return []  # there is none before the first challenge; that the store can't be read is told by its own look
    certificates = [name for name in names if name.endswith(_SUFFIX) and _NAME.match(name.removesuffix(_SUFFIX))]
    return [folder / name for name in sorted(certificates)[:_MOST_FILES]]


@implementer(IResponder)
class TlsAlpn01Responder:
    """txacme's responder for tls-alpn-01: this process answers by its TLS front, others by the store's folder."""

    challenge_type = "tls-alpn-01"

    def __init__(
        self,
        front: ChallengeFront,
        folder: Path,
        *,
        pool: RunsInThread,
        clock: Callable[[], float],
        shared_by: IReactorTime | None = None,
    ) -> None:
        """`folder` is the store's, written in `pool` since it may lie on another machine; `clock` is the wall clock.

        `shared_by` is the reactor if other processes share the folder, which get time to look.
        """
        self._front = front
        self._folder = folder / _FOLDER
        self._pool = pool
        self._clock = clock
        self._shared_by = shared_by

    def start_responding(self, server_name: str, challenge: object, response: KeyAuthorization) -> Deferred[None]:
        """Answer for a name from now on; fires when other processes can, too."""
        now = datetime.datetime.fromtimestamp(self._clock(), datetime.UTC)
        made = challenge_certificate(server_name, response.key_authorization, now=now)
        name = asked_for(server_name)
        self._front.set_challenge(name, made.chain_pem, made.key_pem)
        keeping = self._pool.run(lambda: self._keep(name, made.chain_pem + made.key_pem))
        shared_by = self._shared_by
        if shared_by is not None:
            keeping = keeping.addCallback(lambda _: deferLater(shared_by, SHARING_SECONDS, lambda: None))
        return keeping.addErrback(self._tell_unkept, server_name)

    def _tell_unkept(self, failure: Failure, server_name: str) -> None:
        failure.trap(OSError)
        error = failure.value
        assert isinstance(error, OSError)
        _log.warn(
            "the challenge certificate for {name} could not be written to {folder} ({reason}): only this process "
            "answers the authority, no other one that shares the folder",
            name=server_name,
            folder=str(self._folder),
            reason=error.strerror or str(error),
        )

    def stop_responding(self, server_name: str, challenge: object, response: KeyAuthorization) -> Deferred[None]:
        """Stop answering for it."""
        name = asked_for(server_name)
        self._front.clear_challenge(name)
        return self._pool.run(lambda: self._forget(name))

    def _keep(self, name: str, octets: bytes) -> None:
        self._remove_old()
        _write(self._folder / f"{name}{_SUFFIX}", octets)

    def _forget(self, name: str) -> None:
        with suppress(OSError):  # the next challenge removes what is old
            (self._folder / f"{name}{_SUFFIX}").unlink()

    def _remove_old(self) -> None:
        """Remove what processes left that ended in the middle of an order."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in self._folder.iterdir():
            with suppress(FileNotFoundError):  # another process does the same
                if abs(self._clock() - path.stat().st_mtime) > CHALLENGE_SECONDS:
                    path.unlink()


def _write(path: Path, octets: bytes) -> None:
    """Put a file there as a whole, for its owner only."""
    handle, new = tempfile.mkstemp(prefix=".new-", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(octets)
        os.replace(new, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(new)
        raise
