"""Who a request comes from: principals, passwords, the sign-in of RFC 7617; and who is limited or kept out."""

from __future__ import annotations

from stalwart.auth.authenticator import Authenticator
from stalwart.auth.basic import AuthMalformed, Credentials, parse_basic
from stalwart.auth.guard import Guard, GuardRules
from stalwart.auth.passwords import Passwords, generate_password
from stalwart.auth.principal import Principal

__all__ = [
    "AuthMalformed",
    "Authenticator",
    "Credentials",
    "Guard",
    "GuardRules",
    "Passwords",
    "Principal",
    "generate_password",
    "parse_basic",
]
