"""Listeners: sockets bound early, connections counted and limited, TLS around them, and a graceful end."""

from __future__ import annotations

from stalwart.net.ban_keeper import BanKeeper
from stalwart.net.draining import IDrains
from stalwart.net.listeners import ListenerService
from stalwart.net.sockets import ListenError

__all__ = ["BanKeeper", "IDrains", "ListenError", "ListenerService"]
