"""The functions on texts.

What maps over arrays is given one text here; the table in `functions` says which do. All take and give bounded values.
"""

from __future__ import annotations

import hashlib
import re

from stalwart.expr.errors import EvalError
from stalwart.expr.limits import MAX_ITEMS
from stalwart.expr.values import Value, bounded_text, to_integer, to_text

HASHES = ("md5", "sha1", "sha256", "sha512")
# RFC 5321 §4.1.2: an Atom, with what RFC 6531 §3.3 adds.
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\U0010ffff-]+"
_LABEL = r"[A-Za-z0-9\x80-\U0010ffff](?:[A-Za-z0-9\x80-\U0010ffff-]{0,61}[A-Za-z0-9\x80-\U0010ffff])?"
_LOCAL_PART = re.compile(rf'(?:{_ATOM}(?:\.{_ATOM})*|"(?:[^"\\\x00-\x1f]|\\[ -~])*")\Z')
_DOMAIN = re.compile(rf"(?:{_LABEL}\.)+{_LABEL}\Z")
_WORD = re.compile(r"[^\W_]+")


def trim(text: str) -> str:
    """Without white space around."""
    return text.strip()


def trim_start(text: str) -> str:
    """Without white space before."""
    return text.lstrip()


def trim_end(text: str) -> str:
    """Without white space behind."""
    return text.rstrip()


def to_lowercase(text: str) -> str:
    """Small letters."""
    return bounded_text(text.lower())


def to_uppercase(text: str) -> str:
    """Capital letters."""
    return bounded_text(text.upper())


def is_uppercase(value: Value) -> bool:
    """Whether no letter is other than a capital."""
    return all(c.isupper() for c in to_text(value) if c.isalpha())


def is_lowercase(value: Value) -> bool:
    """Whether no letter is other than small."""
    return all(c.islower() for c in to_text(value) if c.isalpha())


def has_digits(value: Value) -> bool:
    """Whether a digit 0 to 9 occurs."""
    return any("0" <= c <= "9" for c in to_text(value))


def count_spaces(value: Value) -> int:
    """Characters of white space."""
    return sum(map(str.isspace, to_text(value)))


def count_uppercase(value: Value) -> int:
    """Capital letters."""
    return sum(map(str.isupper, to_text(value)))


def count_lowercase(value: Value) -> int:
    """Small letters."""
    return sum(map(str.islower, to_text(value)))


def count_chars(value: Value) -> int:
    """Characters (not octets)."""
    return len(to_text(value))


def length(value: Value) -> int:
    """Octets of a text in UTF-8, items of an array."""
    return len(value) if isinstance(value, tuple) else len(to_text(value).encode("utf-8", "surrogatepass"))


def eq_ignore_case(left: Value, right: Value) -> bool:
    """Equality of texts without regard to case."""
    return to_text(left).lower() == to_text(right).lower()


def starts_with(value: Value, prefix: Value) -> bool:
    """Whether a text begins with another."""
    return to_text(value).startswith(to_text(prefix))


def ends_with(value: Value, suffix: Value) -> bool:
    """Whether a text ends with another."""
    return to_text(value).endswith(to_text(suffix))


def lines(value: Value) -> Value:
    """Lines without their ends (LF or CRLF); a last empty one doesn't count."""
    parts = _split(to_text(value), "\n", MAX_ITEMS + 1)
    if parts[-1] == "":
        parts.pop()
    return _items([part.removesuffix("\r") for part in parts])


def substring(value: Value, start: Value, count: Value) -> str:
    """By characters, from zero."""
    first = max(0, to_integer(start))
    return to_text(value)[first : first + max(0, to_integer(count))]


def strip_prefix(value: Value, prefix: Value) -> str:
    """What follows the prefix, or '' if the text doesn't begin with it."""
    text, head = to_text(value), to_text(prefix)
    return text[len(head) :] if text.startswith(head) else ""


def strip_suffix(value: Value, suffix: Value) -> str:
    """What stands before the suffix, or '' if the text doesn't end with it."""
    text, tail = to_text(value), to_text(suffix)
    return text[: len(text) - len(tail)] if text.endswith(tail) else ""


def split(value: Value, separator: Value) -> Value:
    """The pieces between separators; an empty separator stands before, between and after all characters."""
    return _items(_split(to_text(value), to_text(separator), MAX_ITEMS + 1))


def rsplit(value: Value, separator: Value) -> Value:
    """The pieces from the last to the first."""
    return _items(_split(to_text(value), to_text(separator), MAX_ITEMS + 1)[::-1])


def split_n(value: Value, separator: Value, count: Value) -> Value:
    """At most so many pieces; the last one has all that is left."""
    pieces = min(to_integer(count), MAX_ITEMS + 1)
    return _items(_split(to_text(value), to_text(separator), pieces)) if pieces > 0 else ()


def split_once(value: Value, separator: Value) -> Value:
    """What stands before and after the first separator, or '' without one."""
    parts = _split(to_text(value), to_text(separator), 2)
    return tuple(parts) if len(parts) == 2 else ""


def rsplit_once(value: Value, separator: Value) -> Value:
    """What stands before and after the last separator, or '' without one."""
    text, by = to_text(value), to_text(separator)
    if not by:
        return (text, "")
    parts = text.rsplit(by, 1)
    return tuple(parts) if len(parts) == 2 else ""


def split_words(value: Value) -> Value:
    """The runs of letters and digits."""
    found: list[str] = []
    for match in _WORD.finditer(to_text(value)):
        found.append(match[0])
        if len(found) > MAX_ITEMS:
            break
    return _items(found)


def piece(text: str, separator: str, at: int) -> str:
    """`split(text, separator)[at]`, without the pieces behind it; the separator is not empty."""
    parts = text.split(separator, at + 1)
    return parts[at] if at < len(parts) else ""


def hash_text(value: Value, algorithm: Value) -> str:
    """The digest in hexadecimal, or '' for an unknown algorithm."""
    name = to_text(algorithm)
    if name not in HASHES:
        return ""
    return hashlib.new(name, to_text(value).encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()


def is_email(value: Value) -> bool:
    """Whether a text is written as a mail address with a domain of two labels or more."""
    local, at, domain = to_text(value).rpartition("@")
    if not at or len(local) > 64 or len(domain) > 255:  # RFC 5321 §4.5.3.1
        return False
    return _LOCAL_PART.match(local) is not None and _DOMAIN.match(domain) is not None


def email_part(value: Value, part: Value) -> str:
    """The local part or the domain of a mail address, or '' if there is no "@"."""
    local, at, domain = to_text(value).rpartition("@")
    if not at:
        return ""
    return {"local": local, "domain": domain}.get(to_text(part), "").strip()


def _split(text: str, separator: str, pieces: int) -> list[str]:
    """At most `pieces` (one or more) parts of a text."""
    if separator:
        return text.split(separator, pieces - 1)
    if pieces >= len(text) + 2:
        return ["", *text, ""]
    head = ["", *text[: pieces - 1]][: pieces - 1]
    return [*head, text[max(0, pieces - 2) :]]


def _items(parts: list[str]) -> Value:
    if len(parts) > MAX_ITEMS:
        raise EvalError(f"an array of more than {MAX_ITEMS} items")
    return tuple(parts)
