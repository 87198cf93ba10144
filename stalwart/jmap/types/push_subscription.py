"""Push subscriptions (RFC 8620 §7.2). They belong to the credentials that made them and to no account."""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from stalwart import store
from stalwart.jmap import webpush
from stalwart.jmap.arguments import Id, UserGetArguments, UserSetArguments, UTCDate
from stalwart.jmap.call import Call
from stalwart.jmap.declare import Creation, DataType, Property, Write, table
from stalwart.jmap.errors import Forbidden, SetError, invalid_properties
from stalwart.jmap.types import core
from stalwart.jmap.webpush import BadKey
from stalwart.store import SubscriptionRow

# RFC 8620 §7.2: with credentials that don't expire, at least 48 hours and SHOULD be at least 7 days
_LONGEST_SECONDS = 7 * 86_400
_MOST_TYPES = 100
_SECRET = ("url", "keys")


class Keys(msgspec.Struct, frozen=True, kw_only=True):
    """What a client's messages are encrypted with (RFC 8291), as base64url."""

    p256dh: str
    auth: str


_Text = Annotated[str, Meta(min_length=1, max_length=255)]
_Url = Annotated[str, Meta(max_length=2048)]


def _fetch(call: Call, rows: Sequence[int] | None) -> Mapping[int, SubscriptionRow]:
    found = {
        row.id: row
        for row in store.list_subscriptions(call.session, call.principal.account_id)
        # RFC 8620 §7.2.1: only those created with the same credentials
        if (row.credential_version, row.credential_id, row.grant_id)
        == (call.principal.credential_version, call.principal.credential_id, call.principal.grant_id)
    }
    return found if rows is None else {row: found[row] for row in rows if row in found}


def _refuse_secrets(properties: Sequence[str]) -> None:
    for name in _SECRET:
        if name in properties:
            # RFC 8620 §7.2.1
            raise Forbidden(f"The property {name} of a PushSubscription is never given out.")


def _view(call: Call, wanted: Sequence[str], arguments: Any) -> Any:
    asked = getattr(arguments, "properties", None)
    if asked is not None:
        _refuse_secrets(asked)
    readers = {name: _READ[name] for name in wanted}
    return lambda row: {name: read(row) for name, read in readers.items()}


def _date(seconds: int) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _shown_keys(row: SubscriptionRow) -> Mapping[str, str] | None:
    if row.p256dh is None or row.auth is None:
        return None
    return {"p256dh": webpush.encode_base64url(row.p256dh), "auth": webpush.encode_base64url(row.auth)}


_READ: dict[str, Callable[[SubscriptionRow], object]] = {
    "id": lambda row: f"P{row.id}",
    "deviceClientId": lambda row: row.device_client_id,
    # Only to be compared with what an update says: a /get that names these is refused.
    "url": lambda row: row.url,
    "keys": _shown_keys,
    # RFC 8620 §7.2.3: shown when it was confirmed; before, it is for the push alone to tell.
    "verificationCode": lambda row: row.verification_code if row.is_verified else None,
    "expires": lambda row: _date(row.expires_at),
    "types": lambda row: None if row.types is None else list(row.types),
}


def _expires(call: Call, wanted: str | None) -> int:
    """When a subscription ends, in the bounds of this server. Raises SetError for a time that has passed."""
    now = call.session.now()
    longest = now + _LONGEST_SECONDS
    if wanted is None:
        return longest
    try:
        seconds = int(datetime.datetime.fromisoformat(wanted.replace("Z", "+00:00")).timestamp())
    except ValueError:
        raise invalid_properties(f"expires: {wanted!r} is no time.", ["expires"]) from None
    if seconds <= now:
        raise invalid_properties("expires: that time has passed.", ["expires"])
    return min(seconds, longest)


def _types(wanted: Sequence[str] | None) -> tuple[str, ...] | None:
    if wanted is None:
        return None
    names = tuple(sorted(set(wanted)))
    if len(names) > _MOST_TYPES or not all(name.isascii() and name.isalnum() and len(name) <= 64 for name in names):
        raise invalid_properties("types: wanted are names of types, such as Email.", ["types"])
    return names


