"""What a site goes by that a reload may change: one value, taken by each request as it comes in."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
from twisted.internet.interfaces import IReactorTime

from stalwart.config import HttpSettings, Settings
from stalwart.http.evaluation import Answers
from stalwart.http.finishing import Cors, ResponseHeaders
from stalwart.http.hops import TrustedProxies
from stalwart.http.policy import AllowAll, Policy, PolicyRequest
from stalwart.http.rules import RulePolicy, RuleUrl

# Where plain HTTP is sent by http.redirect-https.
_HTTPS_PORT = 443


class SiteSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Replace the whole to change a part: a request never sees old and new beside each other."""

    policy: Policy = msgspec.field(default_factory=AllowAll)
    """Which requests are let in."""

    forwarded: TrustedProxies | None = None
    """The proxies whose Forwarded and X-Forwarded fields count; None for nobody's."""

    finishing: ResponseHeaders | None = None
    """The fields that every answer gets; None for none."""

    redirect_port: int | None = None
    """Where plain http is sent to https; None for not at all."""

    url: Callable[[PolicyRequest], Coroutine[Any, Any, str | None]] | None = None
    """The base of URLs for a request, without a slash at the end; None where the configuration has no rule for it."""


def facts_of(settings: Settings) -> dict[str, str]:
    """What `config_get` and `system` tell rules: settings that are plain values, and this machine's names."""
    facts = {entry.key: str(entry.value) for entry in settings.entries if isinstance(entry.value, str | int)}
    lookups = {f"lookup.{store}.{key}": value for store, values in settings.lookups for key, value in values}
    return {
        **facts,
        **lookups,
        "system.hostname": settings.hostname,
        "system.domain": settings.hostname.partition(".")[2],
    }


def rule_policy(settings: Settings, answers: Answers, reactor: IReactorTime) -> RulePolicy:
    """The policy of a configuration; `answers` has what its rule asks for."""
    http = settings.http
    return RulePolicy(http.allowed_endpoint, answers, reactor, loopback_exempt=http.loopback_exempt)


def site_settings(settings: Settings, answers: Answers, reactor: IReactorTime) -> SiteSettings:
    """What the sites of a configuration go by; `answers` has what its rules ask for."""
    http = settings.http
    return SiteSettings(
        policy=rule_policy(settings, answers, reactor),
        forwarded=TrustedProxies(http.believed_proxies) if http.believed_proxies else None,
        finishing=ResponseHeaders(http.headers, hsts=http.hsts, cors=_cors(http)) or None,
        redirect_port=_HTTPS_PORT if http.redirect_to_https else None,
        url=RuleUrl(http.url, answers, reactor) if http.url is not None else None,
    )


def _cors(http: HttpSettings) -> Cors | None:
    if http.permissive_cors:
        return Cors()
    return Cors(origins=http.cors_allowed_origins) if http.cors_allowed_origins else None
