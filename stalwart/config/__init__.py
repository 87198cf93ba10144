"""Typed settings with their documentation beside each field, and the loader that reports every error at once."""

from stalwart.config.addresses import Address, TcpAddress, UnixAddress
from stalwart.config.cache_settings import CacheSettings
from stalwart.config.errors import ConfigError, ConfigErrors, ConfigWarning
from stalwart.config.http_settings import Hsts, HttpSettings
from stalwart.config.kinds import IPNetwork, LogFormat, LogLevel
from stalwart.config.loader import SYSTEM_FILE, find_config, load
from stalwart.config.rules import CheckRule, RuleClause, RuleFault, RuleText, SourceText
from stalwart.config.secret import Secret
from stalwart.config.settings import (
    Certificate,
    Entry,
    FsStore,
    Listener,
    Origin,
    Settings,
    SocketOptions,
    SqliteStore,
)

__all__ = [
    "SYSTEM_FILE",
    "Address",
    "CacheSettings",
    "Certificate",
    "CheckRule",
    "ConfigError",
    "ConfigErrors",
    "ConfigWarning",
    "Entry",
    "FsStore",
    "Hsts",
    "HttpSettings",
    "IPNetwork",
    "Listener",
    "LogFormat",
    "LogLevel",
    "Origin",
    "RuleClause",
    "RuleFault",
    "RuleText",
    "Secret",
    "Settings",
    "SocketOptions",
    "SourceText",
    "SqliteStore",
    "TcpAddress",
    "UnixAddress",
    "find_config",
    "load",
]
