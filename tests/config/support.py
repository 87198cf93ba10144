"""Loads configurations from memory, and makes certificates for them."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from stalwart.config import ConfigError, ConfigErrors, Settings, load

FILE = "/etc/test/stalwart.toml"
JSON_FILE = "/etc/test/stalwart.json"
NOW = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)


def reader(files: Mapping[str, bytes]) -> Callable[[str], bytes]:
    """Reads from `files`; any other path is missing."""

    def read(path: str) -> bytes:
        if path not in files:
            raise FileNotFoundError(2, "No such file or directory", path)
        return files[path]

    return read


def load_text(
    text: str | bytes,
    environ: Mapping[str, str] | None = None,
    files: Mapping[str, bytes] | None = None,
    *,
    file: str = FILE,
) -> Settings:
    """The settings of a file with this content, on a machine called here.example with 4 CPUs at `NOW`."""
    data = text.encode() if isinstance(text, str) else text
    read = reader({**(files or {}), file: data})
    return load(file, environ or {}, hostname="here.example", cpus=4, now=NOW, read=read)


def errors_of(
    text: str | bytes,
    environ: Mapping[str, str] | None = None,
    files: Mapping[str, bytes] | None = None,
    *,
    file: str = FILE,
) -> tuple[ConfigError, ...]:
    """The errors of a file with this content; none if it is right."""
    try:
        load_text(text, environ, files, file=file)
    except ConfigErrors as errors:
        return errors.errors
    return ()


def listener(name: str, bind: str, protocol: str = "http", more: str = "") -> str:
    """The TOML of a listener; `bind` is a TOML value."""
    return f'[server.listener.{name}]\nprotocol = "{protocol}"\nbind = {bind}\n{more}\n'


class Pair:
    """A self-signed certificate for `name` and its key, as PEM."""

    def __init__(
        self,
        name: str = "mail.example.org",
        *,
        start: datetime.datetime = NOW - datetime.timedelta(days=1),
        days: int = 90,
    ) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + datetime.timedelta(days=days))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.cert = certificate.public_bytes(Encoding.PEM)
        self.key = self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def encrypted_key(self, passphrase: bytes) -> bytes:
        """The key under a passphrase."""
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase))
