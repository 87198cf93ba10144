"""What certificates there are, as far as configuration and disk tell: for administrators, with or without a daemon."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.x509.oid import NameOID

from stalwart.config import AcmeProvider, Settings
from stalwart.tls.acme.folder import StoreFolder, store_path
from stalwart.tls.acme.pair import BadPair, Pair
from stalwart.tls.acme.policy import Failure, NameState, due

Source = Literal["configured", "issued", "self-signed"]

_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}


class Details(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a certificate says of itself. Times are unix seconds; `sha256` is its fingerprint in hexadecimal."""

    names: tuple[str, ...]
    issuer: str
    key: str
    serial: str
    sha256: str
    not_before: float
    not_after: float


class Listed(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A certificate that is there or wanted. Times are unix seconds.

    `by` is the key of the configuration that it comes from; `name` is the host name that it is wanted for, or the first
    that it has. `self-signed` means that none is there: one that nobody trusts stands in. `hindrance` is what keeps one
    from being used or ordered.
    """

    name: str
    source: Source
    by: str
    default: bool
    certificate: Details | None = None
    next_renewal: float | None = None
    failure: Failure | None = None
    hindrance: str | None = None


def list_certificates(settings: Settings, now: float) -> list[Listed]:
    """Those of the configuration, then those of each ACME provider; nothing on the disk is changed.

    Raises OSError for a folder that can't be read.
    """
    found = list(_configured(settings))
    for provider in settings.acme:
        found += _ordered(settings, provider, now)
    return found or [Listed(name=settings.hostname, source="self-signed", by="server.hostname", default=True)]


def _configured(settings: Settings) -> Iterator[Listed]:
    for configured in settings.certificates:
        details = describe(x509.load_pem_x509_certificate(configured.cert.encode()))
        name = details.names[0] if details.names else settings.hostname
        yield Listed(
            name=name,
            source="configured",
            by=f"certificate.{configured.id}",
            default=configured.default,
            certificate=details,
        )


def _ordered(settings: Settings, provider: AcmeProvider, now: float) -> Iterator[Listed]:
    folder = StoreFolder(store_path(provider, settings.data.path))
    states = _states(folder)
    for number, name in enumerate(provider.domains):
        pair, hindrance = _look(folder, name)
        state = states.get(name, NameState())
        when = due(
            None if pair is None else pair.validity,
            state,
            directory=provider.directory,
            renew_before=provider.renew_before,
            fingerprint=None if pair is None else pair.fingerprint,
            now=now,
        )
        yield Listed(
            name=name,
            source="self-signed" if pair is None else "issued",
            by=f"acme.{provider.id}",
            default=provider.default and number == 0,
            certificate=None if pair is None else describe(pair.leaf),
            next_renewal=when.at if provider.agree_to_terms else None,
            failure=state.failure,
            hindrance=hindrance if provider.agree_to_terms else _without_terms(provider),
        )


def _look(folder: StoreFolder, name: str) -> tuple[Pair | None, str | None]:
    """The certificate, or why there is none."""
    try:
        return folder.look(name), None
    except (BadPair, PermissionError, IsADirectoryError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return None, f"what lies in {folder.path} can't be used ({reason}): the daemon puts it aside and orders anew"


def _states(folder: StoreFolder) -> Mapping[str, NameState]:
    try:
        return folder.look_states()
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}  # the daemon puts it aside, and says so


def _without_terms(provider: AcmeProvider) -> str:
    return f"nothing is ordered until acme.{provider.id}.agree-to-terms is true"


def describe(certificate: x509.Certificate) -> Details:
    """What a certificate says of itself."""
    return Details(
        names=names_of(certificate),
        issuer=_short(certificate.issuer),
        key=_key(certificate),
        serial=f"{certificate.serial_number:x}",
        sha256=certificate.fingerprint(hashes.SHA256()).hex(),
        not_before=certificate.not_valid_before_utc.timestamp(),
        not_after=certificate.not_valid_after_utc.timestamp(),
    )


def names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """The host names and IP addresses that a certificate is for."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    addresses = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    return (*(name.lower() for name in names.get_values_for_type(x509.DNSName)), *addresses)


def _short(name: x509.Name) -> str:
    """How an authority calls itself: organisation and common name, or all of it."""
    parts = [
        str(attribute.value)
        for kind in (NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME)
        for attribute in name.get_attributes_for_oid(kind)
    ]
    return " ".join(parts) or name.rfc4514_string() or "(no name)"


def _key(certificate: x509.Certificate) -> str:
    """The sort of its public key, such as `ECDSA P-256` or `RSA 2048`."""
    key = certificate.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"ECDSA {_CURVES.get(key.curve.name, key.curve.name)}"
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    if isinstance(key, dsa.DSAPublicKey):
        return f"DSA {key.key_size}"
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "Ed25519"
    return "Ed448" if isinstance(key, ed448.Ed448PublicKey) else type(key).__name__
