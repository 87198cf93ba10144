"""`/robots.txt`: there is nothing here for search engines (RFC 9309)."""

from __future__ import annotations

from stalwart.http import Endpoint, Request, Response

_ANSWER = Response(body=b"User-agent: *\nDisallow: /\n", content_type="text/plain; charset=utf-8")


class Robots(Endpoint):
    """Asks every crawler to stay away."""

    surface = "robots"
    charged = True

    async def get(self, request: Request) -> Response:
        """The two lines."""
        return _ANSWER
