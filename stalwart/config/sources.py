"""Certificates whose PEM stands in files of their own (`%{file:…}%`), to be read again without the configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import msgspec

from stalwart.config import pem
from stalwart.config.document import ReadFile, read_file
from stalwart.config.macros import BadMacro, expand
from stalwart.config.secret import Secret
from stalwart.config.settings import Certificate, Settings

T = TypeVar("T")


class UnusableFile(Exception):
    """A certificate can't be taken over as its files are now; the text names the file, and says why."""


class CertificateSource(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate of the configuration, the files that it comes from, and its values as they were written."""

    certificate: Certificate
    files: tuple[str, ...]
    texts: Mapping[str, tuple[str, tuple[str, ...]]]
    """By `cert` and `private-key`: the text with its macros, and the files that these name."""

    folder: str

    def read(self, environ: Mapping[str, str], read: ReadFile = read_file) -> Certificate:
        """The certificate as the files have it now. Raises UnusableFile."""
        cert = self._value("cert", self.certificate.cert, environ, read)
        key = Secret(self._value("private-key", self.certificate.private_key.reveal(), environ, read))
        chain = self._checked("cert", lambda: pem.read_chain(cert))
        private = self._checked("private-key", lambda: pem.read_key(key))
        self._checked("private-key", lambda: pem.check_pair(chain, private))
        return msgspec.structs.replace(self.certificate, cert=cert, private_key=key)

    def _value(self, name: str, inline: str, environ: Mapping[str, str], read: ReadFile) -> str:
        if name not in self.texts:
            return inline
        try:
            return expand(self.texts[name][0], environ, self.folder, read).value
        except BadMacro as error:
            raise UnusableFile(f"there should be {error}") from None

    def _checked(self, name: str, check: Callable[[], T]) -> T:
        try:
            return check()
        except pem.BadPem as error:
            files = " and ".join(self.texts[name][1]) if name in self.texts else f"{name} in the configuration"
            raise UnusableFile(f"{files} should have {error}") from None


def certificate_sources(settings: Settings) -> Sequence[CertificateSource]:
    """The certificates that come from files; those that stand in the configuration itself are left out."""
    found: list[CertificateSource] = []
    for certificate in settings.certificates:
        texts = {
            name: (value.text, value.files)
            for name in ("cert", "private-key")
            if (value := settings.file_values.get(("certificate", certificate.id, name))) is not None
        }
        if texts:
            files = tuple(dict.fromkeys(file for _, named in texts.values() for file in named))
            found.append(CertificateSource(certificate=certificate, files=files, texts=texts, folder=settings.folder))
    return found
