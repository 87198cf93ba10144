"""What the pages share: whose browser asks, whether a form comes from one of our pages, and the way into a thread."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from hmac import compare_digest
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec
from twisted.logger import Logger

from stalwart.auth.browser import BrowserSession, CodeStep, form_token, resume_session
from stalwart.auth.oauth.errors import OAuthError
from stalwart.auth.oauth.parameters import Parameters, parse_parameters
from stalwart.auth.rates import RateLimiter
from stalwart.config import OAuthSettings, Rate
from stalwart.http import Problem, Request, Response
from stalwart.http.guarding import charge_account, charge_anonymous, refund_anonymous
from stalwart.ops.metrics import Metrics
from stalwart.store import DiskFull, StoreBusy, principal_of_account
from stalwart.web.jmap_surface import Surface
from stalwart.web.pages.languages import Translate, choose_language, translator
from stalwart.web.pages.rendering import FIELDS, redirect, render

T = TypeVar("T")

_log = Logger(namespace="stalwart.pages")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
_LOOPBACK = re.compile(r"localhost|.*\.localhost|127(?:\.[0-9]{1,3}){3}|::1", re.ASCII)
_SESSION, _FORM = "stalwart-session", "stalwart-form"
# A user code has 34 bits: RFC 8628 §5.1
_USER_CODES = Rate(count=10, period=600.0)
# How often the present password of an account may be wrong.
_GUESSES = Rate(count=10, period=600.0)


class Visitor(msgspec.Struct, frozen=True, kw_only=True):
    """The browser behind a request."""

    base: str
    """The base of this server's URLs, without a slash at the end."""

    language: str
    token: str | None
    """What its cookie of a session says."""

    session: BrowserSession | None
    step: CodeStep | None
    """A sign-in that waits for a code."""

    form_key: str
    """What the forms of those prove to be ours by who haven't signed in."""

    is_new: bool
    """Whether the form key was made just now."""

    is_charged: bool
    """Whether the request was charged to those who haven't signed in."""

    @property
    def is_secure(self) -> bool:
        """Whether the browser came by https."""
        return self.base.startswith("https://")

    @property
    def host(self) -> str:
        """This server as the browser knows it."""
        return self.base.partition("://")[2]

    @property
    def translate(self) -> Translate:
        """What gives texts in the browser's language."""
        return translator(self.language)

    def form_token(self, purpose: str) -> str:
        """What a form for this purpose has to bring."""
        key = self.form_key if self.session is None else self.session.token
        return form_token(key, purpose)


class Desk:
    """What the pages work with; one for all listeners."""

    def __init__(self, jmap: Surface, metrics: Metrics, settings: OAuthSettings) -> None:
        self.jmap = jmap
        self.settings = settings
        self.sign_ins = metrics.sign_ins
        self.user_codes = RateLimiter(_USER_CODES)
        """Wrong user codes, by account."""

        self.guesses = RateLimiter(_GUESSES)
        """Wrong present passwords of who is signed in, by account."""

    async def visitor(self, request: Request) -> Visitor:
        """Whose browser it is. Raises Problem: 403 where its passwords would be sent in clear, 429."""
        base = await self.jmap.base_url(request)
        host = urlsplit(base).hostname or ""
        is_secure = base.startswith("https://")
        if not is_secure and not _LOOPBACK.fullmatch(host):
            raise Problem(403, "This page is served over https only, since passwords are typed here.")
        guard = request.site.guard
        # Whoever shows a wrong token has used up one of the anonymous requests.
        charged = guard is not None and charge_anonymous(guard, request)
        token = session_token(request, is_secure=is_secure)
        key = _cookie(request, cookie_name(_FORM, is_secure))
        address = request.client_address

        def look() -> tuple[BrowserSession | CodeStep | None, str | None]:
            found = None if token is None else resume_session(self.jmap.store, token, address=address)
            if found is None:
                return None, None
            account = found.account_id if isinstance(found, CodeStep) else found.principal.account_id
            with self.jmap.store.read() as s:
                return found, principal_of_account(s, account).locale

        found, locale = (None, None) if token is None else await self.in_thread(request, look)
        session = found if isinstance(found, BrowserSession) else None
        if session is not None:
            request.principal = session.principal
            if guard is not None:
                if charged:
                    refund_anonymous(guard, request)
                charge_account(guard, request, session.principal.account_id)
        return Visitor(
            base=base,
            language=choose_language([locale, *_ui_locales(request)], request.header(b"accept-language") or b""),
            token=token,
            session=session,
            step=found if isinstance(found, CodeStep) else None,
            form_key=key or secrets.token_urlsafe(32),
            is_new=key is None,
            is_charged=charged,
        )

    async def in_thread(self, request: Request, function: Callable[[], T]) -> T:
        """Run `function` in a thread when it is the turn of the request's address. Raises Problem 503."""
        try:
            return await self.jmap.turns.run(request.client_address, function)
        except StoreBusy as error:
            raise Problem(503, "The mail store is busy. Try again.", headers=(("Retry-After", "5"),)) from error
        except DiskFull as error:
            raise Problem(507, "The mail store is full.") from error

    def form_of(self, request: Request, visitor: Visitor, purpose: str) -> Parameters | None:
        """What a form brings; None if it isn't from a page that we gave this browser for that purpose.

        Raises Problem 400 for what no form of ours sends.
        """
        try:
            form = parse_parameters(request.read_body())
        except OAuthError as error:
            raise Problem(400, "The form can't be read.") from error
        if form.repeated or form.resources:
            raise Problem(400, "The form has a field more than once.")
        given = form.get("token") or ""
        genuine = self.is_from_here(request, visitor) and compare_digest(
            given.encode("utf-8", "surrogatepass"), visitor.form_token(purpose).encode()
        )
        if not genuine:
            _log.warn(
                "a form for {path} from {address} wasn't taken: it is too old, or another site's",
                path=request.path.decode("ascii"),
                address=request.client_address,
            )
        return form if genuine else None

    def is_from_here(self, request: Request, visitor: Visitor) -> bool:
        """Whether a page of this server sends the form, as far as the browser says.

        Forms of pages with `Referrer-Policy: no-referrer` have the Origin `null` (Fetch §3.2); what counts then is
        Sec-Fetch-Site, where the browser has it, and the form's token in any case.
        """
        if request.header_values(b"sec-fetch-site") not in ([], [b"same-origin"]):
            return False
        own = ("null", _origin(visitor.base), f"{request.scheme}://{request.authority}")
        origins = [value.decode("latin-1").lower() for value in request.header_values(b"origin")]
        return len(origins) <= 1 and all(origin in own for origin in origins)

    # Answers.

    def page(
        self,
        visitor: Visitor,
        template: str,
        *,
        status: int = 200,
        headers: tuple[tuple[str, str], ...] = (),
        form_action: str = "'self'",
        **values: object,
    ) -> Response:
        """A page for this browser."""
        if visitor.is_new and visitor.session is None:
            headers = (*headers, _set_cookie(_FORM, visitor.form_key, visitor.is_secure))
        return render(
            template,
            language=visitor.language,
            status=status,
            headers=headers,
            form_action=form_action,
            host=visitor.host,
            **values,
        )

    def problem_page(self, request: Request, problem: Problem, visitor: Visitor | None = None) -> Response:
        """A refusal as a page, for this browser if it is known whose it is."""
        return problem_page(request, problem, None if visitor is None else visitor.language)

    def signed_in(self, visitor: Visitor, token: str, location: str) -> Response:
        """Send the browser on with the cookie of a session that has just begun."""
        return redirect(location, (session_cookie(visitor, token),))

    def signed_out(self, visitor: Visitor, location: str) -> Response:
        """Send the browser on without the cookie of its session."""
        return redirect(location, (_set_cookie(_SESSION, "", visitor.is_secure, ends=True),))


