"""`/authorize`: a client asks for access, its user says yes or no (RFC 6749 §3.1, OpenID Connect Core §3.1.2)."""

from __future__ import annotations

import re

from stalwart.auth.browser import BrowserSession, find_session, purpose_of
from stalwart.auth.oauth import authorization
from stalwart.auth.oauth.authorization import AuthorizationRequest, Step
from stalwart.auth.oauth.errors import OAuthError, RefusedRequest, UnusableRequest
from stalwart.auth.oauth.parameters import parse_parameters
from stalwart.http import Problem, Request, Response
from stalwart.store import Session
from stalwart.web.pages.asking import asker, form_action, wishes
from stalwart.web.pages.desk import Visitor, query_of, with_query
from stalwart.web.pages.page import Page
from stalwart.web.pages.rendering import redirect

# How long a password that was typed for a request counts as typed just now.
_FRESH_SECONDS = 300
_QUERY = re.compile(rb"[!$-;=?-Z_a-z~&]*")
_REASONS = {
    "unknown_client": "The application that sent you here isn't known to this server.",
    "redirect_uri": "The application that sent you here wants the answer at an address that isn't its own.",
    "malformed": "The application that sent you here made a mistake: what it asks for can't be read.",
}


class Authorize(Page):
    """The authorization endpoint."""

    async def show(self, request: Request, visitor: Visitor) -> Response:
        """The question, or the way to sign in first."""
        query = query_of(request)

        def look() -> tuple[AuthorizationRequest, Step]:
            with self.desk.jmap.store.read() as s:
                return self._begin(s, visitor, visitor.session, query)

        try:
            asked, step = await self.desk.in_thread(request, look)
        except RefusedRequest as refused:
            return redirect(refused.redirect)
        except UnusableRequest as unusable:
            raise Problem(400, _REASONS[unusable.reason]) from unusable
        if step == "sign-in":
            return redirect(with_query("/login/authorize", query))
        return self._question(visitor, asked, query)

    async def take(self, request: Request, visitor: Visitor) -> Response:
        """The user's answer; or a client's request, which may come as a form, too (OpenID Connect Core §3.1.2.1)."""
        body = request.read_body()
        if b"decision=" not in body:
            if not _QUERY.fullmatch(body):
                raise Problem(400, _REASONS["malformed"])
            return redirect(with_query("/authorize", body.decode("ascii")))
        query = query_of(request)
        form = self.desk.form_of(request, visitor, _purpose(query))
        if form is None or visitor.session is None:
            return await self.show(request, visitor)  # asks again, or for the password
        token, allowed = visitor.session.token, form.get("decision") == "allow"

        def decide() -> str | None:
            with self.desk.jmap.store.write() as s:
                session = find_session(s, token)
                if not isinstance(session, BrowserSession):
                    return None
                asked, step = self._begin(s, visitor, session, query)
                if step != "consent":
                    return None
                if not allowed:
                    return authorization.deny(asked)
                return authorization.approve(
                    s,
                    asked,
                    session.principal,
                    signed_in_at=session.signed_in_at,
                    address=request.client_address,
                    settings=self.desk.settings,
                )

        try:
            target = await self.desk.in_thread(request, decide)
        except RefusedRequest as refused:
            return redirect(refused.redirect)
        except UnusableRequest as unusable:
            raise Problem(400, _REASONS[unusable.reason]) from unusable
        return redirect(with_query("/login/authorize", query) if target is None else target)

    def _begin(
        self, s: Session, visitor: Visitor, session: BrowserSession | None, query: str
    ) -> tuple[AuthorizationRequest, Step]:
        """Raises RefusedRequest, UnusableRequest."""
        try:
            parameters = parse_parameters(query.encode("ascii"))
        except OAuthError as error:
            raise UnusableRequest("malformed", error.description) from error
        asked = authorization.begin(s, parameters, issuer=visitor.base, settings=self.desk.settings)
        now, signed_in_at, fresh = s.clock(), None, False
        if session is not None:
            signed_in_at = session.signed_in_at
            is_for_this = session.purpose == purpose_of(with_query("/authorize", query))
            fresh = is_for_this and now - signed_in_at < _FRESH_SECONDS
        return asked, authorization.next_step(asked, now=now, signed_in_at=signed_in_at, fresh=fresh)

    def _question(self, visitor: Visitor, asked: AuthorizationRequest, query: str) -> Response:
        assert visitor.session is not None
        return self.desk.page(
            visitor,
            "consent.html",
            form_action=form_action(asked.redirect_uri),
            asker=asker(asked.client, asked.redirect_uri, visitor.translate),
            wishes=wishes(asked.scope, visitor.translate),
            name=visitor.session.principal.address,
            token=visitor.form_token(_purpose(query)),
            user_code="",
            address="",
            again=with_query("/login/authorize", query),
        )


def _purpose(query: str) -> str:
    # What was shown is what is agreed to.
    return f"authorize?{query}"
