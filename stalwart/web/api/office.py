"""What the endpoints of the REST API share: who asks, what a body says, and the way into the store."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from hmac import compare_digest
from typing import Any, TypeVar

import msgspec

from stalwart.auth import Principal
from stalwart.auth.browser import BrowserSession, find_session
from stalwart.http import Endpoint, Problem, Request, Response
from stalwart.http.auth import require, unauthorized
from stalwart.jmap.errors import SignInExpired
from stalwart.store import AlreadyExists, NotFound, Session
from stalwart.web.pages.desk import Desk, Visitor
from stalwart.web.pages.own_account import present_is_right

T = TypeVar("T")
B = TypeVar("B", bound=msgspec.Struct)

CSRF_FIELD = "X-CSRF-Token"
_PURPOSE = "api"
_SAFE = (b"GET", b"HEAD")
_NOT_STORED = ("Cache-Control", "no-store")
_JSON = re.compile(
    rb"application/(?:merge-patch\+)?json[ \t]*(?:;[ \t]*charset[ \t]*=[ \t]*\"?utf-8\"?)?", re.IGNORECASE
)
_AT = re.compile(r"(?P<what>.*?)(?: - at `\$(?P<path>[^`]*)`)?", re.DOTALL)
_MEMBER = re.compile(r"Object (?:missing required|contains unknown) field `(?P<name>[^`]*)`")


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks, about their own account."""

    principal: Principal
    visitor: Visitor | None = None
    """The browser, where its session signs them in and no Authorization field."""

    @property
    def session(self) -> BrowserSession | None:
        """The session of the browser."""
        return None if self.visitor is None else self.visitor.session

    @property
    def csrf_token(self) -> str | None:
        """What a browser's requests that change something have to bring."""
        return None if self.visitor is None else self.visitor.form_token(_PURPOSE)


class WrongMember(Exception):
    """A member of the body that can't be used: its name, and what is wrong with it. `status` is of HTTP."""

    def __init__(self, member: str, detail: str, status: int = 422) -> None:
        super().__init__(member, detail)
        self.member = member
        self.detail = detail
        self.status = status


class Office:
    """What the endpoints work with; one for all listeners."""

    def __init__(self, desk: Desk, hostname: str) -> None:
        self.desk = desk
        self.jmap = desk.jmap
        self.hostname = hostname

    async def owner(self, request: Request, permission: str) -> Owner:
        """Who sends the request, who must have an account and this permission.

        By the Authorization field, else by a browser's session, which changes something only with its token.
        Raises Problem 401, 403, 429.
        """
        if request.header_values(b"authorization"):
            return Owner(principal=await self.jmap.sign_in(request, permission))
        visitor = await self.desk.visitor(request)
        if visitor.session is None:
            raise await unauthorized(request, "Sign in to use this: by the Authorization field, or at /login.")
        if request.method not in _SAFE:
            given = request.header(CSRF_FIELD.lower().encode()) or b""
            genuine = compare_digest(given, visitor.form_token(_PURPOSE).encode())
            if not genuine or not self.desk.is_from_here(request, visitor):
                raise Problem(
                    403,
                    f"A browser's session changes something only with the field {CSRF_FIELD}, "
                    "which holds the csrfToken of GET /api/account, and from pages of this server.",
                )
        request.permission = permission
        require(visitor.session.principal, "authenticate")
        require(visitor.session.principal, permission)
        return Owner(principal=visitor.session.principal, visitor=visitor)

    async def read(self, request: Request, owner: Owner, function: Callable[[Session, Principal], T]) -> T:
        """Run `function` in a snapshot in which the owner's sign-in still counts. Raises Problem."""

        def work(principal: Principal) -> T:
            with self.jmap.store.read() as s:
                return function(s, self._current(s, owner, principal))

        return await self.jmap.in_thread(request, work)

    async def write(self, request: Request, owner: Owner, function: Callable[[Session, Principal], T]) -> T:
        """Run `function` in a transaction in which the owner's sign-in still counts.

        Raises Problem, also 404 and 409 for what the store refuses.
        """

        def work(principal: Principal) -> T:
            with self.jmap.store.write() as s:
                return function(s, self._current(s, owner, principal))

        try:
            return await self.jmap.in_thread(request, work)
        except NotFound as error:
            raise Problem(404, _sentence(error)) from error
        except AlreadyExists as error:
            raise Problem(409, _sentence(error)) from error
        except WrongMember as wrong:
            raise refusal(wrong) from wrong

    def _current(self, s: Session, owner: Owner, principal: Principal) -> Principal:
        """The owner as the store has them now. Raises SignInExpired."""
        if owner.session is None:
            if not self.jmap.authenticator.still_valid(s, principal):
                raise SignInExpired("These credentials have ended. Sign in again.")
            return principal
        found = find_session(s, owner.session.token)
        if not isinstance(found, BrowserSession):
            raise SignInExpired("This sign-in has ended. Sign in again.")
        return found.principal

    async def check_present(self, request: Request, owner: Owner, password: str) -> None:
        """Have the account's own password checked, as at sign-in. Raises Problem 403, 429."""
        if not await present_is_right(self.desk, request, owner.principal, password):
            raise refusal(WrongMember("currentPassword", "is wrong", 403))


class OwnerEndpoint(Endpoint):
    """A page about the owner's account."""

    surface = "api-account"
    body_limit = 8192

    def __init__(self, office: Office) -> None:
        super().__init__()
        self.office = office


def body_of(request: Request, kind: type[B]) -> B:
    """What the body says. Raises Problem: 415, 400 for what is no JSON, 422 that names the member that is wrong."""
    if not _JSON.fullmatch((request.header(b"content-type") or b"").strip()):
        raise Problem(415, "The Content-Type must be application/json.", headers=(("Accept", "application/json"),))
    try:
        return msgspec.json.decode(request.read_body(), type=kind)
    except msgspec.ValidationError as error:
        raise _refused_member(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(400, "The body is not JSON.") from error


def refusal(wrong: WrongMember) -> Problem:
    """A refusal that names a member of the body, by a JSON pointer as in the example of RFC 9457 §3."""
    pointer = "#" + "".join(f"/{part}" for part in wrong.member.split(".") if part)
    return Problem(
        wrong.status,
        f"{wrong.member or 'The body'} {wrong.detail}.",
        extra={"errors": [{"pointer": pointer, "detail": wrong.detail}]},
    )


def answer(value: Mapping[str, Any], *, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    """An answer with this JSON object, which nobody stores."""
    return Response(
        status=status,
        body=msgspec.json.encode(value),
        content_type="application/json",
        headers=(_NOT_STORED, *headers),
    )


def nothing(headers: tuple[tuple[str, str], ...] = ()) -> Response:
    """The answer of what is done, and has nothing to tell."""
    return Response(status=204, headers=(_NOT_STORED, *headers))


def time_of(seconds: int | None) -> str | None:
    """Epoch seconds as a time of RFC 3339 in UTC."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _refused_member(text: str) -> Problem:
    match = _AT.fullmatch(text)
    what, path = (text, "") if match is None else (match["what"], (match["path"] or "").lstrip("."))
    named = _MEMBER.fullmatch(what)
    if named is not None:
        detail = "is missing" if "missing" in what else "is no member that there is"
        return refusal(WrongMember(".".join(filter(None, (path, named["name"]))), detail))
    return refusal(WrongMember(path, f"can't be used: {what[:1].lower()}{what[1:]}"))


def _sentence(error: Exception) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."
