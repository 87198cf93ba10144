"""Brings a database to the schema this program knows, with a copy made before an existing one is changed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine

from stalwart.store.blobs import BlobStore
from stalwart.store.errors import SchemaTooNew, StoreDamaged
from stalwart.store.sqlite import copy_database, driver_of, transaction

MIGRATIONS = Path(__file__).parent / "migrations"

if TYPE_CHECKING:
    from alembic.config import Config

#: The newest revision. Known without Alembic, which takes a while to import and is seldom needed.
HEAD = "0019"


def is_current(engine: Engine, path: str, head: str = HEAD) -> bool:
    """Whether the database has the newest schema, so that there is nothing to do."""
    with engine.connect() as connection:
        return _revision(connection, path) == head


def upgrade(
    engine: Engine, path: str, migrations: Path = MIGRATIONS, head: str = HEAD, *, blobs: BlobStore
) -> str | None:
    """Run the missing migrations in one transaction; gives the path of the copy that was made before, if any.

    `blobs` are those that the messages lie in. If a migration fails, nothing has changed, and no copy is left: else
    each new attempt to start would make one more.

    Raises SchemaTooNew if the database has a revision that is not among `migrations`.
    """
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["blobs"] = blobs
    with engine.connect() as connection:
        revision = _revision(connection, path)
    copy = None
    if revision is not None:
        try:
            ScriptDirectory.from_config(config).get_revision(revision)
        except CommandError:
            raise SchemaTooNew(
                f"{path}: the database has schema {revision}, and this version knows schemas up to {head}; "
                "install the version that wrote it, or restore the copy made before it was upgraded"
            ) from None
        copy = copy_database(engine, path, f"before-{head}-at-{revision}")
    try:
        _migrate(engine, path, config, head)
    except BaseException:
        if copy is not None:
            os.unlink(copy)
        raise
    return copy


def _migrate(engine: Engine, path: str, config: Config, head: str) -> None:
    from alembic import command

    with engine.connect() as connection:
        # Rebuilding a table drops it for a moment; the check below stands in. No effect inside a transaction.
        driver_of(connection).execute("PRAGMA foreign_keys=OFF")
        with transaction(connection, writing=True) as driver:
            config.attributes["connection"] = connection
            command.upgrade(config, head)
            if broken := driver.execute("PRAGMA foreign_key_check").fetchall():
                raise StoreDamaged(
                    f"{path}: after the migration to {head}, rows of {broken[0][0]} refer to missing rows of "
                    f"{broken[0][2]}; nothing was changed"
                )


def _revision(connection: Connection, path: str) -> str | None:
    driver = driver_of(connection)
    tables = {name for (name,) in driver.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "alembic_version" in tables:
        row = driver.execute("SELECT version_num FROM alembic_version").fetchone()
        return str(row[0]) if row is not None else None
    if "account" in tables:
        raise StoreDamaged(f"{path}: this database has tables but no schema version; it isn't one of ours")
    return None
