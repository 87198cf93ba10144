"""The errors of JMAP and their wire codes (RFC 8620 §3.6): of a whole request, and of one method call."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import msgspec

PROBLEM_TYPE = "application/problem+json"
_URN = "urn:ietf:params:jmap:error:"


class JmapError(Exception):
    """Base of what this room raises. Its text is for the peer."""


class SignInExpired(JmapError):
    """The credentials were changed since they were verified; the answer is HTTP 401."""


class RequestError(JmapError):
    """The request as a whole is refused (RFC 8620 §3.6.1)."""

    code: ClassVar[str]

    def __init__(self, detail: str, *, status: int = 400) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status

    def properties(self) -> dict[str, object]:
        """The members of the problem document (RFC 7807 §3.1)."""
        return {"type": _URN + self.code, "status": self.status, "detail": self.detail}

    def document(self) -> bytes:
        """The problem document, to be sent as `PROBLEM_TYPE` with `status`."""
        return msgspec.json.encode(self.properties())


class NotJson(RequestError):
    """Not application/json, or not I-JSON (RFC 7493)."""

    code = "notJSON"


class NotRequest(RequestError):
    """JSON, but not a Request object."""

    code = "notRequest"


class UnknownCapability(RequestError):
    """`using` names a capability that this server does not have."""

    code = "unknownCapability"


class OverLimit(RequestError):
    """The request would have gone over a limit of the core capability; `limit` is its name there."""

    code = "limit"

    def __init__(self, limit: str, detail: str, *, status: int = 400) -> None:
        super().__init__(detail, status=status)
        self.limit = limit

    def properties(self) -> dict[str, object]:
        """As for every problem, and the name of the limit."""
        return {**super().properties(), "limit": self.limit}


class MethodError(JmapError):
    """One method call failed and changed nothing (RFC 8620 §3.6.2)."""

    code: ClassVar[str]

    def __init__(self, description: str) -> None:
        super().__init__(description)
        self.description = description

    def arguments(self) -> dict[str, object]:
        """The arguments of the `error` response."""
        return {"type": self.code, "description": self.description}


class ServerUnavailable(MethodError):
    """Something inside is gone for a moment; trying again later may help."""

    code = "serverUnavailable"


class ServerFail(MethodError):
    """A fault of this server; the description carries the reference id that is in the log."""

    code = "serverFail"


class UnknownMethod(MethodError):
    """No such method, or its capability is not in `using`."""

    code = "unknownMethod"


class InvalidArguments(MethodError):
    """An argument is missing, unknown, of the wrong type or otherwise wrong; `names` says which."""

    code = "invalidArguments"

    def __init__(self, description: str, *names: str) -> None:
        super().__init__(description)
        self.names = names

    def arguments(self) -> dict[str, object]:
        """As for every error, and the names of the arguments at fault."""
        return {**super().arguments(), "arguments": list(self.names)}


class InvalidResultReference(MethodError):
    """A `#argument` did not resolve (RFC 8620 §3.7)."""

    code = "invalidResultReference"


class AccountNotFound(MethodError):
    """The accountId is not one that this user can see."""

    code = "accountNotFound"


class AccountNotSupportedByMethod(MethodError):
    """The account has no data of this kind."""

    code = "accountNotSupportedByMethod"


class AccountReadOnly(MethodError):
    """The method would change an account that this user may only read."""

    code = "accountReadOnly"


class Forbidden(MethodError):
    """The call would break a rule about who may do what."""

    code = "forbidden"


class FromAccountNotFound(MethodError):
    """The fromAccountId is not one that this user can see."""

    code = "fromAccountNotFound"


class FromAccountNotSupportedByMethod(MethodError):
    """The account to copy from has no data of this kind."""

    code = "fromAccountNotSupportedByMethod"


class UnknownDataType(MethodError):
    """A type that isn't known, or whose capability the client doesn't use (RFC 9404 §4.3)."""

    code = "unknownDataType"


class StateMismatch(MethodError):
    """Something changed since the state that the call was meant for."""

    code = "stateMismatch"


class TooManyChanges(MethodError):
    """There are more changes than the client wants to hear of."""

    code = "tooManyChanges"


class RequestTooLarge(MethodError):
    """More objects, or more octets of them, than one call may ask for."""

    code = "requestTooLarge"


class CannotCalculateChanges(MethodError):
    """The state is unknown here or too old; the client has to fetch everything again."""

    code = "cannotCalculateChanges"


class AnchorNotFound(MethodError):
    """The anchor of a query is not among its results."""

    code = "anchorNotFound"


class UnsupportedSort(MethodError):
    """A sort property or collation that this server does not have."""

    code = "unsupportedSort"


class UnsupportedFilter(MethodError):
    """A filter condition that this server does not have, or a filter that is too large."""

    code = "unsupportedFilter"


class SetError(JmapError):
    """One record of a /set, /copy or import was refused; the others go on (RFC 8620 §5.3).

    `code` is the error's type on the wire; `members` are what that type has beside its description, by the names on
    the wire, like `existingId`.
    """

    def __init__(self, code: str, description: str, **members: object) -> None:
        super().__init__(description)
        self.code = code
        self.description = description
        self.members = members

    def value(self) -> dict[str, object]:
        """The SetError object."""
        return {"type": self.code, "description": self.description, **self.members}


class Conflict(SetError):
    """Refused as things are; but another record of the same call may be what is in the way.

    The record is tried again when the others are done.
    """


def invalid_properties(description: str, names: Iterable[str]) -> SetError:
    """The SetError `invalidProperties`; `names` are those of all properties at fault."""
    return SetError("invalidProperties", description, properties=list(names))
