"""The settings of submission: what one account may send."""

from __future__ import annotations

from typing import Annotated

import msgspec

from stalwart.config.guard_kinds import Rate, RateLimit
from stalwart.config.kinds import bounded_duration, whole
from stalwart.config.schema import Key

_DAY = 86_400.0


class SubmissionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The table `submission`."""

    rate_limit: Annotated[
        RateLimit | None,
        Key(
            name="rate-limit",
            doc="How many recipients one account may send to: a message to three counts three. What is over it is "
            "refused with `rateLimit`, and counts nothing.",
            example='"500/1h"',
        ),
    ] = Rate(count=2000, period=_DAY)
    max_recipients: Annotated[
        Annotated[int, whole(1, 10_000)],
        Key(
            name="max-recipients",
            doc="The most recipients of one message. Never more than `submission.rate-limit` lets through at once.",
            example="100",
        ),
    ] = 1000
    max_size: Annotated[
        Annotated[int, whole(1000, 2**31 - 1, "octets")],
        Key(
            name="max-size",
            doc="The largest message that is sent. Many servers take no more than 25 to 35 MB.",
            example="25000000",
        ),
    ] = 50_000_000
    max_delay: Annotated[
        Annotated[float, bounded_duration(0.0, 366 * _DAY)],
        Key(
            name="max-delay",
            doc="How long a client may have a message wait before it is sent; until then it can be taken back. 0: not "
            "at all.",
            example='"7d"',
        ),
    ] = 30 * _DAY
