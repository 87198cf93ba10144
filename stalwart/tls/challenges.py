"""Certificates that answer TLS-ALPN-01 challenges (RFC 8737), by the name that the authority asks for."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from stalwart.tls.credentials import BadCertificate, Credential, load

_log = Logger(namespace="stalwart.tls")


class Challenges:
    """The challenges that are to be answered. Used only for clients that offer nothing but `acme-tls/1`."""

    def __init__(self) -> None:
        self._pending: dict[str, Credential] = {}
        self.find_challenge: Callable[[str], tuple[bytes, bytes] | None] | None = None
        """Asked for names that nothing was set for: gives the chain and the key in PEM, or None.

        It finds the challenges of other processes that share a store; called with the name in lower case.
        """

    def set_challenge(self, name: str, chain_pem: bytes, key_pem: bytes) -> None:
        """Answer for `name` with this certificate from now on. Raises BadCertificate."""
        self._pending[name.lower()] = _load(name, chain_pem, key_pem)

    def clear_challenge(self, name: str) -> None:
        """Don't answer for `name` any more; nothing happens if there was no challenge."""
        self._pending.pop(name.lower(), None)

    def credential_for(self, name: str) -> Credential | None:
        """The certificate that answers for `name`, in lower case; None if no challenge is pending."""
        pending = self._pending.get(name)
        if pending is not None or self.find_challenge is None:
            return pending
        try:
            found = self.find_challenge(name)
            return None if found is None else _load(name, *found)
        except (BadCertificate, OSError) as error:
            _log.error(
                'the tls-alpn-01 challenge for "{name}" can\'t be answered: {reason}', name=name, reason=str(error)
            )
            return None


def _load(name: str, chain_pem: bytes, key_pem: bytes) -> Credential:
    return load(f'the challenge certificate for "{name}"', chain_pem, key_pem, default=False, source="challenge")
