"""Domains, accounts, aliases and recipients."""

from __future__ import annotations

from stalwart.store import (
    AccountRow,
    AlreadyExists,
    InvalidAddress,
    NoSuchDomain,
    NotFound,
    StillInUse,
    StoreError,
    add_alias,
    add_upload,
    create_account,
    create_domain,
    create_mailbox,
    credential_version,
    delete_account,
    delete_domain,
    find_account,
    finish_deletions,
    get_account,
    list_accounts,
    list_domains,
    remove_alias,
    resolve_recipient,
    set_password_hash,
    state,
)
from tests.store.bed import NOW, StoreTestCase, message


class DomainTests(StoreTestCase):
    """Making and removing domains."""

    def test_create_and_list(self) -> None:
        """Domains are normalised, sorted, and unique."""
        with self.store.write() as s:
            self.assertEqual(create_domain(s, "Müller.Example"), "xn--mller-kva.example")
            create_domain(s, "a.example")
            self.assertEqual(list_domains(s), ["a.example", "example.org", "xn--mller-kva.example"])
            self.assertRaises(AlreadyExists, create_domain, s, "A.EXAMPLE")
            self.assertRaises(InvalidAddress, create_domain, s, "no domain")

    def test_delete(self) -> None:
        """An empty domain goes; one with addresses stays, and an alias counts."""
        with self.store.write() as s:
            create_domain(s, "example.com")
            add_alias(s, self.account_id, "ada@example.com")
            self.assertRaises(StillInUse, delete_domain, s, "example.com")
            self.assertRaises(StillInUse, delete_domain, s, "example.org")
            remove_alias(s, self.account_id, "ada@example.com")
            delete_domain(s, "Example.Com")
            self.assertEqual(list_domains(s), ["example.org"])
            self.assertRaises(NotFound, delete_domain, s, "example.com")


