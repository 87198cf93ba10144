"""What can go wrong with a CA, as one exception: what the CA says itself, and what is wrong with what it says."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

_URN = "urn:ietf:params:acme:error:"
_LONGEST_TEXT = 1000

# Types of errors that are found on this side; those of the CA are in RFC 8555 §6.7 and its registry.
UNREACHABLE = "unreachable"
TIMEOUT = "timeout"
BAD_ANSWER = "badAnswer"
BAD_NAME = "badName"
BAD_EXTERNAL_ACCOUNT = "badExternalAccount"
TERMS_NOT_AGREED = "termsNotAgreed"
FAILED = "failed"


class Subproblem(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with one identifier (RFC 8555 §6.7.1). `type` is as in AcmeError; `identifier` may be empty."""

    type: str
    detail: str = ""
    identifier: str = ""

    def __str__(self) -> str:
        about = f"{self.identifier}: " if self.identifier else ""
        return f"{about}{self.detail or 'no reason given'} ({self.type})"


class AcmeError(Exception):
    """An operation failed. `str()` is one line; `lines()` adds one line for each subproblem.

    `type` is a name of RFC 8555 §6.7 without its URN prefix (such as "rateLimited"), one of this module's constants, or
    the URI that the CA sent. `status` is that of HTTP, 0 without an answer. `retry_after` is in seconds.
    """

    def __init__(
        self,
        type: str,  # noqa: A002 (named as in problem documents)
        title: str = "",
        detail: str = "",
        *,
        status: int = 0,
        retry_after: float | None = None,
        subproblems: Sequence[Subproblem] = (),
    ) -> None:
        super().__init__(type, title, detail)
        self.type = type
        self.title = one_line(title)
        self.detail = one_line(detail)
        self.status = status
        self.retry_after = retry_after
        self.subproblems = tuple(subproblems)

    def __str__(self) -> str:
        text = ": ".join(part for part in (self.title, self.detail) if part) or "no reason given"
        return f"{text} ({self.type})"

    def lines(self) -> list[str]:
        """The error and each of its subproblems, a readable line each."""
        return [str(self), *map(str, self.subproblems)]

    @property
    def transient(self) -> bool:
        """Whether the same request may well succeed in a moment: the CA is away, slow, overloaded or broken."""
        return self.type in (UNREACHABLE, TIMEOUT) or self.status == 429 or self.status >= 500


class _Identifier(msgspec.Struct, frozen=True, kw_only=True):
    value: str


class _Subproblem(msgspec.Struct, frozen=True, kw_only=True):
    type: str = "about:blank"
    detail: str = ""
    title: str = ""
    identifier: _Identifier | None = None


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """A problem document (RFC 9457) with ACME's subproblems (RFC 8555 §6.7.1), as the CA sent it."""

    type: str = "about:blank"
    title: str = ""
    detail: str = ""
    instance: str = ""
    subproblems: list[_Subproblem] = []

    def error(self, where: str, *, status: int = 0, retry_after: float | None = None) -> AcmeError:
        """The exception for it. `where` says whose problem it is, such as the URL that was asked."""
        detail = self.detail or self.title or (f"HTTP status {status}" if status else "")
        if _short(self.type) == "userActionRequired" and self.instance:
            # RFC 8555 §7.3.3: where a person has to go, to agree to new terms.
            detail = f"{detail} {self.instance}"
        return AcmeError(
            _short(self.type),
            where,
            detail,
            status=status,
            retry_after=retry_after,
            subproblems=[
                Subproblem(
                    type=_short(each.type),
                    detail=one_line(each.detail or each.title),
                    identifier=one_line(each.identifier.value) if each.identifier else "",
                )
                for each in self.subproblems
            ],
        )


def _short(urn: str) -> str:
    return one_line(urn.removeprefix(_URN))


def one_line(text: str) -> str:
    """A text of somebody else as it may stand in one line of a log."""
    return " ".join("".join(char if char.isprintable() else " " for char in text[:_LONGEST_TEXT]).split())
