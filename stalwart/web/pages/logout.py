"""`/logout`: ends the browser's session, when its user says so."""

from __future__ import annotations

from stalwart.auth.browser import end_session
from stalwart.http import Request, Response
from stalwart.web.pages.desk import Visitor
from stalwart.web.pages.page import Page
from stalwart.web.pages.rendering import redirect

_PURPOSE = "sign-out"


class Logout(Page):
    """Asks first: no link of another site may sign anybody out."""

    async def show(self, request: Request, visitor: Visitor) -> Response:
        """The question, or that nobody is signed in."""
        if visitor.session is None:
            return self.desk.page(visitor, "signed-out.html")
        return self._question(visitor)

    async def take(self, request: Request, visitor: Visitor) -> Response:
        """End the session."""
        if visitor.session is None:
            # A form of another site comes without the cookie (SameSite), and must not have it removed.
            return redirect("/logout")
        if self.desk.form_of(request, visitor, _PURPOSE) is None:
            return self._question(visitor, status=403)
        token = visitor.session.token

        def end() -> None:
            with self.desk.jmap.store.write() as s:
                end_session(s, token)

        await self.desk.in_thread(request, end)
        return self.desk.signed_out(visitor, "/logout")

    def _question(self, visitor: Visitor, *, status: int = 200) -> Response:
        assert visitor.session is not None
        name, token = visitor.session.principal.address, visitor.form_token(_PURPOSE)
        return self.desk.page(visitor, "sign-out.html", status=status, name=name, token=token)
