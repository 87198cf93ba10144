"""What every HTTP client of ours needs: a request's body that is at hand, and how long an answer asks to wait."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.web.http import stringToDatetime
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

LONGEST_WAIT = 86_400.0


def retry_after_seconds(text: str, now: float) -> float | None:
    """How long Retry-After asks to wait (RFC 9110 §10.2.3), at most a day; None if it can't be read.

    `now` is seconds since the epoch.
    """
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), LONGEST_WAIT)
    at = http_date(text)
    return None if at is None else min(max(0.0, at - now), LONGEST_WAIT)


def http_date(text: str) -> float | None:
    """The seconds since the epoch of an HTTP date (RFC 9110 §5.6.7), None if it can't be read."""
    try:
        return float(stringToDatetime(text.strip().encode("latin-1")))
    except (ValueError, IndexError, KeyError, OverflowError):
        return None


@implementer(IBodyProducer)
class Body:
    """A request's body that is at hand."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.length = len(body)

    def startProducing(self, consumer: Any) -> Deferred[None]:
        """Write it all at once."""
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None:
        """All is written already."""

    resumeProducing = stopProducing = pauseProducing
