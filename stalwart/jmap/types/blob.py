"""Blobs as method calls: Blob/copy (RFC 8620 §6.3), Blob/get and Blob/lookup (RFC 9404). For Blob/upload see there."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stalwart import store
from stalwart.jmap.arguments import AccountArguments, Id, UnsignedInt
from stalwart.jmap.call import Account, Call
from stalwart.jmap.contents import Content
from stalwart.jmap.declare import Method
from stalwart.jmap.errors import (
    FromAccountNotFound,
    InvalidArguments,
    RequestTooLarge,
    SetError,
    UnknownDataType,
)
from stalwart.jmap.ids import blob_id
from stalwart.jmap.limits import Limits
from stalwart.jmap.types import core, mail
from stalwart.jmap.types.blob_upload import MAX_DATA_SOURCES, UPLOAD, URI, Made, Maker, keep
from stalwart.store import EmailRow

# RFC 9404 §4.2: names as in the registry of HTTP digest algorithms, in lower case
_DIGESTS: Mapping[str, Callable[[bytes], Any]] = {
    "sha": hashlib.sha1,
    "sha-256": hashlib.sha256,
    "sha-512": hashlib.sha512,
}
_NAMES: Mapping[str, Callable[[EmailRow], Sequence[str]]] = {
    "Mailbox": lambda row: [f"M{mailbox}" for mailbox in row.mailbox_ids],
    "Thread": lambda row: [f"T{row.thread_id}"],
    "Email": lambda row: [f"E{row.id}"],
}
_DATA = ("data", "data:asText", "data:asBase64")


def of_account(limits: Limits, is_own: bool) -> Mapping[str, Any]:
    """What the account's capability says (RFC 9404 §3.1)."""
    return {
        "maxSizeBlobSet": limits.max_size_upload,
        "maxDataSources": MAX_DATA_SOURCES,
        "supportedTypeNames": list(_NAMES),
        "supportedDigestAlgorithms": list(_DIGESTS),
    }


