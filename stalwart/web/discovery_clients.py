"""What mail clients ask for to set up an account: Thunderbird's document, Apple's profile, and PACC's."""

from __future__ import annotations

from stalwart.discovery import pacc_document
from stalwart.discovery.autoconfig import EMAIL_ADDRESS, client_config
from stalwart.discovery.mobileconfig import CONTENT_TYPE, mobileconfig
from stalwart.http import Request, Response
from stalwart.web.discovery_document import FOREIGN, Document

_NOTHING = "Nothing that this document could tell of is offered to users of this domain."


class ClientConfig(Document):
    """`config-v1.1.xml`, for the domain of `emailaddress`, else for that of the host."""

    async def get(self, request: Request) -> Response:
        """The document. The same for every address of a domain, but for the address."""
        given = [value.strip() for value in request.query_args.get("emailaddress", ())]
        # A client that sends the placeholder itself knows no address yet.
        asked = None if given[:1] == [EMAIL_ADDRESS] else await self.asked_for(request, "emailaddress")
        address, domain = asked or (None, await self.directory.of_host(request))
        if domain is None:
            raise self.refusal(404, FOREIGN)
        body = client_config(self.directory.settings, domain, address)
        if body is None:
            raise self.refusal(404, _NOTHING)
        return self.answer(request, body, "text/xml; charset=utf-8", personal=address is not None)


class MobileConfig(Document):
    """`apple.mobileconfig`, for an address."""

    async def get(self, request: Request) -> Response:
        """The profile."""
        asked = await self.asked_for(request, "emailaddress")
        if asked is None:
            raise self.refusal(400, "Ask with the address: /mail/apple.mobileconfig?emailaddress=user@example.org")
        address, domain = asked
        body = mobileconfig(self.directory.settings, domain, address)
        if body is None:
            raise self.refusal(404, _NOTHING)
        name = (("Content-Disposition", f'attachment; filename="{domain}.mobileconfig"'),)
        return self.answer(request, body, CONTENT_TYPE, personal=True, headers=name)


class Pacc(Document):
    """`user-agent-configuration.json`, for the domain of the host."""

    async def get(self, request: Request) -> Response:
        """The octets whose digest stands in DNS."""
        domain = await self.directory.of_host(request)
        if domain is None:
            raise self.refusal(404, FOREIGN)
        return self.answer(request, self.directory.once(pacc_document, domain), "application/json")
