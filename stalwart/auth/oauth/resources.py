"""Which resources are this server's (RFC 8707). Pure."""

from __future__ import annotations


def is_ours(resource: str, issuer: str) -> bool:
    """Whether a resource indicator names this server, or something below its base URL; none with a fragment does."""
    return "#" not in resource and (resource == issuer or resource.startswith((f"{issuer}/", f"{issuer}?")))
