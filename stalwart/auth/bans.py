"""Who is kept out: the networks of the configuration, and those that were banned while the server runs. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_network

from stalwart.ops.networks import IPNetwork
from stalwart.ops.prefixes import PrefixTable
from stalwart.store import BanRow

ALWAYS_ALLOWED: tuple[IPNetwork, ...] = (ip_network("127.0.0.1"), ip_network("::1"))
"""What nothing bans."""

MOST_AUTOMATIC = 20_000
"""How many bans the server makes by itself before others have ended."""

_MOST_KNOWN = 8192


class BanList:
    """Answers for addresses as text, and remembers its answers until something changes."""

    def __init__(self, wall: Callable[[], float]) -> None:
        """`wall` gives seconds since the epoch, by which bans end."""
        self._wall = wall
        self._blocked: PrefixTable[bool] = PrefixTable()
        self._allowed = PrefixTable((network, True) for network in ALWAYS_ALLOWED)
        self._rows: dict[str, BanRow] = {}
        self._automatic = 0
        self._banned: PrefixTable[BanRow] = PrefixTable()
        self._known: dict[str, BanRow | None] = {}

    def configure(self, *, blocked: Sequence[IPNetwork], allowed: Sequence[IPNetwork]) -> None:
        """Take other settings; the bans of the running server stay."""
        self._blocked = PrefixTable((network, True) for network in blocked)
        self._allowed = PrefixTable((network, True) for network in (*ALWAYS_ALLOWED, *allowed))
        self._known = {}

    def allows(self, address: str) -> bool:
        """Whether nothing bans this address."""
        return self._allowed.find(address) is not None

    def replace(self, rows: Iterable[BanRow]) -> None:
        """Take these for all bans of the running server."""
        wanted = {row.network: row for row in rows}
        for network in self._rows.keys() - wanted.keys():
            self._forget(network)
        # Only what differs: to read many networks takes long, and everybody waits meanwhile.
        for row in wanted.values():
            if self._rows.get(row.network) != row:
                self.add(row)
        self._known = {}

    def add(self, row: BanRow) -> None:
        """Ban one more network."""
        self._forget(row.network)
        self._rows[row.network] = row
        self._automatic += row.reason != "manual"
        self._banned.put(ip_network(row.network), row)
        self._known = {}

    def networks(self) -> set[str]:
        """What the bans of the running server that hold keep out. Safe to ask from any thread."""
        now = self._wall()
        return {row.network for row in list(self._rows.values()) if row.until is None or row.until > now}

    @property
    def is_full(self) -> bool:
        """Whether the server has made as many bans as it may: who comes from ever new networks must not fill memory."""
        return self._automatic >= MOST_AUTOMATIC

    def find(self, address: str) -> BanRow | None:
        """The ban that keeps this address out, if one does."""
        known = self._known
        row = known.get(address)
        if row is None:
            if address in known:
                return None
            row = self._look(address)
            if len(known) >= _MOST_KNOWN:
                known.clear()
            known[address] = row
        while row is not None and row.until is not None and row.until <= self._wall():
            self._forget(row.network)
            # Another ban, of a wider network, may have been hidden behind it.
            row = known[address] = self._look(address)
        return row

    def _forget(self, network: str) -> None:
        row = self._rows.pop(network, None)
        if row is not None:
            self._banned.remove(ip_network(network))
            self._automatic -= row.reason != "manual"

    def _look(self, address: str) -> BanRow | None:
        if self.allows(address):
            return None
        if self._blocked.find(address):
            return BanRow(network=address, reason="manual", since=0, until=None, detail="server.blocked-ip")
        return self._banned.find(address)
