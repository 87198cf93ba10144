"""Tells of clients that a handshake refuses for their certificate, and of no more than one a minute per listener."""

from __future__ import annotations

from collections.abc import Callable

from OpenSSL import SSL
from twisted.logger import Logger

_log = Logger(namespace="stalwart.tls")
_TELL_AGAIN = 60.0  # seconds
_MOST_SHOWN = 256  # characters of a subject, which anybody can make

# OpenSSL's X509_V_ERR_* in an operator's words.
_REASONS = {
    2: "the certificate of its authority is missing from client-ca or from what the client sent",
    7: "its signature is wrong",
    9: "it is not valid yet (is this machine's clock right?)",
    10: "it has expired",
    18: "it is self-signed and not in client-ca",
    19: "it comes from an authority that is not in client-ca",
    20: "it comes from an authority that is not in client-ca",
    21: "it comes from an authority that is not in client-ca",
    24: "one of its authorities is none: its certificate is not for signing others",
    26: "it is not for clients (its extended key usage lacks clientAuth)",
    79: "one of its authorities is none: its certificate is not for signing others",
}
_NO_CERTIFICATE = "peer did not return a certificate"


def reason_of(code: int) -> str:
    """Why OpenSSL didn't take a certificate, by its X509_V_ERR code."""
    return _REASONS.get(code, f"OpenSSL's verification gave error {code}")


def lacks_certificate(error: BaseException) -> bool:
    """Whether a handshake failed because the client had no certificate to show."""
    if not isinstance(error, SSL.Error) or not error.args or not isinstance(error.args[0], list):
        return False
    return any(reason == _NO_CERTIFICATE for _, _, reason in error.args[0])


class Refusals:
    """The refusals of one listener, counted between the lines that tell of them."""

    def __init__(self, listener: str, monotonic: Callable[[], float]) -> None:
        self._listener = listener
        self._monotonic = monotonic
        self._told: float | None = None
        self._untold = 0

    def certificate(self, client: str, subject: str, reason: str) -> None:
        """A client's certificate is refused."""
        self._tell(
            'listener "{listener}" refused the certificate "{subject}" of {client}: {reason}{more}',
            client=client,
            subject=subject if len(subject) <= _MOST_SHOWN else f"{subject[:_MOST_SHOWN]}…",
            reason=reason,
        )

    def without_certificate(self, client: str) -> None:
        """A client has none."""
        self._tell(
            'listener "{listener}" refused {client}, which has no client certificate'
            ' (tls.client-auth = "required"){more}',
            client=client,
        )

    def _tell(self, form: str, **fields: str) -> None:
        now = self._monotonic()
        if self._told is not None and now - self._told < _TELL_AGAIN:
            self._untold += 1
            return
        more = f"; {self._untold} more clients were refused since the last such line" if self._untold else ""
        _log.warn(form, listener=self._listener, more=more, **fields)
        self._told, self._untold = now, 0
