"""Migrations: the schema they make, the copy made before, and databases of other versions."""

from __future__ import annotations

import errno
import os
import re
import shutil
import sqlite3
import stat
from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from stalwart.store import (
    DiskFull,
    SchemaTooNew,
    Store,
    StoreDamaged,
    StoreInUse,
    Text,
    create_domain,
    create_mailbox,
    ids_with_header,
    list_domains,
    migrate,
    oauth_grants,
    principals,
    query_emails,
    recipients,
    search,
    shares,
    sqlite,
)
from stalwart.store.sqlite import make_engine
from stalwart.store.tables import metadata
from tests.store.bed import NOW, StoreTestCase, message

_HEAD = migrate.HEAD
_LATER = '''
"""A revision that is yet to come."""

import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{head}"


def upgrade():
    """Rebuild a table, as SQLite's way of changing one."""
    with op.batch_alter_table("domain") as batch:
        batch.add_column(sa.Column("note", sa.Text()))
    {more}
'''


def schema_of(path: str) -> dict[str, list[str]]:
    """What makes up everything in a database but Alembic's table; the order of constraints doesn't matter."""
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    connection.close()
    return {
        name: sorted(re.split("[,()]+", re.sub(r"[\s\"]+", "", sql))) for name, sql in rows if name != "alembic_version"
    }


class SchemaTests(StoreTestCase):
    """The migrated schema and the metadata in the code."""

    def test_like_metadata(self) -> None:
        """Alembic finds no difference between the migrated database and the metadata."""
        engine = make_engine(self.path)
        with engine.connect() as connection:
            context = MigrationContext.configure(
                connection,
                opts={
                    "include_name": lambda name, kind, parents: (
                        not (name or "").startswith("email_search") and name != "email_text"
                    )
                },
            )
            self.assertEqual(compare_metadata(context, metadata), [])

    def test_same_statements(self) -> None:
        """Every table, index and trigger is as the metadata and the full-text module would make it."""
        path = os.path.join(self.folder, "fresh.sqlite")
        engine = create_engine(f"sqlite:///{path}")
        metadata.create_all(engine)
        with engine.begin() as connection:
            for statement in (*search.DDL, *recipients.DDL, *shares.DDL, *principals.DDL, *oauth_grants.DDL):
                connection.exec_driver_sql(statement)
        engine.dispose()
        self.assertEqual(sorted(schema_of(self.path).items()), sorted(schema_of(path).items()))

    def test_head(self) -> None:
        """The head that is known without Alembic is the one that Alembic finds."""
        self.assertEqual(ScriptDirectory(str(migrate.MIGRATIONS)).get_current_head(), migrate.HEAD)

    def test_current(self) -> None:
        """A new store is current."""
        self.assertTrue(migrate.is_current(make_engine(self.path), self.path))


