"""The body of an Email to be created: EmailBodyParts and body values that a client sent (RFC 8621 §4.1.4, §4.6)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from stalwart.jmap.contents import Content
from stalwart.jmap.types.email_fields import Fields, Problems
from stalwart.mail.build import NewPart, parameterized_field
from stalwart.mail.build_fields import InvalidValue, message_id_field, raw_field
from stalwart.mail.headers import HeaderField
from stalwart.mail.parameters import parse_parameterized

# What the reader takes (`mail.message`), so that all that is created can be read again.
_DEEPEST = 45
_MOST_PARTS = 1000

_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+\-]{1,127}/[A-Za-z0-9!#$&^_.+\-]{1,127}", re.ASCII)
_TOKEN = re.compile(r"[A-Za-z0-9!#$&^_.+\-]{1,100}", re.ASCII)
_LANGUAGE = re.compile(r"[A-Za-z0-9-]{1,40}", re.ASCII)
_LOCATION = re.compile(r"[!-;=?-~]{1,500}", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_LONGEST_NAME = 400

# RFC 8621 §4.1.4: what stands for which field of a part
_FIELD_OF = {
    "type": "Content-Type",
    "charset": "Content-Type",
    "disposition": "Content-Disposition",
    "cid": "Content-ID",
    "language": "Content-Language",
    "location": "Content-Location",
}
_PROPERTIES = frozenset({*_FIELD_OF, "name", "partId", "blobId", "size", "subParts"})
_TYPES: Mapping[str, Any] = {
    **dict.fromkeys(("partId", "blobId", "name", "type", "charset", "disposition", "cid", "location"), str),
    "size": int,
    "language": list[str],
    "subParts": list[dict[str, Any]],
}


class _BodyValue(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    value: str
    is_encoding_problem: bool | None = False
    is_truncated: bool | None = False


def body_values(given: Mapping[str, Any], problems: Problems) -> dict[str, str]:
    """The text of each value by its partId."""
    texts: dict[str, str] = {}
    for part_id, one in given.items():
        path = f"bodyValues/{part_id}"
        try:
            value = msgspec.convert(one, _BodyValue)
        except msgspec.ValidationError as error:
            problems.add(path, str(error))
            continue
        # RFC 8621 §4.6: both MUST be either false or omitted
        if value.is_encoding_problem:
            problems.add(f"{path}/isEncodingProblem", "must be false")
        if value.is_truncated:
            problems.add(f"{path}/isTruncated", "must be false")
        texts[part_id] = value.value
    return texts


class Parts:
    """Reads the parts of one Email. `find` gives the content of a blobId, or None."""

    def __init__(self, texts: Mapping[str, str], find: Callable[[str], Content | None], problems: Problems) -> None:
        self.octets = 0
        """Of the blobs that the parts take their contents from."""
        self.characters = 0
        """Of the texts: one value may be in many parts."""
        self._texts = texts
        self._find = find
        self._problems = problems
        self._left = _MOST_PARTS

    def read(
        self, given: Mapping[str, Any], path: str, *, wanted_type: str | None = None, leaf: bool = False, depth: int = 1
    ) -> NewPart:
        """The part; what is wrong with it goes to the problems. A `leaf` has no subParts."""
        self._left -= 1
        if self._left < 0 or depth > _DEEPEST:
            self._problems.add(path, f"at most {_MOST_PARTS} parts, nested {_DEEPEST} deep, can be created")
            return NewPart(type="text/plain")
        values = self._decoded(given, path)
        fields = Fields(self._problems)
        for key, value in given.items():
            if key.startswith("header:"):
                if _name_of(key) == "content-transfer-encoding":
                    # RFC 8621 §4.6: MUST NOT be given
                    self._problems.add(f"{path}/{key}", "the server chooses the transfer encoding")
                else:
                    fields.add_property(key, value, f"{path}/{key}")
        for key, name in _FIELD_OF.items():
            # `type` and `charset` are one field, and no contradiction.
            if values.get(key) is not None and (key != "charset" or "type" not in values):
                fields.claim(name, f"{path}/{key}")
        raw = {field.name.lower(): field for field in fields.fields}
        media_type, parameters = self._media_type(values, raw.get("content-type"), path, wanted_type)
        made = [field for field in fields.fields if field.name.lower() != "content-type"]
        made += self._content_fields(values, raw, parameters, path)
        self._check_leaf(values, media_type, path, leaf=leaf)
        part = NewPart(type=media_type, parameters=tuple(parameters.items()), fields=tuple(made))
        if media_type.startswith("multipart/"):
            sub_parts = values.get("subParts") or []
            if not sub_parts:
                self._problems.add(f"{path}/subParts", "a multipart has at least one part")  # RFC 2046 §5.1
            return msgspec.structs.replace(
                part,
                sub_parts=tuple(
                    self.read(one, f"{path}/subParts/{index}", depth=depth + 1) for index, one in enumerate(sub_parts)
                ),
            )
        return msgspec.structs.replace(part, content=self._content(values, path))

    def _decoded(self, given: Mapping[str, Any], path: str) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, value in given.items():
            if key == "headers":
                # RFC 8621 §4.6: each header field is a property of its own
                self._problems.add(f"{path}/headers", "header fields are set one by one, as header:NAME")
            elif key in _PROPERTIES:
                if value is not None:
                    try:
                        values[key] = msgspec.convert(value, _TYPES[key])
                    except msgspec.ValidationError as error:
                        self._problems.add(f"{path}/{key}", str(error))
            elif not key.startswith("header:"):
                self._problems.add(f"{path}/{key}", "an EmailBodyPart has no such property")
        return values

    def _media_type(
        self, values: Mapping[str, Any], raw: HeaderField | None, path: str, wanted: str | None
    ) -> tuple[str, dict[str, str]]:
        parameters: dict[str, str] = {}
        if raw is not None:
            found = parse_parameterized(raw.raw)
            media_type = found.value
            # The boundary is the server's, and so is the charset of text that it encodes itself.
            left_out = {"boundary"} if "blobId" in values else {"boundary", "charset"}
            parameters = {key: value for key, value in found.parameters.items() if key not in left_out}
            for key in parameters:
                if len(key) > 60 or _CONTROL.search(parameters[key]):
                    self._problems.add(path, "a parameter of Content-Type can't be written")
        else:
            fallback = "multipart/mixed" if "subParts" in values else "text/plain"
            if "blobId" in values:
                fallback = "application/octet-stream"
            media_type = values.get("type", wanted or fallback).lower()
        if not _TYPE.fullmatch(media_type):
            self._problems.add(f"{path}/type", f"{media_type[:100]!r} is not a media type")
            media_type = "text/plain"
        if wanted is not None and media_type != wanted:
            self._problems.add(f"{path}/type", f"must be {wanted} here")  # RFC 8621 §4.6
        if (charset := values.get("charset")) is not None:
            if not _TOKEN.fullmatch(charset):
                self._problems.add(f"{path}/charset", "is not the name of a charset")
            parameters["charset"] = charset
        return media_type, parameters

    def _content_fields(
        self, values: Mapping[str, Any], raw: Mapping[str, HeaderField], parameters: dict[str, str], path: str
    ) -> list[HeaderField]:
        made: list[HeaderField] = []
        name = values.get("name")
        if name is not None and (_CONTROL.search(name) or len(name) > _LONGEST_NAME):
            self._problems.add(f"{path}/name", f"at most {_LONGEST_NAME} characters, none of them a control character")
            name = None
        if name and "content-disposition" in raw:
            self._problems.add(f"{path}/name", "is given by header:Content-Disposition too")
        disposition = values.get("disposition")
        if disposition is not None:
            if _TOKEN.fullmatch(disposition):
                file_name = [("filename", name)] if name else []
                made.append(parameterized_field("Content-Disposition", disposition, file_name))
            else:
                self._problems.add(f"{path}/disposition", "must be a word such as inline or attachment")
        elif name:
            # RFC 8621 §4.1.4: `name` may come from here as well; a disposition that nobody gave is not made up.
            parameters["name"] = name
        if (cid := values.get("cid")) is not None:
            try:
                made.append(message_id_field("Content-ID", [cid]))
            except InvalidValue as error:
                self._problems.add(f"{path}/cid", str(error))
        if language := values.get("language"):
            if all(map(_LANGUAGE.fullmatch, language)) and len(language) <= 10:
                made.append(raw_field("Content-Language", " " + ", ".join(language)))
            else:
                self._problems.add(f"{path}/language", "at most 10 language tags, such as de-AT")
        if (location := values.get("location")) is not None:
            if _LOCATION.fullmatch(location):
                made.append(raw_field("Content-Location", " " + location))
            else:
                self._problems.add(f"{path}/location", "is not a URI of at most 500 characters")
        return made

    def _check_leaf(self, values: Mapping[str, Any], media_type: str, path: str, *, leaf: bool) -> None:
        """RFC 8621 §4.6, "Within an EmailBodyPart"."""
        if media_type.startswith("multipart/"):
            for key in ("partId", "blobId", "charset", "size"):
                if key in values:
                    self._problems.add(f"{path}/{key}", "a multipart has none")
            if leaf:
                self._problems.add(f"{path}/type", "a multipart can only be in bodyStructure")
            return
        if values.get("subParts"):
            self._problems.add(f"{path}/subParts", "only a multipart has parts")
        if "partId" in values:
            for key, text in (
                ("blobId", "a part has a partId or a blobId, not both"),
                ("charset", "must be left out where there is a partId: the server chooses it"),
                ("size", "must be left out where there is a partId"),
            ):
                if key in values:
                    self._problems.add(f"{path}/{key}", text)
            if values["partId"] not in self._texts:
                self._problems.add(f"{path}/partId", f"{values['partId'][:100]!r} is not in bodyValues")
            if not media_type.startswith("text/"):
                self._problems.add(f"{path}/type", "a part with a partId is text")
        elif "blobId" not in values:
            self._problems.add(f"{path}/partId", "a part has a partId or a blobId")

    def _content(self, values: Mapping[str, Any], path: str) -> str | Callable[[], Any]:
        if "partId" in values:
            text = self._texts.get(values["partId"], "")
            self.characters += len(text)
            return text
        blob_id = values.get("blobId")
        if blob_id is None:
            return ""
        content = self._find(blob_id)
        if content is None:
            self._problems.missing_blobs[blob_id] = None
            return ""
        self.octets += content.size
        return content.pieces


def compose(text: NewPart | None, html: NewPart | None, attachments: Sequence[NewPart]) -> NewPart:
    """The tree for textBody, htmlBody and attachments: it gives the same three lists when it is read."""
    related: list[NewPart] = []
    other: list[NewPart] = []
    for part in attachments:
        (related if html is not None and _shown_in_html(part) else other).append(part)
    if html is not None and related:
        # RFC 2387: the root, and what it shows
        html = NewPart(type="multipart/related", parameters=(("type", "text/html"),), sub_parts=(html, *related))
    bodies = tuple(part for part in (text, html) if part is not None)
    if len(bodies) == 2:
        body = NewPart(type="multipart/alternative", sub_parts=bodies)
    else:
        body = bodies[0] if bodies else NewPart(type="text/plain")
    if not other:
        return body
    return NewPart(type="multipart/mixed", sub_parts=(body, *map(_as_attachment, other)))


def _shown_in_html(part: NewPart) -> bool:
    disposition = _disposition(part)
    return any(field.name.lower() == "content-id" for field in part.fields) and disposition in (None, "inline")


def _as_attachment(part: NewPart) -> NewPart:
    if _disposition(part) is not None:
        return part
    # Without one, an image would be read as a part of the body (RFC 8621 §4.1.4).
    names = [("filename", value) for key, value in part.parameters if key == "name"]
    field = parameterized_field("Content-Disposition", "attachment", names)
    rest = tuple(one for one in part.parameters if one[0] != "name")
    return msgspec.structs.replace(part, fields=(*part.fields, field), parameters=rest)


def _disposition(part: NewPart) -> str | None:
    for field in part.fields:
        if field.name.lower() == "content-disposition":
            return parse_parameterized(field.raw).value
    return None


def _name_of(key: str) -> str:
    return key.split(":", 2)[1].strip().lower()
