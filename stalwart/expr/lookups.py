"""What an expression asks of the outside: a `Lookup` names the function and its arguments, and the caller answers it.

Nothing here does I/O. A lookup is asked for only when the evaluation reaches it.
"""

from __future__ import annotations

import msgspec

from stalwart.expr.values import Value


class Lookup(msgspec.Struct, frozen=True, kw_only=True):
    """One request.

    The answer is a value (None is ''). A lookup that fails is answered by throwing `EvalError` into the evaluation.
    """

    function: str
    arguments: tuple[Value, ...]


DNS_TYPES = ("ip", "mx", "txt", "ptr", "ipv4", "ipv6")
SYSTEM_NAMES = ("domain", "hostname", "node_id", "node_hostname", "node_role")
