"""The variables of rules for HTTP (`url`, `allowed-endpoint`): names and types; the values come from the request."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from stalwart.expr.types import Type

HTTP_VARIABLES: Mapping[str, Type] = MappingProxyType(
    {
        "listener": Type.TEXT,
        "remote_ip": Type.ADDRESS,
        "remote_port": Type.INTEGER,
        "local_ip": Type.ADDRESS,
        "local_port": Type.INTEGER,
        "protocol": Type.TEXT,
        "is_tls": Type.TRUTH,
        "tls_client_subject": Type.TEXT,
        "url": Type.TEXT,
        # One value under its name up to 0.15 and its name since 0.16.
        "url_path": Type.TEXT,
        "path": Type.TEXT,
        "headers": Type.TEXTS,
        "method": Type.TEXT,
    }
)

# Variables of the rules for mail: they are known, but have no value in a request.
MAIL_VARIABLES = frozenset(
    (
        "asn",
        "attempts",
        "authenticated_as",
        "country",
        "error",
        "expires",
        "helo_domain",
        "is_v6",
        "last_error",
        "last_status",
        "mx",
        "notify_num",
        "priority",
        "queue_age",
        "queue_name",
        "rcpt",
        "rcpt_domain",
        "received_from_ip",
        "received_via_port",
        "recipients",
        "recipient",
        "retry_num",
        "sender",
        "sender_domain",
        "size",
        "source",
    )
)