class CopyBlobArguments(AccountArguments, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """RFC 8620 §6.3."""

    from_account_id: Id
    blob_ids: list[Id]


class GetBlobArguments(AccountArguments, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """RFC 9404 §4.2."""

    ids: list[Id]
    properties: list[str] | None = None
    offset: UnsignedInt | None = None
    length: UnsignedInt | None = None


class LookupArguments(AccountArguments, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """RFC 9404 §4.3."""

    type_names: list[str]
    ids: list[Id]


def _prepare_copy(call: Call, arguments: CopyBlobArguments) -> Mapping[str, Made | SetError]:
    """Have all octets as blobs of the store, before the transaction begins."""
    source = _source(call, arguments)
    wanted = dict.fromkeys(arguments.blob_ids)
    _check_count(len(wanted), call.limits.max_objects_in_set)
    maker = Maker(call)
    copies: dict[str, Made | SetError] = {}
    for text in wanted:
        try:
            content = call.on(source).content(text)
            if content is None:
                raise _no_blob(text)
            copies[text] = maker.copy(content)
        except SetError as error:
            copies[text] = error
    return copies


def _copy(call: Call, arguments: CopyBlobArguments) -> object:
    source = _source(call, arguments)
    copied: dict[str, str] = {}
    failed: dict[str, object] = {}
    for text, made in call.prepared.items():
        if isinstance(made, Made) and call.on(source).content(text) is None:
            made = _no_blob(text)  # it went since it was looked at
        if isinstance(made, SetError):
            failed[text] = made.value()
        else:
            keep(call, made, "application/octet-stream")
            copied[text] = blob_id(made.blob_hash)
    return {
        "fromAccountId": arguments.from_account_id,
        "accountId": call.account.id,
        "copied": copied or None,
        "notCopied": failed or None,
    }


def _source(call: Call, arguments: CopyBlobArguments) -> Account:
    account = call.exchange.account(call.session, arguments.from_account_id)
    if account is None:
        raise FromAccountNotFound(f"There is no account {arguments.from_account_id!r} that this user can see.")
    return account


def _get(call: Call, arguments: GetBlobArguments) -> object:
    properties = ("data", "size") if arguments.properties is None else tuple(dict.fromkeys(arguments.properties))
    for name in properties:
        if name not in ("id", "size", *_DATA) and name.removeprefix("digest:") not in _DIGESTS:
            raise InvalidArguments(f"properties: a Blob has no property {name[:100]!r}.", "properties")
    found: list[object] = []
    missing: list[str] = []
    ids = dict.fromkeys(arguments.ids)
    _check_count(len(ids), call.limits.max_objects_in_get)
    for text in ids:
        real_id = call.resolve(text)
        content = call.content(text)
        if content is None:
            missing.append(text)
        else:
            found.append(_show(call, real_id, content, properties, arguments))
    return {"accountId": call.account.id, "list": found, "notFound": missing}


def _show(
    call: Call, real_id: str, content: Content, properties: Sequence[str], arguments: GetBlobArguments
) -> Mapping[str, object]:
    shown: dict[str, object] = {"id": real_id}
    offset = arguments.offset or 0
    length = max(0, content.size - offset) if arguments.length is None else arguments.length
    # RFC 9404 §4.2: the range goes beyond the end
    if offset + length > content.size:
        shown["isTruncated"] = True
    octets = b""
    if any(name not in ("id", "size") for name in properties):
        length = max(0, min(length, content.size - offset))
        call.exchange.charge_read(length)
        octets = content.read(offset, length) if length else b""
    for name in properties:
        if name == "size":
            shown["size"] = content.size  # of all of it, whatever the range
        elif name in _DATA:
            _show_data(shown, name, octets)
        elif name != "id":
            digest = _DIGESTS[name.removeprefix("digest:")](octets).digest()
            shown[name] = base64.b64encode(digest).decode()
    return shown


def _show_data(shown: dict[str, object], name: str, octets: bytes) -> None:
    if name != "data:asBase64":
        try:
            shown["data:asText"] = octets.decode("utf-8")
        except UnicodeDecodeError:
            shown["isEncodingProblem"] = True
            if name == "data:asText":
                shown["data:asText"] = None
                return
        else:
            return
    shown["data:asBase64"] = base64.b64encode(octets).decode()


def _lookup(call: Call, arguments: LookupArguments) -> object:
    for name in arguments.type_names:
        # RFC 9404 §4.3: unknown, or of a capability that the client doesn't use
        if name not in _NAMES or mail.URI not in call.exchange.using:
            raise UnknownDataType(f"Blobs can't be looked up in the type {name[:100]!r}.")
    found: list[object] = []
    missing: list[str] = []
    ids = dict.fromkeys(arguments.ids)
    _check_count(len(ids), call.limits.max_objects_in_get)
    for text in ids:
        real_id = call.resolve(text)
        content = call.content(text)
        if content is None:
            missing.append(text)
            continue
        rows = store.get_emails(
            call.session, call.account.row, store.has_blob(call.session, call.account.row, content.origin)
        )
        matched = {
            name: list(dict.fromkeys(one for row in rows.values() for one in _NAMES[name](row)))
            for name in arguments.type_names
        }
        found.append({"id": real_id, "matchedIds": matched})
    return {"accountId": call.account.id, "list": found, "notFound": missing}


def _check_count(count: int, most: int) -> None:
    if count > most:
        raise RequestTooLarge(f"More than {most} blobs in one call.")


def _no_blob(text: str) -> SetError:
    return SetError("notFound", f"There is no blob {text[:100]!r}.")


COPY = Method(
    name="Blob/copy",
    capability=core.URI,
    arguments=CopyBlobArguments,
    run=_copy,
    prepare=_prepare_copy,
    writes=True,
)
GET = Method(name="Blob/get", capability=URI, arguments=GetBlobArguments, run=_get)
LOOKUP = Method(name="Blob/lookup", capability=URI, arguments=LookupArguments, run=_lookup)
METHODS = (COPY, UPLOAD, GET, LOOKUP)
