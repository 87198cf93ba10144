"""Alembic's environment: runs the revisions on the connection that `stalwart.store.migrate` hands over."""

from __future__ import annotations

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    # SQLite can roll back DDL; the caller's transaction is the only one.
    transactional_ddl=True,
)
context.run_migrations()
