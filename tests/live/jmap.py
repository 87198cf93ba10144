"""A few JMAP questions to a daemon, for tests that are about something else."""

from __future__ import annotations

import base64
import json
import urllib.request
from collections.abc import Sequence
from typing import Any

from tests.live.daemon import PASSWORD, Daemon

_USING = [
    "urn:ietf:params:jmap:core",
    "urn:ietf:params:jmap:mail",
    "urn:ietf:params:jmap:submission",
]


class Client:
    """One account's. Method calls have its `accountId`."""

    def __init__(self, daemon: Daemon, address: str) -> None:
        credentials = base64.b64encode(f"{address}:{PASSWORD}".encode()).decode()
        self._headers = {"Authorization": f"Basic {credentials}", "Content-Type": "application/json"}
        self._url = f"{daemon.base_url}/jmap/"
        session = urllib.request.Request(f"{daemon.base_url}/jmap/session", headers=self._headers)
        with urllib.request.urlopen(session, timeout=30) as answer:
            self.account_id = json.load(answer)["primaryAccounts"]["urn:ietf:params:jmap:mail"]

    def call(self, *calls: tuple[str, dict[str, Any]]) -> Sequence[Any]:
        """The answer's arguments for each call; their ids are "0", "1" and so on."""
        named = [
            [name, {"accountId": self.account_id, **arguments}, str(at)] for at, (name, arguments) in enumerate(calls)
        ]
        body = json.dumps({"using": _USING, "methodCalls": named}).encode()
        with urllib.request.urlopen(urllib.request.Request(self._url, body, self._headers), timeout=30) as answer:
            answers = json.load(answer)["methodResponses"]
        return [arguments for _, arguments, _ in answers]


def query_text(daemon: Daemon, address: str, text: str) -> int:
    """How many messages of the account hold the text, as Email/query says."""
    (found,) = Client(daemon, address).call(("Email/query", {"filter": {"text": text}, "calculateTotal": True}))
    total: int = found["total"]
    return total
