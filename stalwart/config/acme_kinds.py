"""The kinds of values that only the ACME settings have: names for certificates, contacts, and when to renew."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from typing import Annotated
from urllib.parse import urlsplit

import idna
import msgspec

from stalwart.config.kinds import DURATION, BadValue, Kind, show_duration
from stalwart.config.secret import MASK, Secret


class RenewBefore(msgspec.Struct, frozen=True, kw_only=True):
    """How long before its end a certificate is renewed: in seconds, or as a part of its lifetime. One of the two."""

    seconds: float | None = None
    fraction: float | None = None


_PART = re.compile(r"\s*([0-9]{1,4})\s*/\s*([0-9]{1,4})\s*", re.ASCII)
_DECIMAL = re.compile(r"\s*0?\.[0-9]{1,9}\s*", re.ASCII)
# Sooner than a tenth before the end there is hardly a second try; nine tenths would order all the time.
_LEAST_PART, _MOST_PART = 0.05, 0.75


def _read_renew_before(value: object, folder: str) -> RenewBefore:
    fraction: float | None = None
    if isinstance(value, float):
        fraction = value
    elif isinstance(value, str) and (match := _PART.fullmatch(value)):
        if int(match[2]) == 0:
            raise BadValue
        fraction = int(match[1]) / int(match[2])
    elif isinstance(value, str) and _DECIMAL.fullmatch(value):
        fraction = float(value)
    if fraction is None:
        if isinstance(value, int) or (isinstance(value, str) and value.strip().isdigit()):
            # Milliseconds, as elsewhere, are never meant: the certificate would end before it is renewed.
            raise BadValue
        return RenewBefore(seconds=DURATION.read(value, folder))
    if not _LEAST_PART <= fraction <= _MOST_PART:
        raise BadValue(f"a part of the lifetime from {_LEAST_PART} to {_MOST_PART}")
    return RenewBefore(fraction=fraction)


def _show_renew_before(value: RenewBefore) -> object:
    return value.fraction if value.seconds is None else show_duration(value.seconds)


RENEW_BEFORE = Kind(
    name="duration, or part of the lifetime",
    wanted='a duration such as "30d", or a part of the lifetime such as "1/3" or 0.33',
    read=_read_renew_before,
    show=_show_renew_before,
)

_LONGEST_NAME = 253
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)", re.ASCII)


def _read_server_name(value: object, folder: str) -> str:
    if not isinstance(value, str):
        raise BadValue
    name = value.strip().removesuffix(".").lower()
    if name.startswith("*."):
        # RFC 8555 §8.4: only dns-01 proves control of all names below one; Let's Encrypt goes by that, too.
        raise BadValue("names without a wildcard: those are issued by dns-01 only, which isn't there; list each name")
    address = name.removeprefix("[").removesuffix("]")
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        pass
    if not name.isascii():
        try:
            name = idna.encode(name, uts46=True).decode("ascii")
        except idna.IDNAError as error:
            raise BadValue(f"a host name; this one has no form for the DNS: {error}") from None
    if len(name) > _LONGEST_NAME:
        raise BadValue(f"a host name of at most {_LONGEST_NAME} characters")
    labels = name.split(".")
    if not all(_LABEL.fullmatch(label) for label in labels) or labels[-1].isdigit():
        raise BadValue
    return name


SERVER_NAME = Kind(
    name="host name or IP address",
    wanted='a host name such as "mail.example.org", or an IP address',
    read=_read_server_name,
)

# RFC 6068 §2, narrowed to what RFC 8555 §7.3 lets a client send: one address, no header fields.
_ADDRESS = re.compile(r"[^\s\x00-\x1f\x7f<>\",;:?&%@]{1,64}@[^\s\x00-\x1f\x7f<>\",;:?&%@]{1,255}")


def _read_contact(value: object, folder: str) -> str:
    if not isinstance(value, str):
        raise BadValue
    text = value.strip()
    if text[:7].lower() == "mailto:":
        text = text[7:]
    if not text.isascii() or not _ADDRESS.fullmatch(text):
        raise BadValue
    return f"mailto:{text}"


CONTACT = Kind(
    name="mail address",
    wanted='a mail address such as "postmaster@example.org"',
    read=_read_contact,
)


def _read_directory_url(value: object, folder: str) -> str:
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or " " in value.strip():
        raise BadValue
    url = value.strip()
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        raise BadValue from None
    if parts.scheme != "https" or not has_host or parts.username is not None or parts.fragment:
        raise BadValue
    return url


DIRECTORY_URL = Kind(
    name="https URL",
    wanted='the https URL of an ACME directory such as "https://acme-v02.api.letsencrypt.org/directory"',
    read=_read_directory_url,
)


def _read_hmac_key(value: object, folder: str) -> Secret:
    if not isinstance(value, str):
        raise BadValue
    text = value.strip().rstrip("=").replace("+", "-").replace("/", "_")
    try:
        octets = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise BadValue from None
    if not octets:
        raise BadValue
    return Secret(text)


def _mask(value: Secret) -> str:
    return MASK


HMAC_KEY = Kind(
    name="base64url, secret",
    wanted="the key in base64url as the CA hands it out",
    read=_read_hmac_key,
    show=_mask,
    opaque=True,
)


def _read_challenge(value: object, folder: str) -> str:
    word = value.strip().lower() if isinstance(value, str) else ""
    if word in ("dns-01", "dns-persist-01"):
        raise BadValue(f'"http-01" or "tls-alpn-01"; {word} isn\'t there, and neither are wildcards')
    if word not in ("http-01", "tls-alpn-01"):
        raise BadValue
    return word


CHALLENGE = Kind(
    name='"http-01" or "tls-alpn-01"', wanted='"http-01" or "tls-alpn-01"', read=_read_challenge, stand_in="http-01"
)

ServerName = Annotated[str, SERVER_NAME]
Contact = Annotated[str, CONTACT]
DirectoryUrl = Annotated[str, DIRECTORY_URL]
HmacKey = Annotated[Secret, HMAC_KEY]
RenewTime = Annotated[RenewBefore, RENEW_BEFORE]
