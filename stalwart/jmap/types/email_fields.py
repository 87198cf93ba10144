"""Header fields of an Email or body part to be created, from the properties that a client sent (RFC 8621 §4.1.3)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from stalwart.jmap.errors import InvalidArguments, SetError, invalid_properties
from stalwart.jmap.types.email_headers import header_property
from stalwart.mail.addresses import Address, AddressGroup
from stalwart.mail.build_fields import (
    InvalidValue,
    address_field,
    date_field,
    message_id_field,
    raw_field,
    text_field,
    url_field,
)
from stalwart.mail.headers import Form, HeaderField

# RFC 8621 §4.1.3: what each convenience property stands for
CONVENIENCE: Mapping[str, tuple[str, Form]] = {
    "messageId": ("Message-ID", "message-ids"),
    "inReplyTo": ("In-Reply-To", "message-ids"),
    "references": ("References", "message-ids"),
    "sender": ("Sender", "addresses"),
    "from": ("From", "addresses"),
    "to": ("To", "addresses"),
    "cc": ("Cc", "addresses"),
    "bcc": ("Bcc", "addresses"),
    "replyTo": ("Reply-To", "addresses"),
    "subject": ("Subject", "text"),
    "sentAt": ("Date", "date"),
}
_MOST_INSTANCES = 1000
# RFC 8620 §1.4
_DATE = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})", re.ASCII
)


class Problems:
    """What is wrong with an Email to be created: the paths of properties, and blobs that there are not."""

    def __init__(self) -> None:
        self.missing_blobs: dict[str, None] = {}
        self._wrong: dict[str, str] = {}

    def add(self, path: str, text: str) -> None:
        """The property at `path` (a JSON Pointer without its first slash) is wrong."""
        self._wrong.setdefault(path, text)

    def check(self) -> None:
        """Raises SetError, `invalidProperties` or `blobNotFound`, if there is anything wrong."""
        if self._wrong:
            described = " ".join(f"{path[:200]}: {text}." for path, text in self._wrong.items())
            raise invalid_properties(described[:2000], self._wrong)
        if self.missing_blobs:
            # RFC 8621 §4.6: notFound MUST have every blobId that could not be found
            raise SetError("blobNotFound", "There are no such blobs.", notFound=list(self.missing_blobs))


class Fields:
    """Header fields of one header, no field in two representations (RFC 8621 §4.6)."""

    def __init__(self, problems: Problems) -> None:
        self.fields: list[HeaderField] = []
        self._problems = problems
        self._sources: dict[str, str] = {}

    @property
    def names(self) -> frozenset[str]:
        """The names that are there, in lower case."""
        return frozenset(field.name.lower() for field in self.fields)

    def claim(self, name: str, path: str) -> bool:
        """Note which property stands for the field of this name; False, and a problem, if another one does."""
        other = self._sources.setdefault(name.lower(), path)
        if other == path:
            return True
        text = f"the header field {name[:100]} is given by another property too"
        self._problems.add(other, text)
        self._problems.add(path, text)
        return False

    def add_convenience(self, key: str, value: object) -> None:
        """Add what `key`, one of `CONVENIENCE`, stands for."""
        if value is None:
            return
        name, form = CONVENIENCE[key]
        if self.claim(name, key):
            self._add(name, form, value, key)

    def add_property(self, key: str, value: object, path: str) -> None:
        """Add what a `header:…` property stands for."""
        try:
            wanted = header_property(key)
        except InvalidArguments as error:
            self._problems.add(path, error.description.removeprefix("properties: ").rstrip("."))
            return
        name = key.split(":", 2)[1]
        if value is None or not self.claim(name, path):
            return
        if not wanted.every:
            self._add(name, wanted.form, value, path)
        elif not isinstance(value, list) or len(value) > _MOST_INSTANCES:
            self._problems.add(path, f"an array of at most {_MOST_INSTANCES} values is wanted")
        else:
            for index, one in enumerate(value):
                self._add(name, wanted.form, one, f"{path}/{index}")

    def _add(self, name: str, form: Form, value: object, path: str) -> None:
        try:
            field = _WRITE[form](name, value)
        except msgspec.ValidationError as error:
            self._problems.add(path, str(error))
        except InvalidValue as error:
            self._problems.add(path, str(error))
        else:
            if field is not None:
                self.fields.append(field)


class _Address(msgspec.Struct, forbid_unknown_fields=True):
    email: str
    name: str | None = None


class _Group(msgspec.Struct, forbid_unknown_fields=True):
    addresses: list[_Address]
    name: str | None = None


def parse_jmap_date(text: str) -> datetime:
    """A Date of RFC 8620 §1.4. InvalidValue."""
    if _DATE.fullmatch(text):
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            pass
    raise InvalidValue(f"{text[:100]!r} is not a Date such as 2014-10-30T14:12:00+08:00")


def _raw(name: str, value: object) -> HeaderField:
    return raw_field(name, msgspec.convert(value, str))


def _text(name: str, value: object) -> HeaderField:
    return text_field(name, msgspec.convert(value, str))


def _date(name: str, value: object) -> HeaderField:
    return date_field(name, parse_jmap_date(msgspec.convert(value, str)))


def _addresses(name: str, value: object) -> HeaderField | None:
    addresses = msgspec.convert(value, list[_Address])
    # A field without any address is no field (RFC 5322 §3.6.3): none is written.
    return address_field(name, [_group(None, addresses)]) if addresses else None


def _groups(name: str, value: object) -> HeaderField | None:
    groups = [_group(one.name, one.addresses) for one in msgspec.convert(value, list[_Group])]
    written = [group for group in groups if group.name is not None or group.addresses]
    return address_field(name, written) if written else None


def _group(name: str | None, addresses: list[_Address]) -> AddressGroup:
    return AddressGroup(name, tuple(Address(one.name, one.email) for one in addresses))


def _ids(name: str, value: object) -> HeaderField | None:
    ids = msgspec.convert(value, list[str])
    return message_id_field(name, ids) if ids else None


def _urls(name: str, value: object) -> HeaderField | None:
    urls = msgspec.convert(value, list[str])
    return url_field(name, urls) if urls else None


_WRITE: Mapping[Form, Callable[[str, Any], HeaderField | None]] = {
    "raw": _raw,
    "text": _text,
    "addresses": _addresses,
    "grouped-addresses": _groups,
    "message-ids": _ids,
    "date": _date,
    "urls": _urls,
}
