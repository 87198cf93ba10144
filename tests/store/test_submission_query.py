"""Queries of submissions, of which an account may have very many."""

from __future__ import annotations

import sqlite3

from stalwart.store import QueryResult, Session, submission_query
from stalwart.store.submission_query import SubmissionColumn, SubmissionFilter
from stalwart.store.submissions import get_submissions
from tests.store.bed import StoreTestCase

_COUNT = 100_000
_STEPS = 1000


def fill(driver: sqlite3.Connection, account: int, count: int) -> None:
    """Give the account so many submissions that are done with, each relayed to one recipient."""
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1000 UNION ALL SELECT i + 1 FROM n WHERE i < ? + 999)"
    driver.execute(
        f"{numbers} INSERT INTO email_submission (id, account_id, identity_id, email_id, thread_id, envelope, send_at, "
        "created_modseq, modseq) SELECT i, ?, 1, i, i, '{}', 1600000000 + i % 7919, -i, -i FROM n",
        (count, account),
    )
    driver.execute(
        f"{numbers} INSERT INTO queue_message (id, account_id, submission_id, blob_hash, size, return_path, env_id, "
        "is_8bit, needs_smtputf8, created_at, not_before, expires_at, is_held, finished_at) SELECT i, ?, i, 'x', 1, "
        "'', i, 0, 0, 0, 0, 0, 0, 1 FROM n",
        (count, account),
    )
    driver.execute(
        f"{numbers} INSERT INTO queue_recipient (message_id, address, destination, status, attempts) "
        "SELECT i, 'a@b', 'b', 'relayed', 1 FROM n",
        (count,),
    )


class ManyTests(StoreTestCase):
    """An account with 100,000 submissions, of which two wait."""

    def setUp(self) -> None:
        """Make them."""
        super().setUp()
        with self.store.write() as s:
            fill(s.driver, self.account_id, _COUNT)
            s.driver.execute("UPDATE queue_message SET finished_at = NULL WHERE id IN (1500, 90000)")
            s.driver.execute(
                "UPDATE queue_recipient SET status = 'queued', attempts = 0 WHERE message_id IN (1500, 90000)"
            )

    def find(
        self,
        s: Session,
        condition: SubmissionFilter | None = None,
        sorts: tuple[tuple[SubmissionColumn, bool], ...] = (),
        anchor: int | None = None,
    ) -> QueryResult:
        """The first page."""
        return submission_query.query_submissions(
            s,
            self.account_id,
            condition,
            sorts,
            position=0,
            anchor=anchor,
            anchor_offset=0,
            limit=20,
            calculate_total=False,
        )

    def tick(self) -> None:
        """The database has made so many steps."""
        self.ticks += 1

    def test_steps(self) -> None:
        """RFC 8621 §7.3: what clients ask for is read from an index, and doesn't grow with what there is."""
        pending = submission_query.has_undo_status("pending")
        newest: tuple[tuple[SubmissionColumn, bool], ...] = (("send_at", False),)
        for condition, sorts, wanted in (
            (None, (), None),
            (None, newest, None),
            (submission_query.among("email_id", [5000]), (), [5000]),
            (submission_query.among("thread_id", [5000]), newest, [5000]),
            (pending, (), [1500, 90000]),
            (pending, newest, None),
            (submission_query.has_undo_status("final"), newest, None),
            (submission_query.sent_since(1_600_007_918), newest, None),
        ):
            with self.store.read() as s:
                self.ticks = 0
                s.driver.set_progress_handler(self.tick, _STEPS)
                try:
                    found = self.find(s, condition, sorts)
                finally:
                    s.driver.set_progress_handler(None, 0)
            self.assertLess(self.ticks, 20, (str(condition), sorts))
            if wanted is not None:
                self.assertEqual(sorted(found.ids), wanted)

    def test_agree(self) -> None:
        """Each condition finds what /get shows to be so."""
        with self.store.read() as s:
            for status in ("pending", "final", "canceled"):
                ids = self.find(s, submission_query.has_undo_status(status)).ids
                shown = {row.undo_status for row in get_submissions(s, self.account_id, ids).values()}
                self.assertEqual(shown, {status} if ids else set())
            self.assertEqual(submission_query.count_submissions(s, self.account_id, None), _COUNT)
            self.assertEqual(self.find(s, anchor=50_000).position, _COUNT - 1 - 49_000)
            places = submission_query.submission_places(s, self.account_id, None, (("email_id", True),), [1000, 1007])
            self.assertEqual(places, [(1000, 0), (1007, 7)])
