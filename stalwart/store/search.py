"""Full text in SQLite's FTS5: what is indexed, and how a user's words become a query.

The index spans all accounts; each row carries its account's token, and each query asks for it. Scripts that are
written without spaces are indexed letter by letter, so that any run of letters is found.
"""

from __future__ import annotations

import re
import unicodedata

from sqlalchemy import Select, column, select, table

from stalwart.mail.summary import SearchText
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

# Thai, Lao, Myanmar, Khmer, kana, Han and Hangul.
_UNSPACED = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3100-\u312f\u31a0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003ffff])"
)

# What a reader doesn't look for: accents of all alphabets (FTS5 knows the Latin ones only), vowel points of Hebrew and
# Arabic, soft hyphens and characters of no width.
_MARKS = re.compile(
    "[\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670"
    "\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed\u00ad\u200b-\u200d\u2060\ufeff]+"
)

# RFC 8621 §4.4.1: text in matched quotes is a phrase, with backslash escapes; white space divides the rest.
_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|\'((?:[^\'\\]|\\.)*)\'(?!\w)|(\S+)', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)

# More of a query than this is not looked at.
_MOST_CHARACTERS = 4000
_MOST_WORDS = 100
_SHORTEST_BEGINNING = 3


def add_text(s: Session, account_id: int, email_id: int, search: SearchText) -> None:
    """Index a message's text, in the caller's transaction."""
    s.driver.execute(
        _ADD,
        (
            email_id,
            _account_token(account_id),
            _indexable(search.subject),
            _indexable(search.from_),
            _indexable(search.to),
            _indexable(search.cc),
            _indexable(search.bcc),
            _indexable(search.body),
            _indexable(search.attachments),
        ),
    )


def matching(account_id: int, field: TextField, query: str) -> Select[int] | bool:
    """A subquery of the ids of the account's e-mails that match; or True (all do) or False (none does)."""
    query = query[:_MOST_CHARACTERS]
    words = dict.fromkeys(word for match in _WORD.finditer(query) if (word := _word(match)))
    if not words:
        return not query.strip()
    terms = " AND ".join(list(words)[:_MOST_WORDS])
    expression = f'account : "{_account_token(account_id)}" AND {_COLUMNS[field]} : ({terms})'
    return select(_search.c.rowid).where(_search.c.email_search.op("MATCH")(expression))


def _word(match: re.Match[str]) -> str | None:
    """The match as an FTS5 string, in which nothing a user wrote is syntax; None if it holds no letter or digit."""
    plain = match[3]
    text = plain if plain is not None else _ESCAPED.sub(r"\1", match[1] if match[1] is not None else match[2])
    text = _indexable(text).strip()
    if not any(character.isalnum() for character in text):
        return None
    begins = plain is not None and len(plain) >= _SHORTEST_BEGINNING and not _UNSPACED.search(text[-1])
    return '"' + text.replace('"', '""') + '"' + ("*" if begins else "")


def _account_token(account_id: int) -> str:
    return f"a{account_id}"


def _indexable(text: str) -> str:
    """The text for the tokenizer: compatible forms made one, marks left out, letters of unspaced scripts set apart."""
    if "\0" in text:
        text = text.replace("\0", " ")
    if text.isascii():
        return text
    text = unicodedata.normalize("NFKD", text.encode("utf-8", "replace").decode("utf-8"))
    text = unicodedata.normalize("NFKC", _MARKS.sub("", text)).replace("ß", "ss").replace("ẞ", "SS")
    return _UNSPACED.sub(r" \1 ", text)
