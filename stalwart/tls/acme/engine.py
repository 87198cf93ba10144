"""txacme's AcmeIssuingService over the client for RFC 8555: an object with the methods of ACME v1 that it calls.

It does the work of one order: challenges, responders, the certificate into the store, one order per name at a time.
When something is ordered is decided elsewhere.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from txacme.interfaces import IResponder
from zope.interface import implementer

from stalwart.tls.acme.errors import BAD_ANSWER, AcmeError
from stalwart.tls.acme.jws import key_authorization
from stalwart.tls.acme.resources import Authorization, Challenge, Order
from stalwart.tls.acme.txacme_parts import issuing_service, valid_status

NO_CHALLENGE = "noChallenge"
"""Type of the AcmeError when the CA doesn't offer the challenge that is configured."""

_NOTHING = "-"  # a token that no CA sends: it is too short


class Client(Protocol):
    """The part of `AcmeClient` that an order needs."""

    async def new_order(self, names: Sequence[str], *, replaces: str | None = None) -> Order:
        """Order a certificate."""

    async def authorization(self, url: str) -> Authorization:
        """An authorization of the order."""

    async def respond(self, challenge: Challenge) -> Challenge:
        """Have the CA look."""

    async def wait_for_authorization(self, url: str) -> Authorization:
        """The authorization, once it is valid."""

    async def finalize(self, order: Order, request: x509.CertificateSigningRequest) -> Order:
        """The order once its certificate is there."""

    async def certificate(self, order: Order) -> bytes:
        """The chain in PEM."""


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """What responders answer a challenge with."""

    key_authorization: str


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A challenge as responders see it."""

    token: str

    def encode(self, name: str) -> str:
        """The field of this name, as it is on the wire; there is but `token`."""
        return str(getattr(self, name))


class _Offer(msgspec.Struct, frozen=True, kw_only=True):
    """A challenge as txacme looks for it; `challenge` is None if the authorization needs none any more."""

    typ: str
    chall: Token
    challenge: Challenge | None
    authorization: str

    def response(self, key: ec.EllipticCurvePrivateKey) -> Response:
        """What answers it."""
        return Response(key_authorization=self.authorization)


class _Identifier(msgspec.Struct, frozen=True, kw_only=True):
    value: str


class _Body(msgspec.Struct, frozen=True, kw_only=True):
    identifier: _Identifier
    resolved_combinations: tuple[tuple[_Offer, ...], ...]
    status: Any = None


class _Resource(msgspec.Struct, frozen=True, kw_only=True):
    body: Any
    url: str = ""


class _OrderClient:
    """One order, by the method names of txacme's client. All that talks to the CA happens after `request_challenges`.

    Nothing is registered in advance: the client does that by itself, so that a CA that is away is the failure of
    a name and not of the service.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.key = engine.account_key
        self._order: Order | None = None
        self._private_key: ec.EllipticCurvePrivateKey | None = None
        self._name = ""

    def register(self, registration: object) -> Deferred[object]:
        return succeed(registration)

    def agree_to_tos(self, registration: object) -> Deferred[object]:
        return succeed(registration)

    def request_challenges(self, identifier: Any) -> Deferred[_Resource]:
        # txacme has just made the certificate's key, in the same turn of the reactor.
        self._private_key = self._engine.newest_key
        self._name = str(identifier.value)
        return Deferred.fromCoroutine(self._challenges(self._name))

    async def _challenges(self, name: str) -> _Resource:
        client = self._engine.client
        self._order = order = await client.new_order([name], replaces=self._engine.replaced.get(name))
        if len(order.authorizations) != 1:
            count = len(order.authorizations)
            raise AcmeError(BAD_ANSWER, order.url, f"{count} authorizations for one name")
        authorization = await client.authorization(order.authorizations[0])
        offer = self._offer(authorization)
        body = _Body(identifier=_Identifier(value=name), resolved_combinations=((offer,),))
        return _Resource(body=body, url=order.authorizations[0])

    def _offer(self, authorization: Authorization) -> _Offer:
        wanted = self._engine.challenge
        if authorization.status == "valid":
            # RFC 8555 §7.5.1: nothing to answer; txacme wants to see a challenge all the same.
            return _Offer(typ=wanted, chall=Token(token=_NOTHING), challenge=None, authorization=_NOTHING)
        for challenge in authorization.challenges:
            if challenge.type == wanted:
                answer = key_authorization(challenge.token, self.key)
                token = Token(token=str(challenge.token))
                return _Offer(typ=wanted, chall=token, challenge=challenge, authorization=answer)
        offered = ", ".join(challenge.type for challenge in authorization.challenges) or "nothing"
        name = authorization.identifier.value
        raise AcmeError(NO_CHALLENGE, f"the CA does not offer {wanted} for {name}", f"it offers {offered}")

    def answer_challenge(self, offer: _Offer, response: Response) -> Deferred[object]:
        if offer.challenge is None:
            return succeed(None)
        return Deferred.fromCoroutine(self._engine.client.respond(offer.challenge))

    def poll(self, resource: _Resource) -> Deferred[tuple[_Resource, float]]:
        return Deferred.fromCoroutine(self._poll(resource))

    async def _poll(self, resource: _Resource) -> tuple[_Resource, float]:
        await self._engine.client.wait_for_authorization(resource.url)
        body = msgspec.structs.replace(resource.body, status=valid_status())
        return msgspec.structs.replace(resource, body=body), 0.0

    def request_issuance(self, message: object) -> Deferred[_Resource]:
        return Deferred.fromCoroutine(self._issue())

    async def _issue(self) -> _Resource:
        assert self._order is not None and self._private_key is not None
        # txacme's own request has a common name, at most 64 characters long, and knows no IP addresses.
        request = signing_request(self._name, self._private_key)
        order = await self._engine.client.finalize(self._order, request)
        chain = x509.load_pem_x509_certificates(await self._engine.client.certificate(order))
        self._chain = [_Resource(body=each.public_bytes(Encoding.DER)) for each in chain[1:]]
        return _Resource(body=chain[0].public_bytes(Encoding.DER))

    def fetch_chain(self, certificate: _Resource) -> Deferred[list[_Resource]]:
        return succeed(self._chain)


