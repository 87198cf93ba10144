"""The languages of the pages: catalogues of texts by their English wording, and which of them a browser wants."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from importlib import resources

import msgspec

Translate = Callable[..., str]

DEFAULT = "en"
"""The language that the texts are written in."""

_MOST_HEADER = 1000
# RFC 9110 §12.5.4, §12.4.2
_RANGE = re.compile(
    r"[ \t]*([A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*|\*)[ \t]*"
    r"(?:;[ \t]*[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?[ \t]*"
)


def _load() -> Mapping[str, Mapping[str, str]]:
    folder = resources.files(__package__) / "locales"
    files = [file for file in folder.iterdir() if file.name.endswith(".json")]
    return {
        file.name.removesuffix(".json"): msgspec.json.decode(file.read_bytes(), type=dict[str, str]) for file in files
    }


CATALOGUES = _load()
"""Language -> English text -> text."""


def translator(language: str) -> Translate:
    """What gives a text in a language: `translate("Signed in as {name}", name=...)`."""
    catalogue = CATALOGUES.get(language, {})

    def translate(text: str, **values: object) -> str:
        found = catalogue.get(text, text)
        return found.format(**values) if values else found

    return translate


def choose_language(wanted: Iterable[str | None], accept_language: bytes = b"") -> str:
    """The first of these language tags that there are pages in, else what the browser prefers. RFC 4647 §3.4"""
    for tag in [*wanted, *_accepted(accept_language.decode("latin-1"))]:
        while tag:
            language = tag.lower()
            if language in CATALOGUES or language == DEFAULT:
                return language
            tag = tag.rpartition("-")[0]
    return DEFAULT


def _accepted(header: str) -> list[str]:
    """The tags of an Accept-Language field, the best first."""
    ranges: list[tuple[float, int, str]] = []
    for part in header[:_MOST_HEADER].split(","):
        match = _RANGE.fullmatch(part)
        if match is not None:
            quality = float(match[2] or 1)
            if quality and match[1] != "*":
                ranges.append((-quality, len(ranges), match[1]))
    return [tag for _, _, tag in sorted(ranges)]
