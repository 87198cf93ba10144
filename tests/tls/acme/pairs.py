"""Certificates with their keys, as a CA would have issued them."""

from __future__ import annotations

import datetime

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.tls.acme.fake_root import Root, new_key, request_for


def make_pair(name: str, *, now: float = 0.0, days: float = 90, root: Root | None = None) -> tuple[bytes, bytes]:
    """Chain and key in PEM, valid from `now` (unix seconds)."""
    key, root = new_key(), root or Root()
    start = datetime.datetime.fromtimestamp(now, datetime.UTC)
    leaf = root.issue(request_for([name], key), datetime.timedelta(days=days), now=start)
    chain = leaf.public_bytes(Encoding.PEM) + root.certificate.public_bytes(Encoding.PEM)
    return chain, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
