"""The Session object."""

from __future__ import annotations

import json
from typing import Any

from msgspec.structs import replace

from stalwart.jmap.limits import Limits
from stalwart.jmap.session import session_object
from tests.jmap.bed import BASE_URL, BLOB, CORE, MAIL, QUOTA, SUBMISSION, VACATION, Bed

WEB_SOCKET = "urn:ietf:params:jmap:websocket"
VAPID = "urn:ietf:params:jmap:webpush-vapid"


class SessionTests(Bed):
    """`session_object`."""

    def session(self, limits: Limits | None = None, base_url: str = BASE_URL) -> Any:
        """The object, decoded."""
        return json.loads(session_object(self.principal, (), limits or Limits(), base_url).body)

    def test_all_properties(self) -> None:
        """RFC 8620 §2: every property is there, and rule 2: isPersonal on accounts."""
        session = self.session()
        self.assertEqual(
            set(session),
            {
                "capabilities",
                "accounts",
                "primaryAccounts",
                "username",
                "apiUrl",
                "downloadUrl",
                "uploadUrl",
                "eventSourceUrl",
                "state",
            },
        )
        self.assertEqual(session["username"], "ada@example.org")
        account = session["accounts"][self.account_id]
        self.assertEqual(account["name"], "ada@example.org")
        self.assertIs(account["isPersonal"], True)
        self.assertIs(account["isReadOnly"], False)

    def test_mail_capability(self) -> None:
        """Rule 1: every property of the mail account capability is there; the server's is an empty object."""
        session = self.session()
        self.assertEqual(session["capabilities"][MAIL], {})
        self.assertEqual(
            session["accounts"][self.account_id]["accountCapabilities"][MAIL],
            {
                "maxMailboxesPerEmail": None,
                "maxMailboxDepth": 10,
                "maxSizeMailboxName": 255,
                "maxSizeAttachmentsPerEmail": 50_000_000,
                "emailQuerySortOptions": [
                    "receivedAt",
                    "size",
                    "from",
                    "to",
                    "subject",
                    "sentAt",
                    "hasKeyword",
                    "allInThreadHaveKeyword",
                    "someInThreadHaveKeyword",
                ],
                "mayCreateTopLevelMailbox": True,
            },
        )

    def test_other_capabilities(self) -> None:
        """RFC 8621 §1.3.2 and §1.3.3, RFC 9404 §3.1, RFC 9425 §2: only accounts say something of them."""
        session = self.session()
        of_account = session["accounts"][self.account_id]["accountCapabilities"]
        self.assertEqual(
            of_account[SUBMISSION],
            {"maxDelayedSend": 2_592_000, "submissionExtensions": {"DSN": [], "SIZE": [], "FUTURERELEASE": []}},
        )
        self.assertEqual(of_account[QUOTA], {})
        self.assertEqual(of_account[VACATION], {})
        self.assertEqual(
            of_account[BLOB],
            {
                "maxSizeBlobSet": 50_000_000,
                "maxDataSources": 64,
                "supportedTypeNames": ["Mailbox", "Thread", "Email"],
                "supportedDigestAlgorithms": ["sha", "sha-256", "sha-512"],
            },
        )
        for uri in (SUBMISSION, QUOTA, BLOB, VACATION):
            self.assertEqual(session["capabilities"][uri], {})

    def test_core_capability(self) -> None:
        """RFC 8620 §2: the core capability has its eight limits."""
        self.assertEqual(
            self.session()["capabilities"][CORE],
            {
                "maxSizeUpload": 50_000_000,
                "maxConcurrentUpload": 4,
                "maxSizeRequest": 10_000_000,
                "maxConcurrentRequests": 4,
                "maxCallsInRequest": 16,
                "maxObjectsInGet": 500,
                "maxObjectsInSet": 500,
                "collationAlgorithms": ["i;ascii-numeric", "i;ascii-casemap", "i;unicode-casemap"],
            },
        )

    def test_urls(self) -> None:
        """Rule 3: URLs are absolute, every template variable is there, `{type}` in the query."""
        session = self.session()
        self.assertEqual(session["apiUrl"], "https://mail.example.org/jmap/")
        self.assertEqual(
            session["downloadUrl"],
            "https://mail.example.org/jmap/download/{accountId}/{blobId}/{name}?accept={type}",
        )
        self.assertEqual(session["uploadUrl"], "https://mail.example.org/jmap/upload/{accountId}/")
        self.assertEqual(
            session["eventSourceUrl"],
            "https://mail.example.org/jmap/eventsource/?types={types}&closeafter={closeafter}&ping={ping}",
        )

    def test_state(self) -> None:
        """Rule 3: the state changes with anything in the object, only then, and is the sessionState of answers."""
        state = self.session()["state"]
        self.assertEqual(self.session()["state"], state)
        self.assertEqual(self.request(("Core/echo", {}))["sessionState"], state)
        self.assertNotEqual(self.session(Limits(max_size_upload=1))["state"], state)
        self.assertNotEqual(self.session(base_url="https://other")["state"], state)
        self.principal = replace(self.principal, address="new@example.org")
        self.assertNotEqual(self.session()["state"], state)

    def test_primary_accounts(self) -> None:
        """Rule 4: primaryAccounts has no core, and account capabilities only what works."""
        session = self.session()
        of_accounts = (MAIL, SUBMISSION, BLOB, QUOTA, VACATION)
        self.assertEqual(session["primaryAccounts"], dict.fromkeys(of_accounts, self.account_id))
        self.assertEqual(list(session["accounts"]), [self.account_id])
        self.assertEqual(set(session["capabilities"]), {CORE, *of_accounts, WEB_SOCKET, VAPID})

    def test_all_advertised_may_be_used(self) -> None:
        """Rule 4: clients that put every advertised URI into `using` are served."""
        answer = self.request(("Core/echo", {"a": 1}), using=tuple(self.session()["capabilities"]))
        self.assertEqual(answer["methodResponses"], [["Core/echo", {"a": 1}, "0"]])

    def test_push_capabilities(self) -> None:
        """RFC 8887 §3.1 and RFC 9749 §3: where the WebSocket is, and the key of pushes, which moves the state."""
        found = [
            json.loads(session_object(self.principal, (), Limits(), base_url, key).body)
            for base_url, key in ((BASE_URL, "key"), ("http://localhost:8080", "key"), (BASE_URL, "other"))
        ]
        self.assertEqual(
            [session["capabilities"][WEB_SOCKET] for session in found[:2]],
            [
                {"url": "wss://mail.example.org/jmap/ws", "supportsPush": True},
                {"url": "ws://localhost:8080/jmap/ws", "supportsPush": True},
            ],
        )
        self.assertEqual(found[0]["capabilities"][VAPID], {"applicationServerKey": "key"})
        self.assertEqual(len({session["state"] for session in found}), 3)
