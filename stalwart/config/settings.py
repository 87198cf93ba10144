"""The settings: every key with its type, its default and its documentation in one place.

A field is declared once, with a `Key` beside it; see `stalwart.config.schema`. `Declared` is what a file can say,
`Settings` adds what follows from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

from stalwart.config.acme_settings import AcmeProvider
from stalwart.config.authentication_settings import FallbackAdminSettings
from stalwart.config.cache_settings import CacheSettings
from stalwart.config.discovery_settings import Autoconfig, MtaSts, MtaStsOfDomain, WellKnown
from stalwart.config.errors import ConfigWarning
from stalwart.config.guard_kinds import ListedNetwork
from stalwart.config.guard_settings import AutoBan
from stalwart.config.http_settings import HttpSettings
from stalwart.config.jmap_settings import JmapSettings, ObjectQuotas
from stalwart.config.kinds import Hostname, LogFormat, LogLevel, Pem, SecretPem, whole
from stalwart.config.listener_settings import Listener
from stalwart.config.lookup_kinds import LookupTables
from stalwart.config.oauth_settings import OAuthSettings
from stalwart.config.relay_settings import RelaySettings
from stalwart.config.rules import RuleNames
from stalwart.config.schema import Group, Key, Table
from stalwart.config.store_settings import FsStore, SqliteStore, Storage
from stalwart.config.submission_settings import SubmissionSettings


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate with its chain, and its private key, both as PEM text."""

    id: str
    cert: Annotated[
        Pem,
        Key(
            name="cert",
            doc="The certificate in PEM, the server's own first, then the chain to the authority.",
            example='"%{file:/etc/stalwart/tls/fullchain.pem}%"',
        ),
    ]
    private_key: Annotated[
        SecretPem,
        Key(
            name="private-key",
            doc="The private key of the certificate in PEM, without a passphrase.",
            example='"%{file:/etc/stalwart/tls/privkey.pem}%"',
        ),
    ]
    default: Annotated[
        bool,
        Key(
            name="default",
            doc="Use it for clients that ask for no name, or for one that no certificate has. One certificate can be "
            "the default; a single certificate is it anyway.",
            example="true",
        ),
    ] = False


