"""Autodiscover, which Outlook asks: version 1 by POST in XML, version 2 by GET in JSON, in any case of the paths."""

from __future__ import annotations

from collections.abc import Callable

from twisted.web.iweb import IRequest
from twisted.web.resource import IResource

from stalwart.discovery.autodiscover import (
    MOST_OCTETS,
    BadRequest,
    account_settings,
    error_answer,
    invalid_request,
    read_request,
    unknown_address,
    version_2,
    version_2_error,
)
from stalwart.discovery.services import base_url
from stalwart.http import Branch, Request, Response
from stalwart.store import InvalidAddress
from stalwart.web.discovery_document import FOREIGN, Directory, Document

_XML = "text/xml; charset=utf-8"
_HOW_TO = b"""This is Autodiscover: Outlook finds the settings of a mail account here. POST asks for them, with

<Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006">
  <Request>
    <EMailAddress>user@example.org</EMailAddress>
    <AcceptableResponseSchema>http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a</AcceptableResponseSchema>
  </Request>
</Autodiscover>
"""


class Autodiscover(Branch):
    """The folder of both versions."""

    surface = "discovery"

    def __init__(self, directory: Directory, wall: Callable[[], float]) -> None:
        super().__init__()
        self.putChild(b"autodiscover.xml", Version1(directory, wall))
        self.putChild(b"autodiscover.json", Version2(directory))

    def getChild(self, path: bytes, request: IRequest) -> IResource:
        """Names in any case."""
        found: IResource | None = self.children.get(path.lower())
        return super().getChild(path, request) if found is None else found


class Version1(Document):
    """The XML. Refusals are in its own form with status 200, as Outlook expects them."""

    body_limit = MOST_OCTETS

    def __init__(self, directory: Directory, wall: Callable[[], float]) -> None:
        """`wall` gives seconds since 1970."""
        super().__init__(directory)
        self._wall = wall

    async def get(self, request: Request) -> Response:
        """How to ask. Over http, where everything is sent to https, the way there: Outlook follows a 302."""
        directory = self.directory
        if request.scheme == "http" and request.settings.redirect_port is not None:
            base = base_url(directory.settings, await directory.of_host(request) or "")
            location = (("Location", f"{base}/autodiscover/autodiscover.xml"), ("Cache-Control", "no-store"))
            return Response(status=302, headers=location)
        return self.answer(request, _HOW_TO, "text/plain; charset=utf-8")

    async def post(self, request: Request) -> Response:
        """The settings for the address in the body."""
        settings = self.directory.settings
        try:
            try:
                address, domain = await self.directory.of_address(read_request(request.read_body()))
            except InvalidAddress as error:
                raise invalid_request() from error
            if domain is None:
                raise unknown_address()
            body = account_settings(settings, domain, address)
        except BadRequest as error:
            body = error_answer(error, settings.hostname, self._wall())
        return Response(body=body, content_type=_XML, headers=(("Cache-Control", "no-store"), *self.for_scripts))


class Version2(Document):
    """The JSON, which only tells where version 1 is. The address is in the query, or in the path."""

    def getChild(self, path: bytes, request: IRequest) -> IResource:
        """`/v1.0/{email}` below it."""
        below = [path, *(request.postpath or [])]
        if len(below) == 2 and below[0].lower() == b"v1.0":
            request.postpath = []
            return _Version2OfAddress(self.directory, below[1].decode("utf-8"))
        return super().getChild(path, request)

    async def get(self, request: Request) -> Response:
        """Where to ask."""
        given = _parameter(request, "email")
        return await self._answer_for(request, given)

    async def _answer_for(self, request: Request, text: str) -> Response:
        protocol = _parameter(request, "protocol")
        try:
            _, domain = await self.directory.of_address(text)
        except InvalidAddress:
            return self._refused(400, "InvalidUserId", "A valid email address must be given.")
        if domain is None:
            return self._refused(404, "UserNotFound", FOREIGN)
        if protocol.lower() != "autodiscoverv1":
            return self._refused(
                400, "InvalidProtocol", "The protocol is none of those that this server tells of: AutodiscoverV1."
            )
        return self.answer(request, version_2(self.directory.settings, domain), "application/json")

    def _refused(self, status: int, code: str, message: str) -> Response:
        return Response(
            status=status,
            body=version_2_error(code, message),
            content_type="application/json",
            headers=(("Cache-Control", "no-store"), *self.for_scripts),
        )


class _Version2OfAddress(Version2):
    """The JSON for an address that is in the path."""

    def __init__(self, directory: Directory, address: str) -> None:
        super().__init__(directory)
        self._address = address

    def getChild(self, path: bytes, request: IRequest) -> IResource:
        """Nothing is below it."""
        return Branch.getChild(self, path, request)

    async def get(self, request: Request) -> Response:
        """Where to ask."""
        return await self._answer_for(request, self._address)


def _parameter(request: Request, name: str) -> str:
    return next((values[0].strip() for key, values in request.query_args.items() if key.lower() == name), "")
