"""Full text in SQLite's FTS5: what is indexed, and how a user's words become a query.

The index spans all accounts; each row carries its account's token, and each query asks for it. Beside it, in the
column `account`, stand tokens of the names of the message's header fields.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b

from sqlalchemy import Select, column, select, table

from stalwart.mail.summary import SearchText
from stalwart.mail.terms import Term, fold, parse_terms
from stalwart.store.filters import TextField
from stalwart.store.session import Session

# FTS5 keeps no text of its own here (external content): email_text holds it, and triggers keep the two together, also
# when an account's rows go by cascade.
DDL = (
    """
CREATE TABLE email_text (
    email_id INTEGER NOT NULL PRIMARY KEY REFERENCES email (id) ON DELETE CASCADE,
    account TEXT NOT NULL,
    subject TEXT NOT NULL,
    from_ TEXT NOT NULL,
    to_ TEXT NOT NULL,
    cc TEXT NOT NULL,
    bcc TEXT NOT NULL,
    body TEXT NOT NULL,
    attachments TEXT NOT NULL
)""",
    """
CREATE VIRTUAL TABLE email_search USING fts5 (
    account, subject, from_, to_, cc, bcc, body, attachments,
    content = 'email_text', content_rowid = 'email_id', columnsize = 0,
    tokenize = 'unicode61 remove_diacritics 2'
)""",
    # Twice the default: a delivery merges less, a search looks through a few more pieces of the index.
    "INSERT INTO email_search (email_search, rank) VALUES ('automerge', 8)",
    """
CREATE TRIGGER email_text_added AFTER INSERT ON email_text BEGIN
    INSERT INTO email_search (rowid, account, subject, from_, to_, cc, bcc, body, attachments)
    VALUES (new.email_id, new.account, new.subject, new.from_, new.to_, new.cc, new.bcc, new.body, new.attachments);
END""",
    """
CREATE TRIGGER email_text_removed AFTER DELETE ON email_text BEGIN
    INSERT INTO email_search (email_search, rowid, account, subject, from_, to_, cc, bcc, body, attachments)
    VALUES ('delete', old.email_id, old.account, old.subject, old.from_, old.to_, old.cc, old.bcc, old.body,
            old.attachments);
END""",
)

_ADD = (
    "INSERT INTO email_text (email_id, account, subject, from_, to_, cc, bcc, body, attachments) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)

_BETWEEN = "SELECT rowid FROM email_search WHERE email_search MATCH ? AND rowid BETWEEN ? AND ?"

_search = table("email_search", column("rowid"), column("email_search"))

_COLUMNS: dict[TextField, str] = {
    "any": "{subject from_ to_ cc bcc body attachments}",
    "from": "from_",
    "to": "to_",
    "cc": "cc",
    "bcc": "bcc",
    "subject": "subject",
    "body": "body",
}


def add_text(s: Session, account_id: int, email_id: int, search: SearchText) -> None:
    """Index a message's text, in the caller's transaction."""
    s.driver.execute(
        _ADD,
        (
            email_id,
            account_text(account_id, search.header_names),
            fold(search.subject),
            fold(search.from_),
            fold(search.to),
            fold(search.cc),
            fold(search.bcc),
            fold(search.body),
            fold(search.attachments),
        ),
    )


def account_text(account_id: int, header_names: Iterable[str]) -> str:
    """What the column `account` has for a message with header fields of these names."""
    return " ".join((_account_token(account_id), *map(_name_token, header_names)))


def matching(account_id: int, field: TextField, query: str) -> Select[int] | bool:
    """A subquery of the ids of the account's e-mails that match; or True (all do) or False (none does)."""
    terms = parse_terms(query)
    if not terms:
        return not query.strip()
    return _select(_expression(account_id, field, terms))


def found_among(s: Session, account_id: int, field: TextField, query: str, ids: Iterable[int]) -> set[int]:
    """Which of the e-mails match; quick if their ids lie close together. The query has words, as `has_words` tells."""
    wanted = set(ids)
    expression = _expression(account_id, field, parse_terms(query))
    return {row[0] for row in s.driver.execute(_BETWEEN, (expression, min(wanted), max(wanted))) if row[0] in wanted}


def has_words(query: str) -> bool:
    """Whether there is anything in the query to look for."""
    return bool(parse_terms(query))


def with_header(account_id: int, name: str) -> Select[int]:
    """A subquery of the ids of the account's e-mails that have a header field of this name."""
    return _select(f'account : ("{_account_token(account_id)}" AND "{_name_token(name)}")')


def _expression(account_id: int, field: TextField, terms: Iterable[Term]) -> str:
    wanted = " AND ".join(map(_quoted, terms))
    return f'account : "{_account_token(account_id)}" AND {_COLUMNS[field]} : ({wanted})'


def _select(expression: str) -> Select[int]:
    return select(_search.c.rowid).where(_search.c.email_search.op("MATCH")(expression))


def _quoted(term: Term) -> str:
    """The term as an FTS5 string, in which nothing a user wrote is syntax."""
    return '"' + term.text.replace('"', '""') + '"' + ("*" if term.begins else "")


def _account_token(account_id: int) -> str:
    return f"a{account_id}"


@lru_cache(maxsize=1024)
def _name_token(name: str) -> str:
    return "h" + blake2b(name.lower().encode("utf-8", "replace"), digest_size=8).hexdigest()
