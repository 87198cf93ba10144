"""A value that must not reach a log, an error or a traceback by accident."""

from __future__ import annotations

MASK = "********"


class Secret:
    """Holds a text that `repr`, `str` and formatting hide. Ask for it with `reveal()` where it is used."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __str__(self) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash((Secret, self._text))
