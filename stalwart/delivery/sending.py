"""The sender that a configuration asks for."""

from __future__ import annotations

import random
import time
from functools import partial
from typing import Any

from twisted.logger import Logger

from stalwart.config import RelaySettings
from stalwart.delivery.direct import DirectRoutes, may_reach
from stalwart.delivery.mail_dns import ResolverDns
from stalwart.delivery.mta_sts import HttpsFetch, KeepsPolicies, PolicyCache
from stalwart.delivery.queue_slots import Limits
from stalwart.delivery.routes import NoRoute, RelayRoute, Routes
from stalwart.delivery.smtp_client import Sender
from stalwart.delivery.smtp_connection import Times

_log = Logger(namespace="stalwart.routes")


def make_sender(
    settings: RelaySettings, *, hostname: str, reactor: Any, policies: KeepsPolicies, trust_root: Any = None
) -> Sender:
    """A sender to the relay, to the recipients' servers, or to nobody; `hostname` is this server's.

    Close it at the end. `policies` keeps those of MTA-STS; `trust_root` stands for the system's authorities.
    """
    times = Times(
        connect=settings.timeout_connect,
        command=settings.timeout_command,
        content=settings.timeout_content,
        final=settings.timeout_final,
    )
    routes: Routes
    if settings.host is not None:
        routes = RelayRoute(settings)
    elif settings.direct:
        if settings.dnssec_resolver is None:
            _log.info("DANE is not used: relay.dnssec-resolver names no DNS server whose word on DNSSEC counts")
        asked = ResolverDns(reactor, settings.dnssec_resolver)
        fetch = HttpsFetch(reactor, trust_root, allow_private=settings.allow_private_addresses)
        routes = DirectRoutes(
            hostname=hostname,
            asked=asked,
            policies=PolicyCache(asked, fetch, policies, time.time, _policy_failed),
            shuffle=random.SystemRandom().shuffle,
            may_reach=partial(may_reach, allow_private=settings.allow_private_addresses),
        )
    else:
        routes = NoRoute()
    return Sender(hostname=hostname, routes=routes, reactor=reactor, times=times, trust_root=trust_root)


def limits_for(settings: RelaySettings) -> Limits:
    """How much goes on at the same time: one relay gets no more connections because it is slow."""
    return Limits(slow_after=None) if settings.host is not None else Limits()


def _policy_failed(domain: str, reason: str) -> None:
    _log.warn("the MTA-STS policy of {domain}: {reason}", domain=domain, reason=reason)
