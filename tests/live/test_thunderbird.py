"""Thunderbird's way from an address to a configuration, replayed under node against the real daemon."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.live.daemon import Daemon, free_port

PROGRAM = Path(__file__).parent / "clients" / "thunderbird.mjs"
PATH = "/mail/config-v1.1.xml"
WELL_KNOWN = "/.well-known/autoconfig/mail/config-v1.1.xml"
NAME = "Tom & Söhne <\"'>"
CONFIGURATION = """
[server.listener.https]
protocol = "http"
bind = "127.0.0.1:{https}"
tls.implicit = true

[http]
redirect-https = true

[autoconfig.default]
name = "Tom & Söhne <\\"'>"
imap.host = "imap.example.org"
pop3.host = "pop.example.org"
pop3.security = "starttls"
smtp.host = "smtp.example.org"
smtp.security = "starttls"

[autoconfig."example.net"]
imap.host = false
pop3.host = false
"""


class ThunderbirdTests(SynchronousTestCase):
    """The program in tests/live/clients."""

    def setUp(self) -> None:
        """A daemon that sends http to https, as most are set up."""
        self.https = free_port()
        accounts = ("jane@example.org", "x@example.net")
        self.daemon = Daemon.start(accounts=accounts, extra_config=CONFIGURATION.format(https=self.https))
        self.addCleanup(self.daemon.close)

    def find(self, address: str, *reachable: str) -> dict[str, Any]:
        """What Thunderbird finds where these have a server."""
        ports = (str(self.daemon.http_port), str(self.https))
        done = subprocess.run(
            ["node", str(PROGRAM), *ports, address, ",".join(reachable)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual(done.stderr, "", self.daemon.log)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def test_order(self) -> None:
        """Each URL alone leads to the same configuration, over http too; the first that there is goes first."""
        urls = [
            f"{scheme}://{place}"
            for scheme in ("https", "http")
            for place in (f"autoconfig.example.org{PATH}", f"example.org{WELL_KNOWN}")
        ]
        configurations = []
        for number, url in enumerate(urls):
            found = self.find("o'brien&co+x@example.org", *urls[number:])
            self.assertEqual(found.pop("url"), url)
            configurations.append(found)
        username = "o'brien&co+x@example.org"

        def server(kind: str, host: str, port: int, socket: str) -> dict[str, object]:
            way = {"type": kind, "host": host, "port": port, "socket": socket}
            return {**way, "auth": "password-cleartext", "username": username}

        wanted = {
            "id": "example.org",
            "name": NAME,
            "domains": ["example.org"],
            "incoming": [
                server("imap", "imap.example.org", 993, "SSL"),
                server("pop3", "pop.example.org", 110, "STARTTLS"),
            ],
            "outgoing": [server("smtp", "smtp.example.org", 587, "STARTTLS")],
        }
        self.assertEqual(configurations, [wanted] * 4)

    def test_nobody(self) -> None:
        """An account that doesn't exist has the same configuration; a foreign domain has none."""
        found, other = (self.find(f"{name}@example.org", "https://") for name in ("jane", "nobody"))
        self.assertEqual(json.dumps(found).replace("jane@", "nobody@"), json.dumps(other))
        self.assertEqual(self.find("a@foreign.example", "https://", "http://"), {"errors": ["status 404"] * 4})
