"""Errors as problem documents (RFC 9457): the one form in which a refusal leaves this server."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

import msgspec

from stalwart.http.response import Response

_TITLES = {status.value: status.phrase for status in HTTPStatus}
# RFC 9110 renamed some of them after Python's table was made.
_TITLES |= {413: "Content Too Large", 414: "URI Too Long", 422: "Unprocessable Content"}


def title_of(status: int) -> str:
    """The standard reason phrase of a status, or '' for a number that has none."""
    return _TITLES.get(status, "")


class Problem(Exception):
    """A refusal with a status code. Raised anywhere below an endpoint, it becomes the answer.

    `detail` is shown to the client; what only the operator may see belongs in `__cause__`.
    """

    def __init__(
        self,
        status: int,
        detail: str = "",
        *,
        title: str | None = None,
        type: str = "about:blank",  # noqa: A002 - the member's name in RFC 9457
        headers: tuple[tuple[str, str], ...] = (),
        extra: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail
        self.title = title_of(status) if title is None else title
        self.type = type
        self.headers = headers
        self.extra = extra or {}

    def document(self) -> dict[str, object]:
        """The members of the problem document (RFC 9457 §3.1)."""
        return {
            "type": self.type,
            "status": self.status,
            "title": self.title,
            "detail": self.detail or self.title,
            **self.extra,
        }

    def response(self) -> Response:
        """The answer that carries this problem."""
        return Response(
            status=self.status,
            body=msgspec.json.encode(self.document()),
            content_type="application/problem+json",
            headers=self.headers,
        )
