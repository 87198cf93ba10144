"""A configuration with odd letters wherever it can have them, and the documents that are expected of it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from stalwart.config import Settings
from tests.config.support import load_text

GOLDEN = Path(__file__).parent / "golden"
DOMAIN = "example.org"
ADDRESS = "o'brien&søn@example.org"
NAME = "Tom & Söhne <\"'>"

TEXT = r"""
[server]
hostname = "mail.example.org"

[autoconfig.default]
name = "Tom & Söhne <\"'>"

[autoconfig.default.imap]
host = "imap.example.org"

[autoconfig.default.pop3]
host = "pop.example.org"
port = 1995

[autoconfig.default.smtp]
host = "smtp.example.org"
security = "starttls"

[autoconfig.default.caldav]
url = "https://dav.example.org:8443/it's?a=1&b=2"

[autoconfig.default.carddav]
url = "https://dav.example.org/"

[session.mta-sts]
mode = "enforce"
max-age = "30d"
mx = ["mx2.example.org", "*.mx.example.org", "mx1.example.org"]

[well-known.security]
contact = ["mailto:o'brien&co@example.org", "https://example.org/a?b=1&c=2"]
expires = 2030-06-30T12:00:00+02:00
encryption = "openpgp4fpr:5f2de5521c63a801ab59ccb603d49de44b29100f"
acknowledgments = "https://example.org/thanks"
preferred-languages = ["en", "pt-BR"]
canonical = "https://mail.example.org/.well-known/security.txt"
policy = "https://example.org/policy"
hiring = "https://example.org/jobs"
"""


def odd_settings() -> Settings:
    """The configuration."""
    return load_text(TEXT)


def odd_settings_named(name: str) -> Settings:
    """The configuration with another name of the provider."""
    told = odd_settings()
    renamed = tuple(msgspec.structs.replace(entry, name=name) for entry in told.autoconfig)
    return msgspec.structs.replace(told, autoconfig=renamed)


def golden(name: str) -> bytes:
    """The document as it is to be."""
    return (GOLDEN / name).read_bytes()
