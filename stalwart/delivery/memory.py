"""How much of the memory messages on their way in may take together."""

from __future__ import annotations


class MessageMemory:
    """A number of octets that all sessions share. A message takes as it arrives and gives back when it is stored."""

    def __init__(self, octets: int) -> None:
        self.free = octets

    def take(self, octets: int) -> bool:
        """Take so many octets; False, and nothing is taken, if there aren't that many left."""
        if octets > self.free:
            return False
        self.free -= octets
        return True

    def give_back(self, octets: int) -> None:
        """Return what was taken."""
        self.free += octets
