"""`/account`: people change how they sign in, and end what is signed in, as programs do by `/api/account`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from stalwart.auth import Principal
from stalwart.auth.browser import BrowserSession, find_session
from stalwart.auth.codes import qr_code
from stalwart.auth.oauth.parameters import Parameters
from stalwart.auth.self_service import (
    add_app_password,
    change_password,
    confirm_totp,
    disable_totp,
    enrol_totp,
    is_app_password_name,
    new_recovery_codes,
    refuse_password,
    revoke_app_password,
    revoke_client,
)
from stalwart.http import Problem, Request, Response
from stalwart.mail.normal import normalized
from stalwart.store import AlreadyExists, NotFound, Session, remove_browser_session
from stalwart.web.pages.account_shown import ShownAccount, shown_account
from stalwart.web.pages.desk import Desk, Visitor, session_cookie
from stalwart.web.pages.own_account import go_on, hash_password, note, present_is_right
from stalwart.web.pages.page import Page
from stalwart.web.pages.rendering import redirect

T = TypeVar("T")
Errors = tuple[tuple[str, str], ...]
Action = Callable[[Request, Visitor, BrowserSession, Parameters], Awaitable[Response]]

_PURPOSE = "account"
_PERMISSION = "manage-passwords"
_HERE = "/account"
_SIGN_IN = "/login/account"
_LARGEST_ID = 2**63 - 1
_WRONG = "The present password is wrong."
_MISSING = "Enter your present password."


class _Ended(Exception):
    """The sign-in has ended while its form was looked at."""


class Account(Page):
    """All about one's own sign-in. Each form says by `action` what is to be done."""

    def __init__(self, desk: Desk, hostname: str) -> None:
        """`hostname` is what apps show second factors of."""
        super().__init__(desk)
        self._hostname = hostname
        self._actions: Mapping[str, Action] = {
            "password": self._password,
            "enrol": self._enrol,
            "confirm": self._confirm,
            "codes": self._new_codes,
            "disable": self._disable,
            "add": self._add,
            "revoke": self._revoke,
            "end-browser": self._end_browser,
            "end-client": self._end_client,
        }

    async def show(self, request: Request, visitor: Visitor) -> Response:
        """The account, or the way to sign in first."""
        if visitor.session is None:
            return redirect(_SIGN_IN)
        try:
            return await self._overview(request, visitor, visitor.session)
        except _Ended:
            return redirect(_SIGN_IN)

    async def take(self, request: Request, visitor: Visitor) -> Response:
        """Do what a form asks for."""
        session = visitor.session
        if session is None:
            return redirect(_SIGN_IN)
        try:
            form = self.desk.form_of(request, visitor, _PURPOSE)
            if form is None:
                error = "This form was open for too long. Please try again."
                return await self._overview(request, visitor, session, (("account", error),), status=403)
            if not session.principal.may(_PERMISSION):
                raise Problem(403, "You may not change how you sign in. Ask the operator of this server.")
            action = self._actions.get(form.get("action") or "")
            if action is None:
                raise Problem(400, "The form can't be read.")
            return await action(request, visitor, session, form)
        except _Ended:
            return redirect(_SIGN_IN)
        except NotFound:
            return redirect(_HERE)  # it has gone meanwhile, as the list there shows

    # The password.

    async def _password(
        self, request: Request, visitor: Visitor, session: BrowserSession, form: Parameters
    ) -> Response:
        present, wanted, again = (
            normalized("NFC", form.get(name) or "") for name in ("present", "new_password", "again")
        )
        missing = []
        if not present:
            missing.append(("present", _MISSING))
        if not wanted:
            missing.append(("new_password", "Enter a new password."))
        elif wanted != again:
            missing.append(("again", "Type the new password twice, the same both times."))
        if missing:
            return await self._overview(request, visitor, session, tuple(missing), status=422)
        if not await present_is_right(self.desk, request, session.principal, present):
            return await self._overview(request, visitor, session, (("present", _WRONG),), status=403)
        reason = refuse_password(wanted, present=present, principal=session.principal)
        if reason is not None:
            error = f"The new password {reason}."
            return await self._overview(request, visitor, session, (("new_password", error),), status=422)
        hashed = await hash_password(self.desk, request, wanted)

        def change(s: Session, principal: Principal) -> str:
            change_password(s, principal.account_id, hashed)
            return go_on(s, request, principal.account_id)

        token = await self._write(request, session, change)
        note(request, session.principal, "has changed the password")
        return self.desk.page(visitor, "account-done.html", headers=(session_cookie(visitor, token),), done="password")

    # The second factor.

    async def _enrol(self, request: Request, visitor: Visitor, session: BrowserSession, form: Parameters) -> Response:
        refusal = await self._check(request, visitor, session, form, "totp_present")
        if refusal is not None:
            return refusal
        made = await self._write(request, session, lambda s, who: enrol_totp(s, who, issuer=self._hostname))
        groups = [made.secret[start : start + 4] for start in range(0, len(made.secret), 4)]
        return self._enrolment(visitor, uri=made.uri, secret=" ".join(groups), qr=qr_code(made.uri, is_sized=False))

    async def _confirm(self, request: Request, visitor: Visitor, session: BrowserSession, form: Parameters) -> Response:
        code = (form.get("code") or "").replace(" ", "")
        if not code:
            return self._enrolment(visitor, error="Enter the code.", status=422)

        def confirm(s: Session, principal: Principal) -> tuple[list[str], str] | None:
            codes = confirm_totp(s, principal, code)
            return None if codes is None else (codes, go_on(s, request, principal.account_id))

        confirmed = await self._write(request, session, confirm)
        if confirmed is None:
            error = "The code is wrong, or it is of another time: the clock of your device may be off."
            return self._enrolment(visitor, error=error, status=403)
        codes, token = confirmed
        note(request, session.principal, "has set up a second factor")
        return self.desk.page(
            visitor, "account-codes.html", headers=(session_cookie(visitor, token),), codes=codes, is_new=True
        )

    async def _new_codes(
        self, request: Request, visitor: Visitor, session: BrowserSession, form: Parameters
    ) -> Response:
        refusal = await self._check(request, visitor, session, form, "totp_present")
        if refusal is not None:
            return refusal
        codes = await self._write(request, session, new_recovery_codes)
        note(request, session.principal, "has made new recovery codes")
        return self.desk.page(visitor, "account-codes.html", codes=codes, is_new=False)

    async def _disable(self, request: Request, visitor: Visitor, session: BrowserSession, form: Parameters) -> Response:
        refusal = await self._check(request, visitor, session, form, "totp_present")
        if refusal is not None:
            return refusal
        await self._write(request, session, disable_totp)
        note(request, session.principal, "has taken away the second factor")
        return self.desk.page(visitor, "account-done.html", done="totp-off")

    # App passwords.

    async def _add(self, request: Request, visitor: Visitor, session: BrowserSession, form: Parameters) -> Response:
        name = (form.get("app_name") or "").strip()
        if not is_app_password_name(name):
            error = "Enter a name of at most 100 characters."
            return await self._overview(request, visitor, session, (("app_name", error),), status=422)
        refusal = await self._check(request, visitor, session, form, "app_present")
        if refusal is not None:
            return refusal
        try:
            _, password = await self._write(
                request, session, lambda s, who: add_app_password(s, who, name, expires_at=None)
            )
        except AlreadyExists:
            error = "There is an app password of this name already, or there are too many: revoke one first."
            return await self._overview(request, visitor, session, (("app_name", error),), status=409)
        note(request, session.principal, f"has made the app password {name!r}")
        return self.desk.page(visitor, "account-app-password.html", name=name, password=password)

    async def _revoke(self, request: Request, visitor: Visitor, session: BrowserSession, form: Parameters) -> Response:
        number = _id(form)
        name = await self._write(request, session, lambda s, who: revoke_app_password(s, who, number))
        note(request, session.principal, f"has revoked the app password {name!r}")
        return redirect(_HERE)

    # What is signed in.

    async def _end_browser(
        self, request: Request, visitor: Visitor, session: BrowserSession, form: Parameters
    ) -> Response:
        number = _id(form)
        await self._write(request, session, lambda s, who: remove_browser_session(s, who.account_id, number))
        return redirect(_HERE)

    async def _end_client(
        self, request: Request, visitor: Visitor, session: BrowserSession, form: Parameters
    ) -> Response:
        number = _id(form)
        await self._write(request, session, lambda s, who: revoke_client(s, who, number))
        return redirect(_HERE)

    # What they share.

    async def _check(
        self, request: Request, visitor: Visitor, session: BrowserSession, form: Parameters, field: str
    ) -> Response | None:
        """The page that says what is wrong with the present password in this field; None if it is right."""
        present = form.get(field) or ""
        if not present:
            return await self._overview(request, visitor, session, ((field, _MISSING),), status=422)
        if await present_is_right(self.desk, request, session.principal, present):
            return None
        return await self._overview(request, visitor, session, ((field, _WRONG),), status=403)

    async def _write(self, request: Request, session: BrowserSession, function: Callable[[Session, Principal], T]) -> T:
        """Run `function` in a transaction in which the sign-in still counts. Raises _Ended, what the store refuses."""

        def work() -> T:
            with self.desk.jmap.store.write() as s:
                return function(s, _current(s, session))

        return await self.desk.in_thread(request, work)

    async def _overview(
        self, request: Request, visitor: Visitor, session: BrowserSession, errors: Errors = (), *, status: int = 200
    ) -> Response:
        def look() -> ShownAccount:
            with self.desk.jmap.store.read() as s:
                return shown_account(s, _current(s, session), own=session.id)

        return self.desk.page(
            visitor,
            "account.html",
            status=status,
            token=visitor.form_token(_PURPOSE),
            sign_out=visitor.form_token("sign-out"),
            errors=tuple((field, visitor.translate(text)) for field, text in errors),
            shown=await self.desk.in_thread(request, look),
        )

    def _enrolment(
        self, visitor: Visitor, *, uri: str = "", secret: str = "", qr: str = "", error: str = "", status: int = 200
    ) -> Response:
        """The code is asked for; the secret is shown the first time only, after the present password."""
        return self.desk.page(
            visitor,
            "account-totp.html",
            status=status,
            token=visitor.form_token(_PURPOSE),
            errors=(("code", visitor.translate(error)),) if error else (),
            uri=uri,
            secret=secret,
            qr=qr,
        )


def _current(s: Session, session: BrowserSession) -> Principal:
    """Who is signed in, as the store has them now. Raises _Ended."""
    found = find_session(s, session.token)
    if not isinstance(found, BrowserSession):
        raise _Ended
    return found.principal


def _id(form: Parameters) -> int:
    """The row that a button stands for. Raises NotFound for what no row has."""
    text = form.get("id") or ""
    if not text.isascii() or not text.isdigit() or len(text) > len(str(_LARGEST_ID)) or int(text) > _LARGEST_ID:
        raise NotFound("there is nothing of this id")
    return int(text)