class Declared(msgspec.Struct, frozen=True, kw_only=True):
    """All that a configuration file can say."""

    hostname: Annotated[
        Hostname,
        Key(
            name="server.hostname",
            doc="The name by which clients and other servers know this machine. It stands in greetings, in the "
            "URLs of the JMAP session, and in the certificate that stands in when there is none.",
            example='"mail.example.org"',
            default="the system's host name",
        ),
    ]
    log_level: Annotated[
        LogLevel,
        Key(name="log-level", doc="How much is logged, from least to most.", example='"info"', reloaded=True),
    ] = "info"
    log_format: Annotated[
        LogFormat,
        Key(
            name="log-format",
            doc="Lines to be read by people, or one JSON object a line.",
            example='"json"',
            reloaded=True,
        ),
    ] = "text"
    worker_pool_size: Annotated[
        Annotated[int, whole(1, 1024)],
        Key(
            name="worker-pool-size",
            doc="Threads for work that waits, above all for the store. "
            "For 1 two are made: no request may hold up all others.",
            example="4",
            default="the number of CPUs",
        ),
    ]
    blocked_ip: Annotated[
        tuple[ListedNetwork, ...],
        Key(
            name="server.blocked-ip",
            doc="Addresses and networks whose connections are closed at once: an array, or a table with them as keys. "
            "`stalwart ban add` does the same while the daemon runs.",
            example='["192.0.2.7", "2001:db8:bad::/48"]',
            may_be_empty=True,
            reloaded=True,
        ),
    ] = ()
    allowed_ip: Annotated[
        tuple[ListedNetwork, ...],
        Key(
            name="server.allowed-ip",
            doc="Addresses and networks that nothing bans, `server.blocked-ip` neither, and that no rate limits: an "
            "array, or a table with them as keys. 127.0.0.1 and ::1 belong to them always.",
            example='["198.51.100.0/24"]',
            may_be_empty=True,
            reloaded=True,
        ),
    ] = ()
    listeners: Annotated[
        tuple[Listener, ...],
        Table(
            name="server.listener",
            doc="Where the daemon listens. The name is free; it stands in logs, metrics and rules.",
            inherits="server",
            built_in={
                "http": {"protocol": "http", "bind": "127.0.0.1:8080"},
                "lmtp": {"protocol": "lmtp", "bind": "127.0.0.1:8024"},
            },
            built_in_doc="A file without any listener has two: `http` on `127.0.0.1:8080` and `lmtp` on "
            "`127.0.0.1:8024`.",
        ),
    ]
    lookups: Annotated[
        LookupTables,
        Key(
            name="lookup",
            doc="Values for rules: `key_get('default', 'webmail')` gives `lookup.default.webmail`. Each table "
            "`[lookup.<store>]` is a lookup store, in which rules can also keep values and counters of their own "
            "(`key_set`, `counter_incr`); what stands here they can't change. The store `default` is always there, "
            "and has `hostname` and `domain` from `server.hostname` unless they are set here.",
            example='{ default = { webmail = "webmail.example.org" } }',
            reloaded=True,
        ),
    ] = ()
    certificates: Annotated[
        tuple[Certificate, ...],
        Table(
            name="certificate",
            doc="Certificates for listeners with TLS. A client gets the one that has the name it asks for (exact, then "
            "wildcard), else the default one, else the only one, else a self-signed one made at start.",
            reloaded=True,
        ),
    ]
    acme: Annotated[
        tuple[AcmeProvider, ...],
        Table(
            name="acme",
            doc="Certificates that the daemon orders and renews by itself, from a CA that speaks ACME (RFC 8555) such "
            "as Let's Encrypt. A name that a certificate under `certificate` has is served with that one. See "
            "docs/acme.md.",
            reloaded=True,
        ),
    ]
    http: Annotated[
        HttpSettings,
        Group(
            name="http",
            doc="HTTP on all listeners. `[server.http]`, as the table was called earlier, means the same; so does the "
            "object `Http` of Stalwart 0.16, with its own names for the keys. A key that is there under two of its "
            "names is an error.",
            earlier=("server.http",),
            object_name="Http",
            reloaded=True,
        ),
    ]
    fallback_admin: Annotated[
        FallbackAdminSettings,
        Group(
            name="authentication.fallback-admin",
            doc="An administrator who lies in this file and not in the store, for when there is no other. They have "
            "all permissions and no mailbox. See docs/accounts.md.",
            reloaded=True,
        ),
    ]
    oauth: Annotated[
        OAuthSettings,
        Group(
            name="oauth",
            doc="OAuth 2 and OpenID Connect: how clients sign in for users. Their URLs, and the issuer's name, begin "
            "with what `http.url` says. See docs/oauth.md.",
        ),
    ]
    auto_ban: Annotated[
        AutoBan,
        Group(
            name="server.auto-ban",
            doc="Bans that the server makes by itself: of single IPv4 addresses, and of a /64 of IPv6. Never of "
            "proxies that are trusted, nor of `server.allowed-ip`. See docs/bans.md.",
            earlier=("server.fail2ban",),
            reloaded=True,
        ),
    ]
    cache: Annotated[
        CacheSettings,
        Group(
            name="cache",
            doc="What is kept in memory, so as not to be worked out again. The metrics `stalwart_cache_*` tell what "
            "each cache holds and how often it helps.",
        ),
    ]
    jmap: Annotated[
        JmapSettings,
        Group(
            name="jmap",
            doc="JMAP: how much one request, one account and one client may ask for, and how changes are pushed. "
            "Clients are told the limits of requests, uploads, mailboxes and attachments in the JMAP session.",
        ),
    ]
    object_quota: Annotated[
        ObjectQuotas, Group(name="object-quota", doc="How many objects of each kind an account may have.")
    ]
    relay: Annotated[
        RelaySettings,
        Group(
            name="relay",
            doc="How mail for others leaves: through a relay (`relay.host`), or directly to their servers "
            "(`relay.direct`). Without either it stays in the queue.",
        ),
    ]
    submission: Annotated[
        SubmissionSettings,
        Group(name="submission", doc="What one account may send, by JMAP's EmailSubmission."),
    ]
    autoconfig: Annotated[
        tuple[Autoconfig, ...],
        Table(
            name="autoconfig",
            doc='What mail clients are told of the services of a domain: `[autoconfig."example.org"]`, or '
            "`[autoconfig.default]` for what other domains, and keys that an entry leaves open, have. IMAP, POP3 and "
            "SMTP are other programs' and are told of only where their `host` is set. See docs/discovery.md.",
            inherits="autoconfig.default",
            reloaded=True,
        ),
    ]
    mta_sts: Annotated[
        MtaSts,
        Group(
            name="session.mta-sts",
            doc="The MTA-STS policy: how other servers shall deliver to the domains of this one (RFC 8461). They look "
            "for it only when there is a TXT record `_mta-sts` in the domain.",
            reloaded=True,
        ),
    ]
    mta_sts_domains: Annotated[
        tuple[MtaStsOfDomain, ...],
        Table(
            name="session.mta-sts.domain",
            doc='The policy of one domain, `[session.mta-sts.domain."example.org"]`, where it is another.',
            inherits="session.mta-sts",
            reloaded=True,
        ),
    ]
    well_known: Annotated[
        WellKnown,
        Group(name="well-known", doc="Small documents about this server.", reloaded=True),
    ]
    storage: Annotated[Storage, Group(name="storage", doc="Which store holds what.")]
    stores: Annotated[
        tuple[SqliteStore | FsStore, ...],
        Table(
            name="store",
            doc="Places to keep data. A store is used when a key of `storage` names it. Rules can ask any of type "
            "`sqlite` with `sql_query`, only for reading; one that only rules ask takes effect at a reload.",
        ),
    ]


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where an effective value comes from. `variables` are the environment's, `key` is the one that was inherited."""

    kind: Literal["default", "file", "environment"]
    file: str | None = None
    line: int | None = None
    variables: tuple[str, ...] = ()
    key: str | None = None


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One effective setting, ready to be shown: secrets are masked, the value fits JSON."""

    key: str
    value: object
    origin: Origin
    reloaded: bool = False


class FileValue(msgspec.Struct, frozen=True, kw_only=True):
    """A value with `%{file:…}%`: its text as it was written, and the files, absolute, that it names."""

    text: str
    files: tuple[str, ...]


class Settings(Declared, frozen=True, kw_only=True):
    """A configuration that was found to be right. `source` is its file, None for the built-in defaults.

    `file_values` are the values that came from other files, by key path; relative names count from `folder`.
    """

    source: str | None
    rule_names: RuleNames
    data: SqliteStore
    blob: SqliteStore | FsStore
    fts: SqliteStore
    warnings: tuple[ConfigWarning, ...] = ()
    entries: tuple[Entry, ...] = ()
    folder: str = "/"
    file_values: Mapping[tuple[str | int, ...], FileValue] = {}
