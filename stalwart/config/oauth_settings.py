"""The settings of OAuth and OpenID Connect."""

from __future__ import annotations

from typing import Annotated

import msgspec

from stalwart.config.kinds import bounded_duration
from stalwart.config.oauth_kinds import Algorithm
from stalwart.config.schema import Key

_HOUR = 3600.0
_DAY = 86_400.0


class OAuthSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The table `oauth`. Durations are in seconds."""

    user_code: Annotated[
        Annotated[float, bounded_duration(60, _DAY)],
        Key(
            name="expiry.user-code",
            doc="How long somebody has to type in the code that a device shows.",
            example='"15m"',
        ),
    ] = 1800.0
    auth_code: Annotated[
        Annotated[float, bounded_duration(10, _HOUR)],
        Key(
            name="expiry.auth-code",
            doc="How long a client has to fetch its tokens after the user has agreed. It takes a second; more than "
            "ten minutes is advised against (RFC 6749).",
            example='"1m"',
        ),
    ] = 600.0
    token: Annotated[
        Annotated[float, bounded_duration(60, 30 * _DAY)],
        Key(
            name="expiry.token",
            doc="How long an access token counts. It ends earlier with the password, the account or the client, and "
            "when it is revoked.",
            example='"30m"',
        ),
    ] = _HOUR
    refresh_token: Annotated[
        Annotated[float, bounded_duration(_HOUR, 3650 * _DAY)],
        Key(
            name="expiry.refresh-token",
            doc="How long a client may stay away and still get new tokens without asking the user. Each use gives a "
            "new refresh token, which counts as long again.",
            example='"90d"',
        ),
    ] = 30 * _DAY
    id_token: Annotated[
        Annotated[float, bounded_duration(60, _DAY)],
        Key(
            name="oidc.expiry.id-token",
            doc="How long an ID token, which tells a client who signed in, is to be believed.",
            example='"5m"',
        ),
    ] = 900.0
    algorithm: Annotated[
        Algorithm,
        Key(
            name="oidc.signature-algorithm",
            doc="What ID tokens are signed with. A key is made at the first start, and one for another algorithm when "
            "this changes; `stalwart oauth-key rotate` replaces it.",
            example='"rs256"',
        ),
    ] = "ES256"
    registered_only: Annotated[
        bool,
        Key(
            name="client-registration.require",
            doc="Refuse clients that are not registered. With `false` any program may ask users to let it in, under "
            "any name; it is shown as unverified, and must run on the user's own machine (a loopback address or a "
            "private-use scheme as its redirect URI) or use the device flow.",
            example="false",
        ),
    ] = True
    anonymous_registration: Annotated[
        bool,
        Key(
            name="client-registration.anonymous",
            doc="Let clients register themselves (RFC 7591) without signing in. Otherwise whoever registers one needs "
            "the permission `oauth-client-registration`.",
            example="true",
        ),
    ] = False
