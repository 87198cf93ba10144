"""Checks of what strangers fetch from this server's public names: certificates, and the documents behind discovery."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from xml.etree.ElementTree import ParseError

import msgspec
from cryptography import x509
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from stalwart.cli.dns_fetching import Fetched, NoAddress, PublicWeb, Untrusted
from stalwart.cli.output import as_time
from stalwart.config import Settings
from stalwart.delivery.mta_sts import BadPolicy, read_policy
from stalwart.discovery import mta_sts_policy, pacc_digest, pacc_document, services
from stalwart.store import InvalidAddress
from stalwart.store.addresses import normalise_domain
from stalwart.tls.inventory import names_of
from stalwart.zone import Asks, Finding, Outcome, Unknown, jmap_place, known
from stalwart.zone.values import Mx

_SOON = 7 * 86_400.0  # seconds before its end in which a certificate should have been renewed


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be fetched. `judge` gives what is wrong with the answer, None if nothing is."""

    check: str
    host: str
    url: str
    wanted: str
    why: str
    judge: Callable[[Fetched], Awaitable[str | None]]
    required: bool = True


def documents(settings: Settings, domain: str, ask: Asks, *, port: int) -> tuple[Document, ...]:
    """The documents of a domain; `port` is where its https names answer, except for JMAP's."""
    place = "" if port == 443 else f":{port}"
    base = f"https://{{}}.{domain}{place}"
    found: list[Document] = []
    if any(service.protocol in ("jmap", "imap", "pop3") for service in services(settings, domain)):
        found.append(
            Document(
                check="autoconfig",
                host=f"autoconfig.{domain}",
                url=f"{base.format('autoconfig')}/mail/config-v1.1.xml?emailaddress=postmaster%40{domain}",
                wanted=f"200 with a clientConfig of {domain}",
                why="Thunderbird sets itself up by this document.",
                judge=_Autoconfig(domain),
            )
        )
    policy = mta_sts_policy(settings, domain)
    if policy is not None:
        found.append(
            Document(
                check="MTA-STS policy",
                host=f"mta-sts.{domain}",
                url=f"{base.format('mta-sts')}/.well-known/mta-sts.txt",
                wanted="200 with the policy of the settings, which allows each MX host",
                why="Servers that can't fetch it, or whose MX host it doesn't name, deliver less safely or not at all.",
                judge=_MtaSts(policy[0], domain, ask),
            )
        )
    jmap = jmap_place(settings, domain)
    if jmap is not None:
        at = jmap[0] if jmap[1] == 443 else f"{jmap[0]}:{jmap[1]}"
        found.append(
            Document(
                check="JMAP",
                host=jmap[0],
                url=f"https://{at}/.well-known/jmap",
                wanted="401 without a password, or a redirect to the session",
                why="JMAP clients find the session by it.",
                judge=_jmap,
            )
        )
    found.append(
        Document(
            check="PACC document",
            host=f"ua-auto-config.{domain}",
            url=f"{base.format('ua-auto-config')}/.well-known/user-agent-configuration.json",
            wanted="200 with the document that the record's digest is of",
            why="Clients that know PACC set themselves up by this document.",
            judge=_Pacc(pacc_document(settings, domain)),
            required=False,
        )
    )
    return tuple(found)


async def check_document(web: PublicWeb, document: Document) -> Finding:
    """Fetch a document from each address of its host, and judge what comes."""

    async def at(address: str) -> Outcome:
        try:
            fetched = await web.get(document.url, address)
        except Untrusted as error:
            return Outcome(state="wrong", fix=f"mend the certificate of {document.host}: {error}")
        fault = await document.judge(fetched)
        found = (f"{fetched.status} {fetched.media_type}".rstrip(),)
        return Outcome(state="good" if fault is None else "wrong", found=found, fix=fault or "")

    outcome = await known(_at_each(web, document.host, at))
    return Finding(
        check=document.check,
        name=document.url,
        type="HTTPS",
        state=outcome.state,
        required=document.required,
        found=outcome.found,
        wanted=document.wanted,
        why=document.why,
        fix=outcome.fix,
        note=outcome.note,
        secure=None,
    )


