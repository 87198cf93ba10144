"""Serves the configuration's certificates anew when their files are replaced, and warns of those that expire soon."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import msgspec
from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from stalwart.config import Certificate, CertificateSource, UnusableFile
from stalwart.ops.lanes import RunsWork
from stalwart.tls.certificates import Certificates
from stalwart.tls.credentials import BadCertificate, Credential

_log = Logger(namespace="stalwart.tls")

LOOK_SECONDS = 2.0
_SETTLED_LOOKS = 2  # a fault is told when it is still the same: files are replaced one after the other
_WARN_SECONDS = 14 * 86_400.0  # before a certificate expires; a third of its time if that is less
_WARN_AGAIN_SECONDS = 86_400.0

# Of each file inode, times of change in nanoseconds (of what it is, of its content) and size; None for one that isn't
# there. Whoever unpacks or copies files may set the one time to what it was: the kernel sets the other.
Print = tuple[tuple[int, int, int, int] | None, ...]


class _Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What a look found of a certificate whose files are others than before."""

    source: CertificateSource
    print: Print
    found: Mapping[Certificate, Credential] | str
    """The certificate, loaded; or why it can't be used."""

    @property
    def id(self) -> str:
        """The certificate's id."""
        return self.source.certificate.id


class _Fault(msgspec.Struct, frozen=True, kw_only=True):
    print: Print
    reason: str
    looks: int


