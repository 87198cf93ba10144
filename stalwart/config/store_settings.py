"""The settings of storage: places to keep data (`store.<id>`), and which of them holds what (`storage`)."""

from __future__ import annotations

from typing import Annotated

import msgspec

from stalwart.config.kinds import Path
from stalwart.config.schema import Key


class SqliteStore(msgspec.Struct, frozen=True, kw_only=True, tag="sqlite", tag_field="type"):
    """A SQLite database."""

    id: str
    path: Annotated[
        Path,
        Key(
            name="path",
            doc="The database file. It is made if it is missing; it must lie on a local disk.",
            example='"/var/lib/stalwart/stalwart.sqlite"',
        ),
    ]


class FsStore(msgspec.Struct, frozen=True, kw_only=True, tag="fs", tag_field="type"):
    """A folder of files, for blobs."""

    id: str
    path: Annotated[
        Path,
        Key(
            name="path",
            doc="The folder. It is made if it is missing.",
            example='"/var/lib/stalwart/blobs"',
        ),
    ]


class Storage(msgspec.Struct, frozen=True, kw_only=True):
    """Which store holds what, by the stores' ids."""

    data: Annotated[
        str | None,
        Key(
            name="data",
            doc="The store, of type `sqlite`, of accounts, mailboxes and all that is known about messages.",
            example='"main"',
            default="`stalwart.sqlite` under `$STALWART_HOME`, or under `./stalwart-data`",
        ),
    ] = None
    blob: Annotated[
        str | None,
        Key(
            name="blob",
            doc="The store, of type `fs` or `sqlite`, of the messages themselves and of uploads.",
            example='"files"',
            default="the folder `blobs` beside the database of `storage.data`",
        ),
    ] = None
    fts: Annotated[
        str | None,
        Key(
            name="fts",
            doc="The store of the full-text index. The index is written in the same transaction as the mail, so that "
            "this can only be the store that `storage.data` names.",
            example='"main"',
            default="the store of `storage.data`",
        ),
    ] = None
