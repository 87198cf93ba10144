"""The certificates of one provider, as far as this process knows them: txacme's store over a folder.

Blocking work is done in a thread; what other processes put into the folder is seen by `refresh`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import pem
from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger
from txacme.interfaces import ICertificateStore
from zope.interface import implementer

from stalwart.tls.acme.folder import Stamp, StoreFolder
from stalwart.tls.acme.pair import BadPair, Pair

T = TypeVar("T")

_log = Logger(namespace="stalwart.acme")


class RunsInThread(Protocol):
    """Where blocking work is done, such as `stalwart.ops.threads.ThreadPool`."""

    def run(self, function: Callable[[], T]) -> Deferred[T]:
        """Run `function` in a thread."""


# txacme declares `self` in its interface's methods, so that `verifyObject` refuses every implementation.
@implementer(ICertificateStore)
class CertificateStore:
    """What lies in a folder; `changed` is called in the reactor's thread when a certificate came, went or is new."""

    def __init__(self, folder: StoreFolder, pool: RunsInThread, changed: Callable[[], None]) -> None:
        self.folder = folder
        self._pool = pool
        self._changed = changed
        self._one_at_a_time = DeferredLock()
        self._pairs: dict[str, Pair] = {}
        self._stamps: dict[str, Stamp] = {}
        self._served: dict[str, Pair] = {}
        self._unread: dict[str, str] = {}
        """Names whose file can't be read just now, with the reason that was told."""

    @property
    def pairs(self) -> Mapping[str, Pair]:
        """The certificates by name."""
        return self._pairs

    @property
    def served(self) -> Mapping[str, Pair]:
        """The same, and for a name whose file was lost or torn the last that was there: better than none."""
        return self._served

    def start_from(self, other: CertificateStore) -> None:
        """Know what another one over the same folder knew, so that `load` reads only what is new."""
        self._stamps, self._pairs, self._served = other._stamps, other._pairs, other._served

    def written_at(self, name: str) -> float:
        """When the file of one of `pairs` was written, by the file system's clock."""
        return self._stamps[name][2] / 1e9 if name in self._stamps else 0.0

    def load(self) -> None:
        """Read the folder at once, in this thread. Raises OSError."""
        self._take(self._look(self._stamps, self._pairs))

    def refresh(self) -> Deferred[None]:
        """See what changed in the folder. Fails with OSError, and then knows what it knew."""
        return self._one_at_a_time.run(self._refresh)

    def _refresh(self) -> Deferred[None]:
        stamps, pairs = dict(self._stamps), dict(self._pairs)
        return self._pool.run(lambda: self._look(stamps, pairs)).addCallback(self._take)

    def _look(self, stamps: Mapping[str, Stamp], pairs: Mapping[str, Pair]) -> tuple[dict[str, Stamp], dict[str, Pair]]:
        """In a thread: the folder's present stamps and certificates; unchanged ones are not read again.

        A file that can't be read holds up no other: its name keeps the certificate it has, and is tried again.
        """
        found_stamps, found = {}, {}
        for name, stamp in self.folder.stamps().items():
            pair = pairs.get(name)
            if pair is None or stamps.get(name) != stamp:
                try:
                    pair = self.folder.read(name)
                except OSError as error:
                    self._tell_unread(name, error)
                else:
                    self._unread.pop(name, None)
                    found_stamps[name] = stamp
            else:
                found_stamps[name] = stamp
            if pair is not None:
                found[name] = pair
        return found_stamps, found

    def _tell_unread(self, name: str, error: OSError) -> None:
        if self._unread.get(name) != str(error):
            self._unread[name] = str(error)
            _log.error(
                "the certificate for {name} in {folder} can't be read ({error}): as long as there is no other it is "
                "ordered anew",
                name=name,
                folder=self.folder.path,
                error=error,
            )

    def _take(self, seen: tuple[dict[str, Stamp], dict[str, Pair]]) -> None:
        before = self._pairs
        self._stamps, self._pairs = seen
        self._served = {**self._served, **self._pairs}
        if self._pairs != before:
            self._changed()

    def put(self, name: str, chain_pem: bytes, key_pem: bytes) -> Deferred[None]:
        """Keep a certificate. Fails with BadPair or OSError, and then keeps the one that was there."""
        return self._one_at_a_time.run(self._put, name, chain_pem, key_pem)

    def _put(self, name: str, chain_pem: bytes, key_pem: bytes) -> Deferred[None]:
        stamps, pairs = dict(self._stamps), dict(self._pairs)

        def write() -> tuple[dict[str, Stamp], dict[str, Pair]]:
            self.folder.write(name, chain_pem, key_pem)
            return self._look(stamps, pairs)

        return self._pool.run(write).addCallback(self._take)

    # What follows is ICertificateStore.

    def get(self, server_name: str) -> Deferred[list[Any]]:
        """The PEM objects of a name, chain first. Fails with KeyError."""
        return self.as_dict().addCallback(lambda known: known[server_name])

    def store(self, server_name: str, pem_objects: Sequence[Any]) -> Deferred[None]:
        """Keep a key and a chain whose first certificate belongs to it."""
        keys = [each.as_bytes() for each in pem_objects if isinstance(each, pem.Key)]
        chain = [each.as_bytes() for each in pem_objects if isinstance(each, pem.Certificate)]
        return self.put(server_name, b"\n".join(chain), b"\n".join(keys))

    def as_dict(self) -> Deferred[dict[str, list[Any]]]:
        """The PEM objects of all names."""
        return self.refresh().addCallback(lambda _: {name: _objects(pair) for name, pair in self._pairs.items()})


def _objects(pair: Pair) -> list[Any]:
    return list(pem.parse(pair.chain_pem + pair.key_pem))


__all__ = ["BadPair", "CertificateStore", "RunsInThread"]
