"""Resources that know nothing of this package, such as those of Twisted and txacme, served like endpoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from twisted.web.error import UnsupportedMethod
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource
from twisted.web.server import NOT_DONE_YET

from stalwart.http.endpoint import Branch, Handler
from stalwart.http.problem import Problem
from stalwart.http.request import Request
from stalwart.http.response import Response


class Foreign(Branch):
    """Asks a plain Twisted resource to render and turns its error pages into problem documents."""

    def __init__(self, resource: IResource) -> None:
        super().__init__()
        self._resource = resource
        self.surface = getattr(resource, "surface", "other")  # type: ignore[misc]
        self.body_limit = getattr(resource, "body_limit", 0)

    def handler(self, method: bytes) -> Handler:
        """The same coroutine function for every method; the resource itself knows which ones it takes."""
        return self._render

    async def _render(self, request: Request) -> Response | None:
        try:
            body = self._resource.render(cast(IRequest, request))
        except UnsupportedMethod as error:
            allowed: Sequence[bytes] = error.allowedMethods
            methods = {method.decode("ascii") for method in allowed}
            if methods <= {"HEAD"}:
                # An inner node: Twisted's base class offers HEAD even where there is no page.
                raise Problem(404, "There is nothing at this path.") from error
            allow = ", ".join(sorted(methods | {"OPTIONS"}))
            if request.method == b"OPTIONS":
                return Response(status=204, headers=(("Allow", allow),))
            raise Problem(405, f"This path takes {allow}.", headers=(("Allow", allow),)) from error
        except AttributeError:
            if request.method == b"HEAD" and not hasattr(self._resource, "render_GET"):
                raise Problem(404, "There is nothing at this path.") from None
            raise
        if body == NOT_DONE_YET:
            return None
        if request.code >= 400:
            raise Problem(request.code, "There is nothing at this path." if request.code == 404 else "")
        return Response(status=request.code, body=cast(bytes, body))
