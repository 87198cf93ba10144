"""The parts of txacme 0.9.3 that are used, imported in the one way that works.

Its ACME v1 client, its `le:` endpoint and its DirectoryStore, which writes keys for all to read, are not among them.
"""

from __future__ import annotations

import sys
import types
import warnings
from collections.abc import Callable
from typing import Any


def issuing_service() -> Callable[..., Any]:
    """The class `AcmeIssuingService`. Imported when it is wanted: half a second, for daemons that order nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from txacme.service import AcmeIssuingService
    found: Callable[..., Any] = AcmeIssuingService
    return found


def valid_status() -> Any:
    """The status of an authorization that txacme waits for."""
    from acme.messages import STATUS_VALID

    return STATUS_VALID


def http01_responder() -> Any:
    """An `HTTP01Responder` without tokens."""
    # txacme's package imports its dead tls-sni-01 part, which no longer imports on Python 3.10 and later.
    stub = types.ModuleType("txacme.challenges._tls")
    stub.TLSSNI01Responder = None  # type: ignore[attr-defined]
    sys.modules.setdefault("txacme.challenges._tls", stub)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from txacme.challenges import HTTP01Responder
    return HTTP01Responder()
