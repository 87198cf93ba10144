"""Which of several processes that share a folder orders certificates: the one that holds the lease.

On one machine the kernel decides (flock). Between machines, where a shared file system may not carry that lock, the
holder rewrites a note every few seconds; who sees it unchanged for long enough takes over. Only the own monotonic
clock measures how long: the machines' clocks are never compared.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import socket
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

import msgspec

EXPIRY_SECONDS = 60.0
"""A holder that wrote nothing for so long has lost the lease."""

_RENEW_SECONDS = 15.0
# Two machines that take over at the same time: the last note stays, and both have seen it by then.
_SETTLE_SECONDS = 3.0


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds the lease; `beat` grows while that process lives."""

    owner: str
    machine: str
    beat: int


def this_machine() -> str:
    """What tells this boot of this machine from all others; processes with the same share flock."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return secrets.token_hex(8)  # then each process counts as a machine of its own


def flock(descriptor: int) -> bool | None:
    """Take the kernel's lock. False: another process has it; None: this file system has no such locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


class Lease:
    """One process's part in it. `step` is called every few seconds, from one thread at a time."""

    def __init__(
        self,
        folder: str,
        *,
        shared: bool,
        monotonic: Callable[[], float] = time.monotonic,
        machine: str | None = None,
        lock: Callable[[int], bool | None] = flock,
    ) -> None:
        """`shared`: other machines may have the folder too; else the lease is held at once."""
        self._path = os.path.join(folder, "lease.json")
        self._shared = shared
        self._monotonic = monotonic
        self._machine = this_machine() if machine is None else machine
        self._lock = lock
        self._owner = f"{socket.gethostname()} pid {os.getpid()} {secrets.token_hex(4)}"
        self._descriptor: int | None = None
        self._locked: bool | None = False
        self._state: Literal["waiting", "claimed", "held"] = "waiting"
        self._seen: Note | None = None
        self._seen_at = 0.0
        self._written_at = 0.0
        self._claimed_at = 0.0
        self._beat = 0
        self.holder: str | None = None
        """Who holds the lease, as far as this process knows."""

    @property
    def held(self) -> bool:
        """Whether this process may order now. Over by itself if `step` isn't called any more."""
        return self._state == "held" and self._monotonic() - self._written_at < EXPIRY_SECONDS

    def step(self) -> bool:
        """Take the lease if it is free, keep it if it is held; `held`. Raises OSError if the note can't be written."""
        if not self._take_lock():
            note = self._read()
            self.holder = None if note is None else note.owner
            return False
        note = self._read()
        if self._state == "waiting":
            self._wait(note)
        elif note is not None and note.owner != self._owner:
            self._state = "waiting"  # somebody took over while this process was stopped, or came second and stays
            self._saw(note)
        elif self._state == "claimed":
            if self._monotonic() - self._claimed_at >= _SETTLE_SECONDS:
                self._state = "held"
        elif note is None or self._monotonic() - self._written_at >= _RENEW_SECONDS:
            self._write()
        self.holder = self._owner if self._state == "held" else None if note is None else note.owner
        return self.held

    def release(self) -> None:
        """Give the lease up, so that another process can have it at once. Harmless if it isn't held."""
        if self._state != "waiting":
            note = self._read()
            if note is not None and note.owner == self._owner:
                with suppress(OSError):
                    os.unlink(self._path)
            self._state = "waiting"
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
            self._locked = False

    def _take_lock(self) -> bool:
        if self._locked is False:
            if self._descriptor is None:
                flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
                self._descriptor = os.open(self._path.removesuffix(".json") + ".lock", flags, 0o600)
            self._locked = self._lock(self._descriptor)
        return self._locked is not False

    def _wait(self, note: Note | None) -> None:
        now = self._monotonic()
        # The kernel's lock is ours: who held the lease on this machine, has ended.
        was_here = note is not None and note.machine == self._machine and self._locked is True
        if note is None or was_here or not self._shared:
            self._claim(settle=self._shared and not was_here)
        elif note != self._seen:
            self._saw(note)
        elif now - self._seen_at >= EXPIRY_SECONDS:
            self._claim(settle=True)

    def _saw(self, note: Note) -> None:
        self._seen, self._seen_at = note, self._monotonic()

    def _claim(self, *, settle: bool) -> None:
        self._write()
        self._claimed_at = self._written_at
        self._state = "claimed" if settle else "held"

    def _read(self) -> Note | None:
        try:
            with open(self._path, "rb") as file:
                octets = file.read(10_000)
        except FileNotFoundError:
            return None
        try:
            return msgspec.json.decode(octets, type=Note)
        except (msgspec.DecodeError, UnicodeDecodeError):
            # Somebody's all the same, as long as it changes.
            return Note(owner=f"unknown ({hashlib.sha256(octets).hexdigest()[:16]})", machine="", beat=0)

    def _write(self) -> None:
        now = self._monotonic()  # before the note: a slow disk must not lengthen the lease
        self._beat += 1
        note = Note(owner=self._owner, machine=self._machine, beat=self._beat)
        descriptor, new = tempfile.mkstemp(prefix=".new-", dir=os.path.dirname(self._path))
        try:
            with open(descriptor, "wb") as file:
                file.write(msgspec.json.encode(note))
            os.rename(new, self._path)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(new)
        self._written_at = now
