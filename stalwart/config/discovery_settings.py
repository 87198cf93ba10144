"""The settings of discovery: what clients and other servers are told of a domain's services, and of this server."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from stalwart.config.discovery_kinds import (
    ChangePassword,
    ContactUri,
    HttpsUrl,
    Instant,
    LanguageTag,
    MxPattern,
    ProviderName,
    Robots,
)
from stalwart.config.kinds import Hostname, bounded_duration, whole
from stalwart.config.schema import Group, Key

MtaStsMode = Literal["enforce", "testing", "none", "disable"]
ServiceSecurity = Literal["tls", "starttls"]

# Where stalwart/web/pages serves it.
_ACCOUNT_PAGE = "/account"
_Port = Annotated[int, whole(1, 65535)]
# RFC 8461 §3.2: max_age has at most 31557600.
_MaxAge = Annotated[float, bounded_duration(1.0, 31_557_600.0)]


class MailService(msgspec.Struct, frozen=True, kw_only=True):
    """A service that clients reach by a protocol of its own; `host` None for one that isn't offered."""

    host: Annotated[
        Hostname | None,
        Key(
            name="host",
            doc="The server that offers it: this machine's name or another's. Not set, or false: clients are told of "
            "none.",
            example='"mail.example.org"',
            inherited=True,
        ),
    ] = None
    port: Annotated[
        _Port | None,
        Key(
            name="port",
            doc="Its port. Not set: with `tls` 993 for IMAP, 995 for POP3 and 465 for SMTP; with `starttls` 143, 110 "
            "and 587.",
            example="993",
            inherited=True,
        ),
    ] = None
    security: Annotated[
        ServiceSecurity,
        Key(
            name="security",
            doc="How the connection is encrypted: `tls` from the first octet on, `starttls` after a command.",
            example='"starttls"',
            inherited=True,
        ),
    ] = "tls"


class JmapService(msgspec.Struct, frozen=True, kw_only=True):
    """Where clients reach JMAP, and all else that this server has by https; `host` None for what other settings say."""

    enabled: Annotated[
        bool,
        Key(name="enabled", doc="Tell clients of JMAP.", example="false", inherited=True),
    ] = True
    host: Annotated[
        Hostname | None,
        Key(
            name="host",
            doc="The name under which clients reach this server by https. Not set: that of `http.url` if this is a "
            "text and no more, else `server.hostname`.",
            example='"jmap.example.org"',
            inherited=True,
        ),
    ] = None
    port: Annotated[
        _Port,
        Key(name="port", doc="The port of https there.", example="8443", inherited=True),
    ] = 443


class WebService(msgspec.Struct, frozen=True, kw_only=True):
    """A service of another server that clients reach by a URL."""

    url: Annotated[
        HttpsUrl | None,
        Key(
            name="url",
            doc="Where it is, at another server. Not set: there is none, and its path under `/.well-known/` is not "
            "found.",
            example='"https://dav.example.org/"',
            inherited=True,
        ),
    ] = None


class Autoconfig(msgspec.Struct, frozen=True, kw_only=True):
    """What clients are told of the services of one domain, or of those without an entry: the id is `default` then."""

    id: str
    name: Annotated[
        ProviderName | None,
        Key(
            name="name",
            doc="What clients call the provider. Not set: the domain.",
            example='"Example Mail"',
            inherited=True,
        ),
    ] = None
    jmap: Annotated[JmapService, Group(name="jmap", doc="JMAP, which this server offers.", inherited=True)] = (
        JmapService()
    )
    imap: Annotated[MailService, Group(name="imap", doc="IMAP.", inherited=True)] = MailService()
    pop3: Annotated[MailService, Group(name="pop3", doc="POP3.", inherited=True)] = MailService()
    smtp: Annotated[MailService, Group(name="smtp", doc="Submission of mail by SMTP.", inherited=True)] = MailService()
    caldav: Annotated[WebService, Group(name="caldav", doc="Calendars by CalDAV.", inherited=True)] = WebService()
    carddav: Annotated[WebService, Group(name="carddav", doc="Contacts by CardDAV.", inherited=True)] = WebService()


