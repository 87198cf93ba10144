"""Small documents about this server under `/.well-known/` and beside it, and redirects to what others offer."""

from __future__ import annotations

from stalwart.config import Autoconfig
from stalwart.discovery import mta_sts_policy
from stalwart.discovery.security_txt import security_txt
from stalwart.discovery.services import autoconfig_of
from stalwart.http import Request, Response
from stalwart.http.endpoint import Handler
from stalwart.web.discovery_document import FOREIGN, Directory, Document

_TEXT = "text/plain; charset=utf-8"
_NOT_KEPT = ("Cache-Control", "no-cache")


class MtaSts(Document):
    """`mta-sts.txt` (RFC 8461 §3.2): the policy of the domain that the host names."""

    async def get(self, request: Request) -> Response:
        """The policy."""
        domain = await self.directory.of_host(request)
        if domain is None:
            raise self.refusal(404, FOREIGN)
        policy = self.directory.once(mta_sts_policy, domain)
        if policy is None:
            raise self.refusal(404, "There is no MTA-STS policy.")
        return self.answer(request, policy[0], "text/plain")


class SecurityTxt(Document):
    """`security.txt` (RFC 9116)."""

    async def get(self, request: Request) -> Response:
        """The file, if there is one."""
        body = security_txt(self.directory.settings.well_known.security)
        if body is None:
            raise self.refusal(404, "There is no security.txt.")
        return self.answer(request, body, _TEXT)


class Robots(Document):
    """`robots.txt` (RFC 9309)."""

    async def get(self, request: Request) -> Response:
        """What the settings say."""
        return self.answer(request, self.directory.settings.well_known.robots.encode("utf-8"), _TEXT)


class ChangePassword(Document):
    """Where password managers begin (W3C, A Well-Known URL for Changing Passwords)."""

    async def get(self, request: Request) -> Response:
        """Send people to the page."""
        page = self.directory.settings.well_known.change_password
        return Response(status=302, headers=(("Location", page), _NOT_KEPT))


class Elsewhere(Document):
    """Where clients of CalDAV or CardDAV begin (RFC 6764 §5): a redirect to another server."""

    body_limit = 65536  # of a PROPFIND, which is not looked at

    def __init__(self, directory: Directory, protocol: str) -> None:
        """`protocol` is `caldav` or `carddav`."""
        super().__init__(directory)
        self._protocol = protocol

    def handler(self, method: bytes) -> Handler:
        """Every method is sent on; clients begin with PROPFIND, and OPTIONS."""
        return self.get

    async def get(self, request: Request) -> Response:
        """Send the client there, with its method and body."""
        domain = await self.directory.of_host(request)
        told = autoconfig_of(self.directory.settings, domain or "")
        url = _url(told, self._protocol)
        if url is None:
            raise self.refusal(404, f"There is no {self._protocol} here.")
        return Response(status=307, headers=(("Location", url), _NOT_KEPT, *self.for_scripts))


def _url(told: Autoconfig, protocol: str) -> str | None:
    return told.caldav.url if protocol == "caldav" else told.carddav.url
