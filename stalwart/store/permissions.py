"""The permissions, as data: what each lets a principal do, and which of them the built-in roles have.

The names are those that Stalwart gives them, without the ones for protocols that this server doesn't speak.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import msgspec


class Permission(msgspec.Struct, frozen=True, kw_only=True):
    """One permission; `of_users` are those that the role `user` has."""

    name: str
    doc: str
    of_users: bool = False


def _administration() -> dict[str, str]:
    found = {
        "impersonate": "Act for other accounts",
        "unlimited-requests": "Be held to no rate of requests",
        "unlimited-uploads": "Be held to no limit of uploads",
        "fts-reindex": "Make the full-text index anew",
        "undelete": "Bring back mail that was deleted",
        "restart": "Restart the server",
        "logs-view": "Read the log",
        "blob-fetch": "Read any blob",
        "purge-blob-store": "Remove blobs that nothing uses",
        "purge-data-store": "Remove rows that nothing uses",
        "purge-in-memory-store": "Empty the lookup stores",
        "purge-account": "Remove what an account has expunged",
        "troubleshoot": "Try deliveries and rules",
        "tracing-list": "List traces",
        "tracing-get": "Read traces",
        "tracing-live": "Follow traces",
        "metrics-list": "Read metrics",
        "metrics-live": "Follow metrics",
        "settings-list": "Read settings",
        "settings-update": "Change settings: administers this server",
        "settings-delete": "Remove settings",
        "settings-reload": "Have the configuration read again",
        "message-queue-list": "List the queue",
        "message-queue-get": "Read messages in the queue",
        "message-queue-update": "Have queued messages sent now or later",
        "message-queue-delete": "Take messages out of the queue",
        "dkim-signature-create": "Make DKIM keys",
        "dkim-signature-get": "Read the public part of DKIM keys",
        "oauth-client-registration": "Register OAuth clients",
        "oauth-client-override": "Use OAuth with clients that aren't registered",
    }
    for reports in ("outgoing", "incoming"):
        for verb, what in (("list", "List"), ("get", "Read"), ("delete", "Delete")):
            found[f"{reports}-report-{verb}"] = f"{what} {reports} reports"
    kinds = {
        "individual": "accounts",
        "group": "groups",
        "domain": "domains",
        "mailing-list": "mailing lists",
        "role": "roles",
        "principal": "principals of other kinds",
        "api-key": "API keys",
        "oauth-client": "OAuth clients",
    }
    verbs = {"list": "List", "get": "Look at", "create": "Make", "update": "Change", "delete": "Delete"}
    for kind, plural in kinds.items():
        found |= {f"{kind}-{verb}": f"{what} {plural}" for verb, what in verbs.items()}
    return found


_USER = {
    "authenticate": "Sign in",
    "authenticate-oauth": "Let OAuth clients sign in for oneself",
    "email-send": "Send mail",
    "email-receive": "Receive mail",
    "manage-encryption": "Set up encryption of one's own mail",
    "manage-passwords": "Change one's own password, app passwords and second factor",
    "jmap-echo": "Call Core/echo",
    "jmap-event-source": "Follow changes by EventSource",
    "jmap-web-socket": "Use JMAP over a WebSocket",
    "jmap-search-snippet": "Call SearchSnippet/get",
    "jmap-blob-get": "Download blobs, and call Blob/get",
    "jmap-blob-copy": "Call Blob/copy",
    "jmap-blob-lookup": "Call Blob/lookup",
    "jmap-blob-upload": "Upload blobs, and call Blob/upload",
}

_METHODS = {
    "Email": ("get", "changes", "query", "queryChanges", "set", "copy", "import", "parse"),
    "Mailbox": ("get", "changes", "query", "queryChanges", "set"),
    "Thread": ("get", "changes"),
    "Identity": ("get", "changes", "set"),
    "EmailSubmission": ("get", "changes", "query", "queryChanges", "set"),
    "PushSubscription": ("get", "set"),
    "VacationResponse": ("get", "set"),
    "Quota": ("get", "changes", "query", "queryChanges"),
}


@functools.lru_cache(maxsize=256)
def permission_of_method(method: str) -> str:
    """The permission that a JMAP method needs, from its name: `Email/queryChanges` needs `jmap-email-query-changes`."""
    if method == "Core/echo":
        return "jmap-echo"
    if method == "SearchSnippet/get":
        return "jmap-search-snippet"
    kind, _, verb = method.partition("/")
    return f"jmap{_kebab(kind[0].lower() + kind[1:], start='-')}-{_kebab(verb)}"


def _kebab(camel: str, *, start: str = "") -> str:
    return start + "".join(f"-{c.lower()}" if c.isupper() else c for c in camel)


def _all() -> Mapping[str, Permission]:
    found = [Permission(name=name, doc=doc) for name, doc in _administration().items()]
    found += [Permission(name=name, doc=doc, of_users=True) for name, doc in _USER.items()]
    found += [
        Permission(name=permission_of_method(f"{kind}/{verb}"), doc=f"Call {kind}/{verb}", of_users=True)
        for kind, verbs in _METHODS.items()
        for verb in verbs
    ]
    return {permission.name: permission for permission in found}


PERMISSIONS: Mapping[str, Permission] = _all()
"""All there are, by name."""

ALL_PERMISSIONS = frozenset(PERMISSIONS)

ADMINISTERS = "settings-update"
"""Who has this permission administers the server."""

RECEIVES, SENDS = "email-receive", "email-send"
"""What delivery and submission ask for."""

BUILT_IN_ROLES: Mapping[str, frozenset[str]] = {
    "user": frozenset(name for name, permission in PERMISSIONS.items() if permission.of_users),
    "admin": ALL_PERMISSIONS,
}
"""The roles that are always there."""
