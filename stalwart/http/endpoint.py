"""The base of everything that answers at a path: methods as coroutines, HEAD, OPTIONS and Allow done once."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, ClassVar

from twisted.web.error import UnsupportedMethod
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource, Resource

from stalwart.http.problem import Problem
from stalwart.http.request import Request
from stalwart.http.response import Response

Handler = Callable[[Request], Coroutine[Any, Any, Response | None]]

_VERBS = ("get", "post", "put", "patch", "delete")


class Branch(Resource):
    """An inner node of the tree: it has children and no page of its own."""

    surface: ClassVar[str] = "none"
    administers: ClassVar[bool] = False
    """Whether this belongs to the administration: a reload must not lock out who uses it (`http/lockout.py`)."""

    pages_below: ClassVar[type[Endpoint] | None] = None
    """The kind of page that `getChild` makes for names that it knows, where children are not put here one by one."""

    body_limit: int = 0
    admits: ClassVar[bool] = False
    charged: ClassVar[bool] = False
    """Whether requests are charged to the limit of clients that haven't signed in (`http.rate-limit.anonymous`)."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def getChild(self, path: bytes, request: IRequest) -> IResource:
        """What has not been put here is not found."""
        nothing = Branch()
        nothing.isLeaf = True  # nor is anything below it, however long the path
        return nothing

    def handler(self, method: bytes) -> Handler:
        """The coroutine function that answers `method`; raises Problem 404 or 405."""
        raise Problem(404, "There is nothing at this path.")

    async def admit(self, request: Request) -> None:
        """Look at the head before the body is asked for (see `Endpoint.admit`)."""

    def too_large(self) -> Problem:
        """The refusal of a body over `body_limit`."""
        return Problem(413, f"A request body may have at most {self.body_limit} octets here.")

    def render(self, request: IRequest) -> bytes:
        """Not used: `Request` asks for `handler`, since a coroutine answers."""
        raise UnsupportedMethod(())


class Endpoint(Branch):
    """A page. Subclasses define `async def get(self, request) -> Response`, and so for post, put, patch, delete.

    HEAD works wherever GET does, OPTIONS answers 204 with `Allow`, other methods 405 with `Allow`.
    A coroutine may raise `Problem`; any other exception is logged and answered with 500. When the client goes away
    the coroutine is cancelled at the point where it waits.
    """

    surface: ClassVar[str] = "other"
    """The name of the surface in metrics: one of few."""

    body_limit: int = 0
    """Octets that a request body may have; more is refused with 413, before it is read where its size was told."""

    allowed: ClassVar[tuple[str, ...]] = ("OPTIONS",)
    _verbs: ClassVar[Mapping[bytes, str]] = {b"OPTIONS": "options"}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        verbs = {verb.upper().encode(): verb for verb in _VERBS if hasattr(cls, verb)}
        if b"GET" in verbs:
            # RFC 9110 §9.3.2: HEAD is GET without the content, which is left out where the answer is sent.
            verbs[b"HEAD"] = "get"
        verbs[b"OPTIONS"] = "options"
        cls._verbs = verbs
        cls.admits = cls.admit is not Endpoint.admit
        cls.allowed = tuple(sorted(verb.decode() for verb in verbs))

    def handler(self, method: bytes) -> Handler:
        """The coroutine function that answers `method`; raises Problem 405 with Allow (RFC 9110 §15.5.6)."""
        verb = self._verbs.get(method)
        if verb is None:
            allow = ", ".join(self.allowed)
            raise Problem(405, f"This path takes {allow}.", headers=(("Allow", allow),))
        handler: Handler = getattr(self, verb)
        return handler

    async def admit(self, request: Request) -> None:
        """Look at the head of a request before its body is asked for.

        Raise Problem to refuse it: sign-in and permissions belong here where a body follows, so that a stranger's
        upload is not read. Runs before every method's coroutine, except that of OPTIONS.
        """

    async def options(self, request: Request) -> Response:
        """Say which methods there are (RFC 9110 §9.3.7)."""
        return Response(status=204, headers=(("Allow", ", ".join(self.allowed)),))
