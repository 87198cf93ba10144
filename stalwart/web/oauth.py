"""OAuth 2 and OpenID Connect over HTTP: tokens, devices, introspection, revocation, registration, and who a user is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from twisted.logger import Logger
from twisted.web.resource import IResource

from stalwart.auth import is_bearer
from stalwart.auth.oauth import device, metadata, signing, tokens
from stalwart.auth.oauth.clients import Client, authenticate_client
from stalwart.auth.oauth.errors import OAuthError
from stalwart.auth.oauth.parameters import Parameters
from stalwart.auth.oauth.registration import register
from stalwart.auth.oauth.scopes import OPENID
from stalwart.http import Problem, Request, Response, authenticate, unauthorized
from stalwart.http.auth import identify
from stalwart.http.guarding import charge_anonymous
from stalwart.store import Session
from stalwart.web.oauth_surface import FormEndpoint, OAuth, OAuthEndpoint

REGISTERS = "oauth-client-registration"
INTROSPECTS = "oauth-client-get"
"""The permission of resource servers, which may ask about any token."""

_log = Logger(namespace="stalwart.oauth")
_CACHED = (("Cache-Control", "private, max-age=300"),)


class Token(FormEndpoint):
    """`/auth/token`. RFC 6749 §3.2"""

    proves = True

    async def answer(self, request: Request, parameters: Parameters) -> tokens.TokenAnswer:
        """The tokens. Raises OAuthError."""
        oauth, authorization = self.oauth, request.header(b"authorization")
        desk = tokens.TokenDesk(
            issuer=await oauth.issuer(request), address=request.client_address, settings=oauth.settings
        )

        def work(s: Session) -> tokens.TokenAnswer | OAuthError:
            client = authenticate_client(s, authorization, parameters, oauth.settings)
            return desk.exchange(s, client, parameters)

        answer = await oauth.write(request, work)
        if isinstance(answer, OAuthError):
            raise answer
        return answer


class Device(FormEndpoint):
    """`/auth/device`. RFC 8628 §3.1"""

    async def answer(self, request: Request, parameters: Parameters) -> Mapping[str, Any]:
        """The codes, and where the user types theirs. Raises OAuthError."""
        oauth, authorization = self.oauth, request.header(b"authorization")
        issuer = await oauth.issuer(request)

        def work(s: Session) -> device.DeviceAnswer:
            client = authenticate_client(s, authorization, parameters, oauth.settings)
            return device.start(
                s, client, parameters, issuer=issuer, address=request.client_address, settings=oauth.settings
            )

        answer = await oauth.write(request, work)
        return {
            **msgspec.structs.asdict(answer),
            "verification_uri": f"{issuer}/device",
            "verification_uri_complete": f"{issuer}/device?user_code={answer.user_code}",
        }


class Revoke(FormEndpoint):
    """`/auth/revoke`. RFC 7009"""

    async def answer(self, request: Request, parameters: Parameters) -> Mapping[str, Any]:
        """Nothing. Raises OAuthError."""
        oauth, authorization = self.oauth, request.header(b"authorization")
        token = parameters.require("token")

        def work(s: Session) -> OAuthError | None:
            client = authenticate_client(s, authorization, parameters, oauth.settings)
            return tokens.revoke(s, client, token)

        if (error := await oauth.write(request, work)) is not None:
            raise error
        return {}


class Introspect(FormEndpoint):
    """`/auth/introspect`. RFC 7662"""

    cors = False  # only servers ask
    proves = True

    async def answer(self, request: Request, parameters: Parameters) -> Mapping[str, Any]:
        """What there is to know of the token. Raises OAuthError; Problem 401, 403."""
        oauth, authorization = self.oauth, request.header(b"authorization")
        issuer, token = await oauth.issuer(request), parameters.require("token")
        principal = None
        if authorization is not None and is_bearer(authorization):
            principal = await authenticate(request, oauth.authenticator, oauth.sign_ins_of(request), INTROSPECTS)

        def work(s: Session) -> Mapping[str, Any] | None:
            client: Client | None = None
            if principal is None:
                client = authenticate_client(s, authorization, parameters, oauth.settings)
                if not client.is_confidential:
                    raise OAuthError("invalid_client", "Only clients with a secret may ask this.", status=401)
            elif not oauth.authenticator.still_valid(s, principal):
                return None
            return tokens.introspect(s, token, issuer=issuer, client=client)

        answer = await oauth.read(request, work)
        if answer is None:
            assert principal is not None
            raise await oauth.renewed(request, principal)
        return answer


class UserInfo(OAuthEndpoint):
    """`/auth/userinfo`. OpenID Connect Core §5.3"""

    charged = False  # whoever signs in is charged for it

    async def get(self, request: Request) -> Response:
        """The claims about the user whose access token this is."""
        oauth = self.oauth
        principal = await identify(request, oauth.authenticator, oauth.sign_ins_of(request))
        if principal.token_id is None:
            raise await unauthorized(request, "This takes an access token, sent as Bearer.")
        if OPENID not in principal.scope:
            # RFC 6750 §3.1
            challenge = f'Bearer realm="Stalwart Server", error="insufficient_scope", scope="{OPENID}"'
            raise Problem(
                403, f"This needs a token with the scope {OPENID}.", headers=(("WWW-Authenticate", challenge),)
            )

        def work(s: Session) -> dict[str, Any] | None:
            if not oauth.authenticator.still_valid(s, principal):
                return None
            return tokens.userinfo(s, principal)

        try:
            claims = await oauth.read(request, work)
        except OAuthError as error:
            return self.refusal(error)
        if claims is None:
            raise await oauth.renewed(request, principal)
        return self.json(claims)

    async def post(self, request: Request) -> Response:
        """As GET."""
        return await self.get(request)


class Register(OAuthEndpoint):
    """`/auth/register`. RFC 7591 §3"""

    charged = False  # whoever signs in is charged for it

    async def admit(self, request: Request) -> None:
        """Let in who may register clients, before the body is read."""
        oauth = self.oauth
        if not request.header_values(b"authorization"):
            if request.site.guard is not None:
                charge_anonymous(request.site.guard, request)
            if oauth.settings.anonymous_registration:
                return
            refusal = await unauthorized(
                request,
                f"Clients don't register themselves here (oauth.client-registration.anonymous): sign in as somebody "
                f"with the permission {REGISTERS}, or have one registered by `stalwart oauth-client create`.",
            )
            refusal.extra = {"error": "invalid_token", "error_description": "Registration needs a sign-in here."}
            raise refusal
        await authenticate(request, oauth.authenticator, oauth.sign_ins_of(request), REGISTERS)

    async def post(self, request: Request) -> Response:
        """Register the client that the JSON object in the body describes."""
        oauth, principal = self.oauth, request.principal
        try:
            document = _json(request)

            def work(s: Session) -> dict[str, Any] | None:
                if principal is not None and not oauth.authenticator.still_valid(s, principal):
                    return None
                return register(s, document, is_verified=principal is not None, settings=oauth.settings)

            answer = await oauth.write(request, work)
        except OAuthError as error:
            return self.refusal(error)
        if answer is None:
            assert principal is not None
            raise await oauth.renewed(request, principal)
        _log.info(
            "OAuth client {client_id} ({name!r}) was registered by {who}",
            client_id=answer["client_id"],
            name=answer["client_name"],
            who=request.client_address if principal is None else principal.address,
        )
        return self.json(answer, status=201)


class KeySet(OAuthEndpoint):
    """`/auth/jwks.json`: the public keys of ID tokens. RFC 7517 §5"""

    async def get(self, request: Request) -> Response:
        """The keys in use, and those that will be."""
        try:
            keys = await self.oauth.read(request, signing.key_set)
        except OAuthError as error:
            return self.refusal(error)
        return self.json(keys, headers=(("Cache-Control", "public, max-age=3600"),))


class ServerMetadata(OAuthEndpoint):
    """`/.well-known/oauth-authorization-server` and `/.well-known/openid-configuration`."""

    async def get(self, request: Request) -> Response:
        """What this server can do, and where."""
        issuer = await self.oauth.issuer(request)
        return self.json(metadata.authorization_server(issuer, self.oauth.settings), headers=_CACHED)


class ResourceMetadata(OAuthEndpoint):
    """`/.well-known/oauth-protected-resource`. RFC 9728 §3"""

    async def get(self, request: Request) -> Response:
        """Who gives tokens for this server: itself."""
        return self.json(metadata.protected_resource(await self.oauth.issuer(request)), headers=_CACHED)


def resources(oauth: OAuth) -> Mapping[str, IResource]:
    """What is to be put into a listener's resource tree, by path."""
    return {
        "/auth/token": Token(oauth),
        "/auth/device": Device(oauth),
        "/auth/revoke": Revoke(oauth),
        "/auth/introspect": Introspect(oauth),
        "/auth/userinfo": UserInfo(oauth),
        "/auth/register": Register(oauth),
        "/auth/jwks.json": KeySet(oauth),
        "/.well-known/oauth-authorization-server": ServerMetadata(oauth),
        "/.well-known/openid-configuration": ServerMetadata(oauth),
        "/.well-known/oauth-protected-resource": ResourceMetadata(oauth),
    }


def _json(request: Request) -> object:
    kind = (request.header(b"content-type") or b"").partition(b";")[0].strip().lower()
    if kind != b"application/json":
        raise OAuthError("invalid_client_metadata", "The Content-Type must be application/json.")
    try:
        return msgspec.json.decode(request.read_body())
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise OAuthError("invalid_client_metadata", "The body is not JSON.") from None
