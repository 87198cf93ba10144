"""Keeps a reload from locking out whoever administers the server just now.

What was let in lately for the administration is remembered, and judged again under the rules that are to come.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, gatherResults

from stalwart.auth import GuardRules
from stalwart.auth.bans import BanList
from stalwart.http.asked import Asked, Visit
from stalwart.http.problem import Problem
from stalwart.http.settings import SiteSettings
from stalwart.ops.networks import Networks

_SECONDS = 15 * 60.0
_MOST = 64  # of one listener; each holds the fields of a request, 32 KiB at most
# These are not kept longer than the request lasts, and so the rules that look at them can't be asked again.
_CREDENTIALS = frozenset((b"authorization", b"proxy-authorization", b"cookie"))

_NOBODY = Networks(())

_Key = tuple[str, str, str, str, bytes, bytes]


class LockedOut(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who administers the server, and would be denied."""

    address: str
    listener: str
    method: str
    path: str
    status: int | None
    """None: not even a connection is made, with a PROXY header that isn't wanted, or without one that is."""


class AdminVisits:
    """The latest requests to one listener that were let in and answered well for the administration."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._visits: dict[_Key, tuple[float, Visit]] = {}

    def note(self, request: Asked) -> None:
        """Remember a request; of those that are alike only the latest."""
        key = (
            request.client_address,
            request.peer_address,
            request.tls_client_subject,
            request.scheme,
            request.method,
            request.path,
        )
        self._visits.pop(key, None)
        if len(self._visits) >= _MOST:
            del self._visits[next(iter(self._visits))]
        fields = tuple(field for field in request.header_fields if field[0] not in _CREDENTIALS)
        visit = Visit(
            listener=request.listener, ends=request.ends, method=request.method, uri=request.uri, header_fields=fields
        )
        self._visits[key] = (self._monotonic(), visit)

    def recent(self) -> list[Visit]:
        """Those of the last 15 minutes, the latest first; the others are forgotten."""
        oldest = self._monotonic() - _SECONDS
        self._visits = {key: (at, visit) for key, (at, visit) in self._visits.items() if at >= oldest}
        return [visit for _, visit in reversed(self._visits.values())]


def judge(settings: SiteSettings, visit: Visit) -> int | Coroutine[Any, Any, int]:
    """200 if the request would be let in, else the status that it would be denied with; see `Policy.decide`."""
    try:
        visit.read_target(settings.forwarded)
    except Problem as problem:
        return problem.status
    return settings.policy.decide(visit)


async def locked_out(
    visits: AdminVisits,
    running: SiteSettings,
    wanted: SiteSettings,
    rules: GuardRules,
    senders: tuple[Networks, Networks] = (_NOBODY, _NOBODY),
) -> list[LockedOut]:
    """Those whom `running` lets in, and `wanted` or the bans of `rules` would not.

    `senders` are those who send PROXY headers to the listener, now and then.
    """
    bans = BanList(lambda: 0.0)
    bans.configure(blocked=rules.blocked, allowed=rules.allowed)
    # All at once: each may have to wait for lookups.
    judging = [Deferred.fromCoroutine(_lock_out(visit, running, wanted, bans, senders)) for visit in visits.recent()]
    return [found for found in await gatherResults(judging, consumeErrors=True) if found is not None]


async def _lock_out(
    visit: Visit, running: SiteSettings, wanted: SiteSettings, bans: BanList, senders: tuple[Networks, Networks]
) -> LockedOut | None:
    before, after = _again(visit), _again(visit)
    if await _verdict(running, before) != 200:
        return None
    status: int | None = await _verdict(wanted, after)
    if bans.find(after.client_address) is not None:
        status = 403
    now, then = senders
    if (visit.peer_address in now) != (visit.peer_address in then):
        status = None
    if status == 200:
        return None
    return LockedOut(
        address=before.client_address,
        listener=visit.listener.id,
        method=before.method.decode("latin-1"),
        path=before.path.decode("latin-1"),
        status=status,
    )


async def _verdict(settings: SiteSettings, visit: Visit) -> int:
    status = judge(settings, visit)
    return status if isinstance(status, int) else await status


def _again(visit: Visit) -> Visit:
    """The same request, unread: what proxies say of it depends on who is trusted."""
    return Visit(
        listener=visit.listener,
        ends=visit.ends,
        method=visit.method,
        uri=visit.uri,
        header_fields=visit.header_fields,
    )
