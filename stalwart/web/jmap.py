"""JMAP over HTTP: discovery, the Session object and API requests (RFC 8620 §2, §3). Each takes one turn in a thread."""

from __future__ import annotations

import re
from collections.abc import Mapping

from twisted.logger import Logger
from twisted.web.resource import IResource

from stalwart.auth import Principal
from stalwart.http import Endpoint, Problem, Request, Response
from stalwart.jmap import permissions
from stalwart.jmap.errors import NotJson, OverLimit, SignInExpired
from stalwart.jmap.session import SessionObject, session_object
from stalwart.store import shared_with
from stalwart.web.jmap_blobs import Download, Upload
from stalwart.web.jmap_eventsource import EventSource
from stalwart.web.jmap_streams import Streams
from stalwart.web.jmap_surface import Surface, problem
from stalwart.web.jmap_tickets import Tickets
from stalwart.web.jmap_websocket import WebSocket

_log = Logger(namespace="stalwart.jmap")
_JSON = re.compile(rb'application/json[ \t]*(?:;[ \t]*charset[ \t]*=[ \t]*"?utf-8"?[ \t]*)?;?', re.IGNORECASE)
_NOT_STORED = (("Cache-Control", "no-cache, no-store, must-revalidate"),)


class WellKnown(Endpoint):
    """Where clients begin (RFC 8620 §2.2, §8.3); it needs no sign-in."""

    surface = "jmap"

    async def get(self, request: Request) -> Response:
        """Send clients to the Session object, with their method and body."""
        headers = (("Location", "/jmap/session"), ("Cache-Control", "no-cache"), ("Access-Control-Allow-Origin", "*"))
        return Response(status=307, headers=headers)


class SessionPage(Endpoint):
    """The Session object (RFC 8620 §2)."""

    surface = "jmap"

    def __init__(self, jmap: Surface) -> None:
        super().__init__()
        self._jmap = jmap

    async def admit(self, request: Request) -> None:
        """Sign in."""
        await self._jmap.sign_in(request, permissions.SESSION)

    async def get(self, request: Request) -> Response:
        """The Session object of whoever asks."""
        jmap = self._jmap
        base_url = await jmap.base_url(request)

        def look(principal: Principal) -> SessionObject:
            with jmap.store.read() as session:
                if not jmap.authenticator.still_valid(session, principal):
                    raise SignInExpired("The password was changed. Sign in again.")
                shares = shared_with(session, principal.account_id)
            return session_object(principal, shares, jmap.limits, base_url, jmap.engine.application_server_key)

        found = await jmap.in_thread(request, look)
        return Response(body=found.body, content_type="application/json", headers=_NOT_STORED)


class Api(Endpoint):
    """API requests (RFC 8620 §3.1)."""

    surface = "jmap"

    def __init__(self, jmap: Surface) -> None:
        super().__init__()
        self._jmap = jmap
        self.body_limit = jmap.limits.max_size_request

    def too_large(self) -> Problem:
        """The problem for a request over the limit (RFC 8620 §3.6.1)."""
        return problem(OverLimit("maxSizeRequest", f"A request may have at most {self.body_limit} octets.", status=413))

    async def admit(self, request: Request) -> None:
        """Sign in, and look at the type and at how many requests the account has under way."""
        jmap = self._jmap
        principal = await jmap.sign_in(request, permissions.API)
        if not _JSON.fullmatch(request.header(b"content-type") or b""):
            raise problem(NotJson("The Content-Type of a request is application/json (RFC 8620 section 3.1)."))
        jmap.requests.take(request, principal.account_id)

    async def post(self, request: Request) -> Response:
        """Answer the Request object in the body."""
        answer = await self._jmap.answer(request, request.read_body())
        return Response(body=answer, content_type="application/json", headers=_NOT_STORED)


class Jmap(Surface):
    """The JMAP surface."""

    def resources(self, streams: Streams) -> Mapping[str, IResource]:
        """What is to be put into a listener's resource tree, by path."""
        api = Api(self)
        api.putChild(b"", Api(self))
        api.putChild(b"session", SessionPage(self))
        api.putChild(b"eventsource", EventSource(streams))
        api.putChild(b"ws", WebSocket(streams))
        api.putChild(b"ticket", Tickets(self))
        api.putChild(b"upload", Upload(self))
        api.putChild(b"download", Download(self))
        return {"/.well-known/jmap": WellKnown(), "/jmap": api}
