"""Certificates for listeners: which one a client gets, how it is swapped, and what stands in while there is none."""

from __future__ import annotations

from stalwart.tls.certificates import BadCertificate, Certificates
from stalwart.tls.selfsigned import self_signed

__all__ = ["BadCertificate", "Certificates", "self_signed"]
