"""Uploads on their way to the disk."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from stalwart.store.blob_writers import MemoryWriter
from stalwart.web.incoming_blob import IncomingBlob
from tests.web.test_jmap import Threads


class _Writer(MemoryWriter):
    """A blob that knows whether it is still open."""

    def __init__(self) -> None:
        super().__init__(lambda data: "name")
        self.is_open = True

    def abort(self) -> None:
        """See `BlobWriter`."""
        super().abort()
        self.is_open = False


class ForgottenTests(SynchronousTestCase):
    """Clients that leave."""

    def test_client_leaves_while_it_begins(self) -> None:
        """RFC 8620 §6.1: nothing stays of an upload that isn't kept, though its client left before it had a file."""
        threads = Threads()
        threads.held = True
        writer = _Writer()

        def begin() -> _Writer:
            incoming.forget()  # as the reactor's thread may, at this very moment
            return writer

        incoming = IncomingBlob(begin, threads)
        incoming.take(b"octets")

        def keep() -> None:
            with incoming.written():
                raise RuntimeError("no room")

        self.assertRaises(RuntimeError, keep)
        threads.release()
        self.assertFalse(writer.is_open)
