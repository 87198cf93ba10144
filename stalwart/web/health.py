"""`/healthz/live` and `/healthz/ready`: for supervisors and load balancers.

The answers have the shape of problem documents, as Stalwart's do, also when all is well.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet import defer
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from stalwart.http import Endpoint, Problem, Request, Response
from stalwart.http.auth import RunsInThread

_log = Logger(namespace="stalwart.health")
_READY_SECONDS = 2.0
_UNCACHED = (("Cache-Control", "no-store"),)
_WELL = Problem(200, headers=_UNCACHED).response()


class Live(Endpoint):
    """Whether the process answers at all."""

    surface = "health"
    charged = True

    async def get(self, request: Request) -> Response:
        """200, always."""
        return _WELL


class Ready(Endpoint):
    """Whether requests that need the store can be served."""

    surface = "health"
    charged = True

    def __init__(self, ping: Callable[[], object], pool: RunsInThread, reactor: IReactorTime) -> None:
        """`ping` asks the store and raises if it can't answer; it runs in `pool`."""
        super().__init__()
        self._ping = ping
        self._pool = pool
        self._reactor = reactor
        self._waiting: set[Deferred[object]] = set()
        self._asking = False

    async def get(self, request: Request) -> Response:
        """200 if the store answers within two seconds, else 503."""
        waiting: Deferred[object] = Deferred()
        self._waiting.add(waiting)
        try:
            # Who asks meanwhile shares the answer: a store that hangs must not take one thread after another.
            if not self._asking:
                asked = self._pool.run(self._ping)
                self._asking = True
                asked.addBoth(self._answered)
            await waiting.addTimeout(_READY_SECONDS, self._reactor)
        except CancelledError:
            raise  # the client has gone
        except defer.TimeoutError as error:
            raise _not_ready(f"The store did not answer within {_READY_SECONDS:g} seconds.") from error
        except Exception as error:
            _log.warn(
                "not ready: the store failed: {error} (request {request_id})",
                error=str(error),
                request_id=request.request_id,
            )
            raise _not_ready("The store can't be used.") from error
        finally:
            self._waiting.discard(waiting)
        return _WELL

    def _answered(self, result: object) -> None:
        self._asking = False
        for waiting in list(self._waiting):
            waiting.callback(result)


def _not_ready(detail: str) -> Problem:
    return Problem(503, detail, headers=(*_UNCACHED, ("Retry-After", "5")))
