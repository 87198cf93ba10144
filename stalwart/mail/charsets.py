"""Charset labels of mail and the text that octets stand for.

Labels are looked up in a closed table, so that no label can reach a Python codec that is not a charset
(rot13, zlib, idna, unicode_escape …) or fill the interpreter's cache of codec names.
"""

from __future__ import annotations

import codecs
import re
from encodings.aliases import aliases as _python_aliases
from typing import Final

import msgspec

__all__ = ["Decoded", "codec_named", "decode", "decode_header"]

_GUESS_SAMPLE: Final = 4096
_MAX_LABEL: Final = 64


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# All charsets that Python knows, written out: whatever is not here is not a charset.
_CODECS: Final = _names(
    "ascii big5 big5hkscs cp037 cp273 cp424 cp437 cp500 cp720 cp737 cp775 cp850 cp852 cp855 cp856 cp857 cp858 "
    "cp860 cp861 cp862 cp863 cp864 cp865 cp866 cp869 cp874 cp875 cp932 cp949 cp950 cp1006 cp1026 cp1125 cp1140 "
    "cp1250 cp1251 cp1252 cp1253 cp1254 cp1255 cp1256 cp1257 cp1258 euc_jis_2004 euc_jisx0213 euc_jp euc_kr "
    "gb18030 gb2312 gbk hp_roman8 hz iso2022_jp iso2022_jp_1 iso2022_jp_2 iso2022_jp_2004 iso2022_jp_3 "
    "iso2022_jp_ext iso2022_kr iso8859_1 iso8859_2 iso8859_3 iso8859_4 iso8859_5 iso8859_6 iso8859_7 iso8859_8 "
    "iso8859_9 iso8859_10 iso8859_11 iso8859_13 iso8859_14 iso8859_15 iso8859_16 johab koi8_r koi8_t koi8_u "
    "kz1048 latin_1 mac_arabic mac_croatian mac_cyrillic mac_farsi mac_greek mac_iceland mac_latin2 mac_roman "
    "mac_romanian mac_turkish ptcp154 shift_jis shift_jis_2004 shift_jisx0213 tis_620 utf_7 utf_8 utf_8_sig "
    "utf_16 utf_16_be utf_16_le utf_32 utf_32_be utf_32_le"
)

# Labels are compared without case and punctuation: "KS_C_5601-1987" is "ksc56011987".
_EXTRA_LABELS: Final = {
    "ansix34": "ascii",
    "unicode11utf7": "utf_7",
    "unicode20utf7": "utf_7",
    "csunicode11utf7": "utf_7",
    "unicode11utf8": "utf_8",
    "unicode20utf8": "utf_8",
    "utf8mb4": "utf_8",
    "cp65001": "utf_8",
    "utf": "utf_8",
    "unicode": "utf_16",
    "ucs2": "utf_16",
    "iso10646ucs2": "utf_16_be",
    "ucs4": "utf_32",
    "iso10646ucs4": "utf_32_be",
    "iso88598i": "iso8859_8",
    "iso88598e": "iso8859_8",
    "logical": "iso8859_8",
    "visual": "iso8859_8",
    "iso88596i": "iso8859_6",
    "iso88596e": "iso8859_6",
    "iso885911": "iso8859_11",
    "sjis": "cp932",
    "mskanji": "cp932",
    "windows31j": "cp932",
    "windows932": "cp932",
    "cswindows31j": "cp932",
    "cp50220": "iso2022_jp_ext",
    "cp50221": "iso2022_jp_ext",
    "cp50222": "iso2022_jp_ext",
    "cp51932": "euc_jp",
    "eucjpms": "euc_jp",
    "ksc5601": "cp949",
    "ksc56011987": "cp949",
    "ksc56011989": "cp949",
    "ksc56011992": "cp949",
    "isoir149": "cp949",
    "windows949": "cp949",
    "uhc": "cp949",
    "windows874": "cp874",
    "dos874": "cp874",
    "windows936": "gb18030",
    "cp936": "gb18030",
    "gb231280": "gb18030",
    "gb18030": "gb18030",
    "euccn": "gb18030",
    "windows950": "cp950",
    "cnbig5": "big5hkscs",
    "hzgb2312": "hz",
    "koi": "koi8_r",
    "koi8": "koi8_r",
    "koi8ru": "koi8_u",
    "macintosh": "mac_roman",
    "mac": "mac_roman",
    "maccyrillic": "mac_cyrillic",
    "macukrainian": "mac_cyrillic",
    "ansi": "cp1252",
    "windows": "cp1252",
    "ansi1252": "cp1252",
    "westerneuropean": "cp1252",
    "latin9": "iso8859_15",
}

# The charset that is really meant by a label, as browsers read it (WHATWG Encoding): a superset each time.
_SUPERSETS: Final = {
    "ascii": "cp1252",
    "iso8859_1": "cp1252",
    "latin_1": "cp1252",
    "iso8859_9": "cp1254",
    "iso8859_11": "cp874",
    "tis_620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "big5": "big5hkscs",
    "iso2022_jp": "iso2022_jp_ext",
    "utf_8_sig": "utf_8",
}

