"""The folder of one provider: the account's key, a file for each certificate with its key, and what failed when.

Each file is written whole or not at all, and is for this user only; one that can't be used is put aside, never deleted.
Plain blocking code, for threads and for commands without a daemon.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from urllib.parse import quote

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from twisted.logger import Logger

from stalwart.config import AcmeProvider
from stalwart.tls.acme.jws import thumbprint
from stalwart.tls.acme.pair import BadPair, Pair, read_pair
from stalwart.tls.acme.policy import NameState

_log = Logger(namespace="stalwart.acme")

_ACCOUNT = "account.key"
_STATE = "state.json"
_SUFFIX = ".pem"
# Host names as A-labels, and IP addresses: nothing that a path could mean.
_NAME = re.compile(r"[a-z0-9:](?:[a-z0-9:-]|\.(?!\.)){0,252}\Z")
_MOST_OCTETS = 1_048_576
_TEMPORARY_SECONDS = 600.0  # a file that is being written is older only if its writer was killed

Stamp = tuple[int, int, int]
"""What tells one version of a file from another: inode, size, time of change in nanoseconds."""


class _States(msgspec.Struct, frozen=True, kw_only=True):
    names: dict[str, NameState]


def store_path(provider: AcmeProvider, data_path: str) -> str:
    """The folder of a provider: its `cache`, else `acme/<id>` beside the database at `data_path`."""
    if provider.cache is not None:
        return provider.cache
    name = quote(provider.id, safe="")
    if name.startswith("."):
        name = f"%2E{name[1:]}"
    return os.path.join(os.path.dirname(data_path), "acme", name)


class StoreFolder:
    """Reads and writes one folder. Methods raise OSError with the path in it; several processes may use the folder."""

    def __init__(self, path: str, *, clock: Callable[[], float] = time.time) -> None:
        """`clock` is the wall clock, for the names of what is put aside."""
        self.path = path
        self._clock = clock

    def prepare(self) -> None:
        """Make the folder if it is missing, for this user only; clear away what a killed process left half written."""
        above = os.path.dirname(self.path)
        if not os.path.isdir(above):
            os.makedirs(above, mode=0o700, exist_ok=True)
        with suppress(FileExistsError):
            os.mkdir(self.path, 0o700)
        if stat.S_IMODE(os.stat(self.path).st_mode) & 0o077:
            try:
                os.chmod(self.path, 0o700)
            except OSError as error:
                reason = error.strerror or str(error)
                _log.warn("{path} is open to others, and can't be closed: {reason}", path=self.path, reason=reason)
        for entry in os.scandir(self.path):
            if entry.name.startswith(".new-"):
                with suppress(OSError):  # what is served doesn't depend on it
                    if entry.stat().st_mtime < self._clock() - _TEMPORARY_SECONDS:
                        os.unlink(entry.path)

    def stamps(self) -> dict[str, Stamp]:
        """The certificates that are there, by name."""
        found = {}
        for entry in os.scandir(self.path):
            name = entry.name.removesuffix(_SUFFIX)
            if name != entry.name and _NAME.match(name):
                try:
                    found[name] = _stamp(entry.stat())
                except FileNotFoundError:
                    continue
                except OSError:
                    found[name] = (0, 0, 0)  # who reads it learns why
        return found

    def read(self, name: str) -> Pair | None:
        """The certificate for a name; None if there is none. One that can't be used is put aside, and is none."""
        try:
            return self.look(name)
        except (BadPair, PermissionError, IsADirectoryError) as error:
            self._put_aside(self._file(name), str(error))
            return None

    def look(self, name: str) -> Pair | None:
        """The same for those who only look: one that can't be used stays where it is. Raises BadPair."""
        try:
            return read_pair(name, self._content(self._file(name)))
        except FileNotFoundError:
            return None

    def peek(self, name: str) -> Pair | None:
        """As `read`, but nothing in the folder is touched."""
        try:
            with open(self._file(name), "rb") as file:
                return read_pair(name, file.read(_MOST_OCTETS))
        except (FileNotFoundError, BadPair, IsADirectoryError):
            return None

    def write(self, name: str, chain_pem: bytes, key_pem: bytes) -> Pair:
        """Keep a certificate with its chain and key. Raises BadPair, and then changes nothing."""
        pair = read_pair(name, chain_pem + b"\n" + key_pem)
        self._write(self._file(name), pair.chain_pem + pair.key_pem)
        return pair

    def account_key(self) -> ec.EllipticCurvePrivateKey:
        """The key of the account, made if it isn't there; processes that come at the same time get the same one."""
        path = os.path.join(self.path, _ACCOUNT)
        known = self._read_account_key(path)
        if known is not None:
            return known
        key = ec.generate_private_key(ec.SECP256R1())
        octets = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        try:
            self._write(path, octets, replace=False)
        except FileExistsError:
            known = self._read_account_key(path)
            if known is None:
                raise
            return known
        return key

    def account_thumbprint(self) -> str | None:
        """The thumbprint (RFC 7638) of the account's key, if there is one."""
        key = self._read_account_key(os.path.join(self.path, _ACCOUNT))
        return None if key is None else thumbprint(key)

    def states(self) -> dict[str, NameState]:
        """What is remembered of each name; nothing if that can't be read."""
        try:
            return self.look_states()
        except (msgspec.DecodeError, UnicodeDecodeError, PermissionError, IsADirectoryError) as error:
            self._put_aside(os.path.join(self.path, _STATE), str(error))
            return {}

    def look_states(self) -> dict[str, NameState]:
        """The same for those who only look. Raises msgspec.DecodeError or UnicodeDecodeError."""
        try:
            return msgspec.json.decode(self._content(os.path.join(self.path, _STATE)), type=_States).names
        except FileNotFoundError:
            return {}

    def write_states(self, states: Mapping[str, NameState]) -> None:
        """Remember this of each name, and nothing of others."""
        octets = msgspec.json.format(msgspec.json.encode(_States(names=dict(states))), indent=1)
        self._write(os.path.join(self.path, _STATE), octets + b"\n")

    def _file(self, name: str) -> str:
        if not _NAME.match(name):
            raise BadPair(f"{name!r} is no host name or IP address")
        return os.path.join(self.path, name + _SUFFIX)

    def _read_account_key(self, path: str) -> ec.EllipticCurvePrivateKey | None:
        try:
            key = load_pem_private_key(self._content(path), password=None)
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            self._put_aside(path, f"no private key: {error}")
            return None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            self._put_aside(path, "no private key on the curve P-256")
            return None
        return key

    def _content(self, path: str) -> bytes:
        with open(path, "rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                with suppress(PermissionError):
                    os.fchmod(file.fileno(), 0o600)
            return file.read(_MOST_OCTETS)

    def _write(self, path: str, octets: bytes, *, replace: bool = True) -> None:
        """Put a file in place at once. Raises FileExistsError without `replace` if it is there."""
        descriptor, new = tempfile.mkstemp(prefix=".new-", dir=self.path)  # mode 0600
        try:
            with open(descriptor, "wb") as file:
                file.write(octets)
                file.flush()
                os.fsync(file.fileno())
            if replace:
                os.rename(new, path)
            else:
                _link(new, path)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(new)
        self._sync()

    def _put_aside(self, path: str, reason: str) -> None:
        aside = f"{path}.aside-{int(self._clock())}"
        while os.path.lexists(aside):
            aside += "x"
        try:
            os.rename(path, aside)
        except FileNotFoundError:
            return  # another process did it
        self._sync()
        _log.warn("{path} can't be used ({reason}): it is kept as {aside}", path=path, reason=reason, aside=aside)

    def _sync(self) -> None:
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _link(new: str, path: str) -> None:
    """Give a file its name unless that is taken; where there are no links, the last of two at once stays."""
    try:
        os.link(new, path)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS) or os.path.lexists(path):
            raise
        os.rename(new, path)


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_ino, status.st_size, status.st_mtime_ns
