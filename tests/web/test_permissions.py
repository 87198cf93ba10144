"""Permissions over HTTP: what is refused with their names, what the JMAP session lists, and keys of all kinds."""

from __future__ import annotations

import json
from typing import Any

from stalwart import store
from stalwart.auth import FallbackAdmin, api_key_token
from stalwart.config.secret import Secret
from stalwart.jmap.catalog import CAPABILITIES
from stalwart.jmap.permissions import METHOD_PERMISSIONS
from stalwart.store import PERMISSIONS, Grants
from tests.http.bed import Answer
from tests.jmap.bed import BLOB, CORE, MAIL, QUOTA, SUBMISSION, VACATION
from tests.web.test_jmap import PASSWORD, WebBed

WEB_SOCKET = "urn:ietf:params:jmap:websocket"
VAPID = "urn:ietf:params:jmap:webpush-vapid"


class PermissionTests(WebBed):
    """An account whose permissions change, and requests."""

    def setUp(self) -> None:
        """Look the principal up."""
        super().setUp()
        with self.store.read() as s:
            self.ada = store.principal_of_account(s, self.account.id).id

    def deny(self, *permissions: str) -> None:
        """Take permissions away, and give the others back."""
        with self.store.write() as s:
            store.set_grants(s, self.ada, Grants(disabled=frozenset(permissions)))

    def session(self) -> Any:
        """The Session object."""
        return json.loads(self.get("/jmap/session").body)

    def by_key(self, token: str, path: str = "/jmap/session") -> Answer:
        """Ask with a Bearer token."""
        return self.get(path, password=None, Authorization=f"Bearer {token}")

    def make_key(self, *permissions: str, owner: int | None = None, networks: tuple[str, ...] = ()) -> str:
        """An API key; gives its token."""
        with self.store.write() as s:
            key = store.create_principal(s, "apiKey", "key", owner_id=owner)
            store.set_grants(s, key.id, Grants(enabled=frozenset(permissions)))
            store.add_credential(s, key.id, "key", "a-secret", networks=networks)
        return api_key_token("key", "a-secret")

    def test_every_method(self) -> None:
        """Each method needs a permission that exists and that users have."""
        for method, permission in METHOD_PERMISSIONS.items():
            self.assertTrue(PERMISSIONS[permission].of_users, method)

    def test_capabilities(self) -> None:
        """The session lists what one may use something of, for the server and each account; the core always."""
        everything = [capability.uri for capability in CAPABILITIES]
        self.assertEqual(list(self.session()["capabilities"]), everything)
        by_capability = {
            uri: {name for name in PERMISSIONS if name.startswith(prefixes)}
            for uri, prefixes in (
                (MAIL, ("jmap-email-", "jmap-mailbox", "jmap-thread", "jmap-search")),
                (SUBMISSION, ("jmap-identity", "jmap-email-submission")),
                (VACATION, ("jmap-vacation",)),
                (QUOTA, ("jmap-quota",)),
                (BLOB, ("jmap-blob",)),
                (WEB_SOCKET, ("jmap-web-socket",)),
                (VAPID, ("jmap-push",)),
            )
        }
        by_capability[MAIL] -= by_capability[SUBMISSION]
        states = {self.session()["state"]}
        for uri, names in by_capability.items():
            self.deny(*names)
            session = self.session()
            self.assertEqual(set(everything) - set(session["capabilities"]), {uri})
            self.assertNotIn(uri, session["accounts"][self.account_id]["accountCapabilities"])
            self.assertNotIn(uri, session["primaryAccounts"])
            states.add(session["state"])
        self.assertEqual(len(states), 1 + len(by_capability))

    def test_one_method(self) -> None:
        """A method without its permission is forbidden, with the permission's name; others go on."""
        self.deny("jmap-mailbox-get")
        answer = self.api(["Mailbox/get", {"accountId": self.account_id}, "0"], ["Core/echo", {"a": 1}, "1"])
        (name, error, _), (echo, _, _) = answer["methodResponses"]
        self.assertEqual((name, error["type"], echo), ("error", "forbidden", "Core/echo"))
        self.assertIn("jmap-mailbox-get", error["description"])

    def test_endpoints(self) -> None:
        """Each endpoint refuses who lacks its permission, and names it; a permission given back counts at once."""
        upload, download = f"/jmap/upload/{self.account_id}/", f"/jmap/download/{self.account_id}/b/x"
        for permission, method, path in (
            ("authenticate", "GET", "/jmap/session"),
            ("authenticate", "POST", "/jmap/ticket?for=eventsource"),
            ("jmap-blob-upload", "POST", upload),
            ("jmap-blob-get", "GET", download),
            ("jmap-event-source", "GET", "/jmap/eventsource/?types=*&closeafter=state&ping=0"),
            ("jmap-web-socket", "GET", "/jmap/ws"),
        ):
            self.deny(permission)
            # What was verified with the permission counts until the store is asked: so with each request.
            self.get("/jmap/session")
            answer = self.get(path, method=method, Content_Length="0")
            self.assertEqual((answer.status, answer.problem()["permission"]), (403, permission), path)
            self.deny()
            self.assertNotEqual(self.get("/jmap/session").status, 403)

    def test_new_permission(self) -> None:
        """Whoever was refused a moment ago gets in as soon as they have the permission."""
        self.deny("jmap-blob-get")
        path = f"/jmap/download/{self.account_id}/b/x"
        self.assertEqual([self.get(path).status for _ in range(2)], [403, 403])
        self.deny()
        self.assertEqual(self.get(path).status, 404)

    def test_sending(self) -> None:
        """Without email-send nothing is submitted."""
        self.deny("email-send")
        create = {"k": {"identityId": "I1", "emailId": "E1"}}
        calls = ["EmailSubmission/set", {"accountId": self.account_id, "create": create}, "0"]
        body = json.dumps({"using": [CORE, SUBMISSION], "methodCalls": [calls]}).encode()
        answer = json.loads(self.post("/jmap/", body, Content_Type="application/json").body)
        error = answer["methodResponses"][0][1]["notCreated"]["k"]
        self.assertEqual(error["type"], "forbiddenToSend")
        self.assertIn("email-send", error["description"])

    def test_api_key(self) -> None:
        """A key of an account sees its mail, as far as its permissions go; a wrong one is refused like any."""
        token = self.make_key("authenticate", "jmap-quota-get", owner=self.ada)
        session = json.loads(self.by_key(token).body)
        self.assertEqual((session["username"], set(session["capabilities"])), ("ada@example.org", {CORE, QUOTA}))
        for wrong in (api_key_token("key", "other"), api_key_token("nokey", "a-secret"), "abc", ""):
            self.assertEqual(self.by_key(wrong).status, 401)
        with self.store.write() as s:
            key = store.find_principal(s, "apiKey", "key")
            assert key is not None
            store.delete_principal(s, key.id)
        self.assertEqual(self.by_key(token).status, 401)

    def test_networks(self) -> None:
        """From elsewhere a key is as good as a wrong one, remembered or not."""
        here = self.make_key("authenticate", owner=self.ada, networks=("203.0.113.0/24",))
        self.assertEqual([self.by_key(here).status for _ in range(2)], [401, 401])
        wrong = self.by_key(api_key_token("key", "wrong"))
        self.assertEqual(self.by_key(here).problem()["detail"], wrong.problem()["detail"])

    def test_without_mailbox(self) -> None:
        """Whoever has no mailbox may sign in, but not to JMAP: the fallback administrator, and keys of nobody."""
        self.authenticator.set_fallback(FallbackAdmin(user="admin", secret=Secret("let me in")))
        answer = self.get("/jmap/session", password=None, Authorization="Basic YWRtaW46bGV0IG1lIGlu")
        self.assertEqual(answer.status, 403)
        self.assertIn("no mailbox", answer.problem()["detail"])
        self.assertEqual(self.by_key(self.make_key("authenticate")).status, 403)

    def test_ticket(self) -> None:
        """A ticket made by an app password ends with that, and not with a new password."""
        with self.store.write() as s:
            store.add_credential(s, self.ada, "phone", "app-secret")
        tickets = []
        for _ in range(2):
            answer = self.get("/jmap/ticket?for=eventsource", method="POST", password="app-secret", Content_Length="0")
            tickets.append(json.loads(answer.body)["ticket"])
        with self.store.write() as s:
            store.set_password_hash(s, self.account.id, "x")
        path = "/jmap/eventsource/?types=*&closeafter=state&ping=0&ticket="
        self.assertEqual(self.status_of_stream(path + tickets[0]), 200)
        with self.store.write() as s:
            store.remove_credential(s, self.ada, "phone")
        self.assertEqual(self.get(path + tickets[1], password=None).status, 403)

    def status_of_stream(self, path: str) -> int:
        """The status of an answer that goes on."""
        wire = self.http.connect()
        wire.send(self.head("GET", path, None))
        return int(wire.raw().split(b" ")[1])

    def test_password_is_not_shown(self) -> None:
        """A refusal says nothing of what was sent."""
        self.deny("authenticate")
        self.assertNotIn(PASSWORD.encode(), self.get("/jmap/session").body)
