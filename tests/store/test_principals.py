"""Principals, their roles and permissions, and what they sign in with."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from stalwart.ops.cache import Cache
from stalwart.store import (
    ALL_PERMISSIONS,
    BUILT_IN_ROLES,
    PERMISSIONS,
    AlreadyExists,
    CircularRoles,
    Grants,
    NotFound,
    RecipientCache,
    Session,
    ShareRow,
    StillInUse,
    StoreError,
    add_credential,
    add_member,
    create_account,
    create_principal,
    delete_account,
    delete_principal,
    describe_principal,
    effective_permissions,
    enable_principal,
    end_sign_ins,
    find_credential,
    find_mailbox,
    find_principal,
    find_recipient,
    find_totp,
    get_account,
    get_credential,
    get_principal,
    grants_of,
    groups_of,
    guests_of,
    has_expired,
    list_accounts,
    list_api_keys_of,
    list_credentials,
    list_principals,
    may_write,
    members_of,
    migrate,
    note_use,
    permission_of_method,
    principal_of_account,
    remove_credential,
    remove_member,
    remove_totp,
    replace_password_hash,
    resolve_recipient,
    roles_of,
    set_grants,
    set_password_hash,
    set_roles,
    set_subscription,
    set_totp,
    share_account,
    shared_with,
    shares_by_guest,
    subscribed_mailboxes,
    unshare_account,
    use_totp_step,
)
from stalwart.store.sqlite import make_engine
from tests.store.bed import NOW, StoreTestCase

USER = BUILT_IN_ROLES["user"]


class PrincipalTestCase(StoreTestCase):
    """A test with the account's principal, `self.ada`."""

    def setUp(self) -> None:
        """Look the principal up."""
        super().setUp()
        with self.store.read() as s:
            self.ada = principal_of_account(s, self.account_id).id

    def version(self) -> int:
        """The directory's version."""
        with self.store.read() as s:
            return s.directory_version()


class PrincipalTests(PrincipalTestCase):
    """Who there is."""

    def test_of_account(self) -> None:
        """An account is an individual of its address, enabled, with the role user; it goes with the account."""
        with self.store.write() as s:
            row = get_principal(s, self.ada)
            self.assertEqual((row.kind, row.name, row.description), ("individual", "ada@example.org", "Ada"))
            self.assertEqual((row.account_id, row.is_enabled, row.locale), (self.account_id, True, None))
            self.assertEqual(find_principal(s, "individual", "ada@example.org"), row)
            self.assertIsNone(find_principal(s, "group", "ada@example.org"))
            self.assertEqual(roles_of(s, row.id), ("user",))
            delete_account(s, self.account_id)
            self.assertRaises(NotFound, get_principal, s, row.id)
            self.assertRaises(NotFound, principal_of_account, s, self.account_id)

    def test_admin(self) -> None:
        """Who is made an admin has that role, and is one as long as they have it."""
        with self.store.write() as s:
            made = create_account(s, "root@example.org", password_hash="h", is_admin=True)
            principal = principal_of_account(s, made.id).id
            self.assertEqual(roles_of(s, principal), ("admin", "user"))
            self.assertEqual(effective_permissions(s, principal), ALL_PERMISSIONS)
            set_roles(s, principal, ["user"])
            self.assertIs(get_account(s, made.id).is_admin, False)

    def test_described(self) -> None:
        """Description, locale and whether it is enabled can be changed; the account tells the last."""
        with self.store.write() as s:
            describe_principal(s, self.ada, description="First", locale="en-GB")
            enable_principal(s, self.ada, enabled=False)
            row = get_principal(s, self.ada)
            self.assertEqual((row.description, row.locale, row.is_enabled), ("First", "en-GB", False))
            self.assertIs(get_account(s, self.account_id).is_enabled, False)
            self.assertRaises(NotFound, enable_principal, s, 999, enabled=True)
            self.assertRaises(NotFound, describe_principal, s, 999, description="", locale=None)

    def test_names(self) -> None:
        """A name is there once of each kind."""
        with self.store.write() as s:
            create_principal(s, "apiKey", "backup")
            create_principal(s, "role", "backup")
            error = self.assertRaises(AlreadyExists, create_principal, s, "apiKey", "backup")
            self.assertEqual(str(error), "API key backup exists already")
            self.assertEqual([row.name for row in list_principals(s, "role")], ["admin", "backup", "user"])

    def test_deleted(self) -> None:
        """A role that somebody has stays, as do the built-in ones and what has an account; an owner's keys go along."""
        with self.store.write() as s:
            role = create_principal(s, "role", "clerk")
            set_roles(s, self.ada, ["clerk"])
            self.assertRaises(StillInUse, delete_principal, s, role.id)
            set_roles(s, self.ada, [])
            delete_principal(s, role.id)
            built_in = find_principal(s, "role", "user")
            assert built_in is not None
            self.assertRaises(StillInUse, delete_principal, s, built_in.id)
            self.assertRaises(StoreError, delete_principal, s, self.ada)
            key = create_principal(s, "apiKey", "phone", owner_id=self.ada)
            add_credential(s, key.id, "phone", "secret")
            self.assertEqual(list_api_keys_of(s, self.ada), [key])
            delete_account(s, self.account_id)
            self.assertIsNone(find_principal(s, "apiKey", "phone"))
            self.assertEqual(s.driver.execute("SELECT count(*) FROM credential").fetchone(), (0,))

    def test_version(self) -> None:
        """Whatever bears on who may do what moves the directory's version; use, mail and time steps don't."""
        with self.store.write() as s:
            role = create_principal(s, "role", "clerk").id
            group = create_account(s, "team@example.org", password_hash="", kind="group")
            team = principal_of_account(s, group.id).id
            credential = add_credential(s, self.ada, "phone", "secret").id
            set_totp(s, self.ada, "A" * 32)
        moving: list[Callable[[Session], object]] = [
            lambda s: create_principal(s, "apiKey", "k"),
            lambda s: set_roles(s, self.ada, ["clerk"]),
            lambda s: set_grants(s, role, Grants(enabled=frozenset({"restart"}))),
            lambda s: enable_principal(s, self.ada, enabled=False),
            lambda s: add_member(s, team, self.ada),
            lambda s: remove_member(s, team, self.ada),
            lambda s: add_credential(s, self.ada, "laptop", "other"),
            lambda s: remove_credential(s, self.ada, "laptop"),
            lambda s: remove_totp(s, self.ada),
            lambda s: set_password_hash(s, self.account_id, "new"),
            lambda s: end_sign_ins(s, self.account_id),
        ]
        for number, change in enumerate(moving):
            before = self.version()
            with self.store.write() as s:
                change(s)
            self.assertGreater(self.version(), before, number)
        with self.store.write() as s:
            set_totp(s, self.ada, "A" * 32)
        before = self.version()
        self.add()
        with self.store.write() as s:
            note_use(s, credential)
            use_totp_step(s, self.ada, 7)
        self.assertEqual(self.version(), before)


