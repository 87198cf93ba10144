"""Mailing lists: their addresses, who is on them, and who may post."""

from __future__ import annotations

import time

from stalwart.store import (
    AlreadyExists,
    CircularLists,
    InvalidAddress,
    ListRow,
    NewMessage,
    NewRecipient,
    NoSuchDomain,
    NotFound,
    StillInUse,
    StoreError,
    add_alias,
    add_list_member,
    add_member,
    create_account,
    create_domain,
    create_list,
    delete_account,
    delete_domain,
    delete_list,
    enqueue,
    expand_list,
    find_list,
    find_principal,
    get_list,
    get_queue_message,
    list_lists,
    list_members,
    may_post,
    principal_of_account,
    reaches_somebody,
    remove_alias,
    remove_list_member,
    resolve_recipient,
)
from stalwart.store.queue_reports import may_be_told
from tests.store.bed import StoreTestCase


class MailingListTests(StoreTestCase):
    """With ada and bob, who has the alias sales, and the list all@lists.test, owned from elsewhere."""

    def setUp(self) -> None:
        """Make them."""
        super().setUp()
        with self.store.write() as s:
            create_domain(s, "lists.test")
            self.ada = create_account(s, "ada@lists.test", password_hash="x")
            self.bob = create_account(s, "bob@lists.test", password_hash="x")
            add_alias(s, self.bob.id, "sales@lists.test")
        self.all = self.make("all@lists.test")

    def make(self, address: str, owner: str = "boss@else.test", *, is_members_only: bool = False) -> ListRow:
        """A new list."""
        with self.store.write() as s:
            return create_list(s, address, owner=owner, is_members_only=is_members_only)

    def put_on(self, row: ListRow, *members: str) -> None:
        """Put them on a list."""
        with self.store.write() as s:
            for member in members:
                add_list_member(s, row.id, member)

    def expanded(self, row: ListRow) -> list[str]:
        """Whom its mail goes to."""
        with self.store.read() as s:
            self.assertEqual(reaches_somebody(s, row.id), bool(expand_list(s, row.id)))
            return expand_list(s, row.id)

    def posts(self, row: ListRow, sender: str) -> bool:
        """Whether that sender may post."""
        with self.store.read() as s:
            return may_post(s, row, sender)

    def test_address(self) -> None:
        """A list has an address that nobody else can have, in one of the domains, which it keeps; it is no account."""
        with self.store.write() as s:
            self.assertEqual(find_list(s, "ALL@Lists.test"), self.all)
            self.assertIsNone(find_list(s, "no address"))
            self.assertEqual(list_lists(s), [self.all])
            self.assertIsNone(resolve_recipient(s, "all@lists.test"))
            self.assertRaises(AlreadyExists, create_account, s, "all@lists.test", password_hash="x")
            self.assertRaises(AlreadyExists, add_alias, s, self.ada.id, "all@lists.test")
        for taken in ("all@lists.test", "ada@lists.test", "sales@lists.test"):
            self.assertRaises(AlreadyExists, self.make, taken)
        self.assertRaises(InvalidAddress, self.make, "all+x@lists.test")
        self.assertRaises(NoSuchDomain, self.make, "all@else.test")
        with self.store.write() as s:
            create_domain(s, "empty.test")
        row = self.make("only@empty.test")
        with self.store.write() as s:
            self.assertRaisesRegex(StillInUse, "only@empty.test", delete_domain, s, "empty.test")
            delete_list(s, row.id)
            delete_domain(s, "empty.test")
            self.assertRaises(NotFound, get_list, s, row.id)

    def test_owner(self) -> None:
        """An owner is somebody who reads mail: no list, and no unknown address of this server's."""
        self.assertEqual(self.make("a@lists.test", "Ada@lists.test").owner, "ada@lists.test")
        self.assertRaisesRegex(StoreError, "is a mailing list", self.make, "b@lists.test", "all@lists.test")
        self.assertRaisesRegex(StoreError, "is a mailing list", self.make, "b@lists.test", "b@lists.test")
        self.assertRaises(NotFound, self.make, "b@lists.test", "nobody@lists.test")

    def test_members(self) -> None:
        """Accounts, groups, lists and addresses elsewhere are put on a list and taken off it, each once."""
        with self.store.write() as s:
            create_account(s, "team@lists.test", password_hash="", kind="group")
        self.make("other@lists.test")
        members = ["ada@lists.test", "other@lists.test", "team@lists.test", "zoe@else.test"]
        self.put_on(self.all, *members)
        with self.store.write() as s:
            self.assertEqual(list_members(s, self.all.id), members)
            self.assertRaises(AlreadyExists, add_list_member, s, self.all.id, "ADA@lists.test")
            self.assertRaises(NotFound, add_list_member, s, self.all.id, "nobody@lists.test")
            self.assertRaises(InvalidAddress, add_list_member, s, self.all.id, "nobody")
            self.assertEqual(remove_list_member(s, self.all.id, "Zoe@else.test"), "zoe@else.test")
            self.assertRaises(NotFound, remove_list_member, s, self.all.id, "zoe@else.test")
        self.assertEqual(self.expanded(self.all), ["ada@lists.test", "team@lists.test"])

    def test_expansion(self) -> None:
        """Through lists on lists each address is reached once, and so is an account that is there by several."""
        inner, innermost = self.make("inner@lists.test"), self.make("innermost@lists.test")
        self.put_on(innermost, "ada@lists.test", "zoe@else.test")
        self.put_on(inner, "innermost@lists.test", "sales@lists.test")
        self.put_on(self.all, "inner@lists.test", "innermost@lists.test", "bob@lists.test", "ada@lists.test")
        self.assertEqual(self.expanded(self.all), ["ada@lists.test", "bob@lists.test", "zoe@else.test"])

    def test_loops(self) -> None:
        """A list can't be on itself, nor through others; rows that say so all the same have an end."""
        inner, innermost = self.make("inner@lists.test"), self.make("innermost@lists.test")
        self.put_on(self.all, "inner@lists.test")
        self.put_on(inner, "innermost@lists.test")
        for row, member in ((self.all, "all@lists.test"), (innermost, "all@lists.test"), (inner, "all@lists.test")):
            self.assertRaises(CircularLists, self.put_on, row, member)
        self.assertEqual(self.expanded(self.all), [])
        with self.store.write() as s:
            for row in (self.all, innermost):
                values = (row.id, "all@lists.test")
                s.connection.exec_driver_sql("INSERT INTO list_member (list_id, address) VALUES (?, ?)", values)
        self.assertEqual(self.expanded(self.all), [])
        self.put_on(innermost, "ada@lists.test")
        for row in (self.all, inner, innermost):
            self.assertEqual(self.expanded(row), ["ada@lists.test"])

    def test_many(self) -> None:
        """Ten thousand on a list, half of them through another one too, are each found once, and soon."""
        inner = self.make("inner@lists.test")
        with self.store.write() as s:
            s.connection.exec_driver_sql(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)"
                " INSERT INTO list_member SELECT l.principal_id, i || '@else.test' FROM n, mailing_list l"
                " WHERE l.principal_id = ? OR i % 2",
                (self.all.id,),
            )
        self.put_on(self.all, "inner@lists.test")
        started = time.perf_counter()
        self.assertEqual(len(self.expanded(self.all)), 10_000)
        self.assertLess(time.perf_counter() - started, 5.0)  # three times, on a slow machine
        self.assertEqual(len(self.expanded(inner)), 5_000)

    def test_addresses_that_go(self) -> None:
        """An address that is given up goes from all lists: who has it next gets nothing unasked."""
        self.make("inner@lists.test")
        self.put_on(self.all, "ada@lists.test", "bob@lists.test", "sales@lists.test", "inner@lists.test")
        with self.store.write() as s:
            remove_alias(s, self.bob.id, "sales@lists.test")
            inner = find_list(s, "inner@lists.test")
            assert inner is not None
            delete_list(s, inner.id)
            self.assertIsNone(find_principal(s, "list", "inner@lists.test"))
            self.assertEqual(list_members(s, self.all.id), ["ada@lists.test", "bob@lists.test"])
            delete_account(s, self.ada.id)
            delete_account(s, self.bob.id)
            self.assertEqual(list_members(s, self.all.id), [])

    def test_members_only(self) -> None:
        """Members post from any of their addresses, also who is in a group or on a list that is on it; others don't."""
        row = self.make("closed@lists.test", is_members_only=True)
        self.put_on(self.all, "bob@lists.test", "zoe@else.test")
        with self.store.write() as s:
            team = create_account(s, "team@lists.test", password_hash="", kind="group")
            carl = create_account(s, "carl@lists.test", password_hash="x")
            dora = create_account(s, "dora@lists.test", password_hash="x")
            add_alias(s, dora.id, "d@lists.test")
            add_member(s, principal_of_account(s, team.id).id, principal_of_account(s, carl.id).id)
        self.assertFalse(self.posts(row, "carl@lists.test"))
        self.put_on(row, "all@lists.test", "team@lists.test", "d@lists.test")
        for member in ("bob", "BOB+x", "sales", "carl", "dora", "d"):
            self.assertTrue(self.posts(row, f"{member}@lists.test"), member)
        self.assertTrue(self.posts(row, "ZOE@else.test"))
        for other in ("ada@lists.test", "x@else.test", "boss@else.test", "", "zoe", "nobody@lists.test"):
            self.assertFalse(self.posts(row, other), other)
            self.assertTrue(self.posts(self.all, other), other)

    def test_reports(self) -> None:
        """The owner of a list is told what became of its mail, whether here or elsewhere, while there is the list."""
        here = self.make("here@lists.test", "ada@lists.test")
        with self.store.write() as s:
            for owner in ("boss@else.test", "ada@lists.test", "bob@lists.test"):
                new = NewMessage(
                    account_id=None,
                    blob_hash=self.blobs.put(b"x"),
                    size=1,
                    return_path=owner,
                    recipients=(NewRecipient(address="zoe@else.test"),),
                )
                message = get_queue_message(s, enqueue(s, new))
                self.assertEqual(may_be_told(s, message), owner != "bob@lists.test", owner)
                if owner == "ada@lists.test":
                    delete_list(s, here.id)
                    self.assertFalse(may_be_told(s, message))
