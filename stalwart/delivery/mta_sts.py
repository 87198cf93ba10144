"""MTA-STS (RFC 8461): which mail exchangers a domain says it has, and that they are to be reached over TLS."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Literal
from typing import Protocol as Shape

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.ssl import platformTrust
from twisted.names import dns
from twisted.python.failure import Failure
from twisted.web.client import Agent, ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers

from stalwart.delivery.mail_dns import DnsFailed, MailDns
from stalwart.ops.public_endpoints import PublicEndpoints

Mode = Literal["enforce", "testing", "none"]

# RFC 8461 §3.2: at most about a year; §3.3 suggests a size of 64 KB.
_LONGEST = 31_557_600
_MOST_OCTETS = 65_536
_MOST_FAILED = 10_000
_FETCH_SECONDS = 30.0
# RFC 8461 §3.3: a policy that could not be fetched isn't asked for again at once.
_FAILURE_SECONDS = 300.0
# RFC 8461 §3.3: fetched anew long before it is too old, so that who keeps us from it for a while gains nothing.
_REFRESH_SECONDS = 86_400

# RFC 8461 §3.1
_VERSION = re.compile(r"v=STSv1[ \t]*;")
_FIELD = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]{0,31})=([!-:<>-~]+)")
_ID = re.compile(r"[A-Za-z0-9]{1,32}")
_MX = re.compile(r"(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")


class BadPolicy(Exception):
    """What was fetched is no policy. The text says why."""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """A policy; `max_age` is seconds."""

    mode: Mode
    max_age: int
    mx: tuple[str, ...] = ()

    def allows(self, host: str) -> bool:
        """RFC 8461 §4.1: a wildcard stands for exactly one label."""
        host = host.lower().rstrip(".")
        return any(
            host.partition(".")[2] == pattern[2:] and "." in host if pattern.startswith("*.") else host == pattern
            for pattern in self.mx
        )


def read_record(texts: Sequence[str]) -> str | None:
    """The id of a domain's policy from the TXT records of `_mta-sts`; None if it has none (RFC 8461 §3.1)."""
    records = [text for text in texts if _VERSION.match(text)]
    if len(records) != 1:
        return None
    _, *parts = (part.strip(" \t") for part in records[0].split(";"))
    if not parts[-1]:
        parts.pop()
    fields = [_FIELD.fullmatch(part) for part in parts]
    ids = [field[2] for field in fields if field is not None and field[1] == "id"]
    if None in fields or not ids or not _ID.fullmatch(ids[0]):
        return None
    return ids[0]


def read_policy(octets: bytes) -> Policy:
    """RFC 8461 §3.2. Raises BadPolicy."""
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        raise BadPolicy("it is not UTF-8") from None
    values: dict[str, str] = {}
    mx: list[str] = []
    for line in filter(str.strip, re.split(r"\r?\n", text)):
        name, colon, value = line.partition(":")
        if not colon:
            raise BadPolicy(f"a line without colon: {line[:80]!r}")
        name, value = name.strip(), value.strip()
        if name == "mx":
            mx.append(value.lower().rstrip("."))
        else:
            values.setdefault(name, value)
    if values.get("version") != "STSv1":
        raise BadPolicy("its version is not STSv1")
    mode, age = values.get("mode"), values.get("max_age", "")
    if mode not in ("enforce", "testing", "none"):
        raise BadPolicy("its mode is none of enforce, testing and none")
    if not re.fullmatch(r"[0-9]{1,10}", age, re.ASCII):
        raise BadPolicy("its max_age is not a number of seconds")
    if not all(map(_MX.fullmatch, mx)) or (mode != "none" and not mx):
        raise BadPolicy("it names no mail exchangers, or wrong ones")
    return Policy(mode=mode, max_age=min(int(age), _LONGEST), mx=tuple(mx))  # type: ignore[arg-type]


class Policies(Shape):
    """Where policies come from."""

    async def of(self, domain: str) -> Policy | None:
        """The policy of a domain, None if it has none that is known."""


class Fetches(Shape):
    """How the text of a policy is had."""

    async def __call__(self, domain: str) -> bytes:
        """Raises BadPolicy, or whatever a connection fails with."""


class KeptPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """A policy with the id of the record by which it was fetched, and when that was, in epoch seconds."""

    id: str
    policy: Policy
    fetched_at: int


class KeepsPolicies(Shape):
    """Where policies are kept for as long as they say."""

    async def get(self, domain: str) -> KeptPolicy | None:
        """The policy of a domain, if it is kept and not too old."""

    async def put(self, domain: str, kept: KeptPolicy) -> None:
        """Keep a policy in place of a former one."""


