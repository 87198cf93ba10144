"""What all checks of a domain share: whom to ask, and this server's name and addresses."""

from __future__ import annotations

import msgspec

from stalwart.zone.asking import Asks, addresses


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """`ask` is where records are asked for; `relay` is the host of another machine that mail leaves by, if any."""

    ask: Asks
    domain: str
    host: str
    relay: str | None = None
    certified: tuple[str, ...] = ()
    """The names in the domain that the CAs of CAA records are asked for."""

    async def leads_to(self, name: str, host: str) -> tuple[bool, frozenset[str], tuple[str, ...]]:
        """Whether a name leads to the host's addresses; with its own addresses and aliases. Raises Unknown."""
        found, aliases = await addresses(self.ask, name)
        if name == host or host in aliases:
            return bool(found), found, aliases
        wanted, _ = await addresses(self.ask, host)
        return bool(found) and found <= wanted, found, aliases