_PUNCTUATION: Final = re.compile(r"[^a-z0-9]+")


def _key(label: str) -> str:
    return _PUNCTUATION.sub("", label.lower())


def _table() -> dict[str, str]:
    known = set(_CODECS)
    table = {_key(alias): codec for alias, codec in _python_aliases.items() if codec in known}
    table |= {_key(codec): codec for codec in _CODECS}
    table |= {f"{prefix}{n}": f"cp{n}" for prefix in ("windows", "win") for n in range(1250, 1259)}
    table |= {f"ibm{codec[2:]}": codec for codec in _CODECS if codec.startswith("cp")}
    table |= _EXTRA_LABELS
    return {label: _SUPERSETS.get(codec, codec) for label, codec in table.items()}


_TABLE: Final = _table()
_ASCII_LABELS: Final = frozenset({"usascii", "ascii", "ansix341968", "ansix341986", "iso646us", "us", "646"})

# windows-1252 whose five holes are the C1 controls, so that no octet is an error (WHATWG Encoding).
_WINDOWS_1252: Final = "".join(bytes([octet]).decode("cp1252", "ignore") or chr(octet) for octet in range(256))

# Candidates of the guess, the likely ones of each script; fewer candidates also make it faster.
_GUESSES: Final = _names(
    "cp1252 cp1250 cp1251 koi8_r cp1253 cp1254 cp1255 cp1256 cp1257 iso8859_2 iso8859_5 iso8859_7 cp866 "
    "gb18030 big5 cp932 euc_jp cp949"
)

_EAST_ASIAN: Final = frozenset({"gb18030", "big5hkscs", "cp950", "cp932", "cp949", "euc_jp"})
_ASCII_PROBE: Final = b"Ab0 <@>:,"

_LATIN: Final = frozenset({"cp1250", "cp1254", "cp1257", "iso8859_2"})
# Signs between letters: what Polish or Czech look like when they are read as windows-1252.
_WITHIN_WORD: Final = re.compile(r"[^\W\d_][\xa1-\xbf\xd7\xf7][^\W\d_]")

_MAX_ISO_2022: Final = 1 << 20
_ISO_2022_ESCAPE: Final = re.compile(rb"\x1b(\$[@B]|\([BIJ])")
_HIGH: Final = bytes(octet | 0x80 if 0x21 <= octet <= 0x7E else octet for octet in range(256))

_EIGHT_BIT: Final = re.compile(rb"[\x80-\xff]++")
_VALID_MULTIBYTE: Final = re.compile(
    rb"[\xc2-\xdf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}|\xe0[\xa0-\xbf][\x80-\xbf]|\xed[\x80-\x9f][\x80-\xbf]"
    rb"|[\xf1-\xf3][\x80-\xbf]{3}|\xf0[\x90-\xbf][\x80-\xbf]{2}|\xf4[\x80-\x8f][\x80-\xbf]{2}"
)


class Decoded(msgspec.Struct, frozen=True, kw_only=True):
    """Text, and whether it may not be what the sender wrote (unknown label, malformed octets)."""

    text: str
    problem: bool


def codec_named(label: str) -> str | None:
    """The Python codec for a charset label, or None for a label that names no charset known here."""
    if len(label) > _MAX_LABEL:
        return None
    key = _key(label)
    codec = _TABLE.get(key)
    if codec is None and key.startswith("x"):
        codec = _TABLE.get(key[1:])
    return codec


def decode(octets: bytes, label: str | None, *, guess: bool = True) -> Decoded:
    """Octets as text, in the charset of that label; best effort, U+FFFD for what is malformed.

    8-bit octets without a usable label are guessed from a sample of 4 KiB (tens of milliseconds), or read as
    windows-1252 when `guess` is false.
    """
    if label is None or _key(label[:_MAX_LABEL]) in _ASCII_LABELS:
        return _decode_unlabelled(octets, guess)
    codec = codec_named(label)
    if codec is None:
        return Decoded(text=_decode_unlabelled(octets, guess).text, problem=True)
    if codec == "cp1252":
        return _decode_latin(octets)
    if codec == "utf_8":
        return _decode_utf_8(octets, guess)
    if codec == "utf_16" and octets[:2] not in (b"\xff\xfe", b"\xfe\xff"):
        codec = "utf_16_le"  # WHATWG Encoding; RFC 2781 §4.3 says big-endian, which nobody sends
    elif codec == "utf_32" and octets[:4] not in (b"\xff\xfe\0\0", b"\0\0\xfe\xff"):
        codec = "utf_32_le"
    try:
        text, problem = octets.decode(codec), False
    except UnicodeError:
        text, problem = octets.decode(codec, "replace"), True
        if codec == "iso2022_jp_ext" and len(octets) <= _MAX_ISO_2022:
            text = _decode_windows_iso_2022_jp(octets)
            problem = "\ufffd" in text
    if codec == "utf_7":
        paired = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        text, problem = paired, problem or len(paired) != len(text)
    return Decoded(text=text.removeprefix("\ufeff"), problem=problem)


