"""The keys that mail is signed with, by domain, and their rotation.

New keys sign only some time after they were made, so that their records are known to the world before; the old ones
sign until then, and their records stay for as long as mail that they signed may be under way.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sqlalchemy import bindparam, delete, insert, or_, select, update

from stalwart.mail.dkim import SigningKey, load_key, public_key
from stalwart.store.addresses import normalise_domain
from stalwart.store.errors import AlreadyExists, NoSuchDomain, NotFound
from stalwart.store.rows import DkimKeyRow
from stalwart.store.session import Session
from stalwart.store.tables import dkim_key, domain

RECORD_SECONDS = 7 * 86400
"""For how long a record stays after its key has signed for the last time: mail is under way for some days."""

_c = dkim_key.c
_DOMAIN = select(domain.c.id).where(domain.c.name == bindparam("name"))
_KEYS = select(
    domain.c.name.label("domain"),
    _c.selector,
    _c.algorithm,
    _c.public_key,
    _c.created_at,
    _c.signs_from,
    _c.signs_until,
).join_from(dkim_key, domain, domain.c.id == _c.domain_id)
_ALL = _KEYS.order_by(domain.c.name, _c.id)
_OF_DOMAIN = _ALL.where(domain.c.name == bindparam("name"))
_SIGNING = (
    select(_c.selector, _c.private_key)
    .join_from(dkim_key, domain, domain.c.id == _c.domain_id)
    .where(
        domain.c.name == bindparam("name"),
        _c.signs_from <= bindparam("now"),
        or_(_c.signs_until.is_(None), _c.signs_until > bindparam("now")),
    )
    .order_by(_c.id)
)
_INSERT = insert(dkim_key)
_END = (
    update(dkim_key)
    .where(_c.domain_id == bindparam("domain"), or_(_c.signs_until.is_(None), _c.signs_until > bindparam("at")))
    .values(signs_until=bindparam("at"))
)
_FORGET = delete(dkim_key).where(_c.domain_id == bindparam("domain"), _c.signs_until < bindparam("before"))


class KeyPair(msgspec.Struct, frozen=True, kw_only=True):
    """New keys of both kinds. An RSA key takes a tenth of a second and more: make them before the transaction."""

    rsa_key: rsa.RSAPrivateKey
    ed25519_key: ed25519.Ed25519PrivateKey

    @classmethod
    def generate(cls) -> KeyPair:
        """Keys that nobody has."""
        return cls(rsa_key=rsa.generate_private_key(65537, 2048), ed25519_key=ed25519.Ed25519PrivateKey.generate())


def create_dkim_keys(s: Session, domain_name: str, pair: KeyPair) -> list[DkimKeyRow]:
    """Give a domain its keys, which sign from now on.

    Raises:
        AlreadyExists: it has keys.
        NoSuchDomain, InvalidAddress: it is no domain of this server.
    """
    name = normalise_domain(domain_name)
    domain_id = _domain_id(s, name)
    if any(key.signs_until is None for key in list_dkim_keys(s, name)):
        raise AlreadyExists(f"{name} has DKIM keys already; `stalwart dkim rotate {name}` replaces them")
    return _keep(s, name, domain_id, pair, s.now())


def rotate_dkim_keys(s: Session, domain_name: str, pair: KeyPair, overlap: int) -> list[DkimKeyRow]:
    """Give a domain new keys, which take the place of those there are in `overlap` seconds; 0: at once.

    Keys whose records are needed no more are removed.

    Raises:
        AlreadyExists: keys made before are yet to take their place.
        NotFound: there are none.
        NoSuchDomain, InvalidAddress: it is no domain of this server.
    """
    name = normalise_domain(domain_name)
    domain_id = _domain_id(s, name)
    now = s.now()
    latest = [key for key in list_dkim_keys(s, name) if key.signs_until is None]
    if not latest:
        raise NotFound(f"{name} has no DKIM keys; `stalwart dkim create {name}` makes them")
    if overlap and any(key.signs_from > now for key in latest):
        raise AlreadyExists(
            f"{name} has new DKIM keys that don't sign yet (`stalwart dkim show {name}`); rotate again after they do,"
            " or at once with --overlap 0"
        )
    s.connection.execute(_END, {"domain": domain_id, "at": now + overlap})
    s.connection.execute(_FORGET, {"domain": domain_id, "before": now - RECORD_SECONDS})
    return _keep(s, name, domain_id, pair, now + overlap)


def list_dkim_keys(s: Session, domain_name: str | None = None) -> list[DkimKeyRow]:
    """The keys of a domain, or of all, in the order in which they were made. InvalidAddress."""
    if domain_name is None:
        found = s.connection.execute(_ALL)
    else:
        found = s.connection.execute(_OF_DOMAIN, {"name": normalise_domain(domain_name)})
    return [DkimKeyRow(**row._mapping) for row in found]


def dkim_signing_keys(s: Session, domain_name: str) -> Sequence[SigningKey]:
    """The keys that sign for a (normalised) domain now; none if it has none."""
    rows = s.connection.execute(_SIGNING, {"name": domain_name, "now": s.now()})
    return [load_key(domain_name, row.selector, row.private_key) for row in rows]


def _domain_id(s: Session, name: str) -> int:
    domain_id = s.connection.scalar(_DOMAIN, {"name": name})
    if domain_id is None:
        raise NoSuchDomain(name)
    return int(domain_id)


def _keep(s: Session, name: str, domain_id: int, pair: KeyPair, signs_from: int) -> list[DkimKeyRow]:
    taken = {key.selector for key in list_dkim_keys(s, name)}
    prefix = day = time.strftime("%Y%m%d", time.gmtime(s.now()))
    number = 1
    while any(selector.rpartition("-")[0] == prefix for selector in taken):
        number += 1
        prefix = f"{day}-{number}"
    made: tuple[SigningKey, ...] = (
        SigningKey(domain=name, selector=f"{prefix}-rsa", private=pair.rsa_key),
        SigningKey(domain=name, selector=f"{prefix}-ed25519", private=pair.ed25519_key),
    )
    for key in made:
        values: dict[str, Any] = {
            "domain_id": domain_id,
            "selector": key.selector,
            "algorithm": key.algorithm,
            "private_key": key.private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
            "public_key": public_key(key.private),
            "created_at": s.now(),
            "signs_from": signs_from,
            "signs_until": None,
        }
        s.insert(_INSERT, values)
    selectors = {key.selector for key in made}
    return [key for key in list_dkim_keys(s, name) if key.selector in selectors]
