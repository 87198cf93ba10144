"""`/login`: name and password, then a code where one is needed. From `/login/authorize` it leads back to there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from stalwart.auth import CodeNeeded, Principal
from stalwart.auth.browser import MOST_CODES, CodeStep, begin_session, end_session, purpose_of
from stalwart.auth.oauth.errors import OAuthError
from stalwart.auth.oauth.parameters import parse_parameters
from stalwart.http import Problem, Request, Response
from stalwart.http.guarding import check_sign_in, refund_anonymous
from stalwart.mail.normal import normalized
from stalwart.ops.lanes import Crowded
from stalwart.store import StoreBusy, use_code_attempt
from stalwart.web.pages.desk import Desk, Visitor, query_of, with_query
from stalwart.web.pages.page import Page
from stalwart.web.pages.rendering import redirect

T = TypeVar("T")

_PURPOSE = "sign-in"
_MOST_NAME = 320
_WRONG = "The name or the password is wrong."


class Login(Page):
    """Signs a browser in. Where it leads to afterwards is in its own path and query, so never to elsewhere."""

    def __init__(self, desk: Desk, back: str = "/login") -> None:
        super().__init__(desk)
        self._back = back

    async def show(self, request: Request, visitor: Visitor) -> Response:
        """The form, or who is signed in."""
        if visitor.step is not None:
            return self._code_form(visitor)
        if visitor.session is not None and self._back == "/login":
            return self.desk.page(
                visitor,
                "signed-in.html",
                name=visitor.session.principal.address,
                token=visitor.form_token("sign-out"),
            )
        return self._form(visitor, name=self._name(request, visitor))

    async def take(self, request: Request, visitor: Visitor) -> Response:
        """Check what was typed."""
        form = self.desk.form_of(request, visitor, _PURPOSE)
        if form is None:
            error = "This form was open for too long. Please try again."
            if visitor.step is not None:
                return self._code_form(visitor, errors=(("code", error),), status=403)
            return self._form(visitor, errors=(("username", error),), status=403)
        if form.get("action") == "restart":
            return await self._restart(request, visitor)
        if visitor.step is not None:
            return await self._take_code(request, visitor, visitor.step, (form.get("code") or "").replace(" ", ""))
        name, password = (form.get("username") or "").strip(), form.get("password") or ""
        missing = []
        if not name:
            missing.append(("username", "Enter your name or e-mail address."))
        if not password:
            missing.append(("password", "Enter your password."))
        if missing:
            return self._form(visitor, name=name, errors=tuple(missing), status=422)
        return await self._take_password(request, visitor, name, normalized("NFC", password))

    async def _take_password(self, request: Request, visitor: Visitor, name: str, password: str) -> Response:
        guard, checker = request.site.guard, self.desk.jmap.authenticator.checker
        if guard is not None:
            check_sign_in(guard, request, name)

        def check() -> Principal | CodeNeeded | None:
            try:
                return checker.check_password(name, password)
            except CodeNeeded as needed:
                return needed

        found = await self._check(request, check)
        if found is None:
            self._failed(request, name)
            return self._form(visitor, name=name, errors=(("username", _WRONG),), status=403)
        if visitor.is_charged and guard is not None:
            refund_anonymous(guard, request)
        if isinstance(found, CodeNeeded):
            account, version = found.account_id, found.credential_version
            return await self._begin(request, visitor, account, version, self._here(request), needs_code=True)
        return await self._enter(request, visitor, found, name)

    async def _take_code(self, request: Request, visitor: Visitor, step: CodeStep, code: str) -> Response:
        if not code:
            return self._code_form(visitor, errors=(("code", "Enter the code."),), status=422)
        guard, checker, store = request.site.guard, self.desk.jmap.authenticator.checker, self.desk.jmap.store
        if guard is not None:
            check_sign_in(guard, request, step.address)

        def check() -> Principal | bool:
            with store.write() as s:
                if not use_code_attempt(s, step.id, most=MOST_CODES):
                    end_session(s, step.token)
                    return True
            return checker.check_code(step.account_id, step.credential_version, code) or False

        found = await self._check(request, check)
        if isinstance(found, Principal):
            if visitor.is_charged and guard is not None:
                refund_anonymous(guard, request)
            return await self._enter(request, visitor, found, step.address)
        self._failed(request, step.address)
        if found:
            return self._form(
                visitor, errors=(("username", "Too many wrong codes. Sign in with your password again."),), status=403
            )
        return self._code_form(visitor, errors=(("code", "The code is wrong, or was used before."),), status=403)

    async def _enter(self, request: Request, visitor: Visitor, principal: Principal, name: str) -> Response:
        """The sign-in is right."""
        if request.site.guard is not None:
            request.site.guard.sign_in_succeeded(request.client_address, name)
        self.desk.sign_ins.labels("ok").inc()
        if not principal.may("authenticate"):
            raise Problem(403, "Your account may not sign in here. Ask the operator of this server.")
        request.principal = principal
        target = with_query(self._back, query_of(request) if self._back != "/login" else "")
        return await self._begin(request, visitor, principal.account_id, principal.credential_version, target)

    async def _begin(
        self,
        request: Request,
        visitor: Visitor,
        account_id: int,
        version: int,
        target: str,
        *,
        needs_code: bool = False,
    ) -> Response:
        """Begin a session, under a token that nobody knows yet, and go on."""
        agent = (request.header(b"user-agent") or b"").decode("utf-8", "replace")

        def begin() -> str:
            with self.desk.jmap.store.write() as s:
                if visitor.token is not None:
                    end_session(s, visitor.token)
                return begin_session(
                    s,
                    account_id,
                    version,
                    address=request.client_address,
                    agent=agent,
                    purpose=purpose_of(target),
                    needs_code=needs_code,
                )

        return self.desk.signed_in(visitor, await self.desk.in_thread(request, begin), target)

    async def _restart(self, request: Request, visitor: Visitor) -> Response:
        """Forget the password that was typed."""

        def end() -> None:
            with self.desk.jmap.store.write() as s:
                if visitor.step is not None:
                    end_session(s, visitor.step.token)

        await self.desk.in_thread(request, end)
        return redirect(self._here(request))

    async def _check(self, request: Request, check: Callable[[], T]) -> T:
        try:
            return await self.desk.jmap.sign_ins_of(request).run(check)
        except Crowded as error:
            raise Problem(
                429,
                "Too many sign-ins from this address wait for their passwords to be checked. Try again.",
                headers=(("Retry-After", "5"),),
            ) from error
        except StoreBusy as error:
            raise Problem(503, "The mail store is busy. Try again.", headers=(("Retry-After", "5"),)) from error

    def _failed(self, request: Request, name: str) -> None:
        self.desk.sign_ins.labels("failed").inc()
        if request.site.guard is not None:
            request.site.guard.sign_in_failed(request.client_address, name)

    def _here(self, request: Request) -> str:
        return with_query("/login" if self._back == "/login" else f"/login{self._back}", query_of(request))

    def _name(self, request: Request, visitor: Visitor) -> str:
        """The name to begin with: who is signed in, or whom the client wants (OpenID Connect Core §3.1.2.1)."""
        if visitor.session is not None:
            return visitor.session.principal.address
        try:
            return parse_parameters(query_of(request).encode()).get("login_hint") or ""
        except OAuthError:
            return ""

    def _form(
        self, visitor: Visitor, *, name: str = "", errors: tuple[tuple[str, str], ...] = (), status: int = 200
    ) -> Response:
        token = visitor.form_token(_PURPOSE)
        shown = tuple((field, visitor.translate(text)) for field, text in errors)
        return self.desk.page(visitor, "login.html", status=status, name=name[:_MOST_NAME], errors=shown, token=token)

    def _code_form(self, visitor: Visitor, *, errors: tuple[tuple[str, str], ...] = (), status: int = 200) -> Response:
        token = visitor.form_token(_PURPOSE)
        shown = tuple((field, visitor.translate(text)) for field, text in errors)
        return self.desk.page(visitor, "code.html", status=status, errors=shown, token=token)