def decode_header(octets: bytes, charset: str | None = None) -> str:
    """Octets of a header field as text: UTF-8 (RFC 6532), or else what old programs sent.

    That is the charset of the body, which `charset` names if it is known, and windows-1252 otherwise.
    """
    if b"\x1b$" in octets:
        return decode(octets, "iso-2022-jp", guess=False).text  # sent raw by old Japanese programs
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        codec = None if charset is None else codec_named(charset)
        mostly_utf_8 = _mostly_utf_8(octets)
        # Any octets are well-formed in a charset of one octet a character, few are in one of several.
        if codec is not None and (codec in _EAST_ASIAN or not mostly_utf_8):
            text = _decode_like_ascii(octets, codec)
            if text is not None:
                return text
        return octets.decode("utf-8", "replace") if mostly_utf_8 else _decode_windows_1252(octets)


def _decode_like_ascii(octets: bytes, codec: str) -> str | None:
    """The text, if the octets are well-formed and the charset has ASCII in its place, as header fields need it."""
    try:
        return octets.decode(codec) if _ASCII_PROBE.decode(codec) == _ASCII_PROBE.decode("ascii") else None
    except UnicodeError:
        return None


def _decode_windows_iso_2022_jp(octets: bytes) -> str:
    """ISO-2022-JP with the characters that Windows adds, such as circled digits: JIS X 0213 has them too."""
    pieces = _ISO_2022_ESCAPE.split(octets)
    out = [pieces[0].decode("ascii", "replace")]
    for escape, piece in zip(pieces[1::2], pieces[2::2], strict=True):
        if escape in (b"$B", b"$@"):
            out.append(piece.translate(_HIGH).decode("euc_jis_2004", "replace"))
        elif escape == b"(I":
            out.append(piece.translate(_HIGH).decode("shift_jis", "replace"))
        else:
            out.append(piece.decode("ascii", "replace"))
    return "".join(out)


def _decode_windows_1252(octets: bytes) -> str:
    return codecs.charmap_decode(octets, "strict", _WINDOWS_1252)[0]


def _decode_latin(octets: bytes) -> Decoded:
    # RFC 8621 §4.1.4 lets the server believe that a label is wrong: UTF-8 sent as Latin-1 is common, Latin-1 whose
    # 8-bit octets all happen to be UTF-8 is not.
    if not octets.isascii():
        try:
            return Decoded(text=octets.decode("utf-8"), problem=True)
        except UnicodeDecodeError:
            pass
    return Decoded(text=_decode_windows_1252(octets), problem=False)


def _decode_utf_8(octets: bytes, guess: bool) -> Decoded:
    try:
        return Decoded(text=octets.decode("utf-8").removeprefix("\ufeff"), problem=False)
    except UnicodeDecodeError:
        if _mostly_utf_8(octets):
            text = octets.decode("utf-8", "replace").removeprefix("\ufeff")
        else:
            text = _guess(octets) if guess else _decode_windows_1252(octets)
        return Decoded(text=text, problem=True)


def _decode_unlabelled(octets: bytes, guess: bool) -> Decoded:
    if octets.isascii():
        if b"\x1b$" in octets:  # ISO-2022-JP needs no eighth bit and is often sent without its name
            return decode(octets, "iso-2022-jp", guess=False)
        return Decoded(text=octets.decode("ascii"), problem=False)
    return _decode_utf_8(octets, guess)


def _sample(octets: bytes) -> bytes:
    """Some octets from where the first one with the eighth bit set is."""
    found = _EIGHT_BIT.search(octets)
    start = max(found.start() - 64, 0) if found else 0
    # Line endings must not sway the guess.
    return octets[start : start + 2 * _GUESS_SAMPLE].replace(b"\r", b"")[:_GUESS_SAMPLE]


def _mostly_utf_8(octets: bytes) -> bool:
    """Whether octets that aren't wholly UTF-8 are UTF-8 with faults, and not another charset."""
    sample = _sample(octets)
    return 2 * len(_VALID_MULTIBYTE.findall(sample)) > sample.decode("utf-8", "replace").count("\ufffd")


def _guess(octets: bytes) -> str:
    # Imported here: it is large, and most servers meet few messages that need it.
    from charset_normalizer import from_bytes

    # The guess would be another one for other line ends.
    sample = _sample(octets.replace(b"\r\n", b"\n"))
    best = from_bytes(sample, cp_isolation=list(_GUESSES)).best()
    if best is None or best.encoding == "cp1252":
        return _decode_windows_1252(octets)
    if best.encoding in _LATIN:
        western = _WITHIN_WORD.search(_decode_windows_1252(sample)) is None
    else:
        # Letters of other scripts stand next to each other; among Latin letters those with marks stand alone.
        runs = _EIGHT_BIT.findall(sample)
        western = 2 * sum(map(len, runs)) < 3 * len(runs)
    return _decode_windows_1252(octets) if western else octets.decode(best.encoding, "replace")
