"""Vacation responses in the store: who is away, and who was answered."""

from __future__ import annotations

from stalwart.store import (
    SENDS,
    Grants,
    Store,
    VacationRow,
    active_vacation,
    add_alias,
    delete_account,
    finish_deletions,
    get_vacation,
    note_answer,
    principal_of_account,
    set_grants,
    set_vacation,
    state,
    was_answered,
)
from tests.store.bed import NOW, StoreTestCase

_DAY = 86400


class VacationTests(StoreTestCase):
    """`set_vacation`, `active_vacation`, `note_answer`."""

    def set(self, **values: object) -> None:
        """Change these values."""
        with self.store.write() as s:
            set_vacation(s, self.account_id, values)

    def is_active(self) -> bool:
        """Whether the user is away now."""
        with self.store.read() as s:
            return active_vacation(s, self.account_id) is not None

    def note(self, sender: str) -> bool:
        """Whether the sender is to be answered now."""
        with self.store.write() as s:
            return note_answer(s, self.account_id, sender, 7 * _DAY)

    def test_set(self) -> None:
        """Only what is named changes, and the state moves; the defaults are there without a row."""
        with self.store.read() as s:
            self.assertEqual(get_vacation(s, self.account_id), VacationRow())
            before = state(s, self.account_id, "VacationResponse")
        self.set(is_enabled=True, subject="x")
        self.set(text_body="y")
        with self.store.read() as s:
            self.assertEqual(get_vacation(s, self.account_id), VacationRow(is_enabled=True, subject="x", text_body="y"))
            self.assertGreater(state(s, self.account_id, "VacationResponse"), before)

    def test_active(self) -> None:
        """RFC 8621 §8: on or after fromDate and before toDate, if it is enabled at all."""
        self.assertFalse(self.is_active())
        self.set(is_enabled=True)
        self.assertTrue(self.is_active())
        self.set(from_date=NOW + 10, to_date=NOW + 20)
        for moment, wanted in ((NOW + 9, False), (NOW + 10, True), (NOW + 19, True), (NOW + 20, False)):
            self.now = moment
            self.assertEqual(self.is_active(), wanted, moment)
        self.now = NOW + 15
        self.set(is_enabled=False)
        self.assertFalse(self.is_active())

    def test_may_not_send(self) -> None:
        """Nobody is answered while the account doesn't have the permission `email-send`."""
        self.set(is_enabled=True)
        with self.store.write() as s:
            set_grants(s, principal_of_account(s, self.account_id).id, Grants(disabled=frozenset({SENDS})))
        self.assertFalse(self.is_active())
        with self.store.write() as s:
            set_grants(s, principal_of_account(s, self.account_id).id, Grants())
        self.assertTrue(self.is_active())

    def test_addresses(self) -> None:
        """Who is away comes with all their addresses."""
        self.set(is_enabled=True)
        with self.store.write() as s:
            add_alias(s, self.account_id, "countess@example.org")
        with self.store.read() as s:
            found = active_vacation(s, self.account_id)
        assert found is not None
        self.assertIn("countess@example.org", found.addresses)
        self.assertEqual(len(found.addresses), 2)

    def test_one_answer(self) -> None:
        """A sender is answered once in the interval, also after a restart; another one is of no account."""
        self.assertTrue(self.note("bob@example.net"))
        self.assertFalse(self.note("bob@example.net"))
        self.store.close()
        self.store = Store.open(self.path, self.blobs, clock=lambda: self.now, ids=self.ids, exclusive=True)
        self.assertFalse(self.note("bob@example.net"))
        self.assertTrue(self.note("carol@example.net"))
        self.now += 7 * _DAY - 1
        self.assertFalse(self.note("bob@example.net"))
        self.now += 1
        self.assertTrue(self.note("bob@example.net"))
        with self.store.read() as s:
            [[count]] = s.driver.execute("SELECT count(*) FROM vacation_answer").fetchall()
        self.assertEqual(count, 1)

    def test_many_senders(self) -> None:
        """Of very many senders, made up perhaps, only some are answered within an hour and a day, and no more noted."""
        answered = 0
        for hour in range(24):
            answered += sum(self.note(f"forged{hour}x{number}@example.net") for number in range(80))
            self.assertEqual(answered, min(60 * (hour + 1), 300))
            self.now += 3600
        self.assertTrue(self.note("bob@example.net"))
        with self.store.read() as s:
            [[count]] = s.driver.execute("SELECT count(*) FROM vacation_answer").fetchall()
        self.assertEqual(count, 301)

    def test_new_answer(self) -> None:
        """Who was answered may be answered again after the response has changed."""
        self.note("bob@example.net")
        self.set(text_body="other")
        with self.store.read() as s:
            self.assertFalse(was_answered(s, self.account_id, "bob@example.net", 7 * _DAY))

    def test_gone_with_the_account(self) -> None:
        """Nothing stays of an account that is deleted."""
        self.set(is_enabled=True)
        self.note("bob@example.net")
        with self.store.write() as s:
            delete_account(s, self.account_id)
        finish_deletions(self.store)
        with self.store.read() as s:
            for table in ("vacation_response", "vacation_answer"):
                self.assertEqual(s.driver.execute(f"SELECT count(*) FROM {table}").fetchone(), (0,))