class PermissionTests(PrincipalTestCase):
    """What follows from roles and grants."""

    def test_table(self) -> None:
        """Each permission is in kebab case, has a text, and users have none that administers."""
        for name, permission in PERMISSIONS.items():
            self.assertRegex(name, r"^[a-z]+(-[a-z]+)*$")
            self.assertEqual(name, permission.name)
            self.assertTrue(permission.doc)
        self.assertNotIn("settings-update", USER)
        self.assertIn("authenticate", USER)
        self.assertLess(USER, ALL_PERMISSIONS)

    def test_of_method(self) -> None:
        """A method's permission follows from its name."""
        for method, name in (
            ("Core/echo", "jmap-echo"),
            ("Email/queryChanges", "jmap-email-query-changes"),
            ("EmailSubmission/set", "jmap-email-submission-set"),
            ("SearchSnippet/get", "jmap-search-snippet"),
            ("Blob/upload", "jmap-blob-upload"),
        ):
            self.assertEqual(permission_of_method(method), name)
            self.assertIn(name, PERMISSIONS)

    def test_effective(self) -> None:
        """Roles and what is given, without what is taken away: by a role only from what that role gives."""
        with self.store.write() as s:
            reader = create_principal(s, "role", "reader").id
            set_roles(s, reader, ["user"])
            taken = frozenset({"email-send", "jmap-email-set"})
            set_grants(s, reader, Grants(enabled=frozenset({"logs-view"}), disabled=taken))
            set_roles(s, self.ada, ["reader"])
            self.assertEqual(effective_permissions(s, self.ada), (USER | {"logs-view"}) - taken)
            set_grants(s, self.ada, Grants(enabled=frozenset({"email-send"}), disabled=frozenset({"logs-view"})))
            self.assertEqual(effective_permissions(s, self.ada), USER - {"jmap-email-set"})
            set_roles(s, self.ada, ["reader", "user"])
            self.assertEqual(effective_permissions(s, self.ada), USER)

    def test_role_user_changed(self) -> None:
        """What is taken from the role user nobody has by it; the role admin can't be changed."""
        with self.store.write() as s:
            user, admin = (row for name in ("user", "admin") if (row := find_principal(s, "role", name)) is not None)
            set_grants(s, user.id, Grants(enabled=frozenset({"undelete"}), disabled=frozenset({"email-send"})))
            self.assertEqual(effective_permissions(s, self.ada), (USER | {"undelete"}) - {"email-send"})
            self.assertRaises(StoreError, set_grants, s, admin.id, Grants(disabled=frozenset({"restart"})))

    def test_refused(self) -> None:
        """Unknown roles and permissions, and those both given and taken, are refused, and nothing changes."""
        with self.store.write() as s:
            self.assertRaises(NotFound, set_roles, s, self.ada, ["user", "king"])
            self.assertRaises(NotFound, set_grants, s, self.ada, Grants(enabled=frozenset({"fly"})))
            both = frozenset({"restart"})
            self.assertRaises(StoreError, set_grants, s, self.ada, Grants(enabled=both, disabled=both))
            self.assertEqual((roles_of(s, self.ada), grants_of(s, self.ada)), (("user",), Grants()))

    def test_circular(self) -> None:
        """No role has itself, by whatever way."""
        with self.store.write() as s:
            ids = [create_principal(s, "role", name).id for name in "abc"]
            set_roles(s, ids[0], ["b"])
            set_roles(s, ids[1], ["c"])
            for below in ("a", "b", "c"):
                self.assertRaises(CircularRoles, set_roles, s, ids[2], [below])

    @settings(deadline=None, max_examples=25)
    @given(
        st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=12),
        st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["restart", "undelete", "logs-view"]), st.booleans())),
    )
    def test_any_roles(self, links: list[tuple[int, int]], grants: list[tuple[int, str, bool]]) -> None:
        """However roles are linked, asking ends, and gives what the definition says."""
        with self.store.write() as s:
            s.driver.execute("SAVEPOINT example")
            ids = [create_principal(s, "role", f"r{number}").id for number in range(5)]
            below: dict[int, set[int]] = {number: set() for number in range(5)}
            for one, other in links:
                try:
                    set_roles(s, ids[one], [f"r{number}" for number in below[one] | {other}])
                except CircularRoles:
                    continue
                below[one].add(other)
            given_: dict[int, dict[str, bool]] = {number: {} for number in range(5)}
            for role, name, enabled in grants:
                given_[role][name] = enabled
            for role, wanted in given_.items():
                enabled_, disabled = ({n for n, is_on in wanted.items() if is_on is on} for on in (True, False))
                set_grants(s, ids[role], Grants(enabled=frozenset(enabled_), disabled=frozenset(disabled)))

            def expected(role: int) -> set[str]:
                found = {name for role_ in below[role] for name in expected(role_)}
                found |= {name for name, on in given_[role].items() if on}
                return found - {name for name, on in given_[role].items() if not on}

            for role in range(5):
                self.assertEqual(effective_permissions(s, ids[role]), expected(role))
            s.driver.execute("ROLLBACK TO example")
            s.driver.execute("RELEASE example")


