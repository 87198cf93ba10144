"""The kinds of values that only discovery has: URLs, MX patterns, instants, and the text for search engines."""

from __future__ import annotations

import datetime
import ipaddress
import re
from typing import Annotated
from urllib.parse import urlsplit

from stalwart.config.kinds import HOSTNAME, BadValue, Kind

# RFC 3986 §2: what a URI is made of; all else is percent-encoded.
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!#$%&'()*+,/:;=?@\[\]A-Za-z0-9._~-]+", re.ASCII)
_PATH = re.compile(r"/(?!/)[!$%&'()*+,/:;=?@A-Za-z0-9._~-]*", re.ASCII)
# RFC 5646 §2.1, as far as it matters here.
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*", re.ASCII)
_ADDRESS = re.compile(r"[0-9.]+", re.ASCII)
_LONGEST_NAME = 60  # draft-ietf-mailmaint-autoconfig: displayName has no more
_LONGEST_ROBOTS = 500 * 1024  # RFC 9309 §2.5: crawlers read no more


def _uri(value: object) -> str:
    if not isinstance(value, str) or not _URI.fullmatch(value.strip()) or len(value) > 2000:
        raise BadValue
    return value.strip()


def _read_https(value: object, folder: str) -> str:
    text = _uri(value)
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
        if host is not None and ":" in host:
            ipaddress.IPv6Address(host)
    except ValueError:
        raise BadValue from None
    if parts.scheme.lower() != "https" or not host or port == 0 or parts.username is not None or parts.fragment:
        raise BadValue
    if ":" not in host:
        HOSTNAME.read(host, "")
    return text


HTTPS_URL = Kind(
    name="https URL",
    wanted='a URL such as "https://www.example.org/page", without user name and fragment, other letters '
    "percent-encoded",
    read=_read_https,
)


def _read_change_password(value: object, folder: str) -> str:
    if isinstance(value, str) and _PATH.fullmatch(value.strip()):
        return value.strip()
    return _read_https(value, folder)


CHANGE_PASSWORD = Kind(
    name="https URL, or path",
    wanted='a URL such as "https://www.example.org/password", or a path of this server such as "/account"',
    read=_read_change_password,
)


def _read_contact(value: object, folder: str) -> str:
    text = _uri(value)
    scheme = text.partition(":")[0].lower()
    # RFC 9116 §2.5.3, §2.5.4: web addresses begin with https; mail addresses and telephone numbers are URIs as well.
    if scheme == "https":
        return _read_https(text, folder)
    if scheme in ("mailto", "tel", "openpgp4fpr", "dns"):
        return text
    if scheme == "http":
        raise BadValue("a URI that begins with https:, not http: (RFC 9116)")
    raise BadValue


CONTACT_URI = Kind(
    name="URI",
    wanted='a URI such as "mailto:security@example.org", "https://example.org/security" or "tel:+1-201-555-0123"',
    read=_read_contact,
)


def _read_mx(value: object, folder: str) -> str:
    if not isinstance(value, str):
        raise BadValue
    text = value.strip()
    # RFC 8461 §4.1: a wildcard stands for the whole leftmost label.
    wildcard = text.startswith("*.")
    if _ADDRESS.fullmatch(text):  # RFC 1035 §3.3.9: an MX record names a host
        raise BadValue
    return ("*." if wildcard else "") + str(HOSTNAME.read(text.removeprefix("*."), folder))


MX_PATTERN = Kind(
    name="host name, or one with a wildcard",
    wanted='a host name such as "mx.example.org", or "*.example.org" for all names one label below',
    read=_read_mx,
)


def _read_instant(value: object, folder: str) -> datetime.datetime:
    if isinstance(value, str):
        try:
            value = datetime.datetime.fromisoformat(value.strip())
        except ValueError:
            raise BadValue from None
    if not isinstance(value, datetime.datetime) or value.tzinfo is None:
        raise BadValue
    try:
        return value.astimezone(datetime.UTC)
    except OverflowError:
        raise BadValue from None


def show_instant(value: datetime.datetime) -> str:
    """In UTC, as RFC 3339 writes it."""
    return value.strftime("%Y-%m-%dT%H:%M:%SZ") if value.year > 999 else value.isoformat()


INSTANT = Kind(
    name="date and time",
    wanted='a date and time with its zone such as "2030-06-30T00:00:00Z"',
    read=_read_instant,
    show=show_instant,
)


def _read_language(value: object, folder: str) -> str:
    if not isinstance(value, str) or not _LANGUAGE.fullmatch(value.strip()):
        raise BadValue
    return value.strip()


LANGUAGE_TAG = Kind(name="language tag", wanted='a language tag such as "en" or "pt-BR"', read=_read_language)


def _read_name(value: object, folder: str) -> str:
    # XML has no way to write control characters.
    if not isinstance(value, str) or not value.strip() or not value.isprintable() or len(value) > _LONGEST_NAME:
        raise BadValue
    return value.strip()


PROVIDER_NAME = Kind(
    name="text, one line", wanted=f"a text of 1 to {_LONGEST_NAME} printable characters", read=_read_name
)


def _read_robots(value: object, folder: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise BadValue
    if len(value) > _LONGEST_ROBOTS or any(c < " " and c not in "\t\r\n" for c in value):
        raise BadValue("a text of at most 500 KiB without control characters")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise BadValue("a text that UTF-8 can write") from None
    return value if value.endswith("\n") else value + "\n"


ROBOTS = Kind(
    name="text, several lines",
    wanted='the lines of robots.txt, such as "User-agent: *\\nDisallow: /"',
    read=_read_robots,
)

HttpsUrl = Annotated[str, HTTPS_URL]
ChangePassword = Annotated[str, CHANGE_PASSWORD]
ContactUri = Annotated[str, CONTACT_URI]
MxPattern = Annotated[str, MX_PATTERN]
Instant = Annotated[datetime.datetime, INSTANT]
LanguageTag = Annotated[str, LANGUAGE_TAG]
ProviderName = Annotated[str, PROVIDER_NAME]
Robots = Annotated[str, ROBOTS]
