"""A few JMAP questions to a daemon, for tests that are about something else."""

from __future__ import annotations

import base64
import json
import urllib.request

from tests.live.daemon import PASSWORD, Daemon


def query_text(daemon: Daemon, address: str, text: str) -> int:
    """How many messages of the account hold the text, as Email/query says."""
    credentials = base64.b64encode(f"{address}:{PASSWORD}".encode()).decode()
    headers = {"Authorization": f"Basic {credentials}", "Content-Type": "application/json"}
    session = urllib.request.Request(f"{daemon.base_url}/jmap/session", headers=headers)
    with urllib.request.urlopen(session, timeout=30) as answer:
        account_id = json.load(answer)["primaryAccounts"]["urn:ietf:params:jmap:mail"]
    call = ["Email/query", {"accountId": account_id, "filter": {"text": text}, "calculateTotal": True}, "0"]
    body = {"using": ["urn:ietf:params:jmap:core", "urn:ietf:params:jmap:mail"], "methodCalls": [call]}
    request = urllib.request.Request(f"{daemon.base_url}/jmap/", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        total: int = json.load(answer)["methodResponses"][0][1]["total"]
    return total
