"""What a CA sends (RFC 8555 §7.1), checked: broken JSON, a wrong type or a missing field is an AcmeError."""

from __future__ import annotations

import datetime
from typing import Annotated, Literal, TypeVar

import msgspec

from stalwart.tls.acme.errors import BAD_ANSWER, AcmeError, Problem

# RFC 8555 §6.1: everything is fetched over https.
_HTTPS = r"^https://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[!-~]*)?\Z"
Url = Annotated[str, msgspec.Meta(pattern=_HTTPS, max_length=4096)]
# More than any CA takes in one order; what is longer isn't worth a request for each.
_Urls = Annotated[list[Url], msgspec.Meta(max_length=200)]


UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for octets that aren't what was wanted; the last for what nests too deep."""


class Meta(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """About the CA (RFC 8555 §7.1.1); `profiles` maps a name to its description (draft-ietf-acme-profiles)."""

    terms_of_service: str | None = None
    external_account_required: bool = False
    profiles: dict[str, str] | None = None


class Directory(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Where the CA does what (RFC 8555 §7.1.1); `renewal_info` is of RFC 9773 §3."""

    new_nonce: Url
    new_account: Url
    new_order: Url
    renewal_info: Url | None = None
    meta: Meta = Meta()


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """What counts of an account (RFC 8555 §7.1.2); its URL is in the answer's head."""

    status: Literal["valid", "deactivated", "revoked"]
    contact: list[str] | None = None


class Identifier(msgspec.Struct, frozen=True, kw_only=True):
    """What a certificate is for: `type` is "dns" (value: A-labels) or "ip" (RFC 8738)."""

    type: str
    value: str


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """RFC 8555 §7.1.3. `url` is where it lies, from the answer's head."""

    status: Literal["pending", "ready", "processing", "valid", "invalid"]
    identifiers: list[Identifier]
    authorizations: _Urls
    finalize: Url
    certificate: Url | None = None
    error: Problem | None = None
    url: str = ""


class Challenge(msgspec.Struct, frozen=True, kw_only=True):
    """One way to prove control (RFC 8555 §7.1.5). Some types of challenges have no token."""

    type: str
    url: Url
    status: Literal["pending", "processing", "valid", "invalid"]
    token: str | None = None
    error: Problem | None = None


class Authorization(msgspec.Struct, frozen=True, kw_only=True):
    """RFC 8555 §7.1.4. One that is "valid" already needs no challenge. `url` is where it was fetched."""

    status: Literal["pending", "valid", "invalid", "deactivated", "expired", "revoked"]
    identifier: Identifier
    challenges: list[Challenge]
    wildcard: bool = False
    url: str = ""


class SuggestedWindow(msgspec.Struct, frozen=True, kw_only=True):
    """When to renew (RFC 9773 §4.2); both are aware."""

    start: Annotated[datetime.datetime, msgspec.Meta(tz=True)]
    end: Annotated[datetime.datetime, msgspec.Meta(tz=True)]


class RenewalInfo(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """RFC 9773 §4.2; `retry_after`, from the answer's head, is in how many seconds to ask again."""

    suggested_window: SuggestedWindow
    explanation_url: str | None = msgspec.field(name="explanationURL", default=None)
    retry_after: float = 0.0


Resource = TypeVar("Resource", Directory, Account, Order, Challenge, Authorization, RenewalInfo)


def url_of(text: str | None, where: str) -> str:
    """A URL that the CA sent in a header field. Raises AcmeError; `where` names the field and the answer."""
    try:
        return msgspec.convert(text, Url)
    except msgspec.ValidationError as error:
        raise AcmeError(BAD_ANSWER, f"{where} holds no https URL", repr(text)[:200]) from error


def parse(body: bytes, kind: type[Resource], url: str) -> Resource:
    """What the answer of `url` holds. Raises AcmeError, which names the URL and the field."""
    try:
        return msgspec.json.decode(body, type=kind)
    except UNREADABLE as error:
        what = kind.__name__.lower()
        raise AcmeError(BAD_ANSWER, f"{url} sent something that is no {what} of ACME", str(error)) from error
