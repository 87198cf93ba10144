"""The settings of sign-in."""

from __future__ import annotations

from typing import Annotated

import msgspec

from stalwart.config.kinds import SecretText
from stalwart.config.schema import Key


class FallbackAdminSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The table `authentication.fallback-admin`."""

    user: Annotated[
        str | None,
        Key(
            name="user",
            doc="The name that the fallback administrator signs in by. If there is an account with this address, it "
            "is the account that signs in.",
            example='"admin"',
        ),
    ] = None
    secret: Annotated[
        SecretText | None,
        Key(
            name="secret",
            doc="The password of the fallback administrator: in clear, or better as a hash, one of those that "
            "docs/accounts.md names. A text that begins with `$`, `_` or `{…}` is taken for a hash.",
            example='"%{file:/etc/stalwart/fallback-admin.secret}%"',
        ),
    ] = None
