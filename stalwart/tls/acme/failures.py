"""What went wrong with an order, as a word for metrics and a line that says what to do."""

from __future__ import annotations

import errno

import msgspec
from twisted.internet.defer import CancelledError

from stalwart.config import AcmeProvider
from stalwart.config.errors import printable
from stalwart.tls.acme.engine import NO_CHALLENGE
from stalwart.tls.acme.errors import (
    BAD_ANSWER,
    BAD_EXTERNAL_ACCOUNT,
    BAD_NAME,
    TERMS_NOT_AGREED,
    TIMEOUT,
    UNREACHABLE,
    AcmeError,
)
from stalwart.tls.acme.pair import BadPair


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """A failure. `local`: no limit of the CA was used up; `retry_after` is the CA's wish, in seconds."""

    reason: str
    text: str
    local: bool = False
    retry_after: float | None = None
    is_bug: bool = False


class AcmeFailure(Exception):
    """A certificate wasn't issued. The text is for a person and says why."""


# By types of RFC 8555 §6.7, and those of this client.
_REASON_BY_TYPE = {
    UNREACHABLE: "unreachable",
    TIMEOUT: "unreachable",
    BAD_ANSWER: "bad-answer",
    BAD_NAME: "refused-name",
    BAD_EXTERNAL_ACCOUNT: "account",
    TERMS_NOT_AGREED: "terms",
    NO_CHALLENGE: "refused",
    "rateLimited": "rate-limited",
    "rejectedIdentifier": "refused-name",
    "unsupportedIdentifier": "refused-name",
    "externalAccountRequired": "account",
    "unauthorized": "not-verified",
    "incorrectResponse": "not-verified",
    "connection": "not-verified",
    "dns": "not-verified",
    "tls": "not-verified",
    "caa": "not-verified",
    "accountDoesNotExist": "account",
    "invalidContact": "account",
    "unsupportedContact": "account",
    "userActionRequired": "terms",
    "invalidProfile": "profile",
    "serverInternal": "bad-answer",
}
_PORTS = {"http-01": "80", "tls-alpn-01": "443"}


def explain(error: BaseException, provider: AcmeProvider, folder: str) -> Explained:
    """What an exception of an order means, in one line. `folder` is where the store is."""
    explained = _explain(error, provider, folder)
    return msgspec.structs.replace(explained, text=printable(explained.text))


def _explain(error: BaseException, provider: AcmeProvider, folder: str) -> Explained:
    if isinstance(error, AcmeError):
        return _of_the_ca(error, provider)
    if isinstance(error, OSError):
        what = f"{folder} can't be used: {error.strerror or error}"
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        todo = "make room on its disk" if full else "the daemon's user has to be able to read and write it"
        return Explained(reason="disk", text=f"{what}; {todo}", local=True)
    if isinstance(error, BadPair):
        return Explained(reason="bad-answer", text=f"the CA issued something that can't be used: {error}")
    if isinstance(error, CancelledError):
        return Explained(reason="unreachable", text="the CA did not finish the order in time; it may be overloaded")
    text = f"{type(error).__name__}: {error}; this is a fault of the server, please report it"
    return Explained(reason="internal", text=text, is_bug=True)


def _of_the_ca(error: AcmeError, provider: AcmeProvider) -> Explained:
    reason = _REASON_BY_TYPE.get(error.type, "bad-answer" if error.status >= 500 else "refused")
    if error.status == 429:
        reason = "rate-limited"
    said = "; ".join(error.lines())
    if error.type == "unauthorized" and error.status:
        # Not what the CA found at the name, but its answer to a request of ours (RFC 8555 §7.3.6: a closed account).
        reason = "account"
    todo = _todo(error, reason, said, provider)
    return Explained(
        reason=reason,
        text=f"{said}; {todo}" if todo else said,
        local=error.type in (UNREACHABLE, TERMS_NOT_AGREED, BAD_EXTERNAL_ACCOUNT),
        retry_after=error.retry_after,
    )


def _todo(error: AcmeError, reason: str, said: str, provider: AcmeProvider) -> str:
    where = f"acme.{provider.id}"
    port = _PORTS[provider.challenge]
    if error.type == UNREACHABLE and "certificate" in said.lower():
        return f"look at this machine's clock, and at {where}.ca-bundle if the CA is your own"
    by_type = {
        UNREACHABLE: "look at this machine's DNS and at its way out to the CA (https)",
        "dns": "the name needs A or AAAA records that lead to this server, and DNS servers that answer",
        "connection": f"port {port} of every address of the name has to reach this daemon: look at DNS, firewall, NAT",
        "unauthorized": f"something else answers on port {port} of the name: its A and AAAA records have to lead here",
        "incorrectResponse": f"something else answers on port {port} of the name: look at its A and AAAA records",
        "tls": f"port {port} of the name has to reach a TLS listener of this daemon, with nothing in between",
        "caa": "the CAA record of the name, or of its domain, does not let this CA issue",
        "externalAccountRequired": f"set {where}.eab.kid and {where}.eab.hmac-key to what the CA gave you",
        BAD_EXTERNAL_ACCOUNT: f"set {where}.eab.hmac-key to what the CA gave you",
        TERMS_NOT_AGREED: f"read them, and set {where}.agree-to-terms = true",
        NO_CHALLENGE: f"set {where}.challenge to one that it offers",
    }
    by_reason = {
        "rate-limited": "nothing but waiting helps",
        "refused-name": f"take the name out of {where}.domains if the CA doesn't issue for it",
        "account": f"look at {where}.contact and {where}.eab",
        "terms": f"the CA wants something of you before it goes on: {provider.directory}",
        "profile": f"correct {where}.profile, or leave it out",
        "unreachable": "the CA may be overloaded",
    }
    if reason == "account" and error.type == "unauthorized":
        return f"the CA may have closed the account; for a new one move account.key of {where} away, and restart"
    return by_type.get(error.type) or by_reason.get(reason, "")
