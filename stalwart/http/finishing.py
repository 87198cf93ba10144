"""Fields that every answer gets, whoever made it: the operator's own, HSTS and CORS. Made into octets once.

Also what goes before an endpoint for their sake: preflights, and the redirect to https.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Protocol

import msgspec

from stalwart.http.head import TOKEN
from stalwart.http.policy import ACME_CHALLENGES

Field = tuple[bytes, bytes]

# RFC 9112 §6, §9.6; RFC 9110 §7.6.1, §7.8: how a message is framed and what its connection does is not for settings.
_FRAMING = frozenset(
    (
        b"connection",
        b"content-length",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://((?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?)", re.ASCII)
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
# What Stalwart sends for permissive-cors.
_CORS_METHODS = b"POST, GET, PATCH, PUT, DELETE, HEAD, OPTIONS"
_CORS_HEADERS = b"Authorization, Content-Type, Accept, X-Requested-With"
# What scripts want to read and may not without being told so (Fetch §3.3.2).
_CORS_EXPOSED = (
    b"Allow, Content-Disposition, ETag, Link, Location, RateLimit, RateLimit-Policy, Retry-After, WWW-Authenticate, "
    b"X-Request-Id"
)
_CORS_SECONDS = b"3600"
_HEALTH = b"/healthz/"
_AUTOCONFIG = (b"/mail/config-v1.1.xml", b"/.well-known/autoconfig/mail/config-v1.1.xml")
_AUTODISCOVER = b"/autodiscover/autodiscover.xml"


class BadField(ValueError):
    """A field that can't be sent, or an origin that is none; the text says what was wanted."""


class Hsts(Protocol):
    """What HTTP Strict Transport Security says (RFC 6797 §6.1)."""

    @property
    def max_age(self) -> int:
        """Seconds."""

    @property
    def include_subdomains(self) -> bool:
        """Whether it holds for all names below the host's, too."""


class Cors(msgspec.Struct, frozen=True, kw_only=True):
    """Which origins' scripts may read answers (Fetch §3.3)."""

    origins: tuple[str, ...] | None = None
    """Such as `https://mail.example.org`; None for any."""


class FinishedRequest(Protocol):
    """The part of a request that its answer's fields depend on."""

    @property
    def scheme(self) -> str:
        """`http` or `https`."""

    def header(self, name: bytes) -> bytes | None:
        """The first value of a field; `name` in lower case."""


class ResponseHeaders:
    """What is added to every answer; each field replaces those of its name that the answer has already."""

    def __init__(
        self, headers: Iterable[tuple[str, str]] = (), *, hsts: Hsts | None = None, cors: Cors | None = None
    ) -> None:
        """Raises BadField for a header that can't be sent or would break the message, or for a bad origin."""
        own = [check_field(name, value) for name, value in headers]
        self._cors = cors
        self._origins: dict[bytes, tuple[Field, ...]] = {}
        self._other_origins: tuple[Field, ...] = ()
        if cors is not None and cors.origins is None:
            self._other_origins = _cors_fields(b"*")
        elif cors is not None:
            # The answer differs by origin, also for a request without one: a cache must know (RFC 9110 §12.5.5).
            vary = ((b"Vary", b"Origin"),)
            self._other_origins = vary
            for origin in cors.origins or ():
                checked = check_origin(origin).encode("ascii")
                self._origins[checked] = _cors_fields(checked) + vary
        always = tuple(own)
        secure = () if hsts is None else ((b"Strict-Transport-Security", _hsts_value(hsts)),)
        replaced = {name.lower() for name, _ in always}
        if cors is not None:
            replaced |= {name.lower() for name, _ in _cors_fields(b"*")}
            always = tuple(field for field in always if field[0].lower() not in _CORS_NAMES)
        if hsts is not None:
            replaced.add(b"strict-transport-security")
            always = tuple(field for field in always if field[0].lower() != b"strict-transport-security")
        self._replaced = frozenset(replaced)
        self._fields = {"http": always, "https": always + secure}

    def __bool__(self) -> bool:
        return bool(self._fields["https"]) or self._cors is not None

    def finish(self, request: FinishedRequest, fields: list[Field]) -> list[Field]:
        """The fields of an answer to `request`, whose own are `fields`."""
        replaced = self._replaced
        finished = [field for field in fields if field[0].lower() not in replaced]
        # RFC 6797 §7.2: HSTS isn't sent over a connection that isn't secure.
        finished += self._fields[request.scheme]
        if self._cors is not None:
            finished += self._of_origin(request)
        return finished

    def _of_origin(self, request: FinishedRequest) -> tuple[Field, ...]:
        if not self._origins:
            return self._other_origins
        return self._origins.get(request.header(b"origin") or b"", self._other_origins)

    def answers_preflight(self, request: FinishedRequest) -> bool:
        """Whether this OPTIONS request is a preflight (Fetch §3.3.3) of an origin that is let in."""
        if self._cors is None or request.header(b"access-control-request-method") is None:
            return False
        origin = request.header(b"origin")
        return origin is not None and (self._cors.origins is None or origin in self._origins)


