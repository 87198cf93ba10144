"""`stalwart dkim …` over a real store."""

from __future__ import annotations

import json
import re
from pathlib import Path

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from stalwart.cli.main import stalwart
from stalwart.store import StoreError


class DkimTests(SynchronousTestCase):
    """create, show, list and rotate."""

    def setUp(self) -> None:
        """A configuration and a domain."""
        root = Path(self.mktemp()).absolute()
        root.mkdir(parents=True)
        self.config = root / "stalwart.toml"
        self.config.write_text(
            '[storage]\ndata = "db"\nblob = "files"\nfts = "db"\n'
            f'[store.db]\ntype = "sqlite"\npath = "{root}/mail.sqlite"\n'
            f'[store.files]\ntype = "fs"\npath = "{root}/blobs"\n'
        )
        self.run_fine("domain", "create", "example.org")

    def run_command(self, *arguments: str) -> Result:
        """Run the command; errors of the store count as its own."""
        result = CliRunner().invoke(stalwart, ["--config", str(self.config), *arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit | StoreError):
            raise result.exception
        return result

    def run_fine(self, *arguments: str) -> str:
        """Run a command that has to succeed; what it prints."""
        result = self.run_command(*arguments)
        self.assertEqual(result.exit_code, 0, result.output + repr(result.exception))
        return result.stdout

    def test_all(self) -> None:
        """Keys are made once; their records are lines for a zone file in strings of at most 255 octets."""
        self.assertIn("no DKIM keys yet", self.run_command("dkim", "list").output)
        self.assertIn("dkim create example.org", str(self.run_command("dkim", "show", "example.org").exception))
        made = self.run_fine("dkim", "create", "example.org")
        rsa, ed25519 = re.findall(r"^(\S+)\. IN TXT \( (.*) \)$", made, re.MULTILINE)
        self.assertRegex(rsa[0], r"^[0-9]{8}-rsa\._domainkey\.example\.org$")
        strings = re.findall(r'"([^"]*)"', rsa[1])
        self.assertEqual(max(map(len, strings)), 255)
        self.assertIn('"v=DKIM1; k=ed25519; p=', ed25519[1])
        records = json.loads(self.run_fine("dkim", "show", "example.org", "--json"))
        self.assertEqual(records[0]["recordValue"], "".join(strings))
        self.assertNotIn("private", json.dumps(records).lower())
        self.assertNotEqual(self.run_command("dkim", "create", "example.org").exit_code, 0)
        self.assertEqual(
            str(self.run_command("dkim", "create", "other.example").exception),
            "domain 'other.example' does not exist; create it first: stalwart domain create other.example",
        )

    def test_rotate(self) -> None:
        """The new records are printed with the time from which they are used; the states say what to do."""
        self.run_fine("dkim", "create", "example.org")
        made = self.run_fine("dkim", "rotate", "example.org", "--overlap", "24")
        self.assertIn("; they are used from 20", made)
        self.assertEqual(made.count(" IN TXT ( "), 2)
        self.assertEqual(made.count("; signs until 20"), 2)
        listed = self.run_fine("dkim", "list", "example.org")
        self.assertEqual((listed.count("signs until 20"), listed.count("publish its record; signs from 20")), (2, 2))
        self.run_fine("dkim", "rotate", "example.org", "--overlap", "0")
        states = [line.split("  ")[-1].strip() for line in self.run_fine("dkim", "list").splitlines()[1:]]
        self.assertEqual(states[-2:], ["signs", "signs"])
        self.assertEqual(states[2:4], ["never used; its record may go"] * 2)
        self.assertTrue(states[0].startswith("signs no more; keep its record until 20"), states)
