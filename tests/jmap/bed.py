"""What the tests of this room share: an account with mail in a real store, and a client that asks the engine."""

from __future__ import annotations

import json
import os
from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from stalwart import store
from stalwart.auth import Principal
from stalwart.jmap.engine import Caller, Engine
from stalwart.jmap.limits import Limits
from stalwart.mail.summary import summarize
from stalwart.ops.cache import Cache
from stalwart.ops.metrics import Metrics
from stalwart.store import FsBlobs, NewEmail, Session, Store

CORE = "urn:ietf:params:jmap:core"
MAIL = "urn:ietf:params:jmap:mail"
SUBMISSION = "urn:ietf:params:jmap:submission"
BLOB = "urn:ietf:params:jmap:blob"
QUOTA = "urn:ietf:params:jmap:quota"
VACATION = "urn:ietf:params:jmap:vacationresponse"
ALL = (CORE, MAIL, SUBMISSION, BLOB, QUOTA, VACATION)
BASE_URL = "https://mail.example.org"
NOW = 1_700_000_000

Calls = list[tuple[str, dict[str, Any]]]
Anything = tuple[Any, ...]
"""Values of all kinds, to be tried one after the other."""


def message(subject: str = "Hello", body: str = "Hi there.", **fields: str) -> bytes:
    """A plain message; further header fields by name, with `_` for `-`."""
    lines = {"From": "Ada <ada@example.org>", "To": "Bob <bob@example.net>", "Subject": subject}
    lines |= {name.replace("_", "-"): value for name, value in fields.items()}
    lines.setdefault("Date", "Thu, 30 Oct 2014 14:12:00 +0800")
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return (head + "\r\n" + body + "\r\n").encode()


class Bed(SynchronousTestCase):
    """A test with one account, `self.account`, in a store of its own."""

    limits = Limits()

    def setUp(self) -> None:
        """An empty account with its six mailboxes."""
        folder = self.mktemp()
        os.mkdir(folder)
        self.store = Store.open(
            os.path.join(folder, "stalwart.sqlite"),
            FsBlobs(os.path.join(folder, "blobs")),
            clock=lambda: float(NOW),
            ids=Cache("ids", octets=10_000_000, tti=3600.0, clock=lambda: float(NOW)),
            exclusive=True,
        )
        self.addCleanup(self.store.close)
        with self.store.write() as s:
            store.create_domain(s, "example.org")
            self.account = store.create_account(s, "ada@example.org", name="Ada", password_hash="x")
            self.other = store.create_account(s, "eve@example.org", password_hash="x")
        self.principal = Principal(
            account_id=self.account.id,
            address=self.account.address,
            name=self.account.name,
            permissions=store.BUILT_IN_ROLES["user"],
            credential_version=self.account.credential_version,
        )
        self.account_id = f"A{self.account.id}"
        self.valid = True
        self.metrics = Metrics("test")
        self.failures: list[tuple[str, str]] = []
        self.engine = Engine(self.store, self.limits, self.metrics, still_valid=self.still_valid)
        with self.store.read() as s:
            self.mailboxes = {str(row.role): f"M{row.id}" for row in store.list_mailboxes(s, self.account.id)}
        self.inbox = self.mailboxes["inbox"]

    def still_valid(self, s: Session, principal: Principal) -> bool:
        """What the authenticator would say."""
        return self.valid

    def permit(self, *methods: str) -> None:
        """Let the user call methods that only a test has."""
        more = frozenset(map(store.permission_of_method, methods))
        self.principal = msgspec.structs.replace(self.principal, permissions=self.principal.permissions | more)

    def deliver(
        self,
        data: bytes,
        *mailboxes: str,
        at: int = NOW,
        keywords: tuple[str, ...] = (),
        account: int | None = None,
    ) -> str:
        """Put a message into the mailboxes with these roles or ids (the inbox if none); gives its Email id."""
        rows = [int(self.mailboxes.get(name, name)[1:]) for name in mailboxes or ("inbox",)]
        blob = self.store.blobs.put(data)
        with self.store.write() as s:
            owner = account or self.account.id
            if account is not None:
                found = store.find_mailbox(s, owner, role="inbox")
                assert found is not None
                rows = [found.id]
            new = NewEmail(
                blob_hash=blob,
                size=len(data),
                received_at=at,
                mailbox_ids=tuple(rows),
                keywords=frozenset(keywords),
                digest=summarize(data),
            )
            return f"E{store.add_email(s, owner, new).id}"

    def make_mailbox(self, name: str, parent: str | None = None) -> str:
        """A mailbox; gives its id."""
        with self.store.write() as s:
            row = store.create_mailbox(s, self.account.id, name, None if parent is None else int(parent[1:]))
            return f"M{row.id}"

    def send(self, body: bytes) -> Any:
        """The answer to these octets, decoded."""
        caller = Caller(
            principal=self.principal,
            base_url=BASE_URL,
            request_id="request",
            on_error=lambda reference, failure: self.failures.append((reference, failure)),
        )
        return json.loads(self.engine.handle(body, caller))

    def request(self, *calls: tuple[str, dict[str, Any]], using: tuple[str, ...] = (CORE, MAIL), **more: Any) -> Any:
        """The Response object for these calls, whose ids are "0", "1" and so on."""
        numbered = [[name, arguments, str(index)] for index, (name, arguments) in enumerate(calls)]
        return self.send(json.dumps({"using": using, "methodCalls": numbered, **more}).encode())

    def call(self, name: str, **arguments: Any) -> Any:
        """The arguments of the response to one call, which must succeed. The accountId is added."""
        response = self.request((name, {"accountId": self.account_id, **arguments}))["methodResponses"][0]
        self.assertEqual(response[0], name, response)
        return response[1]

    def refused(self, name: str, **arguments: Any) -> Any:
        """The arguments of the error that one call ends with."""
        response = self.request((name, {"accountId": self.account_id, **arguments}))["methodResponses"][0]
        self.assertEqual(response[0], "error", response)
        return response[1]

    def email(self, email: str, *properties: str, **more: Any) -> Any:
        """One Email with these properties (the default ones if none)."""
        if properties:
            more["properties"] = properties
        return self.call("Email/get", ids=[email], **more)["list"][0]

    def query(self, **arguments: Any) -> list[str]:
        """The ids that Email/query finds."""
        found: list[str] = self.call("Email/query", **arguments)["ids"]
        return found