class PolicyCache:
    """Asks for policies and has them kept. Belongs to the reactor thread."""

    def __init__(
        self,
        asked: MailDns,
        fetch: Fetches,
        keeps: KeepsPolicies,
        now: Callable[[], float],
        report: Callable[[str, str], None],
    ):
        """`now` gives epoch seconds; `report` is told of domains whose policy can't be had or kept, with the reason."""
        self._dns = asked
        self._fetch = fetch
        self._keeps = keeps
        self._now = now
        self._report = report
        self._failed: OrderedDict[str, float] = OrderedDict()  # until when a domain isn't asked again

    async def of(self, domain: str) -> Policy | None:
        """See `Policies`."""
        kept = await self._keeps.get(domain)
        known = None if kept is None else kept.policy
        try:
            answer = await self._dns.ask(f"_mta-sts.{domain}", dns.TXT)
        except DnsFailed:
            return known
        number = read_record([b"".join(payload.data).decode("utf-8", "replace") for payload in answer.payloads])
        # RFC 8461 §3.3: a policy that is kept holds although its record is gone, lest somebody hide it.
        if number is None:
            return known
        now = self._now()
        if kept is not None and kept.id == number and now < kept.fetched_at + _REFRESH_SECONDS:
            return known
        if self._failed.get(domain, 0.0) > now:
            return known
        try:
            policy = read_policy(await self._fetch(domain))
        except CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - connections fail with what they like
            self._report(domain, str(error) or type(error).__name__)
            self._failed[domain] = self._now() + _FAILURE_SECONDS
            self._failed.move_to_end(domain)
            if len(self._failed) > _MOST_FAILED:
                self._failed.popitem(last=False)
            return known
        self._failed.pop(domain, None)
        try:
            await self._keeps.put(domain, KeptPolicy(id=number, policy=policy, fetched_at=int(self._now())))
        except CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - such as a full disk; the policy holds for this message all the same
            self._report(domain, f"it can't be kept: {error}")
        return policy


class HttpsFetch:
    """RFC 8461 §3.3: over HTTPS, the certificate checked, without following redirects.

    Whoever sends mail names the domain, and its owner says which address is behind the name: it must be public.
    """

    def __init__(self, reactor: Any, trust_root: Any = None, *, allow_private: bool = False, port: int = 443) -> None:
        self._reactor: IReactorTime = reactor
        self._port = port
        endpoints = PublicEndpoints(
            reactor,
            trust_root or platformTrust(),
            allow_private=allow_private,
            longest=2 * _FETCH_SECONDS,
            most_octets=2 * _MOST_OCTETS,
        )
        self._agent = Agent.usingEndpointFactory(reactor, endpoints)

    async def __call__(self, domain: str) -> bytes:
        """See `Fetches`."""
        place = f":{self._port}" if self._port != 443 else ""
        url = f"https://mta-sts.{domain}{place}/.well-known/mta-sts.txt"
        asked: Deferred[Any] = self._agent.request(b"GET", url.encode("ascii"), Headers({}))
        response = await asked.addTimeout(_FETCH_SECONDS, self._reactor)
        # What a body has for a transport knows no abortConnection; the endpoint sees to an end that takes too long.
        read: Deferred[bytes] = Deferred(lambda _: body.transport.loseConnection())
        body = _Body(read)
        response.deliverBody(body)
        octets = await read.addTimeout(_FETCH_SECONDS, self._reactor)
        if response.code != 200:
            raise BadPolicy(f"{url} answers {response.code}")
        media_type = (response.headers.getRawHeaders("Content-Type") or [""])[0].partition(";")[0].strip().lower()
        if media_type != "text/plain":
            raise BadPolicy(f"{url} is {media_type or 'of no type'}, not text/plain")
        return octets


class _Body(Protocol):
    transport: Any

    def __init__(self, done: Deferred[bytes]) -> None:
        self._done = done
        self._octets = b""

    def dataReceived(self, data: bytes) -> None:
        self._octets += data
        if len(self._octets) > _MOST_OCTETS and not self._done.called:
            self._done.errback(BadPolicy(f"it has more than {_MOST_OCTETS} octets"))
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._done.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            self._done.callback(self._octets)
        else:
            # Without some of its exchangers a policy would hold up mail for as long as it is kept.
            self._done.errback(BadPolicy(f"its end is missing: {reason.getErrorMessage()}"))
