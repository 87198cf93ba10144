"""`/`: what people see who type the server's name alone."""

from __future__ import annotations

from stalwart.http import Endpoint, Request, Response
from stalwart.web.pages.rendering import redirect


class Home(Endpoint):
    """Leads to where people sign in."""

    surface = "pages"

    async def get(self, request: Request) -> Response:
        """The way there."""
        return redirect("/login")
