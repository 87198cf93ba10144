"""`/`: what people see who type the server's name alone."""

from __future__ import annotations

from stalwart.http import Request, Response
from stalwart.web.pages.desk import Visitor
from stalwart.web.pages.page import Page
from stalwart.web.pages.rendering import redirect


class Home(Page):
    """Leads to the account of who is signed in, and others to where people sign in."""

    async def show(self, request: Request, visitor: Visitor) -> Response:
        """The way there."""
        return redirect("/login" if visitor.session is None else "/account")

    async def take(self, request: Request, visitor: Visitor) -> Response:
        """The same; there is no form here."""
        return await self.show(request, visitor)