class GroupTests(PrincipalTestCase):
    """Who belongs to what."""

    def test_members(self) -> None:
        """Individuals belong to groups, once each, and are found from both sides; others don't."""
        with self.store.write() as s:
            made = create_account(s, "team@example.org", name="Team", password_hash="", kind="group")
            self.assertEqual([row.address for row in list_accounts(s)], ["ada@example.org"])
            team = principal_of_account(s, made.id)
            self.assertEqual((team.kind, roles_of(s, team.id)), ("group", ()))
            add_member(s, team.id, self.ada)
            self.assertEqual([row.id for row in members_of(s, team.id)], [self.ada])
            self.assertEqual(groups_of(s, self.ada), [team])
            self.assertRaises(AlreadyExists, add_member, s, team.id, self.ada)
            self.assertRaises(StoreError, add_member, s, team.id, team.id)
            self.assertRaises(StoreError, add_member, s, self.ada, self.ada)
            remove_member(s, team.id, self.ada)
            self.assertRaises(NotFound, remove_member, s, team.id, self.ada)

    def test_account_seen(self) -> None:
        """Members see the group's account and may write there, whatever else is shared; then no longer."""
        with self.store.write() as s:
            group = create_account(s, "team@example.org", password_hash="", kind="group").id
            team = principal_of_account(s, group).id
            self.assertIsNone(may_write(s, group, self.account_id))
            self.assertEqual(shared_with(s, self.account_id), ())
            share_account(s, group, self.account_id, writing=False)
            add_member(s, team, self.ada)
            seen = ShareRow(account_id=group, address="team@example.org", may_write=True)
            self.assertEqual(shared_with(s, self.account_id), (seen,))
            self.assertIs(may_write(s, group, self.account_id), True)
            self.assertEqual(shares_by_guest(s), {self.account_id: frozenset({group})})
            self.assertEqual([row.may_write for row in guests_of(s, group)], [False])
            inbox = find_mailbox(s, group, role="inbox")
            assert inbox is not None
            set_subscription(s, group, inbox.id, self.account_id, subscribed=True)
            unshare_account(s, group, self.account_id)
            self.assertEqual(subscribed_mailboxes(s, group, self.account_id), {inbox.id})
            remove_member(s, team, self.ada)
            self.assertEqual(shared_with(s, self.account_id), ())
            self.assertEqual(subscribed_mailboxes(s, group, self.account_id), frozenset())
            self.assertIsNone(may_write(s, group, self.account_id))

    def test_receives(self) -> None:
        """Mail to a group's address is its account's; its end is that of the membership."""
        with self.store.write() as s:
            group = create_account(s, "team@example.org", password_hash="", kind="group").id
            add_member(s, principal_of_account(s, group).id, self.ada)
            found = resolve_recipient(s, "Team+x@example.org")
            assert found is not None
            self.assertEqual((found.id, found.kind), (group, "group"))
            delete_account(s, group)
            self.assertEqual(groups_of(s, self.ada), [])
            self.assertEqual(shares_by_guest(s), {})


