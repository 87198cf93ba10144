"""What this server says of itself: RFC 8414, OpenID Connect Discovery and RFC 9728. Pure."""

from __future__ import annotations

from typing import Any

from stalwart.auth.oauth.clients import GRANT_TYPES
from stalwart.auth.oauth.scopes import PERMISSIONS_OF
from stalwart.config.oauth_settings import OAuthSettings

SECRET_METHODS = ("client_secret_basic", "client_secret_post")


def authorization_server(issuer: str, settings: OAuthSettings) -> dict[str, Any]:
    """The metadata of the authorization server, which is also that of the OpenID provider.

    RFC 8414 §2, OpenID Connect Discovery §3; `issuer` is the base URL of this server.
    """
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/authorize",
        "token_endpoint": f"{issuer}/auth/token",
        "device_authorization_endpoint": f"{issuer}/auth/device",  # RFC 8628 §4
        "registration_endpoint": f"{issuer}/auth/register",
        "revocation_endpoint": f"{issuer}/auth/revoke",
        "introspection_endpoint": f"{issuer}/auth/introspect",
        "userinfo_endpoint": f"{issuer}/auth/userinfo",
        "jwks_uri": f"{issuer}/auth/jwks.json",
        "scopes_supported": list(PERMISSIONS_OF),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": list(GRANT_TYPES),
        "token_endpoint_auth_methods_supported": [*SECRET_METHODS, "none"],
        "revocation_endpoint_auth_methods_supported": [*SECRET_METHODS, "none"],
        "introspection_endpoint_auth_methods_supported": list(SECRET_METHODS),
        "code_challenge_methods_supported": ["S256"],
        "prompt_values_supported": ["none", "login", "consent", "select_account"],
        "authorization_response_iss_parameter_supported": True,  # RFC 9207 §3
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [settings.algorithm],
        "claims_supported": [
            "iss",
            "sub",
            "aud",
            "exp",
            "iat",
            "auth_time",
            "nonce",
            "at_hash",
            "name",
            "preferred_username",
            "email",
            "email_verified",
        ],
        "claims_parameter_supported": False,
        "request_parameter_supported": False,
        "request_uri_parameter_supported": False,
        "protected_resources": [issuer],  # RFC 9728 §4
    }


def protected_resource(issuer: str) -> dict[str, Any]:
    """The metadata of the resource that access tokens are for. RFC 9728 §2"""
    return {
        "resource": issuer,
        "authorization_servers": [issuer],
        "scopes_supported": [name for name, permissions in PERMISSIONS_OF.items() if permissions],
        "bearer_methods_supported": ["header"],
        "resource_name": "Stalwart",
    }
