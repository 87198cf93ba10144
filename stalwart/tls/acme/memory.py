"""What is remembered of each name: in memory, and on disk for the next start and for other processes."""

from __future__ import annotations

from twisted.internet.defer import DeferredLock

from stalwart.tls.acme.folder import StoreFolder
from stalwart.tls.acme.policy import NameState
from stalwart.tls.acme.store import RunsInThread

_NOTHING = NameState()


class Memory:
    """The states of all names in a folder, those that are not ordered any more too. Written by who holds the lease."""

    def __init__(self, folder: StoreFolder, pool: RunsInThread) -> None:
        self._folder = folder
        self._pool = pool
        self._states: dict[str, NameState] = {}
        self._writing = DeferredLock()

    def of(self, name: str) -> NameState:
        """What is known of a name."""
        return self._states.get(name, _NOTHING)

    def load(self) -> None:
        """Read all at once, in this thread. Raises OSError."""
        self._states = self._folder.states()

    async def reload(self) -> None:
        """See what the process wrote that orders. Raises OSError."""
        self._states = await self._pool.run(self._folder.states)

    async def keep(self, name: str, state: NameState) -> None:
        """Remember this of a name; in memory in any case. Raises OSError if it can't be written."""
        self._states = {**self._states, name: state}
        async with self._writing:  # else the older of two could be the last
            states = self._states
            await self._pool.run(lambda: self._folder.write_states(states))
