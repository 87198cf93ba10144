"""The settings of TLS: `server.tls.*` for all listeners, `server.listener.<id>.tls.*` for one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

from stalwart.config.kinds import BadValue, Kind, Pem, bounded_duration
from stalwart.config.schema import Key

TlsProtocol = Literal["TLSv1.2", "TLSv1.3"]

PROTOCOLS: Mapping[TlsProtocol, tuple[str, ...]] = {
    "TLSv1.2": (
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    ),
    "TLSv1.3": (
        "TLS13_AES_256_GCM_SHA384",
        "TLS13_CHACHA20_POLY1305_SHA256",
        "TLS13_AES_128_GCM_SHA256",
    ),
}
"""The protocols that are spoken and the cipher suites of each, in the order in which this server prefers them."""


def _one_of(name: str, meaning: Mapping[str, str]) -> Kind:
    """A name, in any case, of those that `meaning` has; its values are what is meant."""
    by_name = {name.lower(): value for name, value in meaning.items()}
    values = tuple(dict.fromkeys(meaning.values()))

    def read(value: object, folder: str) -> str:
        if not isinstance(value, str) or value.strip().lower() not in by_name:
            raise BadValue
        return by_name[value.strip().lower()]

    return Kind(name=name, wanted="one of " + ", ".join(f'"{value}"' for value in values), read=read)


_PROTOCOL = _one_of(
    "TLS protocol", {"TLSv1.2": "TLSv1.2", "0x0303": "TLSv1.2", "TLSv1.3": "TLSv1.3", "0x0304": "TLSv1.3"}
)
_CIPHER = _one_of("cipher suite", {suite: suite for suites in PROTOCOLS.values() for suite in suites})


class TlsOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a listener speaks TLS."""

    disable_protocols: Annotated[
        tuple[Annotated[TlsProtocol, _PROTOCOL], ...],
        Key(
            name="disable-protocols",
            doc="Versions of TLS that are not spoken; older ones than TLS 1.2 never are. One has to remain.",
            example='["TLSv1.2"]',
            inherited=True,
            may_be_empty=True,
        ),
    ] = ()
    disable_ciphers: Annotated[
        tuple[Annotated[str, _CIPHER], ...],
        Key(
            name="disable-ciphers",
            doc="Cipher suites that are not offered, of these: "
            + ", ".join(f"`{suite}`" for suites in PROTOCOLS.values() for suite in suites)
            + ". The server prefers them in this order. Each version that is spoken needs one.",
            example='["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]',
            inherited=True,
            may_be_empty=True,
        ),
    ] = ()
    timeout: Annotated[
        Annotated[float, bounded_duration(1, 600)],
        Key(
            name="timeout",
            doc="How long a handshake may take; then the connection is closed.",
            example='"30s"',
            inherited=True,
        ),
    ] = 30.0
    client_ca: Annotated[
        Pem | None,
        Key(
            name="client-ca",
            doc="The authorities, in PEM, that clients' certificates must come from, their root included. Clients are "
            "then asked for a certificate, whose subject rules see as `tls_client_subject`. Not set: they are not "
            "asked. Sign-in stays as it is.",
            example='"%{file:/etc/stalwart/tls/clients-ca.pem}%"',
            inherited=True,
        ),
    ] = None
    client_auth: Annotated[
        Literal["required", "optional"],
        Key(
            name="client-auth",
            doc="With `client-ca`: whether a client without a certificate is refused in the handshake (`required`) or "
            "let in with an empty `tls_client_subject` (`optional`). A certificate that is shown has to be good in "
            "either case.",
            example='"optional"',
            inherited=True,
        ),
    ] = "required"
