"""The certificates of all TLS listeners and the choice among them by server name (SNI).

`replace` and `set_issued` swap them while the server runs: later handshakes get the new ones, open connections keep
theirs.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import TypeVar

from stalwart.config import Certificate
from stalwart.ops.metrics import Metrics
from stalwart.tls.challenges import Challenges
from stalwart.tls.credentials import Credential, Issued, Served, configured, issued, load
from stalwart.tls.selfsigned import self_signed

_MOST_SERIES = 1_000  # names that the metrics tell of

T = TypeVar("T", Certificate, Issued)


class Certificates:
    """Chooses a certificate per handshake: exact name, wildcard, the default, the only one, a self-signed one.

    Where the configuration and an authority have one for the same name, the configuration's counts.
    """

    def __init__(
        self,
        certificates: Sequence[Certificate],
        hostname: str,
        *,
        clock: Callable[[], float] = time.time,
        metrics: Metrics | None = None,
    ) -> None:
        """Raises BadCertificate. `clock` is the wall clock, for the self-signed certificate's dates."""
        self.challenges = Challenges()
        self._not_after = None if metrics is None else metrics.certificate_not_after
        self._hostname = hostname
        self._clock = clock
        self._stand_in: Credential | None = None
        self._configured: Mapping[Certificate, Credential] = {}
        self._issued: Mapping[Issued, Credential] = {}
        self.replace(certificates)

    def prepare(self, certificates: Sequence[Certificate]) -> Mapping[Certificate, Credential]:
        """Load these of the configuration, for `replace`; may be called in a thread. Raises BadCertificate."""
        return _loaded(certificates, self._configured, configured)

    def replace(
        self, certificates: Sequence[Certificate], prepared: Mapping[Certificate, Credential] | None = None
    ) -> None:
        """Use these of the configuration from the next handshake on; raises BadCertificate and then changes nothing.

        What isn't served already and isn't in `prepared` is loaded here, which takes half a millisecond for each.
        """
        self._configured = _loaded(certificates, {**self._configured, **(prepared or {})}, configured)
        self._arrange()

    def set_issued(self, certificates: Sequence[Issued]) -> None:
        """Use these beside those of the configuration; raises BadCertificate and then changes nothing."""
        # Of many names one is renewed at a time: the others' are neither read again nor given new contexts.
        self._issued = _loaded(certificates, self._issued, issued)
        self._arrange()

    def _arrange(self) -> None:
        every = (*self._configured.values(), *self._issued.values())
        by_name: dict[str, Credential] = {}
        for credential in every:
            for name in credential.names:
                by_name.setdefault(name, credential)
        fallback = next((credential for credential in every if credential.default), None)
        if fallback is None and len(every) == 1:
            fallback = every[0]
        self._by_name, self._fallback = by_name, fallback
        if self._not_after is not None:
            self._not_after.clear()
            for name in islice(by_name, _MOST_SERIES):
                self._not_after.labels(name).set(by_name[name].not_after)

    @property
    def without_any(self) -> bool:
        """Whether there is none, so that the self-signed one stands in for all."""
        return not self._by_name and self._fallback is None

    def credential_for(self, server_name: bytes | None) -> Credential:
        """The certificate for the name that a client asks for; None if it asks for none."""
        if server_name is not None:
            name = server_name.decode("ascii", "replace").lower().rstrip(".")
            credential = self._by_name.get(name)
            if credential is None:
                # RFC 6125 §6.4.3: the asterisk stands for the whole leftmost label, and for one label.
                credential = self._by_name.get("*." + name.partition(".")[2])
            if credential is not None:
                return credential
        return self._fallback or self._self_signed()

    def names(self) -> Mapping[str, Served]:
        """What is served by host name; the self-signed certificate isn't among it."""
        return {name: credential.served_for(name) for name, credential in self._by_name.items()}

    def configured_ones(self) -> Sequence[Credential]:
        """Those of the configuration."""
        return tuple(self._configured.values())

    def _self_signed(self) -> Credential:
        if self._stand_in is None:
            now = datetime.datetime.fromtimestamp(self._clock(), datetime.UTC)
            cert, key = self_signed([self._hostname, "localhost", "127.0.0.1", "::1"], now=now)
            self._stand_in = load(
                "the self-signed certificate", cert.encode(), key.encode(), default=False, source="self-signed"
            )
        return self._stand_in


def _loaded(
    certificates: Sequence[T], known: Mapping[T, Credential], load_one: Callable[[T], Credential]
) -> Mapping[T, Credential]:
    """The credentials of all, in their order; those that are known stay the same, with the contexts made of them."""
    return {each: known.get(each) or load_one(each) for each in certificates}
