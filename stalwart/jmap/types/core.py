"""The core capability (RFC 8620 §2) and its method Core/echo."""

from __future__ import annotations

from typing import Any

from stalwart.jmap.call import Call
from stalwart.jmap.declare import Method

URI = "urn:ietf:params:jmap:core"


def _echo(call: Call, arguments: dict[str, Any]) -> object:
    return arguments


# RFC 8620 §4: returns exactly the arguments that it is given
ECHO = Method(name="Core/echo", capability=URI, arguments=None, run=_echo)
