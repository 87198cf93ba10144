"""What this server can do: its capabilities and, by name, its methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from stalwart.jmap.declare import Method
from stalwart.jmap.filters import COLLATIONS
from stalwart.jmap.limits import Limits
from stalwart.jmap.standard import methods_of
from stalwart.jmap.types import blob, blob_upload, core, identity, mail, quota, submission, vacation
from stalwart.jmap.types.email import EMAIL
from stalwart.jmap.types.email_import import IMPORT
from stalwart.jmap.types.email_parse import PARSE
from stalwart.jmap.types.email_query import SORTS
from stalwart.jmap.types.mailbox import MAILBOX
from stalwart.jmap.types.push_subscription import PUSH_SUBSCRIPTION
from stalwart.jmap.types.snippet import GET_SNIPPETS
from stalwart.jmap.types.thread import THREAD


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """What capabilities tell of this server.

    `base_url` has no slash at the end; `application_server_key` is that of RFC 9749.
    """

    limits: Limits
    base_url: str
    application_server_key: str = ""
    """That of RFC 9749, which clients hand to their push services."""


class Capability(msgspec.Struct, frozen=True, kw_only=True):
    """A capability with what the Session object says of it.

    `of_account` is None for one that has no methods on accounts; else it gets the limits, and whether the account is
    the user's own. One that is not `shared` has no methods on the accounts of others.
    """

    uri: str
    of_server: Callable[[Server], Mapping[str, Any]] = lambda server: {}
    of_account: Callable[[Limits, bool], Mapping[str, Any]] | None = None
    shared: bool = True


def _core(server: Server) -> Mapping[str, Any]:
    # RFC 8620 §2
    limits = server.limits
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


def _mail_of_account(limits: Limits, is_own: bool) -> Mapping[str, Any]:
    # RFC 8621 §1.3.1: every one of these MUST be there
    return {
        "maxMailboxesPerEmail": limits.max_mailboxes_per_email,
        "maxMailboxDepth": limits.max_mailbox_depth,
        "maxSizeMailboxName": limits.max_size_mailbox_name,
        "maxSizeAttachmentsPerEmail": limits.max_size_attachments_per_email,
        "emailQuerySortOptions": list(SORTS),
        "mayCreateTopLevelMailbox": is_own,
    }


def _web_socket(server: Server) -> Mapping[str, Any]:
    # RFC 8887 §3.1: a wss URL, or ws where there is no TLS
    return {"url": f"ws{server.base_url.removeprefix('http')}/jmap/ws", "supportsPush": True}


CAPABILITIES = (
    Capability(uri=core.URI, of_server=_core),
    Capability(uri="urn:ietf:params:jmap:websocket", of_server=_web_socket),
    # RFC 9749 §3
    Capability(
        uri="urn:ietf:params:jmap:webpush-vapid",
        of_server=lambda server: {"applicationServerKey": server.application_server_key},
    ),
    Capability(uri=mail.URI, of_account=_mail_of_account),
    Capability(uri=identity.URI, of_account=submission.of_account),
    # Whether somebody is away is for their own eyes. RFC 8621 §1.3.3: an empty object
    Capability(uri=vacation.URI, of_account=lambda limits, is_own: {}, shared=False),
    Capability(uri=blob_upload.URI, of_account=blob.of_account),
    # RFC 9425 §8: how much of it somebody uses is nobody else's business
    Capability(uri=quota.URI, of_account=lambda limits, is_own: {}, shared=False),
)

METHODS: Mapping[str, Method] = {
    method.name: method
    for method in (
        core.ECHO,
        *methods_of(PUSH_SUBSCRIPTION),
        *methods_of(MAILBOX),
        *methods_of(THREAD),
        *methods_of(EMAIL),
        IMPORT,
        PARSE,
        GET_SNIPPETS,
        *methods_of(identity.IDENTITY),
        *methods_of(submission.SUBMISSION),
        *methods_of(vacation.VACATION_RESPONSE),
        *methods_of(quota.QUOTA),
        *blob.METHODS,
    )
}
