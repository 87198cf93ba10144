"""The lock that says which process serves a store. The kernel frees it when that process ends, however it ends."""

from __future__ import annotations

import fcntl
import os
import time

from stalwart.store.errors import StoreInUse

_MIGRATION_SECONDS = 60.0


class ProcessLock:
    """An flock on a file that holds the pid and the purpose of its owner."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self, purpose: str) -> None:
        """Take the lock. Raises StoreInUse if another process serves the store; waits for one that only migrates it."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        give_up_at = time.monotonic() + _MIGRATION_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pid, _, doing = os.pread(descriptor, 200, 0).decode("ascii", "replace").strip().partition(" ")
                if doing == "migrate" and time.monotonic() < give_up_at:
                    time.sleep(0.05)
                    continue
                os.close(descriptor)
                raise StoreInUse(
                    f"{self._path.removesuffix('.lock')} is in use by process {pid or '(unknown)'}; "
                    "stop that one first, or give this one a data folder of its own"
                ) from None
            self._descriptor = descriptor
            self.state(purpose)
            return

    def state(self, purpose: str) -> None:
        """Say what the lock, which is held, is for from now on."""
        assert self._descriptor is not None
        text = f"{os.getpid()} {purpose}\n".encode("ascii")
        os.pwrite(self._descriptor, text, 0)  # over the old text, so that nobody finds the file empty
        os.ftruncate(self._descriptor, len(text))

    def release(self) -> None:
        """Give the lock up. Harmless if it isn't held."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None
