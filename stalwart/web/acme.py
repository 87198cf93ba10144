"""`/.well-known/acme-challenge/`: answers of txacme's http-01 responder (RFC 8555 §8.3).

One responder serves all listeners; whoever orders certificates puts tokens into it.
"""

from __future__ import annotations

import sys
import types
import warnings
from typing import Protocol

from twisted.web.iweb import IRequest
from twisted.web.resource import IResource, Resource

from stalwart.http import Branch, Endpoint, Request, Response


class Http01Responder(Protocol):
    """txacme's `HTTP01Responder`: an `IResponder` that puts a child into a resource for each token."""

    challenge_type: str
    resource: Resource

    def start_responding(self, server_name: str, challenge: object, response: object) -> None:
        """Answer for a challenge's token from now on."""

    def stop_responding(self, server_name: str, challenge: object, response: object) -> None:
        """Stop answering for it."""


def responder() -> Http01Responder:
    """A responder without tokens."""
    # txacme's package imports its dead tls-sni-01 part, which no longer imports on Python 3.10 and later.
    stub = types.ModuleType("txacme.challenges._tls")
    stub.TLSSNI01Responder = None  # type: ignore[attr-defined]
    sys.modules.setdefault("txacme.challenges._tls", stub)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from txacme.challenges import HTTP01Responder
    made: Http01Responder = HTTP01Responder()
    return made


class _Answer(Endpoint):
    """The key authorization of one token."""

    surface = "acme"

    def __init__(self, key_authorization: bytes) -> None:
        super().__init__()
        self._key_authorization = key_authorization

    async def get(self, request: Request) -> Response:
        """The key authorization and nothing else (RFC 8555 §8.3)."""
        return Response(body=self._key_authorization, content_type="text/plain")


class Challenges(Branch):
    """The folder of tokens."""

    surface = "acme"
    pages_below = _Answer

    def __init__(self, responder: Http01Responder) -> None:
        super().__init__()
        self._responder = responder

    def getChild(self, path: bytes, request: IRequest) -> IResource:
        """The answer for a token, if it is one that is being waited for."""
        known = self._responder.resource.children.get(path)
        return _NoToken() if known is None else _Answer(known.data)


class _NoToken(Branch):
    surface = "acme"