async def check_certificate(web: PublicWeb, name: str, port: int, *, required: bool, now: float) -> Finding:
    """Whether a stranger trusts the certificate shown for a name. `now` is in unix seconds."""

    async def at(address: str) -> Outcome:
        certificate = await web.certificate(name, address, port)
        found = (_shown(certificate),)
        try:
            await web.verify(name, address, port)
        except Untrusted as error:
            fix = f"have a certificate for {name}, by acme.<id>.domains or certificate.<id>: {error}"
            return Outcome(state="wrong", found=found, fix=fix)
        left = certificate.not_valid_after_utc.timestamp() - now
        note = "it expires within a week: see `stalwart cert list` why it isn't renewed" if left < _SOON else ""
        return Outcome(state="good", found=found, note=note)

    outcome = await known(_at_each(web, name, at))
    return Finding(
        check="certificate",
        name=f"{name}:{port}",
        type="HTTPS",
        state=outcome.state,
        required=required,
        found=outcome.found,
        wanted=f"a certificate for {name} from an authority that strangers trust",
        why="Clients and servers go no further without it.",
        fix=outcome.fix,
        note=outcome.note,
        secure=None,
    )


async def _at_each(web: PublicWeb, name: str, check: Callable[[str], Awaitable[Outcome]]) -> Outcome:
    """The worst of what its addresses say; one that can't be reached from here is told if others can."""
    try:
        places = await web.addresses(name)
    except NoAddress as error:
        return Outcome(state="missing", fix="publish the record of the name", note=str(error))
    good: Outcome | None = None
    unknown: list[str] = []
    for place in places:
        try:
            outcome = await check(place)
        except Unknown as error:
            unknown.append(str(error))
            continue
        if outcome.state == "wrong":
            return msgspec.structs.replace(outcome, note=f"at {place}")
        good = good or outcome
    if good is None:
        raise Unknown("; ".join(unknown))
    return msgspec.structs.replace(good, note="; ".join(filter(None, (good.note, *unknown))))


def _shown(certificate: x509.Certificate) -> str:
    names = ", ".join(names_of(certificate)) or "no names"
    return f"{names}; until {as_time(certificate.not_valid_after_utc.timestamp())}"


class _Autoconfig:
    def __init__(self, domain: str) -> None:
        self._domain = domain

    async def __call__(self, fetched: Fetched) -> str | None:
        if fetched.status != 200:
            return f"have this server answer there: it says {fetched.status}, or it is another server"
        try:
            root = fromstring(fetched.body)
        except (ParseError, DefusedXmlException, ValueError, LookupError):  # of encodings, the last two
            return "have this server answer there: what comes is no XML"
        names = [element.text or "" for element in root.iterfind("emailProvider/domain")]
        if root.tag == "clientConfig" and any(map(self._is_domain, names)):
            return None
        return f"have this server answer there: what comes isn't for {self._domain}"

    def _is_domain(self, text: str) -> bool:
        try:
            return normalise_domain(text) == self._domain
        except InvalidAddress:
            return False


class _MtaSts:
    def __init__(self, wanted: bytes, domain: str, ask: Asks) -> None:
        self._wanted = read_policy(wanted)
        self._domain = domain
        self._ask = ask

    async def __call__(self, fetched: Fetched) -> str | None:
        if fetched.status != 200:
            return f"have this server answer there: it says {fetched.status}, or it is another server"
        if fetched.media_type != "text/plain":  # RFC 8461 §3.2
            return f"have this server answer there: what comes is {fetched.media_type or 'of no type'}, not text/plain"
        try:
            policy = read_policy(fetched.body)
        except BadPolicy as error:
            return f"have this server answer there: what comes is no policy: {error}"
        refused = [] if policy.mode == "none" else await self._refused(policy.allows)
        if refused:
            return f"name {', '.join(refused)} in session.mta-sts.mx, or take the MX record out: the policy forbids it"
        if policy != self._wanted:
            return "reload the daemon, or have it answer there: the policy is not that of the settings"
        return None

    async def _refused(self, allows: Callable[[str], bool]) -> Sequence[str]:
        answer = await self._ask(self._domain, "MX")
        return [value.host for value in answer.of(Mx) if value.host and not allows(value.host)]


async def _jmap(fetched: Fetched) -> str | None:
    # RFC 8620 §2.2: the session itself, which wants a password, or a redirect to it
    if fetched.status in (200, 301, 302, 303, 307, 308, 401):
        return None
    return f"have this server answer there: it says {fetched.status}; http.allowed-endpoint may forbid it"


class _Pacc:
    def __init__(self, wanted: bytes) -> None:
        self._wanted = wanted

    async def __call__(self, fetched: Fetched) -> str | None:
        if fetched.status != 200:
            return f"have this server answer there: it says {fetched.status}, or it is another server"
        if pacc_digest(fetched.body) != pacc_digest(self._wanted):
            return "reload the daemon, or have it answer there: the document is not that of the settings"
        return None
