"""Authorization requests: what a client asks a user for, and what the user's answer becomes. RFC 6749 §4.1"""

from __future__ import annotations

import re
import secrets
from typing import Literal, NoReturn

import msgspec

from stalwart.auth.oauth import scopes
from stalwart.auth.oauth.clients import AUTHORIZATION_CODE, Client, lookup_client
from stalwart.auth.oauth.errors import OAuthError, RefusedRequest, UnusableRequest
from stalwart.auth.oauth.granting import grant_access
from stalwart.auth.oauth.parameters import Parameters
from stalwart.auth.oauth.redirects import BadRedirect, check_redirect, is_native, matches, with_parameters
from stalwart.auth.oauth.resources import is_ours
from stalwart.auth.principal import Principal
from stalwart.config.oauth_settings import OAuthSettings
from stalwart.store import CodeRow, Session, add_code

Step = Literal["sign-in", "consent"]
Denial = Literal["access_denied", "login_required", "consent_required", "interaction_required", "server_error"]

# RFC 7636 §4.2: BASE64URL of a SHA-256
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_PROMPTS = frozenset({"none", "login", "consent", "select_account"})
_NOT_SUPPORTED = {
    "request": "request_not_supported",
    "request_uri": "request_uri_not_supported",
    "registration": "registration_not_supported",
}


class AuthorizationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request that the user may be asked about. Nothing of it lies in the store until it is approved."""

    client: Client
    redirect_uri: str
    """Where the answer goes: one that is registered, or that may be used without."""

    redirect_uri_was_sent: bool
    scope: tuple[str, ...]
    state: str | None
    nonce: str | None
    code_challenge: str | None
    prompt: frozenset[str]
    max_age: int | None
    """Seconds since the user signed in, at most."""

    login_hint: str | None
    ui_locales: tuple[str, ...]
    issuer: str


def begin(s: Session, params: Parameters, *, issuer: str, settings: OAuthSettings) -> AuthorizationRequest:
    """Read an authorization request. `issuer` is the base URL of this server, without a slash at the end.

    Raises:
        UnusableRequest: the client or its redirect URI can't be trusted; to be shown on a page.
        RefusedRequest: anything else is wrong with it; the browser is to be sent to its `redirect`.
    """
    client, uri, was_sent = _client(s, params, settings)
    state = params.get("state")

    def refuse(code: str, description: str) -> NoReturn:
        raise RefusedRequest(_answer(uri, issuer, state, error=code, error_description=description), code)

    if params.repeated:
        refuse("invalid_request", "A parameter is there more than once.")
    for name, code in _NOT_SUPPORTED.items():  # OpenID Connect Core §6
        if params.get(name) is not None:
            refuse(code, f"The parameter {name} is not supported.")
    match params.get("response_type"):
        case None:
            refuse("invalid_request", "The parameter response_type is missing.")
        case "code":
            pass
        case _:
            refuse("unsupported_response_type", "Only the response type code is supported.")
    if params.get("response_mode") not in (None, "query"):
        refuse("invalid_request", "Only the response mode query is supported.")
    if not client.may_use(AUTHORIZATION_CODE):
        refuse("unauthorized_client", "The client is not registered for the grant type authorization_code.")
    challenge = params.get("code_challenge")
    method = params.get("code_challenge_method")
    if challenge is None:
        if method is not None:
            refuse("invalid_request", "There is a code_challenge_method without a code_challenge.")
        if not client.is_confidential:
            # RFC 7636 §4.4.1, RFC 9700 §2.1.1
            refuse("invalid_request", "This client must use PKCE: the parameter code_challenge is missing.")
    elif method != "S256":  # RFC 7636 §4.3: none means plain
        refuse("invalid_request", "The code_challenge_method must be S256.")
    elif not _CHALLENGE.fullmatch(challenge):
        refuse("invalid_request", "The code_challenge must be the base64url form of a SHA-256, without padding.")
    if not all(is_ours(resource, issuer) for resource in params.resources):
        refuse("invalid_target", "The resource is not one of this server.")  # RFC 8707 §2
    prompt = frozenset((params.get("prompt") or "").split())
    if not prompt <= _PROMPTS or ("none" in prompt and len(prompt) > 1):
        refuse("invalid_request", "The prompt must be none alone, or of login, consent and select_account.")
    max_age = params.get("max_age")
    if max_age is not None and not re.fullmatch(r"[0-9]{1,9}", max_age, re.ASCII):
        refuse("invalid_request", "The max_age must be a number of seconds.")
    try:
        scope = scopes.parse_scope(params.get("scope"), client.scope)
    except OAuthError as error:
        refuse(error.code, error.description)
    return AuthorizationRequest(
        client=client,
        redirect_uri=uri,
        redirect_uri_was_sent=was_sent,
        scope=scope,
        state=state,
        nonce=params.get("nonce"),
        code_challenge=challenge,
        prompt=prompt,
        max_age=None if max_age is None else int(max_age),
        login_hint=params.get("login_hint"),
        ui_locales=tuple((params.get("ui_locales") or "").split()),
        issuer=issuer,
    )


def next_step(request: AuthorizationRequest, *, now: float, signed_in_at: float | None, fresh: bool = False) -> Step:
    """What the user has to do next. OpenID Connect Core §3.1.2.3

    `signed_in_at` is when the user of the browser's session typed their password, None if nobody has; `fresh` says that
    it was for this very request. Raises RefusedRequest for a client that wants no page shown (`prompt=none`).
    """
    too_old = request.max_age is not None and (signed_in_at is None or now - signed_in_at > request.max_age)
    again = not fresh and (too_old or bool(request.prompt & {"login", "select_account"}))
    step: Step = "sign-in" if signed_in_at is None or again else "consent"
    if "none" in request.prompt:
        # Nobody is let in without being asked for.
        code: Denial = "login_required" if step == "sign-in" else "consent_required"
        raise RefusedRequest(deny(request, code), code)
    return step


def approve(
    s: Session,
    request: AuthorizationRequest,
    principal: Principal,
    *,
    signed_in_at: float,
    address: str,
    settings: OAuthSettings,
) -> str:
    """The user agrees: gives where to send the browser, with a code. `s` is the transaction in which `begin` read it.

    `address` is the browser's, `signed_in_at` when the user typed their password. Whoever may not let clients in is
    answered with access_denied.
    """
    grant_id = grant_access(s, request.client, principal, request.scope, signed_in_at=signed_in_at, address=address)
    if grant_id is None:
        return deny(request)
    code = secrets.token_urlsafe(32)
    row = CodeRow(
        grant_id=grant_id,
        redirect_uri=request.redirect_uri if request.redirect_uri_was_sent else None,
        code_challenge=request.code_challenge,
        nonce=request.nonce,
        expires_at=s.now() + int(settings.auth_code),
    )
    add_code(s, code, row)
    return _answer(request.redirect_uri, request.issuer, request.state, code=code)


def deny(request: AuthorizationRequest, error: Denial = "access_denied") -> str:
    """The user doesn't agree, or can't be asked: gives where to send the browser."""
    return _answer(request.redirect_uri, request.issuer, request.state, error=error)


def _client(s: Session, params: Parameters, settings: OAuthSettings) -> tuple[Client, str, bool]:
    """The client, where to answer it, and whether it said where. Raises UnusableRequest."""
    if params.repeated & {"client_id", "redirect_uri"}:
        raise UnusableRequest("malformed", "There is more than one client_id or redirect_uri.")
    client_id = params.get("client_id")
    if client_id is None:
        raise UnusableRequest("malformed", "The parameter client_id is missing.")
    client = lookup_client(s, client_id, settings)
    if client is None:
        raise UnusableRequest("unknown_client", "No client of this client_id is registered here.")
    uri = params.get("redirect_uri")
    if uri is None:
        if len(client.redirect_uris) != 1:
            raise UnusableRequest("redirect_uri", "The parameter redirect_uri is missing.")
        return client, client.redirect_uris[0], False
    if not _may_answer(client, uri):
        raise UnusableRequest("redirect_uri", "The redirect_uri is none that is registered for this client.")
    return client, uri, True


def _may_answer(client: Client, uri: str) -> bool:
    try:
        check_redirect(uri)
    except BadRedirect:
        return False
    # RFC 8252 §8.4: a client that nobody registered can only be one of the user's own machine
    return is_native(uri) if client.row_id is None else matches(client.redirect_uris, uri)


def _answer(uri: str, issuer: str, state: str | None, **parameters: str) -> str:
    return with_parameters(uri, {**parameters, "state": state, "iss": issuer})  # RFC 9207 §2
