"""The settings of caches. None of them changes an answer, only how soon it comes and how much memory that takes."""

from __future__ import annotations

from typing import Annotated

import msgspec

from stalwart.config.kinds import Duration, whole
from stalwart.config.schema import Key

_HOUR = 3600.0


class CacheSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The table `cache`. Times are seconds."""

    ids_size: Annotated[
        Annotated[int, whole(0, 2**50, "octets")],
        Key(
            name="ids.size",
            doc="Memory for the results of searches: the lists of message ids that no index gives at once. Each id "
            "takes 8 octets. 0 keeps none.",
            example="67108864",
        ),
    ] = 32 * 1024 * 1024
    ids_tti: Annotated[
        Duration,
        Key(
            name="ids.tti",
            doc="How long the result of a search is kept after it was last asked for. A change of the account's mail "
            "ends it anyway.",
            example='"1h"',
        ),
    ] = _HOUR
    sharings_tti: Annotated[
        Duration,
        Key(
            name="sharings.tti",
            doc="How long it is kept, after it was last asked for, which accounts are shared with a user. Accounts "
            "can't be shared yet, so that nothing is kept.",
            example='"5m"',
        ),
    ] = 300.0
    acl_tti: Annotated[
        Duration,
        Key(
            name="acl.tti",
            doc="How long it is kept, after it was last asked for, what a user may do in an account of others. "
            "Accounts can't be shared yet, so that nothing is kept.",
            example='"1h"',
        ),
    ] = _HOUR
    recipients_tti: Annotated[
        Duration,
        Key(
            name="recipients.tti",
            doc="How long it is kept, after it was last asked for, which account receives the mail for an address. A "
            "change of accounts, aliases or domains ends it anyway.",
            example='"1d"',
        ),
    ] = 24 * _HOUR
