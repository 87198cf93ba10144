"""How a client has reached this server: what absolute URLs begin with."""

from __future__ import annotations

from stalwart.http.request import Request


async def base_url(request: Request, hostname: str = "") -> str:
    """The scheme and authority, or what `http.url` says, without a slash at the end.

    `hostname` stands for the authority where the request doesn't name one; '' if that isn't known either.
    """
    url = request.settings.url
    configured = await url(request) if url is not None else None
    if configured:
        return configured
    authority = request.authority or hostname
    return f"{request.scheme}://{authority}" if authority else ""
