"""Which domain a request is about, when only the name of the host says it."""

from __future__ import annotations

from collections.abc import Set

# Names that DNS has for a single domain: each belongs to the domain behind it and to no other.
SERVICE_NAMES = frozenset(("autoconfig", "autodiscover", "mta-sts", "ua-auto-config"))


def domain_of_host(host: str, hostname: str, local: Set[str]) -> str | None:
    """The local domain (A-labels, lower case) that a host name stands for; None if there is none.

    `autoconfig.example.org` and the like stand for `example.org` alone, and for nothing if that isn't local; so do
    `example.org` itself and names one label below it. All others, addresses too, stand for the default domain: the
    one that `hostname` lies in, or the only one.
    """
    name = host.removesuffix(".")
    label, _, parent = name.partition(".")
    if name in local:
        return name
    if parent in local:
        return parent
    return None if label in SERVICE_NAMES else default_domain(hostname, local)


def default_domain(hostname: str, local: Set[str]) -> str | None:
    """The domain that the server's own name lies in, else the only one there is, else None."""
    name = hostname
    while name:
        if name in local:
            return name
        name = name.partition(".")[2]
    return next(iter(local)) if len(local) == 1 else None


def host_of(authority: str) -> str:
    """The host of `host:port`, `[v6]:port` or one without a port."""
    if authority.startswith("["):
        return authority.partition("]")[0] + "]"
    return authority.partition(":")[0]