def problem_page(request: Request, problem: Problem, language: str | None = None) -> Response:
    """A refusal as a page, in the language that the browser prefers if none is named."""
    language = language or choose_language([], request.header(b"accept-language") or b"")
    own = {name.lower() for name, _ in FIELDS}
    return render(
        "error.html",
        language=language,
        status=problem.status,
        headers=tuple(field for field in problem.headers if field[0].lower() not in own),
        host=request.authority,
        message=translator(language)(problem.detail or problem.title),
    )


def cookie_name(name: str, is_secure: bool) -> str:
    """The name of a cookie: over https one that no other host, path or clear connection can have set.

    draft-ietf-httpbis-rfc6265bis §4.1.3.2. Over http, which is for loopback only, browsers take no such names.
    """
    return f"__Host-{name}" if is_secure else name


def session_token(request: Request, *, is_secure: bool) -> str | None:
    """The token of a browser's session in a request's cookies, checked by nobody yet."""
    return _cookie(request, cookie_name(_SESSION, is_secure))


def session_cookie(visitor: Visitor, token: str) -> tuple[str, str]:
    """The field that gives a browser the cookie of a session that has just begun."""
    return _set_cookie(_SESSION, token, visitor.is_secure)


def query_of(request: Request) -> str:
    """A request's query as it was sent."""
    return request.uri.partition(b"?")[2].decode("ascii")


def with_query(path: str, query: str) -> str:
    """A target of ours with a query as it was sent."""
    return f"{path}?{query}" if query else path


def _ui_locales(request: Request) -> list[str]:
    """The languages that a client says its user prefers (OpenID Connect Core §3.1.2.1)."""
    try:
        return (parse_parameters(query_of(request).encode()).get("ui_locales") or "").split()
    except OAuthError:
        return []


def _cookie(request: Request, name: str) -> str | None:
    """The one value of a cookie; None if there are several, or one of another form than ours."""
    values = set()
    for field in request.header_values(b"cookie"):
        for pair in field.decode("latin-1").split(";"):
            key, _, value = pair.strip(" \t").partition("=")
            if key == name:
                values.add(value)
    value = values.pop() if len(values) == 1 else ""
    return value if _TOKEN.fullmatch(value) else None


def _set_cookie(name: str, value: str, is_secure: bool, *, ends: bool = False) -> tuple[str, str]:
    # RFC 6265 §4.1. Lax: it must come along when a client sends the browser here.
    text = f"{cookie_name(name, is_secure)}={value}; Path=/; HttpOnly; SameSite=Lax"
    return "Set-Cookie", text + ("; Secure" if is_secure else "") + ("; Max-Age=0" if ends else "")


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()
