"""`/device`: the user types the code that a device shows, sees what is asked for, and decides. RFC 8628 §3.3"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

from stalwart.auth.browser import BrowserSession, find_session
from stalwart.auth.oauth import device
from stalwart.auth.oauth.device import PendingDevice, plain_code
from stalwart.auth.oauth.errors import OAuthError
from stalwart.auth.oauth.parameters import parse_parameters
from stalwart.http import Problem, Request, Response
from stalwart.web.pages.asking import asker, wishes
from stalwart.web.pages.desk import Visitor, query_of, with_query
from stalwart.web.pages.page import Page
from stalwart.web.pages.rendering import redirect

_PURPOSE = "device"
_MOST_CODE = 64
_NO_CODE = "This code isn't known, or it has expired. Look at your device again."


class Device(Page):
    """Where `verification_uri` leads to."""

    async def show(self, request: Request, visitor: Visitor) -> Response:
        """The form for a code; one in the query is filled in, and not taken before the user says so (§3.3.1)."""
        query = query_of(request)
        if visitor.session is None:
            return redirect(with_query("/login/device", query))
        try:
            code = parse_parameters(query.encode("ascii")).get("user_code") or ""
        except OAuthError:
            code = ""
        return self._form(visitor, code=code)

    async def take(self, request: Request, visitor: Visitor) -> Response:
        """A code, or the user's decision about one."""
        session = visitor.session
        if session is None:
            return redirect("/login/device")
        form = self.desk.form_of(request, visitor, _PURPOSE)
        if form is None:
            error = "This form was open for too long. Please try again."
            return self._form(visitor, error=error, status=403)
        code, decision = (form.get("user_code") or "")[:_MOST_CODE], form.get("decision")
        if not plain_code(code):
            return self._form(visitor, error="Enter the code that your device shows.", status=422)
        refund = self._charge(request, session)
        if decision is None:
            found = await self.desk.in_thread(request, lambda: self._pending(code))
            if found is not None:
                refund()
                return self._question(visitor, found)
        elif await self.desk.in_thread(request, lambda: self._decide(request, session, code, decision == "allow")):
            refund()
            return self.desk.page(visitor, "device-done.html", allowed=decision == "allow")
        return self._form(visitor, code=code, error=_NO_CODE, status=404)

    def _charge(self, request: Request, session: BrowserSession) -> Callable[[], None]:
        """Charge the account for a code before it is looked up; gives what takes that back, for one that exists.

        Raises Problem 429 for who has tried too many. RFC 8628 §5.1
        """
        account = session.principal.account_id
        seconds = self.desk.user_codes.charge(account, request.site.monotonic())
        if seconds:
            raise Problem(
                429,
                "You have typed too many codes that don't exist. Wait for some minutes.",
                headers=(("Retry-After", str(ceil(seconds))),),
            )
        return lambda: self.desk.user_codes.refund(account)

    def _pending(self, code: str) -> PendingDevice | None:
        with self.desk.jmap.store.read() as s:
            return device.pending(s, code, self.desk.settings)

    def _decide(self, request: Request, session: BrowserSession, code: str, allowed: bool) -> bool:
        with self.desk.jmap.store.write() as s:
            current = find_session(s, session.token)
            return isinstance(current, BrowserSession) and device.decide(
                s,
                code,
                current.principal,
                allowed,
                signed_in_at=current.signed_in_at,
                address=request.client_address,
                settings=self.desk.settings,
            )

    def _form(self, visitor: Visitor, *, code: str = "", error: str = "", status: int = 200) -> Response:
        assert visitor.session is not None
        return self.desk.page(
            visitor,
            "device.html",
            status=status,
            code=code[:_MOST_CODE],
            errors=(("user_code", visitor.translate(error)),) if error else (),
            name=visitor.session.principal.address,
            token=visitor.form_token(_PURPOSE),
        )

    def _question(self, visitor: Visitor, found: PendingDevice) -> Response:
        assert visitor.session is not None
        return self.desk.page(
            visitor,
            "consent.html",
            asker=asker(found.client, None, visitor.translate),
            wishes=wishes(found.scope, visitor.translate),
            name=visitor.session.principal.address,
            token=visitor.form_token(_PURPOSE),
            user_code=found.user_code,
            address=found.address,
            again=with_query("/login/device", f"user_code={found.user_code}"),
        )
