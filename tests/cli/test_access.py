"""The commands about who may sign in, by what, and what they may do."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pyotp
from argon2.profiles import CHEAPEST
from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from stalwart import config
from stalwart.auth import Authenticator, Passwords, Principal
from stalwart.cli import account as account_command
from stalwart.cli.main import stalwart
from stalwart.store import (
    BUILT_IN_ROLES,
    PERMISSIONS,
    Store,
    StoreError,
    find_account,
    find_totp,
    open_blobs,
    principal_of_account,
    shared_with,
)
from tests.auth.test_basic import header

ADDRESS = "ada@example.org"
BOB = "bob@example.org"
USER = BUILT_IN_ROLES["user"]


class AccessTests(SynchronousTestCase):
    """With one account, whose password is "correct"."""

    def setUp(self) -> None:
        """A configuration, a domain and the account."""
        root = Path(self.mktemp()).absolute()
        root.mkdir(parents=True)
        self.config = root / "stalwart.toml"
        self.config.write_text(
            '[server]\nhostname = "mail.example.org"\n[storage]\ndata = "db"\nblob = "files"\nfts = "db"\n'
            f'[store.db]\ntype = "sqlite"\npath = "{root}/mail.sqlite"\n'
            f'[store.files]\ntype = "fs"\npath = "{root}/blobs"\n'
        )
        self.patch(account_command, "Passwords", lambda: Passwords(CHEAPEST))
        self.run_fine("domain", "create", "example.org")
        for address in (ADDRESS, BOB):
            self.run_fine("account", "create", address, "--password-stdin", stdin="correct\n")

    def run_command(self, *arguments: str, stdin: str | None = None) -> Result:
        """Run the command; errors of the store count as its own."""
        result = CliRunner().invoke(stalwart, ["--config", str(self.config), *arguments], input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit | StoreError):
            raise result.exception
        return result

    def run_fine(self, *arguments: str, stdin: str | None = None) -> str:
        """Run a command that has to succeed; what it prints."""
        result = self.run_command(*arguments, stdin=stdin)
        self.assertEqual(result.exit_code, 0, result.output + repr(result.exception))
        return result.stdout

    def refused(self, *arguments: str) -> str:
        """What a command says that has to fail."""
        result = self.run_command(*arguments)
        self.assertNotEqual(result.exit_code, 0, result.output)
        return f"{result.output}{result.exception}"

    def printed(self, *arguments: str, label: str) -> str:
        """What a command prints after a label."""
        match = re.search(rf"^{label}: (\S+)$", self.run_fine(*arguments), re.MULTILINE)
        assert match is not None
        return match[1]

    def as_json(self, *arguments: str) -> Any:
        """What a command prints with --json."""
        return json.loads(self.run_fine(*arguments, "--json"))

    def open(self) -> Store:
        """The store that the command used."""
        settings = config.load(str(self.config), {}, hostname="test")
        store = Store.open(settings.data.path, open_blobs(settings.blob), clock=time.time, exclusive=False)
        self.addCleanup(store.close)
        return store

    def sign_in(self, value: bytes) -> Principal | None:
        """Who signs in by an Authorization field."""
        return Authenticator(self.open(), Passwords(CHEAPEST), clock=lambda: 0.0).verify(value)

    def kept_secret(self) -> str | None:
        """The secret of the account's second factor."""
        with self.open().read() as s:
            row = find_account(s, ADDRESS)
            assert row is not None
            return find_totp(s, principal_of_account(s, row.id).id)

    def test_rights(self) -> None:
        """Roles and permissions of an account are replaced kind by kind, and shown with what follows from them."""
        shown = self.as_json("account", "rights", "show", ADDRESS)
        self.assertEqual((shown["roles"], shown["permissions"]), (["user"], sorted(USER)))
        self.run_fine("account", "rights", "set", ADDRESS, "--allow", "logs-view", "--deny", "email-send")
        self.run_fine("account", "rights", "set", ADDRESS, "--deny", "none")
        self.run_fine("account", "rights", "set", ADDRESS, "--role", "none")
        shown = self.as_json("account", "rights", "show", ADDRESS)
        self.assertEqual(shown, {"roles": [], "allowed": ["logs-view"], "denied": [], "permissions": ["logs-view"]})
        self.run_fine("account", "rights", "set", ADDRESS, "--role", "admin")
        self.assertIn(f"in effect, {len(PERMISSIONS)} permissions", self.run_fine("account", "rights", "show", ADDRESS))
        self.assertIn("roles:    admin", self.run_fine("account", "show", ADDRESS))
        self.assertIn("role list", self.refused("account", "rights", "set", ADDRESS, "--role", "king"))
        self.assertIn("role permissions", self.refused("account", "rights", "set", ADDRESS, "--allow", "fly"))
        # What is taken away now is no longer given, and the other way round.
        self.run_fine("account", "rights", "set", ADDRESS, "--deny", "logs-view")
        self.assertNotIn("logs-view", self.as_json("account", "rights", "show", ADDRESS)["permissions"])

    def test_roles(self) -> None:
        """Roles are made, changed, shown and deleted; the built-in ones stay."""
        self.run_fine("role", "create", "reader", "--role", "user", "--deny", "email-send", "--description", "Reads")
        self.run_fine("role", "set", "reader", "--deny", "jmap-email-set")
        shown = self.as_json("role", "show", "reader")
        self.assertEqual(shown["permissions"], sorted(USER - {"jmap-email-set"}))
        self.assertEqual(len(self.as_json("role", "show", "admin")["permissions"]), len(PERMISSIONS))
        listed = {row["name"]: row for row in self.as_json("role", "list")}
        self.assertEqual(sorted(listed), ["admin", "reader", "user"])
        self.assertEqual(listed["reader"]["description"], "Reads")
        self.assertIn("reader", self.run_fine("role", "list"))
        self.run_fine("account", "rights", "set", ADDRESS, "--role", "reader")
        self.assertIn("have the role reader", self.refused("role", "delete", "reader"))
        self.run_fine("account", "rights", "set", ADDRESS, "--role", "user")
        self.run_fine("role", "delete", "reader")
        self.assertIn("built in", self.refused("role", "delete", "user"))
        self.assertIn("role list", self.refused("role", "show", "reader"))
        self.assertIn("can't be none", self.refused("role", "create", "none"))
        self.assertEqual({row["name"] for row in self.as_json("role", "permissions")}, set(PERMISSIONS))
        self.assertIn("Send mail", self.run_fine("role", "permissions"))

    def test_nothing_to_do(self) -> None:
        """Who sets rights without naming any is told so, and isn't told that they were changed."""
        self.run_fine("role", "create", "reader", "--role", "user")
        for command in (("account", "rights", "set", ADDRESS), ("role", "set", "reader")):
            result = self.run_command(*command)
            self.assertEqual(result.exit_code, 2)
            self.assertIn("nothing would change", result.output)

    def test_disabled(self) -> None:
        """A disabled account can't sign in, and is shown as disabled, until it is enabled."""
        value = header(f"{ADDRESS}:correct")
        for command, enabled in (("disable", False), ("enable", True)):
            self.run_fine("account", command, ADDRESS)
            self.assertEqual(self.sign_in(value) is not None, enabled)
            self.assertIs(self.as_json("account", "show", ADDRESS)["enabled"], enabled)

    def test_totp(self) -> None:
        """The secret is printed once and makes the codes that are asked for; nothing shows it again."""
        secret = self.printed("account", "totp", "enable", ADDRESS, label="secret")
        self.assertIsNone(self.sign_in(header(f"{ADDRESS}:correct")))
        self.assertIsNotNone(self.sign_in(header(f"{ADDRESS}:correct${pyotp.TOTP(secret).now()}")))
        for shown in (self.run_fine("account", "totp", "show", ADDRESS), self.run_fine("account", "show", ADDRESS)):
            self.assertNotIn(secret, shown)
        self.assertIn("codes are asked for", self.run_fine("account", "totp", "show", ADDRESS))
        self.assertIn("--replace", self.refused("account", "totp", "enable", ADDRESS))
        self.assertEqual(self.kept_secret(), secret)
        uri = self.printed("account", "totp", "enable", ADDRESS, "--replace", label="uri")
        self.assertNotEqual(self.kept_secret(), secret)
        self.assertTrue(uri.startswith("otpauth://totp/mail.example.org:ada%40example.org?secret="), uri)
        self.run_fine("account", "totp", "disable", ADDRESS)
        self.assertIn("no codes", self.run_fine("account", "totp", "show", ADDRESS))
        self.assertIsNotNone(self.sign_in(header(f"{ADDRESS}:correct")))
        self.assertIn("no second factor", self.refused("account", "totp", "disable", ADDRESS))

    def test_app_passwords(self) -> None:
        """An app password is printed once, signs in, is listed with its use, and is taken back."""
        password = self.printed("app-password", "create", ADDRESS, "phone", "--expires", "90d", label="password")
        value = header(f"{ADDRESS}:{password}")
        self.assertIsNotNone(self.sign_in(value))
        [listed] = self.as_json("app-password", "list", ADDRESS)
        self.assertEqual(listed["name"], "phone")
        self.assertRegex(listed["lastUsed"], r"^20")
        self.assertRegex(listed["expires"], r"^20")
        self.assertNotIn(password, self.run_fine("app-password", "list", ADDRESS))
        self.assertIn("choose another", self.refused("app-password", "create", ADDRESS, "phone"))
        self.assertIn('or "never"', self.refused("app-password", "create", ADDRESS, "x", "--expires", "soon"))
        self.assertIn("empty", self.refused("app-password", "create", ADDRESS, " "))
        self.run_fine("app-password", "revoke", ADDRESS, "phone")
        self.assertIsNone(self.sign_in(value))
        self.assertIn("no secret", self.refused("app-password", "revoke", ADDRESS, "phone"))

    def test_api_keys(self) -> None:
        """An API key is printed once, has what it was given, is listed, and is taken back."""
        command = ("apikey", "create", "backup", "--account", ADDRESS, "--allow", "jmap-email-get")
        token = self.printed(*command, "--network", "192.0.2.0/24", label="token")
        found = self.sign_in(f"Bearer {token}".encode())
        assert found is not None
        self.assertEqual((found.address, found.permissions), (ADDRESS, {"jmap-email-get"}))
        self.assertEqual(found.networks, ("192.0.2.0/24",))
        [listed] = self.as_json("apikey", "list")
        self.assertEqual((listed["account"], listed["networks"]), (ADDRESS, ["192.0.2.0/24"]))
        self.assertIn("192.0.2.0/24", self.run_fine("apikey", "list"))
        self.assertNotIn(token, self.run_fine("apikey", "list"))
        self.assertIn("could do nothing", self.refused("apikey", "create", "other"))
        self.assertIn("no colon", self.refused("apikey", "create", "a:b", "--role", "user"))
        self.assertIn("exists already", self.refused(*command))
        self.run_fine("apikey", "revoke", "backup")
        self.assertIsNone(self.sign_in(f"Bearer {token}".encode()))
        self.assertIn("apikey list", self.refused("apikey", "revoke", "backup"))

    def test_lists(self) -> None:
        """A list has an owner and members, put on it and taken off all or none; its address is nobody else's."""
        everybody, outside = "all@example.org", "zoe@example.net"
        self.run_fine("list", "create", everybody, "--owner", ADDRESS, "--name", "All of us", "--members-only")
        self.run_fine("list", "add", everybody, ADDRESS, BOB, outside)
        shown = {"address": everybody, "name": "All of us", "owner": ADDRESS, "membersOnly": True}
        wanted = {**shown, "members": [ADDRESS, BOB, outside]}
        self.assertEqual(self.as_json("list", "show", everybody), wanted)
        self.assertEqual(self.as_json("list", "list"), [wanted])
        text = self.run_fine("list", "show", everybody)
        for word in (f"owner:    {ADDRESS}", "posts:    members", "members:  3", f"  {outside}"):
            self.assertIn(word, text)
        self.assertRegex(self.run_fine("list", "list"), rf"{everybody} +3 +members +{ADDRESS} +All of us")
        self.run_fine("list", "remove", everybody, BOB, outside)
        self.assertIn("is not on the list", self.refused("list", "remove", everybody, ADDRESS, BOB))
        self.assertIn("is on the list", self.refused("list", "add", everybody, BOB, ADDRESS))
        self.assertEqual(self.as_json("list", "show", everybody)["members"], [ADDRESS])
        self.assertIn("by a mailing list", self.refused("group", "create", everybody))
        self.assertIn("no list", self.refused("list", "show", ADDRESS))
        self.assertEqual(self.run_command("list", "delete", everybody, stdin="n\n").exit_code, 1)
        self.run_fine("list", "delete", everybody, "--yes")
        self.assertEqual(self.as_json("list", "list"), [])

    def test_groups(self) -> None:
        """A group has members, who see its account; it is no account that somebody signs in to, and is deleted."""
        team = "team@example.org"
        self.run_fine("group", "create", team, "--name", "The team")
        for member in (ADDRESS, BOB):
            self.run_fine("group", "add", team, member)
        self.assertEqual(self.as_json("group", "list"), [{"address": team, "members": [ADDRESS, BOB]}])
        self.run_fine("group", "remove", team, BOB)
        self.assertIn(ADDRESS, self.run_fine("group", "list"))
        with self.open().read() as session:
            ada = find_account(session, ADDRESS)
            assert ada is not None
            self.assertEqual([row.address for row in shared_with(session, ada.id)], [team])
        self.assertIn(f"groups:   {team}", self.run_fine("account", "show", ADDRESS))
        self.assertIn("belongs to", self.refused("group", "add", team, ADDRESS))
        self.assertIn("does not belong", self.refused("group", "remove", team, BOB))
        self.assertIn("no account", self.refused("account", "passwd", team))
        self.assertIn("no group", self.refused("group", "add", ADDRESS, BOB))
        self.assertNotIn(team, self.run_fine("account", "list"))
        self.assertEqual(self.run_command("group", "delete", team, stdin="n\n").exit_code, 1)
        self.run_fine("group", "delete", team, "--yes")
        self.assertEqual(self.as_json("group", "list"), [])
