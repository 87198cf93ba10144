"""Address lists as RFC 5322 §3.4 writes them, the obsolete syntax (§4.4) and common mistakes included.

Reading never fails: what is no address is given as one whose email is the text found.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from stalwart.mail.comments import comment_end, outside_quotes, strip_comments
from stalwart.mail.words import decode_words, nfc

__all__ = ["MAX_ADDRESSES", "Address", "AddressGroup", "parse_address_list"]

#: Addresses after this many in one field are not read.
MAX_ADDRESSES: Final = 10_000

_TOKEN: Final = re.compile(
    r"""
      (?P<space>[\s]++)
    | (?P<word>=\?[^\s?]{1,64}+\?[bBqQ]\?[^\s?]*+\?=)
    | (?P<atom>[^\s()<>\[\]:;@\\,"]++)
    | (?P<special>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_QUOTED: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_LITERAL: Final = re.compile(r"\[[^\[\]\\]*+(?:\\.[^\[\]\\]*+)*+\]", re.DOTALL)
_ANGLE_REST: Final = re.compile(r"[^,;<>\"]*+")
_QUOTED_LOCAL: Final = re.compile(r'\s*+(?:@[^:<>"]*+:)?\s*+"[^"\\]*+(?:\\.[^"\\]*+)*+"[^<>"]*+>')
_QUOTED_PAIR: Final = re.compile(r"\\(.)", re.DOTALL)
_ROUTE: Final = re.compile(r"\s*+@[^:\"]*+:")
_SPACES: Final = re.compile(r"\s+")


class Address(msgspec.Struct, frozen=True, gc=False):
    """EmailAddress of RFC 8621 §4.1.2.3."""

    name: str | None
    email: str


class AddressGroup(msgspec.Struct, frozen=True):
    """EmailAddressGroup of RFC 8621 §4.1.2.4; without a name: the addresses that are in no group."""

    name: str | None
    addresses: tuple[Address, ...]


class _Token(msgspec.Struct, frozen=True, gc=False):
    kind: str
    text: str
    spaced: bool  # white space or a comment stands before it


def parse_address_list(text: str) -> tuple[AddressGroup, ...]:
    """The groups of an unfolded address list, in order."""
    return _Reader(text).run()


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.groups: list[AddressGroup] = []
        self.group_name: str | None = None
        self.in_group = False
        self.addresses: list[Address] = []
        self.count = 0
        self.tokens: list[_Token] = []
        self.angle: str | None = None
        # How many of the tokens stand before the angle-addr: its display-name.
        self.name_length = 0
        self.comment: str | None = None
        # The ">" that was found last, which is the next one for every "<" before it.
        self.close = -1
        # Set once a search for the closing mark has failed, so that it isn't made again at each opening one.
        self.no_more: set[str] = set()

    def run(self) -> tuple[AddressGroup, ...]:
        text, match, tokens = self.text, _TOKEN.match, self.tokens
        position, length = 0, len(self.text)
        spaced = False
        while position < length and self.count < MAX_ADDRESSES:
            found = match(text, position)
            assert found is not None  # the last alternative matches anything
            kind, piece = found.lastgroup or "special", found[0]
            end = found.end()
            if piece in ('"', "["):
                closed = (
                    None if piece in self.no_more else (_QUOTED if piece == '"' else _LITERAL).match(text, position)
                )
                if closed is None:
                    self.no_more.add(piece)
                else:
                    kind, piece, end = "quoted" if piece == '"' else "literal", closed[0], closed.end()
            if kind == "space":
                spaced = True
            elif kind != "special":
                tokens.append(_Token(kind, piece, spaced))
                spaced = False
            elif piece == ",":
                self._end_mailbox()
            elif piece == "<":
                end = self._read_angle(end)
            elif piece == ";":
                self._end_group()
            elif piece == ":" and not self.in_group and self.angle is None and not self._has_at():
                self._start_group()
            elif piece == "(" and (close := self._close_comment(position)) > 0:
                self._note_comment(text[position + 1 : close - 1])
                end, spaced = close, True
            else:
                if piece == '"':
                    # An unclosed quote is passed over.
                    piece = ""
                tokens.append(_Token("at" if piece == "@" else "atom", piece, spaced))
                spaced = False
            position = end
        self._end_group()
        return tuple(self.groups)

    def _has_at(self) -> bool:
        return any(token.kind == "at" for token in self.tokens)

    def _close_comment(self, start: int) -> int:
        if "(" in self.no_more:
            return -1
        end = comment_end(self.text, start)
        if end < 0:
            self.no_more.add("(")
        return end

    def _note_comment(self, comment: str) -> None:
        # RFC 8621 §4.1.2.3: a comment right after the addr-spec stands in for a missing display-name.
        if self.comment is None and (self.angle is not None or self.tokens):
            self.comment = comment

    def _read_angle(self, start: int) -> int:
        """Read an angle-addr from the octet after its "<"; gives the index after it."""
        if self.angle is not None:
            # "a <b> c <d>": a comma is missing
            after = self.tokens[self.name_length :]
            self._end_mailbox()
            self.tokens.extend(after)
        quoted = None if '"' in self.no_more else _QUOTED_LOCAL.match(self.text, start)
        if quoted is not None:
            inner, end = quoted[0][:-1], quoted.end()
        else:
            if self.close < start and ">" not in self.no_more:
                self.close = self.text.find(">", start)
                if self.close < 0:
                    self.no_more.add(">")
            close = self.close
            if close < 0 or self.text.find("<", start, close) >= 0:
                rest = _ANGLE_REST.match(self.text, start)
                end = rest.end() if rest else start
                inner = self.text[start:end]
            else:
                inner, end = self.text[start:close], close + 1
        inner = strip_comments(inner)
        if route := _ROUTE.match(inner):
            inner = inner[route.end() :]  # RFC 5322 §4.4: obs-route is ignored
        self.angle = _squeeze(inner)
        self.name_length = len(self.tokens)
        self.comment = None
        return end

    def _start_group(self) -> None:
        self._end_mailbox_list()
        self.group_name = _phrase(self.tokens)
        self.in_group = True
        self.tokens.clear()
        self.comment = None

    def _end_group(self) -> None:
        self._end_mailbox()
        self._end_mailbox_list()
        self.in_group = False
        self.group_name = None

    def _end_mailbox_list(self) -> None:
        if self.in_group or self.addresses:
            self.groups.append(AddressGroup(self.group_name, tuple(self.addresses)))
            self.addresses = []

    def _end_mailbox(self) -> None:
        tokens = self.tokens
        name: str | None
        if self.angle is not None:
            name, email = _phrase(tokens[: self.name_length]), self.angle
        elif tokens:
            start = _spec_start(tokens)
            if start < 0:
                name, email = None, _phrase(tokens) or ""
            else:
                end = _spec_end(tokens, start)
                name = _phrase(tokens[:start])
                email = "".join(token.text for token in tokens[start:end])
        else:
            return
        if name is None and self.comment is not None:
            name = _comment_name(self.comment)
        if name or email:
            self.addresses.append(Address(name, email))
            self.count += 1
        tokens.clear()
        self.angle = self.comment = None


def _glued(before: _Token, after: _Token) -> bool:
    """Whether two tokens are of one addr-spec: RFC 5322 §4.4 allows blanks around "." and "@"."""
    if not after.spaced:
        return True
    return before.kind == "at" or after.kind == "at" or before.text == "." or after.text == "."


def _spec_start(tokens: list[_Token]) -> int:
    """Where the addr-spec around the last "@" starts, or -1."""
    index = len(tokens) - 1
    while index >= 0 and tokens[index].kind != "at":
        index -= 1
    while index > 0 and _glued(tokens[index - 1], tokens[index]):
        index -= 1
    return index


def _spec_end(tokens: list[_Token], start: int) -> int:
    index = start + 1
    while index < len(tokens) and _glued(tokens[index - 1], tokens[index]):
        index += 1
    return index


def _phrase(tokens: list[_Token]) -> str | None:
    """A display-name: quoted strings taken out of their quotes, encoded words decoded."""
    out: list[str] = []
    atoms: list[str] = []
    for index, token in enumerate(tokens):
        space = " " if token.spaced and index else ""
        if token.kind != "quoted":
            atoms.append(space + token.text)
            continue
        if atoms:
            out.append(decode_words("".join(atoms)))
            atoms.clear()
        # RFC 2047 §5: an encoded word must not appear within a quoted-string, so none is looked for.
        out.append(space + _QUOTED_PAIR.sub(r"\1", token.text[1:-1]))
    if atoms:
        out.append(decode_words("".join(atoms)))
    return nfc("".join(out)).strip() or None


def _comment_name(comment: str) -> str | None:
    text = _QUOTED_PAIR.sub(r"\1", comment) if "\\" in comment else comment
    return nfc(decode_words(_SPACES.sub(" ", text).strip())).strip() or None


def _squeeze(text: str) -> str:
    """An addr-spec without the white space around its tokens; inside a quoted local part it stays."""
    text = text.strip()
    if " " not in text and "\t" not in text:
        return text
    return outside_quotes(text, _SPACES)
