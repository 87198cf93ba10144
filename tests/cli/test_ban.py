"""`stalwart ban …`."""

from __future__ import annotations

import json
from ipaddress import ip_network
from pathlib import Path

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from stalwart.cli.main import stalwart


class BanCommandTests(SynchronousTestCase):
    """Over a store of its own."""

    def setUp(self) -> None:
        """A configuration."""
        root = Path(self.mktemp()).absolute()
        root.mkdir(parents=True)
        self.config = root / "stalwart.toml"
        self.config.write_text(
            '[server]\nblocked-ip = ["192.0.2.0/24"]\nallowed-ip = ["198.51.100.7"]\n'
            '[storage]\ndata = "db"\n'
            f'[store.db]\ntype = "sqlite"\npath = "{root}/mail.sqlite"\n'
        )

    def run_ban(self, *arguments: str) -> Result:
        """`stalwart ban ARGUMENTS`."""
        return CliRunner().invoke(stalwart, ["-c", str(self.config), "ban", *arguments])

    def fine(self, *arguments: str) -> str:
        """The output of a command that has to succeed."""
        result = self.run_ban(*arguments)
        self.assertEqual(result.exit_code, 0, result.output)
        return result.output

    def networks(self) -> list[str]:
        """What is banned."""
        return [row["network"] for row in json.loads(self.fine("list", "--json"))]

    def test_add_and_list(self) -> None:
        """Bans are listed with reason, end and words; the longer of two holds."""
        self.assertIn("nobody is banned", self.fine("list"))
        self.assertIn("203.0.113.5 is banned until", self.fine("add", "203.0.113.5", "--reason", "rude\n  client"))
        self.assertIn("for good", self.fine("add", "2001:db8:0::/48", "--for", "ever"))
        self.assertIn("for good", self.fine("add", "2001:db8::/48", "--for", "1h"))
        first, second = json.loads(self.fine("list", "--json"))
        self.assertEqual((first["reason"], first["detail"]), ("manual", "rude client"))
        self.assertEqual(first["until"] - first["since"], 86_400)
        self.assertEqual((second["network"], second["until"]), ("2001:db8::/48", None))
        lines = self.fine("list").splitlines()
        self.assertTrue(lines[0].startswith("ADDRESS"))
        self.assertIn("rude client", lines[1])

    def test_remove(self) -> None:
        """By address, by the network around it or the addresses within it, by reason, or all."""
        for network in ("203.0.113.5", "203.0.113.6", "203.0.112.0/24", "2001:db8::/64"):
            self.fine("add", network)
        self.assertIn("2001:db8::/64 is no longer", self.fine("remove", "2001:db8::7"))
        self.assertIn("203.0.113.6 is no longer", self.fine("remove", "203.0.113.6"))
        self.assertIn("0 bans lifted", self.fine("remove", "--reason", "scanning"))
        self.fine("remove", "203.0.112.0/23")
        self.assertEqual(self.networks(), [])
        self.fine("add", "203.0.113.5")
        self.assertIn("1 bans lifted", self.fine("remove", "--all"))

    def test_not_banned(self) -> None:
        """Who isn't banned here may be by the configuration, which is said."""
        result = self.run_ban("remove", "192.0.2.9")
        self.assertEqual(result.exit_code, 1)
        self.assertIn("192.0.2.9 is not banned here", result.output)
        self.assertIn("192.0.2.0/24 stands in server.blocked-ip", result.output)

    def test_allowed(self) -> None:
        """A ban without effect is said to have none."""
        for address in ("198.51.100.7", "127.0.0.1"):
            self.assertIn("stays let in all the same", self.fine("add", address))
        self.assertNotIn("all the same", self.fine("add", "198.51.100.8"))

    def test_wrong(self) -> None:
        """What is no address, no duration, too wide, or too much at once is refused."""
        for arguments in (
            ("add", "example.org"),
            ("add", "0.0.0.0/0"),
            ("add", "203.0.113.5", "--for", "soon"),
            ("add", "203.0.113.5", "--for", "999999999999d"),
            ("add", "203.0.113.5/24"),
            ("remove",),
            ("remove", "203.0.113.5", "--all"),
            ("remove", "--reason", "whim"),
        ):
            self.assertEqual(self.run_ban(*arguments).exit_code, 2, arguments)
        self.assertEqual(self.networks(), [])

    def test_canonical(self) -> None:
        """However an address is written, it is one."""
        for text in ("2001:DB8:0:0::5", "2001:db8::5/128", "::ffff:203.0.113.5", "203.0.113.5/32"):
            self.fine("add", text)
        self.assertEqual(self.networks(), ["2001:db8::5", "203.0.113.5"])
        self.assertEqual(str(ip_network(self.networks()[0])), "2001:db8::5/128")
