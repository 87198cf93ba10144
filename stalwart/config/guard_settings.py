"""The settings of automatic bans."""

from __future__ import annotations

from typing import Annotated

import msgspec

from stalwart.config.guard_kinds import Glob, Rate, RateLimit
from stalwart.config.kinds import Duration
from stalwart.config.schema import Key

SCAN_PATHS = (
    "*.php*",
    "*.cgi*",
    "*.asp*",
    "*/wp-*",
    "*/php*",
    "*/cgi-bin*",
    "*xmlrpc*",
    "*../*",
    "*/..*",
    "*joomla*",
    "*wordpress*",
    "*drupal*",
)
"""What asks for programs that this server doesn't have."""

_DAY = 86_400.0


class AutoBan(msgspec.Struct, frozen=True, kw_only=True):
    """The table `server.auto-ban`."""

    auth_rate: Annotated[
        RateLimit | None,
        Key(
            name="auth.rate",
            doc="How many sign-ins may fail, counted for each client address and for each login name. Past it, the "
            "address is banned; past a name's, all addresses that tried it, except those from which it signed in "
            "within the last day.",
            example='"50/1d"',
        ),
    ] = Rate(count=100, period=_DAY)
    scan_rate: Annotated[
        RateLimit | None,
        Key(
            name="scan.rate",
            doc="How many requests of one client address may be no HTTP. Past it, the address is banned.",
            example='"10/1d"',
        ),
    ] = Rate(count=30, period=_DAY)
    scan_paths: Annotated[
        tuple[Glob, ...],
        Key(
            name="scan.paths",
            doc="Paths that only scanners ask for: patterns for whole paths, in any case of letters. The first request "
            "for such a path bans its client's address, if nothing is served there. An empty array: none.",
            example='["*.php*", "*/wp-*", "/.git/*"]',
            may_be_empty=True,
        ),
    ] = SCAN_PATHS
    period: Annotated[
        Duration | None,
        Key(
            name="period",
            doc='How long an automatic ban lasts; `"never"` for no end. `stalwart ban remove` lifts it earlier.',
            example='"7d"',
        ),
    ] = _DAY
