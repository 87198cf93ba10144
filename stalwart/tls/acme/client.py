"""The operations of an ACME client (RFC 8555 §7), from the account to the certificate; each ends within its time.

Which challenge is answered, and how, is the caller's: see `jws.key_authorization`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from josepy.b64 import b64encode
from twisted.internet.task import deferLater
from twisted.web.iweb import IAgent

from stalwart.tls.acme.ari import certificate_id
from stalwart.tls.acme.errors import BAD_ANSWER, FAILED, TIMEOUT, AcmeError, one_line
from stalwart.tls.acme.identifiers import identifier
from stalwart.tls.acme.jws import ExternalAccount
from stalwart.tls.acme.resources import Authorization, Challenge, Order, RenewalInfo, parse, url_of
from stalwart.tls.acme.session import Session
from stalwart.tls.acme.transport import Answer, Transport

OPERATION_SECONDS = 300.0
_CHAIN = "application/pem-certificate-chain"
_FIRST_POLL = 0.25
_SLOWEST_POLL = 10.0
_BACK_OFF = 1.6
# RFC 9773 §4.3.2: what a CA may ask for, and what is done if it asks for nothing.
_OFTENEST_RENEWAL_INFO = 60.0
_USUAL_RENEWAL_INFO = 6 * 3600.0


class AcmeClient:
    """One account at one CA. All methods raise AcmeError; several may run at once; any may be cancelled."""

    def __init__(
        self,
        directory_url: str,
        account_key: ec.EllipticCurvePrivateKey,
        *,
        agent: IAgent,
        reactor: Any,
        contact: Sequence[str] = (),
        agree_to_terms: bool = False,
        eab: ExternalAccount | None = None,
        profile: str | None = None,
        operation_seconds: float = OPERATION_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Nothing is asked yet. `account_key` is on P-256; `agent` is such as `transport.checked_agent` makes.

        `contact` holds URLs (`mailto:`); `reactor` provides IReactorTime; `clock` is the wall clock.
        Without `agree_to_terms` no account is made at a CA that has terms of service.
        """
        self._reactor = reactor
        self._profile = profile
        self._operation_seconds = operation_seconds
        self._session = Session(
            Transport(agent, reactor, clock=clock),
            directory_url,
            account_key,
            reactor=reactor,
            contact=contact,
            agree_to_terms=agree_to_terms,
            eab=eab,
        )

    async def terms(self) -> str | None:
        """Where the CA's terms of service can be read."""
        terms = (await self._session.directory(self._deadline())).meta.terms_of_service
        return one_line(terms) if terms else None

    async def register(self) -> str:
        """Make the account, or find it by its key; its URL. All that needs an account does this by itself."""
        return await self._session.account_url(self._deadline())

    async def new_order(self, names: Sequence[str], *, replaces: str | None = None) -> Order:
        """Order a certificate for host names and IP addresses (RFC 8555 §7.4).

        `replaces` is the `certificate_id` of the one that this one is to stand in for (RFC 9773 §5). A CA without
        renewal information isn't told; one that has replaced it already, or doesn't know it, gets an order without.
        """
        deadline = self._deadline()
        directory = await self._session.directory(deadline)
        identifiers = list(dict.fromkeys(identifier(name) for name in names))
        wanted: dict[str, Any] = {"identifiers": identifiers}
        if self._profile is not None:
            # draft-ietf-acme-profiles: only a profile that is advertised may be asked for.
            offered = directory.meta.profiles or {}
            if self._profile not in offered:
                known = f"it has: {', '.join(sorted(offered))}" if offered else "it has none"
                raise AcmeError("invalidProfile", f"the CA has no profile {self._profile!r}", known)
            wanted["profile"] = self._profile
        if replaces is not None and directory.renewal_info is not None:
            try:
                return await self._new_order(directory.new_order, {**wanted, "replaces": replaces}, deadline)
            except AcmeError as error:
                # RFC 9773 §5 has an error for what was replaced already, and none for what the CA doesn't know. If it
                # wasn't that, the next answer says so.
                if error.transient or error.type == "rateLimited":
                    raise
        return await self._new_order(directory.new_order, wanted, deadline)

    async def _new_order(self, url: str, wanted: object, deadline: float) -> Order:
        answer = await self._session.post(url, wanted, deadline)
        return _order(answer, url_of(answer.header("Location"), f"Location of {url}"))

    async def authorization(self, url: str) -> Authorization:
        """An authorization of an order (RFC 8555 §7.5). One that is valid already has to be left alone."""
        return (await self._authorization(url, self._deadline()))[0]

    async def _authorization(self, url: str, deadline: float) -> tuple[Authorization, float | None]:
        answer = await self._session.post(url, None, deadline)
        return msgspec.structs.replace(parse(answer.body, Authorization, url), url=url), answer.retry_after

    async def respond(self, challenge: Challenge) -> Challenge:
        """Have the CA look at what was prepared for a challenge (RFC 8555 §7.5.1)."""
        answer = await self._session.post(challenge.url, {}, self._deadline())
        return parse(answer.body, Challenge, challenge.url)

    async def wait_for_authorization(self, url: str) -> Authorization:
        """The authorization, once it is valid. Raises AcmeError with what the CA found."""
        deadline = self._deadline()
        polls = _Polls(self._reactor, deadline, f"the authorization {url}")
        while True:
            try:
                authorization, retry_after = await self._authorization(url, deadline)
            except AcmeError as error:
                await polls.after(error)
                continue
            if authorization.status == "valid":
                return authorization
            if authorization.status != "pending":
                raise _refusal(authorization)
            await polls.wait(authorization.status, retry_after)

    async def finalize(self, order: Order, request: x509.CertificateSigningRequest) -> Order:
        """The order once its certificate is there (RFC 8555 §7.4); its authorizations have to be valid."""
        deadline = self._deadline()
        order = await self._order(order, deadline, leave=("ready", "valid"))
        if order.status == "ready":
            csr = b64encode(request.public_bytes(Encoding.DER)).decode("ascii")
            lost: AcmeError | None = None
            try:
                await self._session.post(order.finalize, {"csr": csr}, deadline)
            except AcmeError as error:
                if not error.transient:
                    raise
                # The CA may have got it: a certificate that was issued counts against its limits.
                lost = error
            order = await self._order(order, deadline, leave=("ready", "valid") if lost else ("valid",))
            if lost is not None and order.status == "ready":
                raise lost
        return order

    async def _order(self, order: Order, deadline: float, *, leave: Sequence[str]) -> Order:
        """The order once it has one of these states. Raises AcmeError if it is or becomes invalid."""
        polls = _Polls(self._reactor, deadline, f"the order {order.url}")
        while True:
            try:
                answer = await self._session.post(order.url, None, deadline)
            except AcmeError as error:
                await polls.after(error)
                continue
            order = _order(answer, order.url)
            if order.status in leave:
                return order
            if order.status == "invalid":
                names = ", ".join(each.value for each in order.identifiers)
                title = f"the CA refuses the order for {names}"
                raise order.error.error(title) if order.error else AcmeError(FAILED, title)
            await polls.wait(order.status, answer.retry_after)

    async def certificate(self, order: Order) -> bytes:
        """The certificate of a valid order and its chain in PEM, leaf first (RFC 8555 §7.4.2)."""
        if order.certificate is None:
            raise AcmeError(BAD_ANSWER, order.url, "the order is valid but names no certificate")
        deadline = self._deadline()
        polls = _Polls(self._reactor, deadline, f"the certificate {order.certificate}")
        while True:
            try:
                answer = await self._session.post(order.certificate, None, deadline, accept=_CHAIN)
                break
            except AcmeError as error:
                await polls.after(error)
        try:
            chain = x509.load_pem_x509_certificates(answer.body)
        except (ValueError, x509.InvalidVersion) as error:
            raise AcmeError(BAD_ANSWER, f"{order.certificate} sent no chain of certificates", str(error)) from error
        return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain)

    async def renewal_info(self, certificate: x509.Certificate) -> RenewalInfo | None:
        """When the CA wants a certificate renewed (RFC 9773 §4); None if it doesn't say such things."""
        deadline = self._deadline()
        base = (await self._session.directory(deadline)).renewal_info
        known_as = certificate_id(certificate)
        if base is None or known_as is None:
            return None
        url = f"{base.rstrip('/')}/{known_as}"
        answer = await self._session.get(url, deadline)
        info = parse(answer.body, RenewalInfo, url)
        if info.suggested_window.end <= info.suggested_window.start:
            # RFC 9773 §4.2: as if there were no answer.
            raise AcmeError(BAD_ANSWER, url, "the suggested window ends before it begins")
        asked = _USUAL_RENEWAL_INFO if answer.retry_after is None else answer.retry_after
        return msgspec.structs.replace(
            info,
            explanation_url=one_line(info.explanation_url) if info.explanation_url else None,
            retry_after=max(asked, _OFTENEST_RENEWAL_INFO),
        )

    def _deadline(self) -> float:
        return float(self._reactor.seconds() + self._operation_seconds)


