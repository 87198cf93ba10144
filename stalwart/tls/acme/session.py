"""Signed requests of one account to one CA: the directory, nonces, and the account, made when it is needed.

An account that the CA doesn't know any more is made again.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet.defer import DeferredLock
from twisted.logger import Logger

from stalwart.tls.acme.errors import BAD_ANSWER, FAILED, TERMS_NOT_AGREED, TIMEOUT, AcmeError
from stalwart.tls.acme.jws import ExternalAccount, external_account_binding, sign
from stalwart.tls.acme.resources import Account, Directory, parse, url_of
from stalwart.tls.acme.transport import REQUEST_SECONDS, Answer, Transport

_log = Logger(namespace="stalwart.acme")

# With half of all nonces refused, one request in a thousand fails.
_NONCE_TRIES = 10
_NONCE = re.compile(r"[A-Za-z0-9_-]{1,1024}")
_MOST_NONCES = 16
_DIRECTORY_SECONDS = 3600.0


class Session:
    """What the operations of a client have in common. A `deadline` is in the seconds of `reactor.seconds()`."""

    def __init__(
        self,
        transport: Transport,
        directory_url: str,
        account_key: ec.EllipticCurvePrivateKey,
        *,
        reactor: Any,
        contact: Sequence[str],
        agree_to_terms: bool,
        eab: ExternalAccount | None,
    ) -> None:
        self._transport = transport
        self._directory_url = directory_url
        self._key = account_key
        self._reactor = reactor
        self._contact = list(contact)
        self._agree_to_terms = agree_to_terms
        self._eab = eab
        self._directory: Directory | None = None
        self._directory_until = 0.0
        self._nonces: deque[str] = deque(maxlen=_MOST_NONCES)
        self._account_url: str | None = None
        self._registering = DeferredLock()

    async def directory(self, deadline: float) -> Directory:
        """The CA's directory, an hour old at most."""
        if self._directory is None or self._reactor.seconds() >= self._directory_until:
            answer = await self.get(self._directory_url, deadline)
            self._directory = parse(answer.body, Directory, self._directory_url)
            self._directory_until = self._reactor.seconds() + _DIRECTORY_SECONDS
        return self._directory

    async def account_url(self, deadline: float) -> str:
        """Where the account lies. It is made, or found by its key, if that isn't known yet."""
        async with self._registering:
            if self._account_url is None:
                self._account_url = await self._register(deadline)
            return self._account_url

    async def get(self, url: str, deadline: float) -> Answer:
        """What is not signed: the directory, and renewal information."""
        answer = await self._transport.request(b"GET", url, seconds=self._seconds(url, deadline))
        if not 200 <= answer.status < 300:
            raise answer.error()
        return answer

    async def post(self, url: str, payload: object | None, deadline: float, *, accept: str = "") -> Answer:
        """A request signed with the account's key; without a payload it only reads (RFC 8555 §6.3)."""
        account_url = await self.account_url(deadline)
        try:
            return await self._signed(url, payload, account_url, deadline, accept)
        except AcmeError as error:
            if error.type != "accountDoesNotExist":
                raise
        # RFC 8555 §6.7: the CA has forgotten the account. Of several requests that find out, one makes it anew.
        if self._account_url == account_url:
            self._account_url = None
        return await self._signed(url, payload, await self.account_url(deadline), deadline, accept)

    async def _register(self, deadline: float) -> str:
        """RFC 8555 §7.3: a key that the CA knows leads to its account, else there is a new one."""
        directory = await self.directory(deadline)
        if directory.meta.terms_of_service and not self._agree_to_terms:
            raise AcmeError(
                TERMS_NOT_AGREED, "the CA's terms of service have to be agreed to", directory.meta.terms_of_service
            )
        answer = await self._new_account(directory, deadline)
        account = parse(answer.body, Account, directory.new_account)
        if account.status != "valid":
            raise AcmeError(FAILED, "the CA does not serve this account", f"it is {account.status}")
        url = url_of(answer.header("Location"), f"Location of {directory.new_account}")
        # RFC 8555 §7.3.1: an account that is found keeps the contact it has. CAs that keep none don't tell any.
        if answer.status == 200 and account.contact is not None and set(account.contact) != set(self._contact):
            await self._change_contact(url, deadline)
        return url

    async def _change_contact(self, url: str, deadline: float) -> None:
        """RFC 8555 §7.3.2. A CA that doesn't take it issues all the same."""
        try:
            await self._signed(url, {"contact": self._contact}, url, deadline)
        except AcmeError as error:
            _log.warn("the CA keeps the contact that it had of the account {url}: {error}", url=url, error=error)

    async def _new_account(self, directory: Directory, deadline: float) -> Answer:
        wanted: dict[str, Any] = {"contact": self._contact} if self._contact else {}
        if self._agree_to_terms:
            wanted["termsOfServiceAgreed"] = True
        if self._eab is not None:
            # Some CAs take a binding only once, so it isn't sent for an account that is there (RFC 8555 §7.3.1).
            try:
                return await self._signed(directory.new_account, {"onlyReturnExisting": True}, None, deadline)
            except AcmeError as error:
                if error.transient:
                    raise
            wanted["externalAccountBinding"] = external_account_binding(self._eab, self._key, directory.new_account)
        return await self._signed(directory.new_account, wanted, None, deadline)

    async def _signed(
        self, url: str, payload: object | None, account_url: str | None, deadline: float, accept: str = ""
    ) -> Answer:
        for tries_left in reversed(range(_NONCE_TRIES)):
            body = sign(self._key, url, await self._nonce(deadline), payload, account_url=account_url)
            seconds = self._seconds(url, deadline)
            answer = await self._transport.request(b"POST", url, body, seconds=seconds, accept=accept)
            error = None if 200 <= answer.status < 300 else answer.error()
            if error is not None and error.type == "badNonce":
                # The others are as old. RFC 8555 §6.5: the answer brings one that is good.
                self._nonces.clear()
            self._keep_nonce(answer)
            if error is None:
                return answer
            if error.type != "badNonce" or not tries_left:
                raise error
        raise AssertionError("unreachable: the last try returns or raises")

    async def _nonce(self, deadline: float) -> str:
        """RFC 8555 §7.2: the newest that came with an answer, else one that is asked for."""
        if not self._nonces:
            url = (await self.directory(deadline)).new_nonce
            answer = await self._transport.request(b"HEAD", url, seconds=self._seconds(url, deadline))
            if not 200 <= answer.status < 300:
                raise answer.error()
            self._keep_nonce(answer)
            if not self._nonces:
                raise AcmeError(BAD_ANSWER, url, "the answer has no usable Replay-Nonce")
        return self._nonces.pop()

    def _keep_nonce(self, answer: Answer) -> None:
        nonce = answer.header("Replay-Nonce")
        # RFC 8555 §6.5.1: anything but base64url is ignored.
        if nonce is not None and _NONCE.fullmatch(nonce):
            self._nonces.append(nonce)

    def _seconds(self, url: str, deadline: float) -> float:
        """How long the next request may take."""
        left = deadline - self._reactor.seconds()
        if left <= 0:
            raise AcmeError(TIMEOUT, url, "the time for the whole operation is over")
        return float(min(left, REQUEST_SECONDS))
