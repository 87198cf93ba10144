"""The settings of ACME: who issues certificates for which names, and when they are renewed."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from stalwart.config.acme_kinds import CHALLENGE, Contact, DirectoryUrl, HmacKey, RenewTime, ServerName
from stalwart.config.kinds import Path
from stalwart.config.schema import Key

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"

AcmeChallenge = Literal["http-01", "tls-alpn-01"]


class AcmeProvider(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate authority that is asked for certificates by ACME (RFC 8555), and the names it is asked for.

    `domains` are in lower case, IDN as A-labels; `contact` has `mailto:` before each address.
    """

    id: str
    directory: Annotated[
        DirectoryUrl,
        Key(
            name="directory",
            doc="The URL of the CA's ACME directory; not set: Let's Encrypt's. Its trial one is "
            "`https://acme-staging-v02.api.letsencrypt.org/directory`: nobody trusts what it issues, and its limits "
            "are wide. Certificates of another directory are ordered anew.",
            example=f'"{LETS_ENCRYPT}"',
        ),
    ] = LETS_ENCRYPT
    domains: Annotated[
        tuple[ServerName, ...],
        Key(
            name="domains",
            doc="The names to have certificates for, one certificate for each: a name that can't be had doesn't hold "
            "up the others. IP addresses too, where the CA issues for them; no wildcards. An empty array orders "
            "nothing.",
            example='["mail.example.org", "jmap.example.org"]',
            may_be_empty=True,
        ),
    ]
    contact: Annotated[
        tuple[Contact, ...],
        Key(
            name="contact",
            doc="Mail addresses by which the CA may reach you; `mailto:` before them may be left out.",
            example='["postmaster@example.org"]',
        ),
    ]
    agree_to_terms: Annotated[
        bool,
        Key(
            name="agree-to-terms",
            doc="Say that you agree to the CA's terms of service. Nothing is ordered before; the log tells where the "
            "terms are.",
            example="true",
        ),
    ] = False
    challenge: Annotated[
        Annotated[AcmeChallenge, CHALLENGE],
        Key(
            name="challenge",
            doc="How the CA sees that a name is yours: `http-01` asks for a page on port 80, which any listener of "
            "protocol `http` answers; `tls-alpn-01` makes a TLS connection to port 443, which listeners of protocol "
            "`http` with `tls.implicit` answer.",
            example='"tls-alpn-01"',
        ),
    ] = "http-01"
    renew_before: Annotated[
        RenewTime | None,
        Key(
            name="renew-before",
            doc="How long before its end a certificate is renewed: a duration with its unit, or a part of its lifetime "
            "from 0.05 to 0.75. If the CA says when it wants that (ARI, RFC 9773), the earlier of both counts. Not "
            "set: when the CA wants it, else when a third of the lifetime is left. A duration of more than three "
            "quarters of the lifetime counts as a third.",
            example='"1/3"',
        ),
    ] = None
    default: Annotated[
        bool,
        Key(
            name="default",
            doc="Use the certificate of the first of `domains` for clients that ask for no name, or for one that no "
            "certificate has. One provider can be the default, if no `certificate.<id>` is.",
            example="false",
        ),
    ] = False
    eab_kid: Annotated[
        str | None,
        Key(
            name="eab.kid",
            doc="The id of the account that you have at the CA already, for CAs that want it (external account "
            "binding); `eab.hmac-key` goes with it.",
            example='"kid-1"',
        ),
    ] = None
    eab_hmac_key: Annotated[
        HmacKey | None,
        Key(
            name="eab.hmac-key",
            doc="The key of that account, in base64url as the CA hands it out.",
            example='"%{file:/etc/stalwart/eab.key}%"',
        ),
    ] = None
    profile: Annotated[
        str | None,
        Key(
            name="profile",
            doc='The sort of certificate to order, by a name that the CA\'s directory lists, such as "shortlived" at '
            "Let's Encrypt. Not set: the CA's choice.",
            example='"tlsserver"',
        ),
    ] = None
    ca_bundle: Annotated[
        Path | None,
        Key(
            name="ca-bundle",
            doc="A file of certificates in PEM. The directory's own certificate has to come from one of these "
            "authorities. Not set: from one that this system trusts.",
            example='"/etc/stalwart/internal-ca.pem"',
        ),
    ] = None
    cache: Annotated[
        Path | None,
        Key(
            name="cache",
            doc="The folder of the account's key, of certificates with their keys, and of what failed; only the daemon "
            "may read it. Several daemons may share it: one of them orders, all serve. Not set: `acme/<id>` beside the "
            "database.",
            example='"/srv/shared/acme"',
        ),
    ] = None
