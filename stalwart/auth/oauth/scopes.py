"""The scopes: what a client may ask for, and the permissions that a token with them leaves its owner's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from stalwart.auth.oauth.errors import OAuthError
from stalwart.store import ALL_PERMISSIONS, BUILT_IN_ROLES

OPENID = "openid"
OFFLINE_ACCESS = "offline_access"
PROFILE = "profile"
EMAIL = "email"
ACCOUNT = "account"
ADMIN = "admin"
MAIL = "urn:ietf:params:oauth:scope:mail"
JMAP_CORE = "urn:ietf:params:jmap:core"
JMAP_MAIL = "urn:ietf:params:jmap:mail"
JMAP_SUBMISSION = "urn:ietf:params:jmap:submission"
JMAP_VACATION = "urn:ietf:params:jmap:vacationresponse"

_OF_USERS = BUILT_IN_ROLES["user"]
_CORE = frozenset(
    {
        "authenticate",
        "jmap-echo",
        "jmap-event-source",
        "jmap-web-socket",
        "jmap-push-subscription-get",
        "jmap-push-subscription-set",
        *(name for name in _OF_USERS if name.startswith("jmap-quota-")),
    }
)
_READING = tuple(f"jmap-{kind}-" for kind in ("email", "mailbox", "thread", "search-snippet", "blob"))
_SENDING = ("jmap-identity-", "jmap-email-submission-")


def _below(*prefixes: str, without: tuple[str, ...] = ()) -> frozenset[str]:
    found = (name for name in _OF_USERS if f"{name}-".startswith(prefixes))
    return frozenset(name for name in found if not (without and name.startswith(without)))


PERMISSIONS_OF: Mapping[str, frozenset[str]] = {
    OPENID: frozenset(),
    OFFLINE_ACCESS: frozenset(),
    PROFILE: frozenset(),
    EMAIL: frozenset(),
    MAIL: frozenset({"authenticate", "email-send", "email-receive"}) | _below("jmap-"),
    JMAP_CORE: _CORE,
    JMAP_MAIL: _CORE | _below(*_READING, without=_SENDING),
    JMAP_SUBMISSION: _CORE | {"email-send"} | _below(*_SENDING),
    JMAP_VACATION: _CORE | _below("jmap-vacation-response-"),
    ACCOUNT: frozenset({"authenticate", "manage-encryption", "manage-passwords"}),
    ADMIN: frozenset({"authenticate"}) | (ALL_PERMISSIONS - _OF_USERS),
}
"""All scopes there are. A token may do what its scopes name and its owner may do: never more than either.

None lets a client let other clients in.
"""

OF_STRANGERS = tuple(name for name in PERMISSIONS_OF if name not in (ACCOUNT, ADMIN))
"""What clients may ask for that no administrator has registered."""

DEFAULT = (OFFLINE_ACCESS, MAIL)
"""What clients get that ask for no scope (RFC 6749 §3.3)."""

# RFC 6749 §3.3: scope-token
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+(?: [\x21\x23-\x5b\x5d-\x7e]+)*")


def parse_scope(text: str | None, allowed: Iterable[str] | None = None) -> tuple[str, ...]:
    """The scopes that are asked for and known, each once, in the order of the table; None asks for the default.

    Unknown ones are ignored (OpenID Connect Core §3.1.2.1), as are those that are not among `allowed`. Raises
    OAuthError invalid_scope if none are left, or if it is malformed.
    """
    if text is not None and not _SCOPE.fullmatch(text):
        raise OAuthError("invalid_scope", "The scope must be names with single spaces between them.")
    among = PERMISSIONS_OF.keys() if allowed is None else PERMISSIONS_OF.keys() & set(allowed)
    wanted = set(DEFAULT if text is None else text.split(" "))
    found = tuple(name for name in PERMISSIONS_OF if name in wanted and name in among)
    if not found:
        raise OAuthError("invalid_scope", f"None of these is a scope that the client may have here: {' '.join(among)}")
    return found


def permissions_of(scope: Iterable[str]) -> frozenset[str]:
    """The permissions that a token with these scopes can have at most."""
    return frozenset().union(*(PERMISSIONS_OF.get(name, frozenset()) for name in scope))


def scope_giving(permission: str) -> str | None:
    """The narrowest scope with this permission, None for what no token may do."""
    return min(((len(held), name) for name, held in PERMISSIONS_OF.items() if permission in held), default=(0, None))[1]