class AccountTests(StoreTestCase):
    """Making, finding and removing accounts."""

    def test_created(self) -> None:
        """A new account is as it was asked for, and empty."""
        with self.store.write() as s:
            made = create_account(s, "Bob@Example.ORG", name="Bob", password_hash="h", is_admin=True, quota=1000)
            self.assertEqual(
                made,
                AccountRow(
                    id=made.id,
                    address="bob@example.org",
                    name="Bob",
                    password_hash="h",
                    is_admin=True,
                    kind="individual",
                    is_enabled=True,
                    quota=1000,
                    used=0,
                    message_count=0,
                    credential_version=1,
                    created_at=NOW,
                    aliases=(),
                ),
            )
            self.assertIs(made.is_admin, True)
            self.assertEqual(find_account(s, "BOB@example.org"), made)
            self.assertEqual(get_account(s, made.id), made)
            self.assertEqual([account.address for account in list_accounts(s)], ["ada@example.org", "bob@example.org"])

    def test_refused(self) -> None:
        """Unknown domains are named, taken addresses refused, whether own or alias."""
        with self.store.write() as s:
            error = self.assertRaises(NoSuchDomain, create_account, s, "bob@example.com", password_hash="h")
            self.assertIn("stalwart domain create example.com", str(error))
            add_alias(s, self.account_id, "lovelace@example.org")
            for taken in ("ADA@example.org", "lovelace@example.org"):
                self.assertRaises(AlreadyExists, create_account, s, taken, password_hash="h")
            self.assertRaises(AlreadyExists, add_alias, s, self.account_id, "ada@example.org")

    def test_unknown(self) -> None:
        """What is done to an account that isn't there is NotFound."""
        with self.store.write() as s:
            for attempt in (get_account, delete_account):
                self.assertRaises(NotFound, attempt, s, 99)
            self.assertRaises(NotFound, set_password_hash, s, 99, "h")
            self.assertRaises(NotFound, add_alias, s, 99, "x@example.org")
            self.assertIsNone(find_account(s, "bob@example.org"))
            self.assertIsNone(credential_version(s, 99))

    def test_password(self) -> None:
        """A new password makes a new credential version."""
        with self.store.write() as s:
            set_password_hash(s, self.account_id, "new")
            account = get_account(s, self.account_id)
        self.assertEqual((account.password_hash, account.credential_version), ("new", 2))

    def test_aliases(self) -> None:
        """Aliases are listed, and removed; the own address is none."""
        with self.store.write() as s:
            self.assertEqual(add_alias(s, self.account_id, "Countess@Example.org"), "countess@example.org")
            add_alias(s, self.account_id, "a@example.org")
            self.assertEqual(get_account(s, self.account_id).aliases, ("a@example.org", "countess@example.org"))
            self.assertEqual(list_accounts(s), [get_account(s, self.account_id)])
            self.assertIsNone(find_account(s, "a@example.org"))
            remove_alias(s, self.account_id, "A@example.org")
            self.assertRaises(NotFound, remove_alias, s, self.account_id, "a@example.org")
            self.assertRaises(NotFound, remove_alias, s, self.account_id, "ada@example.org")

    def test_deleted_in_portions(self) -> None:
        """A deleted account is gone at once; what it held goes in short transactions, and goes on where it stopped."""
        account_id = self.account_id
        for number in range(150):
            self.add(message(f"number {number}"))
        with self.store.write() as s:
            delete_account(s, account_id)
        with self.store.read() as s:
            self.assertIsNone(find_account(s, "jane@example.org"))
            self.assertIsNone(resolve_recipient(s, "jane@example.org"))
            self.assertIsNone(credential_version(s, account_id))
            self.assertEqual(list_accounts(s), [])
        self.assertRaises(NotFound, self.add, message("late"))
        with self.store.write() as s:
            again = create_account(s, "jane@example.org", password_hash="h").id
        turns = iter([True, True, False])
        pauses: list[float] = []
        self.assertEqual(finish_deletions(self.store, wanted=lambda: next(turns), pause=pauses.append), 0)
        with self.store.read() as s:
            self.assertEqual(s.driver.execute("SELECT count(*) FROM email").fetchone()[0], 0)
            self.assertEqual(s.driver.execute("SELECT count(*) FROM account").fetchone()[0], 2)
        self.assertEqual(finish_deletions(self.store, pause=pauses.append), 1)
        with self.store.read() as s:
            self.assertEqual([row.id for row in list_accounts(s)], [again])
            self.assertEqual(s.driver.execute("SELECT count(*) FROM thread").fetchone()[0], 0)

    def test_deleted(self) -> None:
        """With an account goes every row that is its own, also from the text index; others stay."""
        other = self.account_id
        self.add(message("keep", body="stays"), keywords=["$seen"])
        with self.store.write() as s:
            self.account_id = create_account(s, "bob@example.org", password_hash="h").id
            add_alias(s, self.account_id, "b@example.org")
            parent = create_mailbox(s, self.account_id, "Parent")
            create_mailbox(s, self.account_id, "Child", parent.id)
            add_upload(s, self.account_id, self.account_id, "x", 1, "text/plain")
        self.add(message("gone", body="vanishes"), keywords=["$flagged"])
        with self.store.write() as s:
            delete_account(s, self.account_id)
            self.assertEqual(state(s, self.account_id, "Email"), 0)
        finish_deletions(self.store)
        with self.store.read() as s:
            for table in ("account", "mailbox", "email", "thread", "email_text", "email_content"):
                count = s.driver.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
                self.assertEqual(count, 6 if table == "mailbox" else 1, table)
            for table in ("email_mark", "upload"):
                self.assertEqual(s.driver.execute(f"SELECT count(*) FROM {table}").fetchone()[0], 0, table)
            search = "SELECT count(*) FROM email_search WHERE email_search MATCH ?"
            self.assertEqual(s.driver.execute(search, ("vanishes",)).fetchone()[0], 0)
            self.assertEqual(s.driver.execute(search, ("stays",)).fetchone()[0], 1)
            self.assertEqual(s.driver.execute("PRAGMA foreign_key_check").fetchall(), [])
            self.assertEqual([account.id for account in list_accounts(s)], [other])

    def test_errors_have_one_base(self) -> None:
        """Whoever catches StoreError catches all of these."""
        for kind in (AlreadyExists, InvalidAddress, NoSuchDomain, NotFound, StillInUse):
            self.assertTrue(issubclass(kind, StoreError))


class RecipientTests(StoreTestCase):
    """Who receives mail for an address."""

    def resolved(self, address: str) -> int | None:
        """The id of the account that receives it."""
        with self.store.read() as s:
            account = resolve_recipient(s, address)
        return None if account is None else account.id

    def test_resolved(self) -> None:
        """Own address, alias, tag on either, any case, IDN in either spelling."""
        with self.store.write() as s:
            create_domain(s, "müller.example")
            add_alias(s, self.account_id, "Jörg@müller.example")
        for address in (
            "ada@example.org",
            "ADA@EXAMPLE.ORG",
            "ada+lists@example.org",
            "Ada+A+B@example.org",
            "jörg@müller.example",
            "JÖRG@xn--mller-kva.example",
            "jo\u0308rg+x@MÜLLER.example",
            '"ada"@example.org',
        ):
            self.assertEqual(self.resolved(address), self.account_id, address)

    def test_nobody(self) -> None:
        """Unknown users, foreign domains, and what is no address at all."""
        for address in ("bob@example.org", "ada@example.com", "+ada@example.org", "", "ada", "@", "ada@[::1]", "\0@\0"):
            self.assertIsNone(self.resolved(address), address)

    def test_exact_first(self) -> None:
        """An address that holds a plus sign itself comes before the tag rule."""
        with self.store.write() as s:
            special = create_account(s, "ada+work@example.org", password_hash="h").id
        self.assertEqual(self.resolved("ada+work@example.org"), special)
        self.assertEqual(self.resolved("ada+play@example.org"), self.account_id)
