"""Typed settings with their documentation beside each field, and the loader that reports every error at once."""

from stalwart.config.acme_kinds import RenewBefore
from stalwart.config.acme_settings import LETS_ENCRYPT, AcmeProvider
from stalwart.config.addresses import Address, TcpAddress, UnixAddress
from stalwart.config.cache_settings import CacheSettings
from stalwart.config.discovery_settings import (
    Autoconfig,
    MailService,
    MtaSts,
    MtaStsOfDomain,
    SecurityTxt,
    WellKnown,
)
from stalwart.config.errors import ConfigError, ConfigErrors, ConfigWarning
from stalwart.config.guard_kinds import Rate
from stalwart.config.guard_settings import AutoBan
from stalwart.config.http_settings import Hsts, HttpSettings
from stalwart.config.jmap_settings import JmapSettings, ObjectQuotas
from stalwart.config.kinds import IPNetwork, LogFormat, LogLevel
from stalwart.config.listener_settings import Listener, SocketOptions
from stalwart.config.loader import SYSTEM_FILE, find_config, load
from stalwart.config.oauth_settings import OAuthSettings
from stalwart.config.relay_settings import RelaySettings
from stalwart.config.reloading import Reload, plan_reload
from stalwart.config.rules import (
    DIRECTORIES,
    NO_NAMES,
    CheckRule,
    RuleClause,
    RuleFault,
    RuleNames,
    RuleText,
    SourceText,
    UsedStore,
)
from stalwart.config.secret import Secret
from stalwart.config.settings import Certificate, Entry, Origin, Settings
from stalwart.config.sources import CertificateSource, UnusableFile, certificate_sources
from stalwart.config.store_settings import FsStore, SqliteStore
from stalwart.config.submission_settings import SubmissionSettings
from stalwart.config.tls_settings import TlsOptions

__all__ = [
    "DIRECTORIES",
    "LETS_ENCRYPT",
    "NO_NAMES",
    "SYSTEM_FILE",
    "AcmeProvider",
    "Address",
    "AutoBan",
    "Autoconfig",
    "CacheSettings",
    "Certificate",
    "CertificateSource",
    "CheckRule",
    "ConfigError",
    "ConfigErrors",
    "ConfigWarning",
    "Entry",
    "FsStore",
    "Hsts",
    "HttpSettings",
    "IPNetwork",
    "JmapSettings",
    "Listener",
    "LogFormat",
    "LogLevel",
    "MailService",
    "MtaSts",
    "MtaStsOfDomain",
    "OAuthSettings",
    "ObjectQuotas",
    "Origin",
    "Rate",
    "RelaySettings",
    "Reload",
    "RenewBefore",
    "RuleClause",
    "RuleFault",
    "RuleNames",
    "RuleText",
    "Secret",
    "SecurityTxt",
    "Settings",
    "SocketOptions",
    "SourceText",
    "SqliteStore",
    "SubmissionSettings",
    "TcpAddress",
    "TlsOptions",
    "UnixAddress",
    "UnusableFile",
    "UsedStore",
    "WellKnown",
    "certificate_sources",
    "find_config",
    "load",
    "plan_reload",
]
