"""What the pages of discovery share: the settings in effect, the domain asked about, and how documents are sent."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TypeVar, cast

import msgspec

from stalwart.config import Settings
from stalwart.discovery.domains import domain_of_host, host_of
from stalwart.http import Endpoint, Problem, Request, Response
from stalwart.http.conditions import matches
from stalwart.store import InvalidAddress
from stalwart.store.addresses import normalise_address
from stalwart.web.local_domains import LocalDomains

Fields = tuple[tuple[str, str], ...]

_T = TypeVar("_T")

_MAX_AGE = 300  # seconds
# No page of these depends on who asks: scripts of any origin may read them (Fetch §3.3.3).
_FOR_SCRIPTS: Fields = (("Access-Control-Allow-Origin", "*"),)
_NOT_GUESSED: Fields = (("X-Content-Type-Options", "nosniff"),)
FOREIGN = "This server has no such domain."


class Directory:
    """The settings and domains that all pages of discovery go by; one for all listeners."""

    def __init__(self, settings: Settings, domains: LocalDomains) -> None:
        self._domains = domains
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """Go by these settings from now on."""
        self.settings = settings
        self._made: dict[tuple[Callable[[Settings, str], object], str], object] = {}

    def once(self, make: Callable[[Settings, str], _T], domain: str) -> _T:
        """What `make` gives for a local domain, made once for all who ask: a policy is read out of all certificates."""
        key = (make, domain)
        if key not in self._made:
            self._made[key] = make(self.settings, domain)
        return cast(_T, self._made[key])

    async def of_host(self, request: Request) -> str | None:
        """The local domain that the request's host stands for (see `domain_of_host`)."""
        local = await self._domains.names()
        return domain_of_host(host_of(request.authority), self.settings.hostname, local)

    async def of_address(self, text: str) -> tuple[str, str | None]:
        """The normalised address, and its domain if that is local. Raises InvalidAddress.

        Whether there is such an account is not looked at: nobody shall learn it here.
        """
        # A plus sign that wasn't encoded in a query; no address has a space.
        address = normalise_address(text.strip().replace(" ", "+"))
        domain = address.rpartition("@")[2]
        return address, domain if domain in await self._domains.names() else None


class Document(Endpoint):
    """A page that anybody may read, scripts of all origins too."""

    surface = "discovery"
    charged = True
    for_scripts = _FOR_SCRIPTS

    def __init__(self, directory: Directory) -> None:
        super().__init__()
        self.directory = directory

    def answer(
        self, request: Request, body: bytes, content_type: str, *, personal: bool = False, headers: Fields = ()
    ) -> Response:
        """The document, or 304 to who has it already. A `personal` one has an address in it: proxies don't keep it."""
        etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        scope = "private" if personal else "public"
        kept = (("ETag", etag), ("Cache-Control", f"{scope}, max-age={_MAX_AGE}"))
        fields = (*self.for_scripts, *kept, *_NOT_GUESSED, *headers)
        if matches((request.header(b"if-none-match") or b"").decode("latin-1"), etag):
            return Response(status=304, headers=fields)
        return Response(body=body, content_type=content_type, headers=fields)

    def refusal(self, status: int, detail: str) -> Problem:
        """A problem that scripts can read too. Caches may keep a 404 unless they are told not to (RFC 9111 §4.2.2)."""
        return Problem(status, detail, headers=(*self.for_scripts, ("Cache-Control", "no-store")))

    async def options(self, request: Request) -> Response:
        """Which methods there are, and that scripts may use them (Fetch §3.3.3)."""
        answer = await super().options(request)
        return msgspec.structs.replace(answer, headers=(*answer.headers, *self.for_scripts, *self._preflight()))

    def _preflight(self) -> Fields:
        return (
            ("Access-Control-Allow-Methods", ", ".join(self.allowed)),
            ("Access-Control-Allow-Headers", "Accept, Content-Type"),
            ("Access-Control-Max-Age", "3600"),
        )

    async def asked_for(self, request: Request, parameter: str) -> tuple[str, str] | None:
        """The normalised address that a parameter of the query has, and its domain; None if there is no such parameter.

        Parameters' names are compared without their case. Raises Problem: 400 for what is no address, 404 for one of
        somebody else's domain.
        """
        given = [values[0] for name, values in request.query_args.items() if name.lower() == parameter]
        if not given or not given[0].strip():
            return None
        try:
            address, domain = await self.directory.of_address(given[0])
        except InvalidAddress as error:
            raise self.refusal(400, f"{parameter} is not an email address.") from error
        if domain is None:
            raise self.refusal(404, FOREIGN)
        return address, domain