class ReceivingTests(PrincipalTestCase):
    """Who mail is taken for."""

    def test_permission(self) -> None:
        """An individual without email-receive receives nothing, with the next look; a group always does."""
        cache: RecipientCache = Cache("recipients", octets=100_000, tti=60.0, clock=lambda: 0.0)
        with self.store.write() as s:
            group = create_account(s, "team@example.org", password_hash="", kind="group").id
        for disabled, found in ((frozenset(), self.account_id), (frozenset({"email-receive"}), None)):
            with self.store.write() as s:
                set_grants(s, self.ada, Grants(disabled=disabled))
            with self.store.read() as s:
                row = find_recipient(s, "ada@example.org", cache)
                team = find_recipient(s, "team@example.org", cache)
            self.assertEqual(None if row is None else row.id, found)
            assert team is not None
            self.assertEqual(team.id, group)


class CredentialTests(PrincipalTestCase):
    """App passwords and the secrets of API keys, and second factors."""

    def test_found(self) -> None:
        """A secret is found for its principal alone, by the whole secret, and only a hash of it is kept."""
        with self.store.write() as s:
            row = add_credential(s, self.ada, "phone", "long-secret", networks=("192.0.2.0/24", "::1/128"))
            self.assertEqual(find_credential(s, self.ada, "long-secret"), row)
            self.assertEqual(row.networks, ("192.0.2.0/24", "::1/128"))
            self.assertEqual((row.created_at, row.expires_at, row.last_used_at), (NOW, None, None))
            for principal, secret in ((self.ada, "long-secre"), (self.ada + 1, "long-secret"), (self.ada, "\ud800")):
                self.assertIsNone(find_credential(s, principal, secret))
            self.assertRaises(AlreadyExists, add_credential, s, self.ada, "phone", "other")
            self.assertEqual(get_credential(s, row.id), row)
        self.store.close()
        with open(self.path, "rb") as file:
            self.assertNotIn(b"long-secret", file.read())

    def test_expired(self) -> None:
        """From the second on in which it expires it is not found, but still listed."""
        with self.store.write() as s:
            row = add_credential(s, self.ada, "phone", "secret", expires_at=NOW + 10)
            self.now = NOW + 9.5
            self.assertIsNotNone(find_credential(s, self.ada, "secret"))
            self.now = NOW + 10.0
            self.assertIsNone(find_credential(s, self.ada, "secret"))
            self.assertTrue(has_expired(s, row))
            self.assertEqual(list_credentials(s, self.ada), [row])

    def test_revoked(self) -> None:
        """One that was revoked is gone; another stays."""
        with self.store.write() as s:
            row = add_credential(s, self.ada, "phone", "secret")
            add_credential(s, self.ada, "laptop", "other")
            remove_credential(s, self.ada, "phone")
            self.assertIsNone(find_credential(s, self.ada, "secret"))
            self.assertIsNotNone(find_credential(s, self.ada, "other"))
            self.assertRaises(NotFound, get_credential, s, row.id)
            self.assertRaises(NotFound, remove_credential, s, self.ada, "phone")

    def test_use(self) -> None:
        """When it was used is noted once a minute."""
        with self.store.write() as s:
            row = add_credential(s, self.ada, "phone", "secret")
            for at, noted in ((NOW, NOW), (NOW + 59, NOW), (NOW + 60, NOW + 60)):
                self.now = float(at)
                note_use(s, row.id)
                self.assertEqual(get_credential(s, row.id).last_used_at, noted)

    def test_totp(self) -> None:
        """A time step is taken once, and no older one after it; a new secret begins anew."""
        with self.store.write() as s:
            self.assertIsNone(find_totp(s, self.ada))
            self.assertFalse(use_totp_step(s, self.ada, 5))
            set_totp(s, self.ada, "ABC")
            self.assertEqual(find_totp(s, self.ada), "ABC")
            taken = [use_totp_step(s, self.ada, step) for step in (5, 5, 4, 6, 6)]
            self.assertEqual(taken, [True, False, False, True, False])
            set_totp(s, self.ada, "DEF")
            self.assertTrue(use_totp_step(s, self.ada, 5))
            remove_totp(s, self.ada)
            self.assertIsNone(find_totp(s, self.ada))
            self.assertRaises(NotFound, remove_totp, s, self.ada)

    def test_hash_replaced(self) -> None:
        """Another hash of the same password ends nothing, and doesn't undo a new password."""
        with self.store.write() as s:
            before = get_account(s, self.account_id)
            replace_password_hash(s, self.account_id, "x", "better")
            after = get_account(s, self.account_id)
            self.assertEqual((after.password_hash, after.credential_version), ("better", before.credential_version))
            replace_password_hash(s, self.account_id, "x", "late")
            self.assertEqual(get_account(s, self.account_id).password_hash, "better")
            self.assertRaises(NotFound, end_sign_ins, s, 999)