def _check_url(url: str) -> None:
    # RFC 8620 §7.2: it MUST begin with "https://"
    problem = None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        problem = "this is no URL"
    else:
        if not url.startswith("https://") or not parts.hostname:
            problem = "it must begin with https:// and a host"
        elif parts.username is not None or parts.password is not None:
            problem = "it must not name a user"
        elif port == 0:
            problem = "the port can't be 0"
        elif not url.isascii() or not url.isprintable() or " " in url or "#" in url:
            problem = "it must be written in ASCII without spaces or a fragment"
    if problem is not None:
        raise invalid_properties(f"url: {problem}.", ["url"])


def _keys(given: Keys | None) -> tuple[bytes | None, bytes | None]:
    if given is None:
        return None, None
    try:
        p256dh, auth = webpush.decode_base64url(given.p256dh), webpush.decode_base64url(given.auth)
        webpush.check_keys(p256dh, auth)
    except BadKey as error:
        raise invalid_properties(f"keys: {error}.", ["keys"]) from error
    return p256dh, auth


def _create(call: Call, creation: Creation, arguments: UserSetArguments) -> int:
    values = creation.values
    principal = call.principal
    if values["verificationCode"] is not None:
        raise invalid_properties(
            "verificationCode: it must be null; the code comes by a push to the url.", ["verificationCode"]
        )
    _check_url(values["url"])
    p256dh, auth = _keys(values["keys"])
    types = _types(values["types"])
    expires_at = _expires(call, values["expires"])
    if len(_fetch(call, None)) >= call.limits.max_push_subscriptions:
        raise SetError(
            "overQuota", f"There are {call.limits.max_push_subscriptions} subscriptions already; destroy one."
        )
    return store.add_subscription(
        call.session,
        SubscriptionRow(
            account_id=principal.account_id,
            credential_version=principal.credential_version,
            credential_id=principal.credential_id,
            grant_id=principal.grant_id,
            device_client_id=values["deviceClientId"],
            url=values["url"],
            p256dh=p256dh,
            auth=auth,
            verification_code=secrets.token_hex(16),  # RFC 8620 §7.2.2: it can't be guessed
            expires_at=expires_at,
            types=types,
        ),
    ).id


def _update(
    call: Call, row: SubscriptionRow, changed: Mapping[str, Any], arguments: UserSetArguments
) -> Mapping[str, object] | None:
    told: dict[str, object] = {}
    if "verificationCode" in changed:
        code = changed["verificationCode"]
        # RFC 8620 §7.2.2
        if code is None or not secrets.compare_digest(code.encode(), row.verification_code.encode()):
            raise invalid_properties("verificationCode: this is not the code that was pushed.", ["verificationCode"])
        row = msgspec.structs.replace(row, is_verified=True)
    if "types" in changed:
        row = msgspec.structs.replace(row, types=_types(changed["types"]))
    if "expires" in changed:
        row = msgspec.structs.replace(row, expires_at=_expires(call, changed["expires"]))
        if _date(row.expires_at) != changed["expires"]:
            told["expires"] = _date(row.expires_at)
    store.update_subscription(call.session, row)
    return told or None


def _destroy(call: Call, row: SubscriptionRow, arguments: UserSetArguments) -> None:
    store.delete_subscription(call.session, row.account_id, row.id)


PUSH_SUBSCRIPTION: DataType[SubscriptionRow, None] = DataType(
    name="PushSubscription",
    capability=core.URI,
    prefix="P",
    properties=table(
        Property(name="id", type=Id, set_by="server", immutable=True),
        Property(name="deviceClientId", type=_Text, immutable=True),
        Property(name="url", type=_Url, immutable=True),
        Property(name="keys", type=Keys | None, default=None, immutable=True),
        Property(name="verificationCode", type=_Text | None, default=None),
        Property(name="expires", type=UTCDate | None, default=None),
        Property(name="types", type=list[str] | None, default=None),
    ),
    fetch=_fetch,
    view=_view,
    # RFC 8620 §7.2.1: all but the two that are private to the device
    default_properties=("id", "deviceClientId", "verificationCode", "expires", "types"),
    get_arguments=UserGetArguments,
    write=Write(
        arguments=UserSetArguments,
        create=_create,
        update=_update,
        destroy=_destroy,
        created_properties=("id", "verificationCode", "expires", "types"),
    ),
    of_user=True,
)
