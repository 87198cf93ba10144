"""A CA in this process, on a real socket over TLS: RFC 8555 as far as clients see it, and faults on demand.

It checks every signature and nonce, believes every challenge, and issues certificates that its root vouches for.
What it does is set by its attributes; `script` has it answer the next requests for a resource in another way.
"""

from __future__ import annotations

import datetime
import itertools
import json
import random
from collections import deque
from collections.abc import Mapping
from typing import Any

import msgspec
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from josepy.b64 import b64decode, b64encode
from josepy.jwa import ES256
from josepy.jwk import JWK
from OpenSSL.crypto import X509, PKey
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.ssl import CertificateOptions
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from tests.tls.acme.fake_root import Root, names_in

Json = dict[str, Any]
_NO_HEADERS: Mapping[str, str] = {}
_JSON = "application/json; charset=utf-8"  # with a parameter, as Let's Encrypt does


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """An answer out of the script. `seconds` is how long it takes to begin.

    `end` is "answer", or "hang" for none, "stall" for one that doesn't end, "cut" for one that ends too early.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = {}
    seconds: float = 0.0
    end: str = "answer"


def problem(type: str, detail: str = "", *, status: int = 400, **more: Any) -> Reply:  # noqa: A002
    """A problem document; `retry_after` in `more` is a header field, the rest are fields of the document."""
    headers = {"Content-Type": "application/problem+json"}
    if "retry_after" in more:
        headers["Retry-After"] = str(more.pop("retry_after"))
    document = {"type": f"urn:ietf:params:acme:error:{type}", "detail": detail, "status": status, **more}
    return Reply(status=status, headers=headers, body=json.dumps(document).encode())


class _Refused(Exception):
    def __init__(self, reply: Reply) -> None:
        super().__init__(reply)
        self.reply = reply


class _Authorization(msgspec.Struct, kw_only=True):
    identifier: Json
    token: str
    status: str = "pending"
    error: Json | None = None


class _Order(msgspec.Struct, kw_only=True):
    identifiers: list[Json]
    authorizations: list[int]
    processing: int  # polls that still find it so
    chain: bytes | None = None


class FakeCa:
    """Listens from the start, on a free port of 127.0.0.1; `close` ends it."""

    def __init__(self, reactor: Any, *, seed: int = 0, certified: str = "127.0.0.1") -> None:
        """`certified` is the name in the certificate of its listener."""
        self.terms: str | None = "https://ca.example/terms"
        self.external_accounts: dict[str, bytes] = {}
        """MAC keys by kid; none are wanted while it is empty."""
        self.profiles: dict[str, str] = {}
        self.bad_nonces = 0.0
        """The share of signed requests that are refused although their nonce is good."""
        self.reuse = False
        """Whether a name that was proven needs no proof the next time."""
        self.refused: dict[str, Json] = {}
        """Problem documents of the names whose challenges fail."""
        self.tells_contact = True
        self.processing_polls = 0
        self.lifetime = datetime.timedelta(days=90)
        self.window: tuple[datetime.datetime, datetime.datetime] | None = None
        """What renewal information suggests; without it there is no such resource."""
        self.renewal_info_seconds: int | None = 21_600
        self.lost_answers: dict[str, int] = {}
        """How many of the next requests for a resource are worked on, but have their answers cut off."""
        self.requests: list[tuple[str, Any]] = []
        """The resource and payload of each request that came, those answered by the script too."""
        self.user_agents: set[str] = set()
        self.issued: list[x509.Certificate] = []

        self._reactor = reactor
        self._random = random.Random(seed)
        self._numbers = itertools.count(1)
        self._scripts: dict[str, deque[Reply]] = {}
        self._waiting: list[Any] = []
        self._nonces: set[str] = set()
        self.forget()
        self._root = Root()
        authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
        self.ca_bundle = authority.cert_pem.bytes().decode()
        """PEM of the root that the CA's own listener is to be checked against."""
        self._port = reactor.listenSSL(0, Site(_Front(self)), _tls(authority, certified), interface="127.0.0.1")
        self.url = f"https://127.0.0.1:{self._port.getHost().port}"
        self.directory_url = f"{self.url}/directory"

    async def close(self) -> None:
        """Stop listening and drop whoever still waits for an answer."""
        self._drop()
        await maybeDeferred(self._port.stopListening)

    def forget(self) -> None:
        """What a test CA does at a restart: all accounts, orders and nonces are gone."""
        self.accounts: dict[str, Json] = {}
        self._orders: dict[int, _Order] = {}
        self._authorizations: dict[int, _Authorization] = {}
        self._replaced: set[str] = set()
        self._nonces.clear()

    def script(self, resource: str, *replies: Reply) -> None:
        """Answer the next requests for a resource like this instead. Resources are named as in the directory."""
        self._scripts.setdefault(resource, deque()).extend(replies)

    def asked(self, resource: str) -> list[Any]:
        """The payloads of all requests for a resource, None for those that only read."""
        return [payload for name, payload in self.requests if name == resource]

    def answer(self, request: Any) -> int:
        """Answer one request, now or later."""
        resource, _, rest = request.path.decode("ascii").strip("/").partition("/")
        signed = json.loads(request.content.read()) if request.method == b"POST" else None
        payload = json.loads(b64decode(signed["payload"]) or b"null") if signed else None
        self.requests.append((resource, payload))
        self.user_agents.add(request.getHeader("User-Agent"))
        script = self._scripts.get(resource)
        try:
            reply = script.popleft() if script else self._reply(resource, rest, request, signed, payload)
        except _Refused as refused:
            reply = refused.reply
        if self.lost_answers.get(resource, 0) > 0:
            self.lost_answers[resource] -= 1
            reply = Reply(end="cut")
        if reply.end == "hang":
            self._waiting.append(request)
        elif reply.seconds:
            self._waiting.append(request)
            self._reactor.callLater(reply.seconds, self._late, request, reply)
        else:
            self._write(request, reply)
        return NOT_DONE_YET

    def _late(self, request: Any, reply: Reply) -> None:
        if request in self._waiting:
            self._waiting.remove(request)
            self._write(request, reply)

    def _write(self, request: Any, reply: Reply) -> None:
        request.setResponseCode(reply.status)
        request.setHeader("Replay-Nonce", self._nonce())
        request.setHeader("Content-Type", _JSON)
        for name, value in reply.headers.items():
            request.setHeader(name, value)
        if reply.end in ("cut", "stall"):
            request.setHeader("Content-Length", str(len(reply.body) + 1))
        request.write(reply.body)
        if reply.end == "cut":
            request.loseConnection()
        elif reply.end == "stall":
            self._waiting.append(request)
        else:
            request.finish()

    def gone(self, request: Any) -> None:
        """The client of a request went away."""
        if request in self._waiting:
            self._waiting.remove(request)

    def _drop(self) -> None:
        for request in self._waiting[:]:
            request.transport.abortConnection()

    def _nonce(self) -> str:
        nonce = b64encode(self._random.randbytes(16)).decode()
        self._nonces.add(nonce)
        return nonce

    # The resources.

    def _reply(self, resource: str, rest: str, request: Any, signed: Json | None, payload: Any) -> Reply:
        if resource == "directory":
            return _json(self._directory())
        if resource == "newNonce":
            return Reply()
        if resource == "renewalInfo":
            return self._renewal_info()
        if signed is None:
            raise _Refused(problem("malformed", "POST was wanted", status=405))
        account = self._check(request, signed)
        if resource == "newAccount":
            return self._new_account(json.loads(b64decode(signed["protected"]))["jwk"], payload)
        if account is None:
            raise _Refused(problem("malformed", "kid was wanted"))
        if resource == "account":
            account["contact"] = payload["contact"]
            return _json({"status": "valid"})
        if resource == "newOrder":
            return self._new_order(payload)
        try:
            if resource == "order":
                return _json(self._order(int(rest)))
            if resource == "authorization":
                return _json(self._authorization(int(rest)))
            if resource == "challenge":
                return self._challenge(int(rest))
            if resource == "finalize":
                return self._finalize(int(rest), payload)
            if resource == "certificate":
                headers = {"Content-Type": "application/pem-certificate-chain", "Link": '</other>;rel="alternate"'}
                return Reply(body=self._orders[int(rest)].chain or b"", headers=headers)
        except KeyError:
            pass
        raise _Refused(problem("malformed", "there is no such resource", status=404))

    def _directory(self) -> Json:
        names = ["newNonce", "newAccount", "newOrder", *(["renewalInfo"] if self.window else [])]
        meta: Json = {"externalAccountRequired": bool(self.external_accounts)}
        if self.terms:
            meta["termsOfService"] = self.terms
        if self.profiles:
            meta["profiles"] = self.profiles
        return {**{name: f"{self.url}/{name}" for name in names}, "meta": meta, "keyChange": f"{self.url}/keyChange"}

    def _check(self, request: Any, signed: Json) -> Json | None:
        """The account whose key signed, None for a key without one. RFC 8555 §6."""
        if request.getHeader("Content-Type") != "application/jose+json":
            raise _Refused(problem("malformed", "the content type is wrong", status=415))
        header = json.loads(b64decode(signed["protected"]))
        account = self.accounts.get(header["kid"]) if "kid" in header else None
        if "kid" in header and account is None:
            raise _Refused(problem("accountDoesNotExist", "there is no such account"))
        octets = f"{signed['protected']}.{signed['payload']}".encode()
        key: Any = JWK.from_json(account["jwk"] if account else header["jwk"])
        if header["alg"] != "ES256" or not ES256.verify(key.key, octets, b64decode(signed["signature"])):
            raise _Refused(problem("malformed", "the signature is wrong"))
        if header["url"] != self.url + request.path.decode("ascii"):
            raise _Refused(problem("unauthorized", "this was signed for another URL", status=401))
        if header["nonce"] not in self._nonces or self._random.random() < self.bad_nonces:
            self._nonces.discard(header["nonce"])
            raise _Refused(problem("badNonce", "this nonce is not good"))
        self._nonces.remove(header["nonce"])
        return account

    def _new_account(self, jwk: Json, payload: Json) -> Reply:
        for url, account in self.accounts.items():
            if account["jwk"] == jwk:
                return _json({"status": "valid", **self._contact(account)}, headers={"Location": url})
        if payload.get("onlyReturnExisting"):
            raise _Refused(problem("accountDoesNotExist", "there is no such account"))
        if self.terms and not payload.get("termsOfServiceAgreed"):
            raise _Refused(problem("userActionRequired", "the terms have to be agreed to", status=403))
        if self.external_accounts:
            self._check_binding(jwk, payload.get("externalAccountBinding"))
        url = f"{self.url}/account/{next(self._numbers)}"
        self.accounts[url] = account = {"jwk": jwk, "contact": payload.get("contact", [])}
        return _json({"status": "valid", "orders": f"{url}/orders", **self._contact(account)}, 201, {"Location": url})

    def _contact(self, account: Json) -> Json:
        return {"contact": account["contact"]} if self.tells_contact else {}

    def _check_binding(self, jwk: Json, binding: Json | None) -> None:
        if binding is None:
            raise _Refused(problem("externalAccountRequired", "a binding was wanted", status=403))
        header = json.loads(b64decode(binding["protected"]))
        code = hmac.HMAC(self.external_accounts.get(header["kid"], b"-" * 32), hashes.SHA256())
        code.update(f"{binding['protected']}.{binding['payload']}".encode())
        good = code.finalize() == b64decode(binding["signature"]) and json.loads(b64decode(binding["payload"])) == jwk
        if header["alg"] != "HS256" or header["url"] != f"{self.url}/newAccount" or not good:
            raise _Refused(problem("unauthorized", "the external account binding is wrong", status=403))

    def _new_order(self, payload: Json) -> Reply:
        if payload.get("profile", next(iter(self.profiles), None)) not in (None, *self.profiles):
            raise _Refused(problem("invalidProfile", "there is no such profile"))
        if "replaces" in payload:
            if payload["replaces"] in self._replaced:
                raise _Refused(problem("alreadyReplaced", "this one was replaced", status=409))
            self._replaced.add(payload["replaces"])
        number = next(self._numbers)
        authorizations = [self._authorize(identifier) for identifier in payload["identifiers"]]
        self._orders[number] = _Order(
            identifiers=payload["identifiers"], authorizations=authorizations, processing=self.processing_polls
        )
        return _json(self._order(number), 201, {"Location": f"{self.url}/order/{number}"})

    def _authorize(self, identifier: Json) -> int:
        for number, known in self._authorizations.items():
            if self.reuse and known.identifier == identifier and known.status == "valid":
                return number
        number = next(self._numbers)
        token = b64encode(self._random.randbytes(32)).decode()
        self._authorizations[number] = _Authorization(identifier=identifier, token=token)
        return number

    def _authorization(self, number: int) -> Json:
        authorization = self._authorizations[number]
        return {
            "status": authorization.status,
            "identifier": authorization.identifier,
            "challenges": [
                {"type": kind, **self._challenge_of(number)} for kind in ("dns-01", "tls-alpn-01", "http-01")
            ],
            "expires": "2030-01-01T00:00:00Z",
        }

    def _challenge_of(self, number: int) -> Json:
        authorization = self._authorizations[number]
        fields = {"url": f"{self.url}/challenge/{number}", "status": authorization.status, "token": authorization.token}
        return {**fields, **({"error": authorization.error} if authorization.error else {})}

    def _challenge(self, number: int) -> Reply:
        authorization = self._authorizations[number]
        authorization.error = self.refused.get(authorization.identifier["value"])
        authorization.status = "invalid" if authorization.error else "valid"
        return _json({"type": "http-01", **self._challenge_of(number)})

    def _order(self, number: int) -> Json:
        order = self._orders[number]
        proven = [self._authorizations[each].status for each in order.authorizations]
        answer: Json = {
            "identifiers": order.identifiers,
            "authorizations": [f"{self.url}/authorization/{each}" for each in order.authorizations],
            "finalize": f"{self.url}/finalize/{number}",
        }
        if order.chain is not None and order.processing > 0:
            order.processing -= 1
            return {**answer, "status": "processing"}
        if order.chain is not None:
            return {**answer, "status": "valid", "certificate": f"{self.url}/certificate/{number}"}
        if "invalid" in proven:
            return {**answer, "status": "invalid"}
        return {**answer, "status": "pending" if "pending" in proven else "ready"}

    def _finalize(self, number: int, payload: Json) -> Reply:
        if self._order(number)["status"] != "ready":
            raise _Refused(problem("orderNotReady", "not all is proven", status=403))
        request = x509.load_der_x509_csr(b64decode(payload["csr"]))
        order = self._orders[number]
        if not request.is_signature_valid or names_in(request) != {each["value"] for each in order.identifiers}:
            raise _Refused(problem("badCSR", "it is for other names than the order"))
        leaf = self._root.issue(request, self.lifetime)
        self.issued.append(leaf)
        order.chain = leaf.public_bytes(Encoding.PEM) + self._root.certificate.public_bytes(Encoding.PEM)
        return _json(self._order(number), headers={"Location": f"{self.url}/order/{number}"})

    def _renewal_info(self) -> Reply:
        if self.window is None:
            raise _Refused(problem("malformed", "there is no such resource", status=404))
        start, end = (moment.isoformat() for moment in self.window)
        headers = {} if self.renewal_info_seconds is None else {"Retry-After": str(self.renewal_info_seconds)}
        return _json({"suggestedWindow": {"start": start, "end": end}}, headers=headers)


class _Front(Resource):
    isLeaf = True

    def __init__(self, ca: FakeCa) -> None:
        super().__init__()
        self._ca = ca

    def render(self, request: Any) -> int:
        ended: Deferred[None] = request.notifyFinish()
        ended.addErrback(lambda _: self._ca.gone(request))
        return self._ca.answer(request)


def _json(document: Json, status: int = 200, headers: Mapping[str, str] = _NO_HEADERS) -> Reply:
    return Reply(status=status, headers=headers, body=json.dumps(document).encode())


def _tls(authority: trustme.CA, name: str) -> CertificateOptions:
    pair = authority.issue_cert(name, key_type=trustme.KeyType.ECDSA)
    key: Any = load_pem_private_key(pair.private_key_pem.bytes(), None)
    certificate: Any = x509.load_pem_x509_certificate(pair.cert_chain_pems[0].bytes())
    made: tuple[PKey, X509] = (key, certificate)
    return CertificateOptions(privateKey=made[0], certificate=made[1])
