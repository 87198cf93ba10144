"""The settings of JMAP: what one request, one account and one client may ask for, and how changes are pushed."""

from __future__ import annotations

from typing import Annotated

import msgspec

from stalwart.config.kinds import Duration, bounded_duration, whole
from stalwart.config.schema import Key

_HOUR = 3600.0

Octets = Annotated[int, whole(1, 2**40, "octets")]
Objects = Annotated[int, whole(1, 1_000_000)]
Few = Annotated[int, whole(1, 10_000)]


class JmapSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The table `jmap`. Times are in seconds."""

    request_max_size: Annotated[
        Annotated[int, whole(1000, 2**31 - 1, "octets")],
        Key(
            name="protocol.request.max-size",
            doc="The largest request body. It is held in memory while it is answered.",
            example="10000000",
        ),
    ] = 10_000_000
    request_max_calls: Annotated[
        Few, Key(name="protocol.request.max-calls", doc="Method calls in one request.", example="32")
    ] = 16
    request_max_concurrent: Annotated[
        Few,
        Key(
            name="protocol.request.max-concurrent",
            doc="Requests that one user may have under way at the same time.",
            example="8",
        ),
    ] = 4
    upload_max_size: Annotated[
        Octets, Key(name="protocol.upload.max-size", doc="The largest file that can be uploaded.", example="100000000")
    ] = 50_000_000
    upload_max_concurrent: Annotated[
        Few,
        Key(
            name="protocol.upload.max-concurrent",
            doc="Uploads that may be under way to one account at the same time.",
            example="8",
        ),
    ] = 4
    upload_ttl: Annotated[
        Annotated[float, bounded_duration(_HOUR, 365 * 24 * _HOUR)],
        Key(
            name="protocol.upload.ttl",
            doc="How long an upload that no message names is kept. What is older is removed once an hour.",
            example='"6h"',
        ),
    ] = _HOUR
    upload_quota_size: Annotated[
        Octets,
        Key(
            name="protocol.upload.quota.size",
            doc="Octets of uploads within `jmap.protocol.upload.ttl` that one account may have. The oldest make "
            "room for the newest.",
            example="200000000",
        ),
    ] = 50_000_000
    upload_quota_files: Annotated[
        Objects,
        Key(
            name="protocol.upload.quota.files",
            doc="How many uploads within `jmap.protocol.upload.ttl` one account may have.",
            example="5000",
        ),
    ] = 1000
    get_max_objects: Annotated[
        Objects, Key(name="protocol.get.max-objects", doc="Objects that one `/get` gives.", example="1000")
    ] = 500
    set_max_objects: Annotated[
        Objects,
        Key(
            name="protocol.set.max-objects",
            doc="Objects that one `/set`, `/copy` or import may create, change and destroy, all together.",
            example="1000",
        ),
    ] = 500
    query_max_results: Annotated[
        Objects,
        Key(
            name="protocol.query.max-results",
            doc="Ids that one `/query` gives. Clients can ask for the next ones.",
            example="1000",
        ),
    ] = 5000
    changes_max_results: Annotated[
        Objects,
        Key(
            name="protocol.changes.max-results",
            doc="Ids that one `/changes` gives. Clients can ask for the next ones.",
            example="1000",
        ),
    ] = 5000
    snippet_max_results: Annotated[
        Objects,
        Key(
            name="protocol.search-snippet.max-results",
            doc="Messages for which one `SearchSnippet/get` gives snippets: each is read and searched.",
            example="50",
        ),
    ] = 100
    mailbox_max_depth: Annotated[
        Annotated[int, whole(1, 100)],
        Key(name="mailbox.max-depth", doc="How deep mailboxes may lie within each other.", example="20"),
    ] = 10
    mailbox_max_name_length: Annotated[
        Annotated[int, whole(100, 10_000, "octets")],
        Key(name="mailbox.max-name-length", doc="The length of a mailbox' name, in UTF-8.", example="255"),
    ] = 255
    email_max_attachment_size: Annotated[
        Octets,
        Key(
            name="email.max-attachment-size",
            doc="Octets of all attachments together of a message that a client puts together, before they are encoded.",
            example="25000000",
        ),
    ] = 50_000_000
    email_max_size: Annotated[
        Octets,
        Key(
            name="email.max-size",
            doc="The largest message that a client may put together or import, attachments encoded.",
            example="35000000",
        ),
    ] = 75_000_000
    email_parse_max_items: Annotated[
        Objects, Key(name="email.parse.max-items", doc="Blobs that one `Email/parse` reads.", example="20")
    ] = 10
    event_source_throttle: Annotated[
        Duration,
        Key(
            name="event-source.throttle",
            doc="The shortest time between two events for one EventSource; changes within it are told together.",
            example='"500ms"',
        ),
    ] = 1.0
    web_socket_throttle: Annotated[
        Duration,
        Key(
            name="web-socket.throttle",
            doc="The shortest time between two StateChange messages over one WebSocket.",
            example='"500ms"',
        ),
    ] = 1.0
    web_socket_timeout: Annotated[
        Duration,
        Key(
            name="web-socket.timeout",
            doc="A WebSocket from which nothing came for so long, no answer to a ping either, is closed.",
            example='"5m"',
        ),
    ] = 600.0
    web_socket_heartbeat: Annotated[
        Duration,
        Key(name="web-socket.heartbeat", doc="How often a quiet WebSocket is sent a ping.", example='"30s"'),
    ] = 60.0
    push_attempts_interval: Annotated[
        Duration,
        Key(
            name="push.attempts.interval",
            doc="How long a push that a push service didn't take waits to be tried again.",
            example='"5m"',
        ),
    ] = 60.0
    push_attempts_max: Annotated[
        Annotated[int, whole(1, 100)],
        Key(name="push.attempts.max", doc="How often a push is tried before it is given up.", example="5"),
    ] = 3
    push_retry_interval: Annotated[
        Duration,
        Key(
            name="push.retry.interval",
            doc="How often the pushes that wait to be tried again are looked through.",
            example='"5s"',
        ),
    ] = 1.0
    push_throttle: Annotated[
        Duration,
        Key(
            name="push.throttle",
            doc="The shortest time between two pushes to one subscription; changes within it are told together.",
            example='"5s"',
        ),
    ] = 1.0
    push_timeout_request: Annotated[
        Duration,
        Key(name="push.timeout.request", doc="How long a push service may take to answer.", example='"30s"'),
    ] = 10.0
    push_timeout_verify: Annotated[
        Duration,
        Key(
            name="push.timeout.verify",
            doc="How long a subscription's address is not sent another verification code.",
            example='"5m"',
        ),
    ] = 60.0
    push_allow_private_addresses: Annotated[
        bool,
        Key(
            name="push.allow-private-addresses",
            doc="Push to addresses of this machine and of private networks too. Any user can name the address of a "
            "push service: switched on, this server sends requests for them to whatever listens there.",
            example="true",
        ),
    ] = False


class ObjectQuotas(msgspec.Struct, frozen=True, kw_only=True):
    """The table `object-quota`."""

    mailbox: Annotated[Objects, Key(name="mailbox", doc="Mailboxes that an account may have.", example="1000")] = 250
    identity: Annotated[
        Objects,
        Key(name="identity", doc="Identities that an account may have.", example="50"),
    ] = 20
    push_subscription: Annotated[
        Objects,
        Key(
            name="push-subscription",
            doc="Push subscriptions that an account may have.",
            example="30",
        ),
    ] = 15