def signing_request(name: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateSigningRequest:
    """The request for a certificate for one host name or IP address (RFC 8555 §7.4, RFC 8738 §4)."""
    general: x509.GeneralName
    try:
        general = x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        general = x509.DNSName(name)
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_extension(x509.SubjectAlternativeName([general]), critical=False)
        .sign(key, hashes.SHA256())
    )


@implementer(IResponder)
class _Tidy:
    """A responder that can be told to stop all it does for a name: txacme forgets that if the CA can't be told."""

    def __init__(self, responder: Any) -> None:
        self.challenge_type = responder.challenge_type
        self._responder = responder
        self._answering: dict[str, tuple[Token, Response]] = {}

    def start_responding(self, server_name: str, challenge: Token, response: Response) -> object:
        if challenge.token == _NOTHING:
            return None
        self._answering[server_name] = (challenge, response)
        return self._responder.start_responding(server_name, challenge, response)

    def stop_responding(self, server_name: str, challenge: Token, response: Response) -> object:
        return self.stop(server_name)

    def stop(self, server_name: str) -> object:
        """Stop answering for a name."""
        if server_name not in self._answering:
            return None
        return self._responder.stop_responding(server_name, *self._answering.pop(server_name))


class Engine:
    """Orders one certificate at a time for a name, and puts it into the store."""

    def __init__(
        self,
        store: Any,
        client: Client,
        account_key: ec.EllipticCurvePrivateKey,
        *,
        responders: Sequence[Any],
        challenge: str,
        reactor: Any,
    ) -> None:
        """`store` is an ICertificateStore, `responders` are IResponders; of theirs `challenge` is used."""
        self.client = client
        self.account_key = account_key
        self.challenge = challenge
        self.replaced: dict[str, str | None] = {}
        self._responders = [_Tidy(each) for each in responders if each.challenge_type == challenge]
        # It is never started: its timer would renew by a fixed number of days.
        make = issuing_service()
        self._service = make(
            cert_store=store,
            client_creator=lambda: succeed(_OrderClient(self)),
            clock=reactor,
            responders=self._responders,
            generate_key=self._new_key,
        )
        self.newest_key: ec.EllipticCurvePrivateKey | None = None

    async def issue(self, name: str, *, replaces: str | None = None) -> None:
        """Order a certificate. Raises AcmeError, BadPair, OSError, or what a responder raises.

        `replaces` names the certificate that it is to stand in for (RFC 9773 §5).
        """
        self.replaced[name] = replaces
        try:
            await self._service.issue_cert(name)
        finally:
            self.replaced.pop(name, None)
            for responder in self._responders:
                await maybeDeferred(responder.stop, name)

    def _new_key(self) -> ec.EllipticCurvePrivateKey:
        self.newest_key = ec.generate_private_key(ec.SECP256R1())
        return self.newest_key
