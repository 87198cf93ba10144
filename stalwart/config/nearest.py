"""The known name that a mistyped one was most likely meant to be."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection

_LONGEST = 100  # characters of a name that is compared with others
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def nearest(name: str, known: Collection[str]) -> str | None:
    """The known name that is most like `name`, None if none is; case, `_` and camelCase don't count."""
    plain = _CAMEL.sub("-", name[:_LONGEST]).lower().replace("_", "-")
    match = difflib.get_close_matches(plain, list(known), n=1, cutoff=0.6)
    match = match or [one for one in known if plain in one.split("-")]
    return match[0] if match else None
