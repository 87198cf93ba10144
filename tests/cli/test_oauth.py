"""The commands about OAuth: clients, what accounts let them do, and signing keys."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from stalwart.auth.oauth.signing import make_key
from stalwart.cli.main import stalwart
from stalwart.store import (
    FsBlobs,
    GrantRow,
    Store,
    StoreError,
    add_grant,
    add_token,
    create_account,
    create_domain,
    ensure_signing_key,
    find_client,
    find_token,
    secret_matches,
)

ADDRESS = "ada@example.org"


class OAuthCommandTests(SynchronousTestCase):
    """With one account, over a store of its own."""

    def setUp(self) -> None:
        """A configuration, and the account."""
        root = Path(self.mktemp()).absolute()
        root.mkdir(parents=True)
        self.config = root / "stalwart.toml"
        self.config.write_text(
            '[server]\nhostname = "mail.example.org"\n[storage]\ndata = "db"\nblob = "files"\n'
            f'[store.db]\ntype = "sqlite"\npath = "{root}/mail.sqlite"\n'
            f'[store.files]\ntype = "fs"\npath = "{root}/blobs"\n'
        )
        self.store = Store.open(
            os.path.join(root, "mail.sqlite"), FsBlobs(os.path.join(root, "blobs")), clock=time.time, exclusive=False
        )
        self.addCleanup(self.store.close)
        with self.store.write() as s:
            create_domain(s, "example.org")
            self.account = create_account(s, ADDRESS, password_hash="x")

    def run_fine(self, *arguments: str) -> str:
        """Run a command that has to succeed; what it prints."""
        result = CliRunner().invoke(stalwart, ["--config", str(self.config), *arguments])
        self.assertEqual(result.exit_code, 0, result.output + repr(result.exception))
        return str(result.stdout)

    def refused(self, *arguments: str) -> str:
        """What a command says that has to fail."""
        result = CliRunner().invoke(stalwart, ["--config", str(self.config), *arguments])
        self.assertNotEqual(result.exit_code, 0)
        self.assertIsInstance(result.exception, SystemExit | StoreError)
        return str(result.output) + str(result.exception)

    def test_clients(self) -> None:
        """A client is made, its secret is shown once and works; it is listed, and removed."""
        arguments = ("oauth-client", "create", "Webmail", "--redirect-uri", "https://app.example/cb")
        said = self.run_fine(*arguments, "--confidential", "--scope", "openid", "--scope", "admin")
        shown = dict(line.split(": ") for line in said.splitlines()[1:])
        with self.store.read() as s:
            row = find_client(s, shown["client_id"])
            assert row is not None
            self.assertTrue(secret_matches(s, row.id, shown["client_secret"]))
        self.assertEqual((row.is_verified, row.scope), (True, ("openid", "admin")))
        self.assertEqual(row.grant_types, ("authorization_code", "refresh_token"))
        (listed,) = json.loads(self.run_fine("oauth-client", "list", "--json"))
        self.assertEqual((listed["name"], listed["isConfidential"]), ("Webmail", True))
        self.assertNotIn(shown["client_secret"], self.run_fine("oauth-client", "list"))
        self.run_fine("oauth-client", "delete", shown["client_id"])
        self.assertIn("oauth-client list", self.refused("oauth-client", "delete", shown["client_id"]))

    def test_client_of_its_own_id(self) -> None:
        """A program that brings its id along keeps it, once."""
        arguments = ("oauth-client", "create", "TV", "--device", "--id", "tv")
        self.assertIn("client_id: tv\n", self.run_fine(*arguments))
        self.assertIn("already", self.refused(*arguments))
        with self.store.read() as s:
            row = find_client(s, "tv")
        assert row is not None
        self.assertFalse(row.has_secret)

    def test_bad_client(self) -> None:
        """What is wrong is told in words."""
        self.assertIn("--redirect-uri", self.refused("oauth-client", "create", "X"))
        self.assertIn("loopback", self.refused("oauth-client", "create", "X", "--redirect-uri", "http://app.example/"))
        self.assertIn("--help", self.refused("oauth-client", "create", "X", "--device", "--id", "a b"))
        self.assertIn("client_id", self.refused("oauth-client", "create", "X", "--device", "--id", "a b"))

    def test_tokens(self) -> None:
        """What accounts let clients do is listed, and revoked one by one or all of an account."""
        for number in range(3):
            self.grant(f"token{number}")
        listed = json.loads(self.run_fine("token", "list", ADDRESS, "--json"))
        self.assertEqual([(each["account"], each["client"]) for each in listed], [(ADDRESS, "phone")] * 3)
        self.assertNotIn("token0", self.run_fine("token", "list"))
        self.run_fine("token", "revoke", str(listed[0]["id"]))
        with self.store.read() as s:
            self.assertIsNone(find_token(s, "token0"))
            self.assertIsNotNone(find_token(s, "token1"))
        self.assertIn("2 authorisations", self.run_fine("token", "revoke", "--account", ADDRESS))
        self.assertEqual(json.loads(self.run_fine("token", "list", "--json")), [])
        self.refused("token", "revoke", str(listed[0]["id"]))
        self.assertIn("--account", self.refused("token", "revoke"))
        self.refused("token", "revoke", "1", "--account", ADDRESS)

    def grant(self, token: str) -> None:
        """Have the account let a client in."""
        row = GrantRow(
            account_id=self.account.id,
            credential_version=1,
            client_row_id=None,
            client_id="phone",
            client_name="Phone",
            scope=("openid",),
            signed_in_at=0,
            address="192.0.2.1",
        )
        with self.store.write() as s:
            add_token(s, token, "access", add_grant(s, row), ("openid",), expires_at=s.now() + 60)

    def test_keys(self) -> None:
        """Keys are listed without their secrets, and replaced, after a while or at once."""
        with self.store.write() as s:
            first = ensure_signing_key(s, "ES256", make_key)
        self.assertIn("signs", self.run_fine("oauth-key", "list"))
        self.assertIn("signs from", self.run_fine("oauth-key", "rotate"))
        listed = json.loads(self.run_fine("oauth-key", "list", "--json"))
        self.assertEqual([key["kid"] == first.kid for key in listed], [True, False])
        self.assertEqual(set(listed[0]), {"kid", "algorithm", "created", "signsFrom", "signsUntil"})
        self.assertIn("--overlap 0", self.refused("oauth-key", "rotate"))
        self.run_fine("oauth-key", "rotate", "--overlap", "0")
        (key,) = json.loads(self.run_fine("oauth-key", "list", "--json"))
        self.assertNotIn(key["kid"], [each["kid"] for each in listed])