class UpgradeTests(StoreTestCase):
    """A database of an older or newer version."""

    def newer(self, more: str = "pass") -> Path:
        """The migrations with a second one."""
        folder = Path(self.folder) / "migrations"
        shutil.copytree(migrate.MIGRATIONS, folder)
        (folder / "versions" / "r9999_later.py").write_text(_LATER.format(more=more, head=_HEAD))
        return folder

    def upgrade(self, more: str = "pass") -> str:
        """Close the store, run the second migration, give the path of the copy."""
        self.store.close()
        copy = migrate.upgrade(make_engine(self.path), self.path, self.newer(more), "9999", blobs=self.blobs)
        assert copy is not None
        return copy

    def copies(self) -> list[str]:
        """The copies beside the database."""
        return sorted(name for name in os.listdir(self.folder) if ".before-" in name)

    def test_new_database_not_copied(self) -> None:
        """There is nothing to copy when a database is made."""
        self.assertEqual(self.copies(), [])

    def test_copied_and_changed(self) -> None:
        """A private copy with the old schema and data is made, then the database is changed, with its data."""
        copy = self.upgrade()
        self.assertEqual(copy, self.path + f".before-9999-at-{_HEAD}")
        self.assertEqual(stat.S_IMODE(os.stat(copy).st_mode), 0o600)
        for path, columns in ((copy, 3), (self.path, 4)):
            connection = sqlite3.connect(path)
            (row,) = connection.execute("SELECT * FROM domain").fetchall()
            self.assertEqual(len(row), columns)
            self.assertEqual(connection.execute("SELECT count(*) FROM account").fetchone(), (1,))
            self.assertEqual(connection.execute("PRAGMA foreign_key_check").fetchall(), [])
            connection.close()
        self.assertNotIn("noteTEXT", schema_of(copy)["domain"])

    def test_copy_opens(self) -> None:
        """The copy is a whole store that this version can go on with."""
        store = Store.open(self.upgrade(), self.blobs, clock=lambda: self.now, exclusive=True)
        with store.read() as s:
            self.assertEqual(list_domains(s), ["example.org"])
        store.close()

    def test_interrupted_copy(self) -> None:
        """What a killed process left of a copy never has the name of one, and is replaced."""
        with open(self.path + f".before-9999-at-{_HEAD}.partial", "w") as file:
            file.write("half a copy")
        self.assertEqual(self.upgrade(), self.path + f".before-9999-at-{_HEAD}")
        self.assertEqual(self.copies(), [f"stalwart.sqlite.before-9999-at-{_HEAD}"])

    def test_failed_copy(self) -> None:
        """Without a whole copy nothing is changed, and no part of one stays."""

        def full(path: str) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        before = schema_of(self.path)
        self.patch(sqlite, "sync", full)
        self.assertIn("before-9999", str(self.assertRaises(DiskFull, self.upgrade)))
        self.assertEqual(self.copies(), [])
        self.assertEqual(schema_of(self.path), before)

    def test_older_copy_kept(self) -> None:
        """A copy from an earlier attempt is not overwritten."""
        with open(self.path + f".before-9999-at-{_HEAD}", "w") as file:
            file.write("precious")
        self.assertEqual(self.upgrade(), self.path + f".before-9999-at-{_HEAD}.2")
        with open(self.path + f".before-9999-at-{_HEAD}") as file:
            self.assertEqual(file.read(), "precious")

    def test_failing(self) -> None:
        """A migration that fails half-way changes nothing, and leaves no copy for each time that it is tried."""
        before = schema_of(self.path)
        self.assertRaises(ZeroDivisionError, self.upgrade, "1 / 0")
        self.assertEqual(schema_of(self.path), before)
        self.assertEqual(self.copies(), [])
        self.store = Store.open(self.path, self.blobs, clock=lambda: self.now, exclusive=True)
        self.store.ping()

    def test_broken_references(self) -> None:
        """A migration that leaves rows pointing nowhere is undone."""
        before = schema_of(self.path)
        error = self.assertRaises(StoreDamaged, self.upgrade, 'op.execute("DELETE FROM domain")')
        self.assertIn("refer to missing rows of domain", str(error))
        self.assertEqual(schema_of(self.path), before)

    def test_too_new(self) -> None:
        """A database of a newer version is refused with what to do, and not changed."""
        self.upgrade()
        error = self.assertRaises(
            SchemaTooNew, Store.open, self.path, self.blobs, clock=lambda: self.now, exclusive=True
        )
        self.assertIn("schema 9999", str(error))
        self.assertIn("install the version that wrote it", str(error))
        self.assertIn("noteTEXT", schema_of(self.path)["domain"])

    def test_lock_freed_after_refusal(self) -> None:
        """A refused opening gives the lock up."""
        self.upgrade()
        for _ in range(2):
            self.assertRaises(SchemaTooNew, Store.open, self.path, self.blobs, clock=lambda: self.now, exclusive=True)

    def test_not_beside_a_daemon(self) -> None:
        """The admin command does not migrate a database that a daemon serves."""
        migrations = self.newer()
        self.patch(migrate, "HEAD", "9999")
        self.patch(migrate.is_current, "__defaults__", ("9999",))
        self.patch(migrate.upgrade, "__defaults__", (migrations, "9999"))
        self.assertRaises(StoreInUse, Store.open, self.path, self.blobs, clock=lambda: self.now, exclusive=False)
        self.assertEqual(self.copies(), [])
        with self.store.write() as s:
            create_domain(s, "example.com")
        self.store.close()
        self.store = Store.open(self.path, self.blobs, clock=lambda: self.now, exclusive=False)
        self.assertEqual(self.copies(), [f"stalwart.sqlite.before-9999-at-{_HEAD}"])
        with self.store.read() as s:
            self.assertEqual(list_domains(s), ["example.com", "example.org"])


