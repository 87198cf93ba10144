"""What OAuth requests are refused with: the codes of RFC 6749 and its relatives, and where each is shown."""

from __future__ import annotations

from typing import Literal

UnusableReason = Literal["unknown_client", "redirect_uri", "malformed"]


class OAuthError(Exception):
    """A request that is refused with an error code in a JSON object (RFC 6749 §5.2).

    `status` is the HTTP status; `retry_after` in how many seconds to ask again; `description` is for the developer of
    the client, in ASCII without quotes; `reason` is for the log, where the operator should hear of it.
    """

    def __init__(
        self,
        code: str,
        description: str,
        *,
        status: int = 400,
        reason: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(code, description)
        self.code = code
        self.description = description
        self.status = status
        self.reason = reason
        self.retry_after = retry_after


class UnusableRequest(Exception):
    """An authorization request that must not lead anywhere: it is shown to the user instead (RFC 6749 §4.1.2.1)."""

    def __init__(self, reason: UnusableReason, description: str) -> None:
        super().__init__(description)
        self.reason: UnusableReason = reason
        self.description = description


class RefusedRequest(Exception):
    """An authorization request whose error goes back to the client: send the browser to `redirect` (with 303)."""

    def __init__(self, redirect: str, code: str) -> None:
        super().__init__(code)
        self.redirect = redirect
        self.code = code
