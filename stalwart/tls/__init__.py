"""Certificates for listeners: which one a client gets, how it is swapped, and what stands in while there is none."""

from __future__ import annotations

from stalwart.tls.certificates import Certificates
from stalwart.tls.challenges import Challenges
from stalwart.tls.credentials import BadCertificate, Credential, Issued, Served
from stalwart.tls.listening import ListenerTls, TlsFactory
from stalwart.tls.selfsigned import self_signed
from stalwart.tls.watch import CertificateWatch

__all__ = [
    "BadCertificate",
    "CertificateWatch",
    "Certificates",
    "Challenges",
    "Credential",
    "Issued",
    "ListenerTls",
    "Served",
    "TlsFactory",
    "self_signed",
]