class UpgradeTests(PrincipalTestCase):
    """Revision 0015: accounts of before become principals."""

    def test_upgraded(self) -> None:
        """Each has the role user, who administered the role admin; one that is being deleted is none."""
        with self.store.write() as s:
            root = create_account(s, "root@example.org", name="Root", password_hash="h").id
            gone = create_account(s, "gone@example.org", password_hash="h").id
            delete_account(s, gone)
        self.store.close()
        connection = sqlite3.connect(self.path)
        for table in ("totp", "credential", "principal_permission", "principal_role", "principal_member", "principal"):
            connection.execute(f"DROP TABLE {table}")
        connection.executescript(
            f"""
            DROP TRIGGER account_password;
            ALTER TABLE account ADD COLUMN is_admin BOOLEAN NOT NULL DEFAULT 0;
            UPDATE account SET is_admin = 1 WHERE id = {root};
            DROP INDEX ix_push_subscription_credential;
            CREATE TABLE kept AS SELECT * FROM push_subscription;
            DROP TABLE push_subscription;
            CREATE TABLE push_subscription (
                id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, account_id INTEGER NOT NULL,
                credential_version BIGINT NOT NULL, device_client_id TEXT NOT NULL, url TEXT NOT NULL, p256dh BLOB,
                auth BLOB, verification_code TEXT NOT NULL, is_verified BOOLEAN NOT NULL, expires_at BIGINT NOT NULL,
                types TEXT,
                CONSTRAINT fk_push_subscription_account_id FOREIGN KEY (account_id) REFERENCES account (id)
            );
            INSERT INTO push_subscription VALUES (7, {root}, 1, 'd', 'https://a', NULL, NULL, 'v', 1, 9, NULL);
            UPDATE alembic_version SET version_num = '0012';
            """
        )
        connection.commit()
        connection.close()
        migrate.upgrade(make_engine(self.path), self.path, head="0015", blobs=self.blobs)
        connection = sqlite3.connect(self.path)
        kept = connection.execute("SELECT id, url, credential_id FROM push_subscription").fetchall()
        self.assertEqual(kept, [(7, "https://a", None)])
        query = """SELECT p.name, p.description, group_concat(r.name) FROM principal p
            LEFT JOIN principal_role l ON l.principal_id = p.id LEFT JOIN principal r ON r.id = l.role_id
            WHERE p.kind = 'individual' GROUP BY p.id ORDER BY p.name"""
        found = [(name, text, sorted(roles.split(","))) for name, text, roles in connection.execute(query)]
        self.assertEqual(found, [("ada@example.org", "Ada", ["user"]), ("root@example.org", "Root", ["admin", "user"])])
        columns = {row[1] for row in connection.execute("PRAGMA table_info(account)")}
        connection.close()
        self.assertNotIn("is_admin", columns)