class MarkTests(StoreTestCase):
    """Revision 0007: the marks are made from keywords."""

    def test_marks(self) -> None:
        """They are those that the same e-mails would get today, and the keywords' own table is gone."""
        with self.store.write() as s:
            archive = create_mailbox(s, self.account_id, "Other").id
        for number, keywords in enumerate((["$seen"], [], ["$seen", "$flagged"], ["work"])):
            places = [self.mailbox_id(), archive][: number % 2 + 1]
            self.add(message(f"{number}"), keywords=keywords, mailbox_ids=places, received_at=NOW - number)
        self.store.close()
        connection = sqlite3.connect(self.path)
        wanted = connection.execute("SELECT * FROM email_mark ORDER BY email_id, mark, mailbox_id").fetchall()
        rows = connection.execute("SELECT id, account_id, keywords FROM email").fetchall()
        connection.executescript(
            """
            DROP TABLE email_mark;
            CREATE TABLE email_keyword (
                account_id INTEGER NOT NULL, keyword TEXT NOT NULL, email_id INTEGER NOT NULL,
                PRIMARY KEY (account_id, keyword, email_id)
            ) WITHOUT ROWID;
            UPDATE alembic_version SET version_num = '0006';
            """
        )
        pairs = [(account, keyword, number) for number, account, words in rows for keyword in words.split()]
        connection.executemany("INSERT INTO email_keyword VALUES (?, ?, ?)", pairs)
        connection.commit()
        connection.close()
        migrate.upgrade(make_engine(self.path), self.path, head="0007", blobs=self.blobs)
        connection = sqlite3.connect(self.path)
        self.assertEqual(
            connection.execute("SELECT * FROM email_mark ORDER BY email_id, mark, mailbox_id").fetchall(), wanted
        )
        self.assertEqual(len(wanted), 11)
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        connection.close()
        self.assertNotIn("email_keyword", tables)


class HeaderNameTests(StoreTestCase):
    """Revision 0009: the full text of e-mails from before the names of header fields stood in it."""

    def test_found(self) -> None:
        """An old e-mail is found by its header fields (RFC 8621 §4.4.1) and by words as they are folded today."""
        data = message("=?utf-8?b?zrvPjM6zzr/Pgg==?=", X_Strange="yes")
        self.blobs.put(data)
        found = self.add(data).id
        self.add(message("Its octets are lost", X_Strange="no"))
        self.store.close()
        connection = sqlite3.connect(self.path)
        rows = connection.execute("SELECT * FROM email_text").fetchall()
        connection.execute("DELETE FROM email_text")
        marks = ", ".join("?" * len(rows[0]))
        connection.executemany(
            f"INSERT INTO email_text VALUES ({marks})",
            [(row[0], f"a{self.account_id}", row[2].replace("λογοσ", "λογος"), *row[3:]) for row in rows],
        )
        connection.execute("UPDATE alembic_version SET version_num = '0008'")
        connection.commit()
        migrate.upgrade(make_engine(self.path), self.path, head="0009", blobs=self.blobs)
        # What came later is there already.
        connection.execute("UPDATE alembic_version SET version_num = ?", (_HEAD,))
        connection.commit()
        connection.close()
        self.store = Store.open(self.path, self.blobs, clock=lambda: self.now, exclusive=True)
        with self.store.read() as s:
            self.assertEqual(ids_with_header(s, self.account_id, "x-strange", 10), [found])
            words = Text(field="subject", query="λόγος")
            result = query_emails(
                s, self.account_id, words, [], collapse_threads=False, position=0, limit=9, calculate_total=False
            )
            self.assertEqual(list(result.ids), [found])
        connection = sqlite3.connect(self.path)
        self.addCleanup(connection.close)
        self.assertEqual(
            connection.execute("SELECT * FROM email_text WHERE email_id = ?", (found,)).fetchall(), rows[:1]
        )
        # FTS5 raises if the index isn't that of the texts.
        connection.execute("INSERT INTO email_search (email_search) VALUES ('integrity-check')")
