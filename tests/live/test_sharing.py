"""Accounts shared and taken back by the admin command, in a process of its own, beside the real daemon."""

from __future__ import annotations

from typing import Any

import requests
from twisted.trial.unittest import SynchronousTestCase

from tests.live.daemon import ADDRESS, PASSWORD, Daemon

GUEST = "bob@example.org"


class SharingTests(SynchronousTestCase):
    """Bob, and what he sees of Jane's account."""

    def test_at_once(self) -> None:
        """The next request after the command has ended goes by it, though the one before was answered from memory."""
        daemon = Daemon.start(accounts=(ADDRESS, GUEST))
        self.addCleanup(daemon.close)
        with requests.Session() as client:
            client.trust_env = False
            client.auth = (GUEST, PASSWORD)

            states = [""]

            def sees() -> tuple[list[str], str]:
                """The names of his accounts, and what a write of nothing into hers ends with."""
                session = client.get(f"{daemon.base_url}/jmap/session", timeout=30).json()
                accounts = session["accounts"]
                call = ["Email/set", {"accountId": "A1"}, "0"]
                using = ["urn:ietf:params:jmap:core", "urn:ietf:params:jmap:mail"]
                body: Any = {"using": using, "methodCalls": [call]}
                answer = client.post(f"{daemon.base_url}/jmap/", json=body, timeout=30).json()
                name, arguments, _ = answer["methodResponses"][0]
                # RFC 8620 §2, §3.4: the state of the Session object moves with it, and stands in every response.
                self.assertEqual(answer["sessionState"], session["state"])
                states.append(session["state"])
                return sorted(account["name"] for account in accounts.values()), arguments.get("type", name)

            for command, names, outcome in (
                (("share", ADDRESS, GUEST, "--rights", "read"), [GUEST, ADDRESS], "accountReadOnly"),
                (("share", ADDRESS, GUEST, "--rights", "write"), [GUEST, ADDRESS], "Email/set"),
                (("unshare", ADDRESS, GUEST), [GUEST], "accountNotFound"),
                (("share", ADDRESS, GUEST), [GUEST, ADDRESS], "accountReadOnly"),
                (("delete", ADDRESS, "--yes"), [GUEST], "accountNotFound"),
            ):
                daemon.admin("account", *command)
                before = states[-1]
                for _ in range(2):
                    self.assertEqual(sees(), (names, outcome), command)
                self.assertEqual(states[-1], states[-2])
                self.assertNotEqual(states[-1], before, command)
            metrics = client.get(f"{daemon.base_url}/metrics/prometheus", timeout=30).text
        for name in ("sharings", "acl"):
            self.assertIn(f'stalwart_cache_hits_total{{cache="{name}"}}', metrics)
        self.assertEqual(daemon.stop(), 0, daemon.log)
        self.assertNotIn("Traceback", daemon.log)
