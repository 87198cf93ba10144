"""`/metrics/prometheus`: all metrics in the text format that Prometheus collects."""

from __future__ import annotations

from stalwart.http import Endpoint, Request, Response
from stalwart.http.auth import RunsInThread
from stalwart.ops.metrics import Metrics


class Prometheus(Endpoint):
    """Renders the metrics in a thread, since that takes milliseconds."""

    surface = "metrics"

    def __init__(self, metrics: Metrics, pool: RunsInThread) -> None:
        super().__init__()
        self._metrics = metrics
        self._pool = pool

    async def get(self, request: Request) -> Response:
        """The metrics as they are now."""
        return Response(
            body=await self._pool.run(self._metrics.render),
            content_type="text/plain; version=0.0.4; charset=utf-8",
            headers=(("Cache-Control", "no-store"),),
        )
