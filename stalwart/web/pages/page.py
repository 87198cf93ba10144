"""The base of the pages: a refusal anywhere below one is shown as a page."""

from __future__ import annotations

from stalwart.http import Endpoint, Problem, Request, Response
from stalwart.web.pages.desk import Desk, Visitor


class Page(Endpoint):
    """Something for people. Subclasses define `show`, and `take` where there is a form."""

    surface = "pages"
    body_limit = 8192

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self.desk = desk

    async def get(self, request: Request) -> Response:
        """The page."""
        visitor = None
        try:
            visitor = await self.desk.visitor(request)
            return await self.show(request, visitor)
        except Problem as problem:
            return self.desk.problem_page(request, problem, visitor)

    async def post(self, request: Request) -> Response:
        """What becomes of a form."""
        visitor = None
        try:
            visitor = await self.desk.visitor(request)
            return await self.take(request, visitor)
        except Problem as problem:
            return self.desk.problem_page(request, problem, visitor)

    async def show(self, request: Request, visitor: Visitor) -> Response:
        """The page for this browser."""
        raise NotImplementedError

    async def take(self, request: Request, visitor: Visitor) -> Response:
        """What becomes of a form that this browser sends."""
        raise NotImplementedError
