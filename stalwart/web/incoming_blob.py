"""An upload on its way from the connection to the disk, of which only a few blocks are in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from stalwart.http.auth import RunsInThread
from stalwart.store import BlobWriter, StoreError

_log = Logger(namespace="stalwart.jmap")
_BLOCK = 262_144
"""Octets that are written at a time; a smaller upload is written when it is complete."""


class IncomingBlob:
    """Takes octets as they come and writes them in a thread. Belongs to the reactor thread, but for `written`."""

    def __init__(self, begin: Callable[[], BlobWriter], threads: RunsInThread) -> None:
        self._begin = begin
        self._threads = threads
        self._lock = threading.Lock()  # of the writer
        self._writer: BlobWriter | None = None
        self._waiting: list[bytes] = []
        self._octets = 0  # of what waits
        self._writing: Deferred[None] | None = None
        self._done: Deferred[None] | None = None  # of whoever waits for the writing to end
        self._failure: Failure | None = None
        self._forgotten = False

    def take(self, block: bytes) -> None:
        """The next octets."""
        if self._failure is not None or self._forgotten:
            return
        self._waiting.append(block)
        self._octets += len(block)
        if self._octets >= _BLOCK and self._writing is None:
            self._write()

    async def settled(self) -> None:
        """Wait until no thread is at work on it."""
        if self._writing is not None:
            self._done = Deferred()
            await self._done

    @contextmanager
    def written(self) -> Iterator[BlobWriter]:
        """All of it, once `settled`; the calling thread writes the last octets. Raises StoreError, also late.

        What isn't committed in the end is gone, also if the client has left meanwhile.
        """
        with self._lock:
            if self._failure is not None:
                self._failure.raiseException()
            if self._forgotten:
                raise StoreError("the client has given the upload up")
            blocks, self._waiting = self._waiting, []
            try:
                yield self._add(blocks)
            finally:
                self._drop()

    def forget(self) -> None:
        """The request has ended, one way or another: what was not kept goes."""
        self._forgotten = True
        if self._writing is None and self._writer is not None:
            self._threads.run(self._abort).addErrback(_not_removed)

    def _write(self) -> None:
        blocks, self._waiting, self._octets = self._waiting, [], 0

        def write() -> None:
            with self._lock:
                self._add(blocks)

        self._writing = self._threads.run(write)
        self._writing.addCallbacks(self._wrote, self._failed)

    def _add(self, blocks: Sequence[bytes]) -> BlobWriter:
        if self._writer is None:
            self._writer = self._begin()
        self._writer.write(b"".join(blocks))
        return self._writer

    def _abort(self) -> None:
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.abort()

    def _wrote(self, _: None) -> None:
        self._writing = None
        if self._forgotten:
            self.forget()
        elif self._octets >= _BLOCK:
            self._write()
        elif self._done is not None:
            done, self._done = self._done, None
            done.callback(None)

    def _failed(self, failure: Failure) -> None:
        self._failure = failure
        self._waiting, self._octets = [], 0
        self._wrote(None)


def _not_removed(failure: Failure) -> None:
    _log.failure("the octets of an upload that was not kept could not be removed; the next start does", failure)