class _Polls:
    """The waits between questions for something that isn't done yet."""

    def __init__(self, reactor: Any, deadline: float, what: str) -> None:
        self._reactor = reactor
        self._deadline = deadline
        self._what = what
        self._step = _FIRST_POLL

    async def wait(self, status: str, retry_after: float | None) -> None:
        """Wait longer each time, and as long as the CA asks (RFC 8555 §7.5.1). Raises AcmeError when time is over."""
        if not await self._sleep(retry_after):
            raise AcmeError(TIMEOUT, self._what, f"it is still {status}", retry_after=retry_after)

    async def after(self, error: AcmeError) -> None:
        """Wait after a failure that may pass. Raises the error if it won't, or when time is over."""
        if not error.transient or not await self._sleep(error.retry_after):
            raise error

    async def _sleep(self, asked: float | None) -> bool:
        wait = max(asked or 0.0, self._step)
        if self._reactor.seconds() + wait >= self._deadline:
            return False
        self._step = min(self._step * _BACK_OFF, _SLOWEST_POLL)
        await deferLater(self._reactor, wait)
        return True


def _order(answer: Answer, url: str) -> Order:
    return msgspec.structs.replace(parse(answer.body, Order, answer.url), url=url)


def _refusal(authorization: Authorization) -> AcmeError:
    """What is wrong with an authorization that never becomes valid."""
    name = authorization.identifier.value
    for challenge in authorization.challenges:
        if challenge.error is not None:
            return challenge.error.error(f"the CA could not verify {name} by {challenge.type}")
    return AcmeError(FAILED, f"the CA's authorization for {name}", f"it is {authorization.status}")
