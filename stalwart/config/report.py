"""Collects what is wrong with one document, and puts file and line to it."""

from __future__ import annotations

from stalwart.config.document import Document
from stalwart.config.errors import ConfigError, ConfigWarning, KeyPath, key_text
from stalwart.config.rules import RuleFault


class Report:
    """The errors and warnings met so far, about keys of one document."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self._errors: list[ConfigError] = [] if document.old is None else list(document.old.faults)
        self._warnings: list[ConfigWarning] = []

    def error(self, path: KeyPath, *, found: str | None, wanted: str) -> None:
        """Note a fault at a key. `found` must be quoted already, and hold no secret."""
        line = self.document.line(path)
        self._errors.append(
            ConfigError(file=self.document.file, line=line, key=self.key(path), found=found, wanted=wanted)
        )

    def warn(self, path: KeyPath, text: str) -> None:
        """Note something that works, but hardly as it was meant."""
        line = self.document.line(path)
        self._warnings.append(ConfigWarning(file=self.document.file, line=line, key=self.key(path), text=text))

    def rule(self, fault: RuleFault) -> None:
        """Note what is wrong or odd with the text of a rule."""
        place, line, key = fault.source.file, fault.source.line, fault.source.key
        if fault.is_error:
            self._errors.append(ConfigError(file=place, line=line, key=key, text=fault.text))
        else:
            self._warnings.append(ConfigWarning(file=place, line=line, key=key, text=fault.text))

    def key(self, path: KeyPath) -> str:
        """The key as the file spells it."""
        return key_text(self.document.as_written(path))

    @property
    def errors(self) -> tuple[ConfigError, ...]:
        """All errors in the order of the file."""
        return tuple(sorted(self._errors, key=lambda error: error.line or 0))

    @property
    def warnings(self) -> tuple[ConfigWarning, ...]:
        """All warnings in the order of the file."""
        return tuple(sorted(self._warnings, key=lambda warning: warning.line or 0))
