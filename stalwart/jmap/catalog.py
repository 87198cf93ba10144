"""What this server can do: its capabilities and, by name, its methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from stalwart.jmap.declare import Method
from stalwart.jmap.filters import COLLATIONS
from stalwart.jmap.limits import Limits
from stalwart.jmap.standard import methods_of
from stalwart.jmap.types import core, mail
from stalwart.jmap.types.email import EMAIL
from stalwart.jmap.types.email_query import SORTS
from stalwart.jmap.types.mailbox import MAILBOX
from stalwart.jmap.types.push_subscription import PUSH_SUBSCRIPTION
from stalwart.jmap.types.thread import THREAD


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """How this server is reached. `base_url` has no slash at the end; `application_server_key` is that of RFC 9749."""

    base_url: str
    application_server_key: str


class Capability(msgspec.Struct, frozen=True, kw_only=True):
    """A capability with what the Session object says of it.

    `of_account` is None for one that has no methods on accounts.
    """

    uri: str
    of_server: Callable[[Limits], Mapping[str, Any]]
    of_account: Callable[[Limits], Mapping[str, Any]] | None = None
    of_place: Callable[[Place], Mapping[str, Any]] | None = None
    """What depends on how this server is reached, in the place of `of_server`."""


def _core(limits: Limits) -> Mapping[str, Any]:
    # RFC 8620 §2
    return {
        "maxSizeUpload": limits.max_size_upload,
        "maxConcurrentUpload": limits.max_concurrent_upload,
        "maxSizeRequest": limits.max_size_request,
        "maxConcurrentRequests": limits.max_concurrent_requests,
        "maxCallsInRequest": limits.max_calls_in_request,
        "maxObjectsInGet": limits.max_objects_in_get,
        "maxObjectsInSet": limits.max_objects_in_set,
        "collationAlgorithms": COLLATIONS,
    }


def _mail_of_account(limits: Limits) -> Mapping[str, Any]:
    # RFC 8621 §1.3.1: every one of these MUST be there
    return {
        "maxMailboxesPerEmail": None,
        "maxMailboxDepth": limits.max_mailbox_depth,
        "maxSizeMailboxName": limits.max_size_mailbox_name,
        "maxSizeAttachmentsPerEmail": limits.max_size_attachments_per_email,
        "emailQuerySortOptions": list(SORTS),
        "mayCreateTopLevelMailbox": True,
    }


def _web_socket(place: Place) -> Mapping[str, Any]:
    # RFC 8887 §3.1: a wss URL, or ws where there is no TLS
    return {"url": f"ws{place.base_url.removeprefix('http')}/jmap/ws", "supportsPush": True}


CAPABILITIES = (
    Capability(uri=core.URI, of_server=_core),
    Capability(uri="urn:ietf:params:jmap:websocket", of_server=lambda limits: {}, of_place=_web_socket),
    # RFC 9749 §3
    Capability(
        uri="urn:ietf:params:jmap:webpush-vapid",
        of_server=lambda limits: {},
        of_place=lambda place: {"applicationServerKey": place.application_server_key},
    ),
    Capability(uri=mail.URI, of_server=lambda limits: {}, of_account=_mail_of_account),
)

METHODS: Mapping[str, Method] = {
    method.name: method
    for method in (
        core.ECHO,
        *methods_of(PUSH_SUBSCRIPTION),
        *methods_of(MAILBOX),
        *methods_of(THREAD),
        *methods_of(EMAIL),
    )
}
