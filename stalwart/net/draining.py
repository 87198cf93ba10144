"""How a protocol factory takes part in a graceful stop."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from twisted.internet.defer import Deferred


@runtime_checkable
class IDrains(Protocol):
    """A factory that can end its connections without breaking off what they are doing."""

    def drain(self) -> Deferred[None]:
        """Close idle connections now and others when they have done what they are at; start nothing new.

        Fires when no connection is left. May be called more than once.
        """
