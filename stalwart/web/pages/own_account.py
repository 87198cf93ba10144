"""What the account page and the REST API share: asking for the present password, and going on with a new one."""

from __future__ import annotations

from math import ceil

from twisted.logger import Logger

from stalwart.auth import CodeNeeded, Principal
from stalwart.auth.browser import begin_session
from stalwart.http import Problem, Request
from stalwart.http.guarding import check_sign_in
from stalwart.mail.normal import normalized
from stalwart.ops.lanes import Crowded
from stalwart.store import Session, credential_version
from stalwart.web.pages.desk import Desk

_log = Logger(namespace="stalwart.account")
_SOON = (("Retry-After", "5"),)


async def present_is_right(desk: Desk, request: Request, principal: Principal, password: str) -> bool:
    """Whether this is the account's own password, checked and counted as at sign-in. Raises Problem 429."""
    guard, checker = request.site.guard, desk.jmap.authenticator.checker
    address, account = principal.address, principal.account_id
    if guard is not None:
        check_sign_in(guard, request, address)
    # Charged before, so that many at once are no way around; who has only the session must not find it out.
    seconds = desk.guesses.charge(account, request.site.monotonic())
    if seconds:
        raise Problem(
            429,
            "The present password of this account was wrong too often. Wait for some minutes.",
            headers=(("Retry-After", str(ceil(seconds))),),
        )

    def check() -> bool:
        try:
            found = checker.check_password(address, normalized("NFC", password))
        except CodeNeeded as needed:  # who has signed in has typed it
            return needed.account_id == account
        return found is not None and found.account_id == account

    try:
        right = await desk.jmap.sign_ins_of(request).run(check)
    except Crowded as error:
        desk.guesses.refund(account)
        raise Problem(
            429,
            "Too many sign-ins from this address wait for their passwords to be checked. Try again.",
            headers=_SOON,
        ) from error
    if not right:
        if guard is not None:
            guard.sign_in_failed(request.client_address, address)
        return False
    desk.guesses.refund(account)
    if guard is not None:
        guard.sign_in_succeeded(request.client_address, address)
    return True


async def hash_password(desk: Desk, request: Request, password: str) -> str:
    """The hash of a new password. Raises Problem 429."""
    try:
        return await desk.jmap.sign_ins_of(request).run(lambda: desk.jmap.authenticator.checker.hash(password))
    except Crowded as error:
        raise Problem(
            429, "Too many passwords are being checked for this address. Try again.", headers=_SOON
        ) from error


def go_on(s: Session, request: Request, account_id: int) -> str:
    """A session for the browser that asks, in place of the one that ended with all others; gives its token."""
    version = credential_version(s, account_id)
    assert version is not None
    agent = (request.header(b"user-agent") or b"").decode("utf-8", "replace")
    return begin_session(s, account_id, version, address=request.client_address, agent=agent)


def note(request: Request, principal: Principal, what: str) -> None:
    """Log what somebody has done about their sign-in."""
    _log.info("{who} {what}, from {address}", who=principal.address, what=what, address=request.client_address)
