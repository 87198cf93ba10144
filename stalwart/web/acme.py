"""`/.well-known/acme-challenge/`: answers to http-01 challenges on every listener (RFC 8555 §8.3).

A token that an order of this process waits for is answered by txacme's responder. Any other is answered by the
thumbprint of the account alone, so that every process which knows the account can answer for the one that orders.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol

from twisted.web.iweb import IRequest
from twisted.web.resource import IResource, Resource

from stalwart.http import Branch, Endpoint, Request, Response
from stalwart.tls.acme.txacme_parts import http01_responder

# RFC 8555 §8.3: base64url of at least 128 bits, without padding. The upper bound is ours.
_TOKEN = re.compile(rb"[A-Za-z0-9_-]{22,128}")
_PORT = re.compile(r":[0-9]*\Z")


class TokenResponder(Protocol):
    """txacme's `HTTP01Responder`: an `IResponder` that puts a child into a resource for each token."""

    challenge_type: str
    resource: Resource

    def start_responding(self, server_name: str, challenge: object, response: object) -> None:
        """Answer for a challenge's token from now on."""

    def stop_responding(self, server_name: str, challenge: object, response: object) -> None:
        """Stop answering for it."""


class Http01:
    """What all sites answer http-01 challenges with. Provides `ChallengeResponder` of `stalwart.http.site`."""

    def __init__(self, thumbprint_for: Callable[[str], str | None]) -> None:
        """`thumbprint_for` gives the thumbprint (RFC 7638) of the account that orders for a host, None for none."""
        self.tokens: TokenResponder = http01_responder()
        """Takes the tokens of the orders of this process."""

        self._thumbprint_for = thumbprint_for

    def key_authorization(self, token: bytes, authority: str) -> bytes | None:
        """The answer to a challenge's token at a host with maybe a port; None if there is nobody to answer for."""
        known = self.tokens.resource.children.get(token)
        if known is not None:
            octets: bytes = known.data
            return octets
        if not _TOKEN.fullmatch(token):
            return None
        # Whoever has a token that we don't know can prove no more by it than that the holder of our account's key is
        # answered for here (RFC 8555 §8.1): no other account's orders pass.
        thumbprint = self._thumbprint_for(host_of(authority))
        return None if thumbprint is None else token + b"." + thumbprint.encode("ascii")


def host_of(authority: str) -> str:
    """The host name or address of an authority: in lower case, without port, brackets and a dot at the end."""
    return _PORT.sub("", authority).strip("[]").rstrip(".").lower()


class _Answer(Endpoint):
    """The key authorization of one token."""

    surface = "acme"

    def __init__(self, key_authorization: bytes) -> None:
        super().__init__()
        self._key_authorization = key_authorization

    async def get(self, request: Request) -> Response:
        """The key authorization and nothing else (RFC 8555 §8.3)."""
        # Part of it is what the client sent: it must not be taken for a page.
        return Response(
            body=self._key_authorization,
            content_type="application/octet-stream",
            headers=(("X-Content-Type-Options", "nosniff"), ("Cache-Control", "no-store")),
        )


class Challenges(Branch):
    """The folder of tokens, answered by the responder of the site."""

    surface = "acme"
    pages_below = _Answer

    def getChild(self, path: bytes, request: IRequest) -> IResource:
        """The answer for a token, if there is one."""
        assert isinstance(request, Request)
        responder = request.site.acme_responder
        known = None if responder is None else responder.key_authorization(path, request.authority)
        return _NoToken() if known is None else _Answer(known)


class _NoToken(Branch):
    surface = "acme"
    isLeaf = True
