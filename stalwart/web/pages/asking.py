"""What a user is told before they let a client in: who it is, where it leads, and what it asks for, in plain words."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

import msgspec

from stalwart.auth.oauth import scopes
from stalwart.auth.oauth.clients import Client
from stalwart.web.pages.languages import Translate
from stalwart.web.pages.rendering import shown_name

SCOPE_TEXTS = {
    scopes.OPENID: "Know who you are",
    scopes.PROFILE: "See your name",
    scopes.EMAIL: "See your e-mail address",
    scopes.OFFLINE_ACCESS: "Keep this access until you take it back, also when you are away",
    scopes.MAIL: "Read, change and delete your mail, and send mail in your name",
    scopes.JMAP_CORE: "Sign in to your account and hear of new mail",
    scopes.JMAP_MAIL: "Read, change and delete your mail",
    scopes.JMAP_SUBMISSION: "Send mail in your name",
    scopes.JMAP_VACATION: "Read and change your out-of-office reply",
    scopes.ACCOUNT: "Change your password and the other ways to sign in to your account",
    scopes.ADMIN: "Administer this server, as far as you may",
}
"""What each scope means to a user."""

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Asker(msgspec.Struct, frozen=True, kw_only=True):
    """A client as it is shown."""

    name: str
    is_verified: bool
    destination: str
    """Where the user is sent afterwards, '' for nowhere."""


def asker(client: Client, redirect_uri: str | None, translate: Translate) -> Asker:
    """How a client is shown that asks for the answer at `redirect_uri`."""
    destination = ""
    if redirect_uri is not None:
        parts = urlsplit(redirect_uri)
        if parts.scheme not in ("http", "https"):
            destination = translate("the app for {scheme} on this device", scheme=parts.scheme)
        elif parts.hostname in _LOOPBACK:
            destination = translate("a program on this device ({host})", host=parts.netloc)
        else:
            destination = parts.netloc
    return Asker(
        name=shown_name(client.name) or shown_name(client.client_id),
        is_verified=client.is_verified,
        destination=destination,
    )


def wishes(scope: Iterable[str], translate: Translate) -> list[str]:
    """What scopes let a client do; one that covers another's words stands alone."""
    wanted = tuple(scope)
    covered = {scopes.JMAP_CORE, scopes.JMAP_MAIL, scopes.JMAP_SUBMISSION} if scopes.MAIL in wanted else set()
    return [translate(SCOPE_TEXTS[name]) for name in wanted if name not in covered]


def form_action(redirect_uri: str) -> str:
    """Where the forms of a page may lead whose answer goes to a redirect URI.

    Browsers hold a page's `form-action` against all redirects that follow (w3c/webappsec-csp issue 8), and a client may
    send its user on to wherever it likes: so its scheme is let through.
    """
    return f"'self' {urlsplit(redirect_uri).scheme}:"
