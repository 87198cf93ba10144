"""The settings of HTTP that hold for all listeners: who is let in, what responses carry, which proxies are believed."""

from __future__ import annotations

import ipaddress
from typing import Annotated

import msgspec

from stalwart.config.guard_kinds import Rate, RateLimit
from stalwart.config.http_kinds import Age, Header, Rule, WebOrigin
from stalwart.config.kinds import IPNetwork, Network
from stalwart.config.rules import default_rule
from stalwart.config.schema import Key

# Loopback, RFC 1918 and RFC 4193.
NEARBY: tuple[IPNetwork, ...] = tuple(
    ipaddress.ip_network(text)
    for text in ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7")
)

_YEAR = 365 * 86400  # seconds


class Hsts(msgspec.Struct, frozen=True, kw_only=True):
    """What `Strict-Transport-Security` says; `max_age` is in seconds (RFC 6797 §6.1)."""

    max_age: int = _YEAR
    include_subdomains: bool = True


class HttpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The table `http`."""

    allowed_endpoint: Annotated[
        Rule,
        Key(
            name="allowed-endpoint",
            object_name="allowedEndpoints",
            doc="Which requests are let in, on all listeners, before anything else looks at them: an expression, or "
            "clauses of which the first that holds decides. 200 lets a request in, any other status denies it with "
            "that status. The texts are expressions themselves: a text in them has quotes of its own. ACME "
            "challenges are let in unless the rule names `acme-challenge`.",
            example='[\n  { if = "listener == \'private-http\'", then = "200" },\n'
            "  { if = \"contains(['jmap', '.well-known'], split(url_path, '/')[1])\", then = \"200\" },\n"
            '  { else = "404" },\n]',
        ),
    ] = default_rule("http.allowed-endpoint", "200")
    loopback_exempt: Annotated[
        bool,
        Key(
            name="allow-loopback",
            object_name="allowLoopback",
            doc="Let in what programs of this machine ask for over loopback, whatever `http.allowed-endpoint` says, so "
            "that a wrong rule locks nobody out for good. The connection's own address counts, never a forwarded one, "
            "and a request that says that it was passed on is judged as all others. Switch it off when a proxy on this "
            "machine brings requests from elsewhere without saying so.",
            example="false",
        ),
    ] = True
    url: Annotated[
        Rule | None,
        Key(
            name="url",
            object_name="url",
            doc="The address under which clients reach this server, without a slash at the end: an expression, or "
            "clauses, that gives a text; it is worked out for each request. It is the base of all URLs in the JMAP "
            "session.",
            example="\"'https://' + config_get('server.hostname')\"",
            default="the scheme, host and port that the client used, as far as trusted proxies tell (`server.hostname` "
            "if it names no host), without the ports 80 and 443",
        ),
    ] = None
    headers: Annotated[
        tuple[Header, ...],
        Key(
            name="headers",
            object_name="responseHeaders",
            doc="Headers that every response carries, errors too; each replaces one of the same name that the response "
            "has already. May also be a table of names and values. Headers of the connection, of the framing and of "
            "the single response, such as `Content-Length`, cannot be set.",
            example='["X-Frame-Options: DENY", "Referrer-Policy: no-referrer"]',
            may_be_empty=True,
        ),
    ] = ()
    use_x_forwarded: Annotated[
        bool,
        Key(
            name="use-x-forwarded",
            object_name="useXForwarded",
            doc="Take the client's address, and the scheme and host it used, from the headers `Forwarded`, "
            "`X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Host` of requests that come from a trusted proxy. "
            "A request in which `Forwarded` and the others contradict each other is refused: let the proxy remove what "
            "it doesn't write.",
            example="true",
        ),
    ] = False
    trusted_proxies: Annotated[
        tuple[Network, ...],
        Key(
            name="trusted-proxies",
            object_name="trustedProxies",
            doc="The addresses and networks of the proxies whose forwarded headers are believed; from all others they "
            "are ignored. By default these are loopback and the private networks. The peer of a Unix socket belongs to "
            "loopback. Used only with `http.use-x-forwarded`.",
            example='["192.0.2.7", "2001:db8:1::/64"]',
        ),
    ] = NEARBY
    hsts_enabled: Annotated[
        bool,
        Key(
            name="hsts",
            object_name="enableHsts",
            doc="Tell browsers to use this host with TLS only (`Strict-Transport-Security`). It is said in responses "
            "over TLS, since browsers ignore it elsewhere.",
            example="true",
        ),
    ] = False
    hsts_max_age: Annotated[
        Age,
        Key(
            name="hsts-max-age",
            object_name="hstsMaxAge",
            doc="How long browsers keep to what `http.hsts` tells them.",
            example='"30d"',
        ),
    ] = _YEAR
    hsts_include_subdomains: Annotated[
        bool,
        Key(
            name="hsts-include-subdomains",
            object_name="hstsIncludeSubdomains",
            doc="Whether `http.hsts` holds for all names below the host's too, of other servers also.",
            example="false",
        ),
    ] = True
    redirect_to_https: Annotated[
        bool,
        Key(
            name="redirect-https",
            object_name="redirectHttps",
            doc="Send requests without TLS to the same URL with `https`, except those of ACME challenges, of health "
            "checks, and of mail clients for `config-v1.1.xml`, which they ask for by both (docs/discovery.md).",
            example="true",
        ),
    ] = False
    permissive_cors: Annotated[
        bool,
        Key(
            name="permissive-cors",
            object_name="usePermissiveCors",
            doc="Let pages of every origin use this server from a browser (`Access-Control-Allow-Origin: *`).",
            example="true",
        ),
    ] = False
    cors_allowed_origins: Annotated[
        tuple[WebOrigin, ...],
        Key(
            name="cors.allowed-origins",
            object_name="corsAllowedOrigins",
            doc="The origins whose pages may use this server from a browser: scheme, host and, unless it is the "
            "scheme's own, the port. They are compared exactly.",
            example='["https://webmail.example.org", "http://localhost:3000"]',
            may_be_empty=True,
        ),
    ] = ()

    rate_limit_anonymous: Annotated[
        RateLimit | None,
        Key(
            name="rate-limit.anonymous",
            object_name="rateLimitAnonymous",
            earlier="jmap.rate-limit.anonymous",
            doc="How many requests one client address (for IPv6, one /64) may send to pages that need no sign-in, and "
            "how many may lack credentials or have wrong ones; more get 429. So many may come at once, and they come "
            "back evenly over the period. Loopback and `server.allowed-ip` are exempt, ACME challenges are not "
            "counted, nor are sign-ins that succeed. `jmap.rate-limit.anonymous` means the same.",
            example='"200/1m"',
        ),
    ] = Rate(count=100, period=60.0)
    rate_limit_account: Annotated[
        RateLimit | None,
        Key(
            name="rate-limit.account",
            object_name="rateLimitAuthenticated",
            earlier="jmap.rate-limit.account",
            doc="How many requests one account may send, from all its clients together; more get 429. Loopback and "
            "`server.allowed-ip` are exempt. `jmap.rate-limit.account` means the same.",
            example='"5000/1m"',
        ),
    ] = Rate(count=1000, period=60.0)

    @property
    def believed_proxies(self) -> tuple[IPNetwork, ...]:
        """Whose forwarded headers count; empty if nobody's."""
        return self.trusted_proxies if self.use_x_forwarded else ()

    @property
    def hsts(self) -> Hsts | None:
        """What to say over TLS; None if nothing."""
        if not self.hsts_enabled:
            return None
        return Hsts(max_age=self.hsts_max_age, include_subdomains=self.hsts_include_subdomains)