class MtaSts(msgspec.Struct, frozen=True, kw_only=True):
    """An MTA-STS policy (RFC 8461 §3.2); `max_age` is in seconds."""

    mode: Annotated[
        MtaStsMode,
        Key(
            name="mode",
            doc="What other servers shall do when they can't reach one of the MX hosts over TLS with a good "
            "certificate: `enforce`: not deliver; `testing`: deliver and report; `none`: forget an earlier policy "
            "(RFC 8461 section 8.3). With `disable` there is no policy.",
            example='"enforce"',
            inherited=True,
        ),
    ] = "testing"
    max_age: Annotated[
        _MaxAge,
        Key(name="max-age", doc="How long other servers keep to the policy.", example='"30d"', inherited=True),
    ] = 7 * 86_400.0
    mx: Annotated[
        tuple[MxPattern, ...],
        Key(
            name="mx",
            doc="The names of the MX hosts; `*.example.org` means all names one label below. Not set: "
            "`server.hostname`, and the names of all certificates, those under `certificate` and those in "
            "`acme.<id>.domains` (without wildcards, `mta-sts.`, `autoconfig.`, `autodiscover.` and "
            "`ua-auto-config.`).",
            example='["mx1.example.org", "mx2.example.org"]',
            inherited=True,
        ),
    ] = ()


class MtaStsOfDomain(MtaSts, frozen=True, kw_only=True):
    """The policy of one domain."""

    id: str


class SecurityTxt(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of security.txt (RFC 9116 §2.5)."""

    contact: Annotated[
        tuple[ContactUri, ...],
        Key(
            name="contact",
            doc="Where to report what is wrong with this server's security, best first. Not set: there is no "
            "`/.well-known/security.txt`.",
            example='["mailto:security@example.org", "https://example.org/security"]',
            may_be_empty=True,
        ),
    ] = ()
    expires: Annotated[
        Instant | None,
        Key(
            name="expires",
            doc="Until when all this is true: less than a year from now. Required beside `contact`.",
            example='"2027-06-30T00:00:00Z"',
        ),
    ] = None
    encryption: Annotated[
        tuple[ContactUri, ...],
        Key(
            name="encryption",
            doc="Where keys are that reports can be encrypted with.",
            example='["https://example.org/pgp-key.txt"]',
            may_be_empty=True,
        ),
    ] = ()
    acknowledgments: Annotated[
        HttpsUrl | None,
        Key(
            name="acknowledgments",
            doc="A page that thanks those who reported something.",
            example='"https://example.org/thanks"',
        ),
    ] = None
    preferred_languages: Annotated[
        tuple[LanguageTag, ...],
        Key(
            name="preferred-languages",
            doc="The languages that reports are understood in.",
            example='["en", "de"]',
            may_be_empty=True,
        ),
    ] = ()
    canonical: Annotated[
        tuple[HttpsUrl, ...],
        Key(
            name="canonical",
            doc="The URLs under which this file is found.",
            example='["https://mail.example.org/.well-known/security.txt"]',
            may_be_empty=True,
        ),
    ] = ()
    policy: Annotated[
        HttpsUrl | None,
        Key(name="policy", doc="What those may expect who report.", example='"https://example.org/disclosure"'),
    ] = None
    hiring: Annotated[
        HttpsUrl | None,
        Key(name="hiring", doc="Open positions in security.", example='"https://example.org/jobs"'),
    ] = None


class WellKnown(msgspec.Struct, frozen=True, kw_only=True):
    """The table `well-known`."""

    robots: Annotated[
        Robots,
        Key(
            name="robots",
            doc="What `/robots.txt` says to search engines (RFC 9309).",
            example='"User-agent: *\\nAllow: /about\\nDisallow: /\\n"',
            default="nothing here is for them: `User-agent: *`, `Disallow: /`",
        ),
    ] = "User-agent: *\nDisallow: /\n"
    change_password: Annotated[
        ChangePassword,
        Key(
            name="change-password",
            doc="The page where people change their passwords: a URL, or a path of this server. Password managers "
            "find it by `/.well-known/change-password`.",
            example='"https://example.org/account/password"',
            default='`"/account"`, the page of this server',
        ),
    ] = _ACCOUNT_PAGE
    security: Annotated[
        SecurityTxt, Group(name="security", doc="Whom to tell of security holes: `/.well-known/security.txt`.")
    ] = SecurityTxt()
