"""`%{env:NAME}%` and `%{file:/path}%` inside text values."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

import msgspec

from stalwart.config.document import SIZE_LIMIT, ReadFile, cannot_read
from stalwart.config.errors import printable, quoted

_MACRO = re.compile(r"%\{([A-Za-z]+):(.*?)\}%", re.DOTALL)


class BadMacro(Exception):
    """A macro that cannot be expanded; the message says what was wanted."""


class Expanded(msgspec.Struct, frozen=True, kw_only=True):
    """A value with its macros replaced, and what they drew on."""

    value: str
    variables: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


def expand(text: str, environ: Mapping[str, str], folder: str, read: ReadFile) -> Expanded:
    """Replace every macro in `text`, once: what a macro gives is not searched again. Raises `BadMacro`.

    A relative path counts from `folder`; line ends at the end of a file are left out.
    """
    if "%{" not in text:
        return Expanded(value=text)
    variables: list[str] = []
    files: list[str] = []

    def replacement(match: re.Match[str]) -> str:
        macro, argument = match[1], match[2].strip()
        if macro == "env":
            if argument not in environ:
                raise BadMacro(f"the environment variable {printable(argument) or 'NAME'} to be set")
            variables.append(argument)
            return environ[argument]
        if macro == "file":
            files.append(argument)
            return _content(argument, folder, read)
        raise BadMacro("one of the macros %{env:NAME}% and %{file:/path}%")

    return Expanded(value=_MACRO.sub(replacement, text), variables=tuple(variables), files=tuple(files))


def _content(name: str, folder: str, read: ReadFile) -> str:
    path = os.path.join(folder, name)
    shown = quoted(path)
    try:
        data = read(path)
    except (OSError, ValueError) as error:
        raise BadMacro(f"a file {shown} that can be read ({cannot_read(error)})") from None
    if len(data) > SIZE_LIMIT:
        raise BadMacro(f"a file of at most {SIZE_LIMIT} octets in {shown}")
    try:
        return data.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise BadMacro(f"a file {shown} with text in UTF-8") from None
