"""What a user may do of JMAP: the one place where methods, capabilities and endpoints meet permissions."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from stalwart.jmap.catalog import CAPABILITIES, METHODS
from stalwart.jmap.types import core
from stalwart.store import permission_of_method

SESSION = API = "authenticate"
UPLOAD = "jmap-blob-upload"
DOWNLOAD = "jmap-blob-get"
EVENT_SOURCE = "jmap-event-source"
WEB_SOCKET = "jmap-web-socket"

METHOD_PERMISSIONS: Mapping[str, str] = {name: permission_of_method(name) for name in METHODS}
"""The permission that each method needs."""

# Of capabilities whose use is not by methods of their own.
_OF_CAPABILITIES: Mapping[str, frozenset[str]] = {
    "urn:ietf:params:jmap:websocket": frozenset({WEB_SOCKET}),
    "urn:ietf:params:jmap:webpush-vapid": frozenset({METHOD_PERMISSIONS["PushSubscription/set"]}),
}


def _needed(uri: str) -> frozenset[str]:
    by_methods = {METHOD_PERMISSIONS[name] for name, method in METHODS.items() if method.capability == uri}
    return _OF_CAPABILITIES.get(uri, frozenset()) | by_methods


_NEEDED = {capability.uri: _needed(capability.uri) for capability in CAPABILITIES}


@functools.lru_cache(maxsize=256)
def usable_capabilities(permissions: frozenset[str]) -> frozenset[str]:
    """The capabilities of which a user may use something; the core is everybody's (RFC 8620 §2)."""
    return frozenset({core.URI, *(uri for uri, needed in _NEEDED.items() if needed & permissions)})