def check_field(name: str, value: str) -> Field:
    """A header field's octets; raises BadField."""
    try:
        octets, content = name.strip().encode("ascii"), value.strip().encode("utf-8")
    except UnicodeEncodeError:
        raise BadField(f"{name!r} is no name of a header field: letters, digits and dashes make one") from None
    if not octets or octets.translate(None, TOKEN):
        raise BadField(f"{name!r} is no name of a header field: letters, digits and dashes make one")
    if octets.lower() in _FRAMING:
        raise BadField(f"{name} says how a message is framed or what its connection does, and is set by the server")
    if _CONTROL.search(content):
        raise BadField(f"the value of {name} has a control character")
    return octets, content


def check_origin(text: str) -> str:
    """An origin as browsers send it (RFC 6454 §6.1): lower case, no default port; raises BadField."""
    match = _ORIGIN.fullmatch(text.strip().lower())
    if match is None:
        raise BadField(f"{text!r} is no origin: write it like https://mail.example.org, without a path or a slash")
    return f"{match[1]}://{match[2].removesuffix(_DEFAULT_PORTS.get(match[1], ''))}"


def _hsts_value(hsts: Hsts) -> bytes:
    return b"max-age=%d%s" % (hsts.max_age, b"; includeSubDomains" if hsts.include_subdomains else b"")


def _cors_fields(origin: bytes) -> tuple[Field, ...]:
    return (
        (b"Access-Control-Allow-Origin", origin),
        (b"Access-Control-Allow-Headers", _CORS_HEADERS),
        (b"Access-Control-Allow-Methods", _CORS_METHODS),
        (b"Access-Control-Expose-Headers", _CORS_EXPOSED),
        (b"Access-Control-Max-Age", _CORS_SECONDS),
    )


_CORS_NAMES = frozenset(name.lower() for name, _ in _cors_fields(b"*"))


def may_redirect(path: bytes) -> bool:
    """Whether a path may be sent to https.

    Not the challenges of ACME: they prove that port 80 is ours (RFC 8555 §8.3), when there is no certificate yet. Not
    the health pages: who asks for them takes a redirect for an answer. Not what mail clients ask for over http because
    names such as autoconfig.example.org often have no certificate; Autodiscover sends them to https by itself.
    """
    if not path.startswith(b"/") or path.startswith((ACME_CHALLENGES, _HEALTH)):
        return False
    return path not in _AUTOCONFIG and path.lower() != _AUTODISCOVER


def redirect_target(authority: str, path: bytes, query: bytes, port: int) -> str:
    """The https URL that stands for an http one at `authority`."""
    host = authority if authority.endswith("]") else authority.rpartition(":")[0] or authority
    where = host if port == 443 else f"{host}:{port}"
    return f"https://{where}{(path + b'?' + query if query else path).decode('ascii')}"
