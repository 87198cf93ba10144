"""Full text as it is looked for by now: with the names of header fields, and folded without regard to case."""

from __future__ import annotations

from itertools import islice

from alembic import context, op

from stalwart.mail.headers import parse_fields
from stalwart.mail.message import decode_structure
from stalwart.mail.summary import MAX_HEADER_NAMES
from stalwart.mail.terms import fold
from stalwart.store.blobs import BlobStore
from stalwart.store.errors import BlobMissing
from stalwart.store.search import account_text
from stalwart.store.sqlite import driver_of

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_ROWS_AT_ONCE = 200
_SOME = """
SELECT t.email_id, e.account_id, e.blob_hash, c.structure,
       t.subject, t.from_, t.to_, t.cc, t.bcc, t.body, t.attachments
FROM email_text AS t JOIN email AS e ON e.id = t.email_id JOIN email_content AS c ON c.email_id = t.email_id
WHERE t.email_id > ? ORDER BY t.email_id LIMIT ?
"""
_WRITE = """
UPDATE email_text
SET account = ?, subject = ?, from_ = ?, to_ = ?, cc = ?, bcc = ?, body = ?, attachments = ?
WHERE email_id = ?
"""


def upgrade() -> None:
    """Write the texts anew, reading each message's header, and make the index of them."""
    driver, blobs = driver_of(op.get_bind()), context.config.attributes["blobs"]
    last = 0
    while rows := driver.execute(_SOME, (last, _ROWS_AT_ONCE)).fetchall():
        for email_id, account_id, blob_hash, structure, *texts in rows:
            names = _header_names(blobs, blob_hash, structure)
            driver.execute(_WRITE, (account_text(account_id, names), *map(fold, texts), email_id))
        last = rows[-1][0]
    if last:
        # No trigger follows an update.
        driver.execute("INSERT INTO email_search (email_search) VALUES ('rebuild')")


def _header_names(blobs: BlobStore, blob_hash: str, structure: bytes) -> list[str]:
    root = decode_structure(structure)
    try:
        header = blobs.get(blob_hash, root.header_start, root.body_start - root.header_start)
    except BlobMissing:
        return []  # a message without its octets is found by what the database has of it
    return list(islice(dict.fromkeys(field.name.lower() for field in parse_fields(header)), MAX_HEADER_NAMES))
