"""Who a request comes from: principals, their credentials and permissions; and who is limited or kept out."""

from __future__ import annotations

from stalwart.auth.authenticator import Authenticator
from stalwart.auth.basic import AuthMalformed, parse_basic
from stalwart.auth.checking import Checker, CodeNeeded, FallbackAdmin
from stalwart.auth.codes import generate_totp_secret, totp_uri
from stalwart.auth.guard import Guard, GuardRules
from stalwart.auth.headers import Credentials, api_key_token, is_bearer, parse_authorization
from stalwart.auth.loading import load_principal
from stalwart.auth.passwords import Passwords, generate_password, generate_secret
from stalwart.auth.principal import Principal
from stalwart.auth.schemes import UnusableHash

__all__ = [
    "AuthMalformed",
    "Authenticator",
    "Checker",
    "CodeNeeded",
    "Credentials",
    "FallbackAdmin",
    "Guard",
    "GuardRules",
    "Passwords",
    "Principal",
    "UnusableHash",
    "api_key_token",
    "generate_password",
    "generate_secret",
    "generate_totp_secret",
    "is_bearer",
    "load_principal",
    "parse_authorization",
    "parse_basic",
    "totp_uri",
]