class CertificateWatch(Service):
    """Looks every two seconds whether the files of certificates were replaced."""

    def __init__(
        self,
        certificates: Certificates,
        reactor: IReactorTime,
        pool: RunsWork,
        *,
        environ: Mapping[str, str] = os.environ,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Files are looked at in `pool`, since disks can be slow. `wall` gives the time in unix seconds."""
        self.on_replaced: Callable[[Sequence[Certificate]], None] = lambda _: None
        """Told of all certificates of the configuration when one of them was replaced."""
        self._certificates = certificates
        self._reactor = reactor
        self._pool = pool
        self._environ = environ
        self._wall = wall
        self._configured: tuple[Certificate, ...] = ()
        self._sources: tuple[CertificateSource, ...] = ()
        self._prints: dict[str, Print] = {}
        """By id, of the files that the certificate in use is from."""

        self._faults: dict[str, _Fault] = {}
        self._warned: dict[Credential, float] = {}
        self._next: IDelayedCall | None = None

    def configure(self, configured: Sequence[Certificate], sources: Sequence[CertificateSource]) -> None:
        """Watch these, which are served already. Their files are read at the next look: they may be newer."""
        self._configured, self._sources = tuple(configured), tuple(sources)
        self._prints, self._faults = {}, {}

    def startService(self) -> None:
        """Begin to look."""
        super().startService()  # type: ignore[no-untyped-call]
        self._next = self._reactor.callLater(0, self._look)

    def stopService(self) -> None:
        """Look no more."""
        super().stopService()  # type: ignore[no-untyped-call]
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _look(self) -> None:
        self._next = None
        self._warn_of_expiry()
        sources, prints, environ = self._sources, dict(self._prints), self._environ
        prepare = self._certificates.prepare
        looking = self._pool.run(lambda: _read_changed(sources, prints, environ, prepare))
        looking.addCallback(self._looked, sources)
        looking.addErrback(lambda failure: _log.failure("the files of certificates can't be looked at", failure))
        looking.addBoth(self._again)

    def _again(self, _: object) -> None:
        if self.running:
            self._next = self._reactor.callLater(LOOK_SECONDS, self._look)

    def _looked(self, seen: Sequence[_Seen], sources: tuple[CertificateSource, ...]) -> None:
        if not self.running or sources is not self._sources:
            return  # others are watched by now
        usable: dict[Certificate, Credential] = {}
        served = {credential.where: credential for credential in self._certificates.configured_ones()}
        for one in seen:
            if isinstance(one.found, str):
                self._note_fault(one, one.found)
            elif (worse := self._worse(one.found, served)) is not None:
                self._note_fault(one, worse)
            else:
                usable.update(one.found)
                self._prints[one.id] = one.print
                self._faults.pop(one.id, None)
        self._take(usable, {one.id: one.source for one in seen})

    def _worse(self, found: Mapping[Certificate, Credential], served: Mapping[str, Credential]) -> str | None:
        """Why what is served is better: it is in date, and what was found has expired (a backup, the wrong file)."""
        now = self._wall()
        for credential in found.values():
            before = served.get(credential.where)
            if before is not None and credential.not_after <= now < before.not_after:
                return f"the certificate expired on {_date(credential.not_after)}, the old one has not yet"
        return None

    def _take(self, usable: Mapping[Certificate, Credential], sources: Mapping[str, CertificateSource]) -> None:
        """Serve all that are new at once: hundreds may be."""
        found = {one.id: one for one in usable}
        replaced = tuple(found.get(one.id, one) for one in self._configured)
        new = [one for before, one in zip(self._configured, replaced, strict=True) if one != before]
        if not new:
            return
        self._certificates.replace(replaced, usable)
        self._configured = replaced
        for one in new:
            _tell_replaced(usable[one], sources[one.id].files)
        self.on_replaced(replaced)

    def _note_fault(self, seen: _Seen, reason: str) -> None:
        name = seen.id
        before = self._faults.get(name)
        looks = 1 if before is None or (before.print, before.reason) != (seen.print, reason) else before.looks + 1
        self._faults[name] = _Fault(print=seen.print, reason=reason, looks=looks)
        if looks == _SETTLED_LOOKS:
            _log.error(
                "certificate.{id}: its files have changed and can't be used, so that the old certificate stays: "
                "{reason}",
                id=name,
                reason=reason,
                files=list(seen.source.files),
            )

    def _warn_of_expiry(self) -> None:
        now, monotonic = self._wall(), self._reactor.seconds()
        current = self._certificates.configured_ones()
        self._warned = {credential: at for credential, at in self._warned.items() if credential in current}
        for credential in current:
            left = credential.not_after - now
            if left >= min(_WARN_SECONDS, credential.lifetime / 3):
                continue
            if monotonic - self._warned.get(credential, -_WARN_AGAIN_SECONDS) < _WARN_AGAIN_SECONDS:
                continue
            self._warned[credential] = monotonic
            _log.warn(
                "{name}, for {names}, {expires} on {not_after}: put a new certificate into its files",
                name=credential.where,
                names=", ".join(credential.names),
                expires="expires" if left > 0 else "has expired",
                not_after=_date(credential.not_after),
                seconds=left,
            )


def _read_changed(
    sources: Sequence[CertificateSource],
    prints: Mapping[str, Print],
    environ: Mapping[str, str],
    prepare: Callable[[Sequence[Certificate]], Mapping[Certificate, Credential]],
) -> list[_Seen]:
    """Read and load the certificates whose files aren't those of `prints`. Runs in a thread."""
    seen: list[_Seen] = []
    for source in sources:
        # Taken before the reading: what is written meanwhile has another one at the next look.
        now = tuple(_print(file) for file in source.files)
        if prints.get(source.certificate.id) == now:
            continue
        found: Mapping[Certificate, Credential] | str
        try:
            _refuse_endless(source.files)
            found = prepare([source.read(environ)])
        except (UnusableFile, BadCertificate) as error:
            found = str(error)
        seen.append(_Seen(source=source, print=now, found=found))
    return seen


def _refuse_endless(files: Sequence[str]) -> None:
    """Raise UnusableFile for a pipe or a device, at which the thread would wait for ever."""
    for file in files:
        with suppress(OSError):  # the reading says what is wrong
            if not stat.S_ISREG(os.stat(file).st_mode):
                raise UnusableFile(f"{file} should be a regular file")


def _print(file: str) -> tuple[int, int, int, int] | None:
    """Of what `file` leads to: a link that is set to another file counts as a change (certbot)."""
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_ino, found.st_ctime_ns, found.st_mtime_ns, found.st_size


def _tell_replaced(credential: Credential, files: Sequence[str]) -> None:
    _log.info(
        "{name}: its files were replaced, and the new certificate is served from now on, for {names}, until "
        "{not_after} ({files})",
        name=credential.where,
        names=", ".join(credential.names),
        not_after=_date(credential.not_after),
        files=", ".join(files),
    )


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
