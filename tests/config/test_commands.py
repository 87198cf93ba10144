"""The commands `stalwart check` and `stalwart config`."""

from __future__ import annotations

import json
import os
import tomllib

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from stalwart.cli.config import check, config
from stalwart.config.reference import reference


class CommandTests(SynchronousTestCase):
    """Run with a file on disk."""

    def setUp(self) -> None:
        """A right file and a wrong one."""
        folder = os.path.abspath(self.mktemp())
        os.mkdir(folder)
        self.good, self.bad = os.path.join(folder, "good.toml"), os.path.join(folder, "bad.toml")
        with open(self.good, "w") as file:
            file.write('log-level = "debug"\nworker-pool-size = "%{env:THREADS}%"\n[server]\nmax-connections = 9\n')
            file.write('[server.listener.a]\nprotocol = "http"\nbind = "127.0.0.1:1"\ntls.implicit = true\n')
        with open(self.bad, "w") as file:
            file.write('log-level = "loud"\nlog-fromat = "text"\n')

    def run_check(self, *arguments: str, config_path: str | None = None, **environ: str) -> Result:
        return CliRunner().invoke(check, arguments, obj=config_path, env={"THREADS": "3", **environ})

    def run_config(self, *arguments: str, config_path: str | None = None, **environ: str) -> Result:
        return CliRunner().invoke(config, arguments, obj=config_path, env={"THREADS": "3", **environ})

    def test_check_right_file(self) -> None:
        """Exit code 0, the listeners on standard output, warnings on standard error."""
        result = self.run_check(self.good)
        self.assertEqual(result.exit_code, 0)
        self.assertEqual(
            result.stdout,
            f"{self.good}: no errors, 1 warning. Listeners: a (http with TLS on 127.0.0.1:1).\n",
        )
        self.assertIn(f"warning: {self.good}:8: server.listener.a.tls.implicit: ", result.stderr)

    def test_check_wrong_file(self) -> None:
        """Exit code 1 and every error, with its line, on standard error."""
        result = self.run_check(self.bad)
        self.assertEqual((result.exit_code, result.stdout), (1, ""))
        self.assertIn(f"{self.bad}:1: log-level: ", result.stderr)
        self.assertIn(f"{self.bad}:2: log-fromat: ", result.stderr)

    def test_check_searches(self) -> None:
        """Without FILE: the --config of the command, then $STALWART_CONFIG."""
        self.assertEqual(self.run_check(config_path=self.bad, STALWART_CONFIG=self.good).exit_code, 1)
        self.assertEqual(self.run_check(STALWART_CONFIG=self.bad).exit_code, 1)
        self.assertEqual(self.run_check(self.good, config_path=self.bad).exit_code, 0)

    def test_check_missing_file(self) -> None:
        """A file that is not there is an error, not the defaults."""
        result = self.run_check("/nonexistent.toml")
        self.assertEqual(result.exit_code, 1)
        self.assertIn("/nonexistent.toml: wanted a file that can be read", result.stderr)

    def test_show(self) -> None:
        """Each setting with its source, as TOML with comments."""
        result = self.run_config("show", config_path=self.good)
        self.assertEqual(result.exit_code, 0)
        lines = dict(line.split(" = ", 1) for line in result.stdout.splitlines() if " = " in line)
        for key, value, source in [
            ("log-level", '"debug"', f"{self.good}:1"),
            ("log-format", '"text"', "default"),
            ("worker-pool-size", "3", f"{self.good}:2, environment THREADS"),
            ("server.listener.a.max-connections", "9", f"{self.good}:4 (server.max-connections)"),
        ]:
            self.assertEqual([part.strip() for part in lines[key].split(" # ")], [value, source])
        self.assertEqual(tomllib.loads(result.stdout)["server"]["listener"]["a"]["protocol"], "http")

    def test_show_json(self) -> None:
        """The same as objects."""
        result = self.run_config("show", "--json", config_path=self.good)
        entries = {entry["key"]: entry for entry in json.loads(result.stdout)}
        self.assertEqual(
            entries["worker-pool-size"],
            {
                "key": "worker-pool-size",
                "value": 3,
                "source": "environment",
                "file": self.good,
                "line": 2,
                "variables": ["THREADS"],
            },
        )
        self.assertEqual(entries["server.listener.a.max-connections"]["inheritedFrom"], "server.max-connections")
        self.assertEqual(entries["log-format"], {"key": "log-format", "value": "text", "source": "default"})

    def test_show_wrong_file(self) -> None:
        """A wrong file has no settings in effect."""
        result = self.run_config("show", config_path=self.bad)
        self.assertEqual((result.exit_code, result.stdout), (1, ""))

    def test_reference(self) -> None:
        """The documentation of every key."""
        result = self.run_config("reference")
        self.assertEqual((result.exit_code, result.stdout), (0, reference()))
