"""What access tokens open and for how long, and that they get into no log."""

from __future__ import annotations

import json
from typing import Any

from twisted.logger import capturedLogs

from stalwart import store
from stalwart.auth import load_principal
from stalwart.auth.oauth import scopes, tokens
from stalwart.http import Problem
from stalwart.http.auth import require
from stalwart.store import ALL_PERMISSIONS, BUILT_IN_ROLES, PERMISSIONS
from tests.jmap.bed import CORE
from tests.web.oauth_bed import ISSUER, MAIL_SCOPE, OAuthBed, answer_of

ECHO = json.dumps({"using": [CORE], "methodCalls": [["Core/echo", {}, "c"]]}).encode()


class AccessTests(OAuthBed):
    """Bearer tokens at JMAP."""

    def ask_for(self, token: str, *calls: object, using: tuple[str, ...] = (CORE,)) -> Any:
        """The responses of an API request."""
        body = json.dumps({"using": using, "methodCalls": calls}).encode()
        answer = self.octets("/jmap", body, authorization=f"Bearer {token}", kind="application/json")
        self.assertEqual(answer.status, 200, answer.body)
        return json.loads(answer.body)["methodResponses"]

    def test_only_mail(self) -> None:
        """JMAP is closed to tokens without a scope of mail, and the answer names one that opens it."""
        answer = self.session(self.tokens(scope="openid profile email")["access_token"])
        self.assertEqual(answer.status, 403)
        self.assertIn('error="insufficient_scope", scope="', answer.headers["www-authenticate"])

    def test_capabilities(self) -> None:
        """A token shows those capabilities that its scopes open."""
        for scope, wanted, unwanted in (
            (MAIL_SCOPE, ("mail", "submission", "vacationresponse"), ()),
            (scopes.JMAP_MAIL, ("mail",), ("submission", "vacationresponse")),
            (scopes.JMAP_SUBMISSION, ("submission",), ("mail", "vacationresponse")),
            (scopes.JMAP_VACATION, ("vacationresponse",), ("mail", "submission")),
            (scopes.JMAP_CORE, (), ("mail", "submission", "vacationresponse")),
        ):
            found = json.loads(self.session(self.tokens(scope=scope)["access_token"]).body)["capabilities"]
            self.assertIn(CORE, found)
            for name in wanted:
                self.assertIn(f"urn:ietf:params:jmap:{name}", found, scope)
            for name in unwanted:
                self.assertNotIn(f"urn:ietf:params:jmap:{name}", found, scope)

    def test_bounded(self) -> None:
        """A token may do what both its scopes and its owner may: admin only if asked for and held."""
        for roles, scope, held in (
            (("user", "admin"), MAIL_SCOPE, False),
            (("user",), f"admin {MAIL_SCOPE}", False),
            (("user", "admin"), f"admin {MAIL_SCOPE}", True),
        ):
            with self.store.write() as s:
                store.set_roles(s, store.principal_of_account(s, self.account.id).id, roles)
            token = self.tokens(scope=scope)["access_token"]
            found = self.authenticator.verify(f"Bearer {token}".encode())
            assert found is not None
            self.assertEqual(found.is_admin, held)
            self.assertNotIn("authenticate-oauth", found.permissions)

    def test_ends(self) -> None:
        """A token that was used a moment ago ends with the password, the account, the permission, the client."""
        principal = store.principal_of_account

        def password(s: store.Session) -> None:
            store.set_password_hash(s, self.account.id, "other")

        def disabled(s: store.Session) -> None:
            store.enable_principal(s, principal(s, self.account.id).id, enabled=False)

        def enabled(s: store.Session) -> None:
            store.enable_principal(s, principal(s, self.account.id).id, enabled=True)

        def forbidden(s: store.Session) -> None:
            store.set_roles(s, principal(s, self.account.id).id, ())

        def allowed(s: store.Session) -> None:
            store.set_roles(s, principal(s, self.account.id).id, ("user",))

        def kept_out(s: store.Session) -> None:
            taken = store.Grants(disabled=frozenset({"authenticate"}))
            store.set_grants(s, principal(s, self.account.id).id, taken)

        def let_in(s: store.Session) -> None:
            store.set_grants(s, principal(s, self.account.id).id, store.Grants())

        def client(s: store.Session) -> None:
            store.remove_client(s, "phone")

        for change, undo in (
            (password, None),
            (disabled, enabled),
            (forbidden, allowed),
            (kept_out, let_in),
            (lambda s: store.end_grants(s, self.account.id), None),
            (client, None),
        ):
            token = self.tokens()["access_token"]
            self.assertEqual(self.session(token).status, 200)
            with self.store.write() as s:
                change(s)
            self.assertIn(self.session(token).status, (401, 403), change)
            answer = self.octets("/jmap", ECHO, authorization=f"Bearer {token}", kind="application/json")
            self.assertIn(answer.status, (401, 403))
            if undo is not None:
                with self.store.write() as s:
                    undo(s)

    def test_kept_out(self) -> None:
        """Who may not sign in gets no new tokens either, nor is vouched for by those there are."""
        given = self.tokens(scope="openid email offline_access")
        bearer = f"Bearer {given['access_token']}"
        self.assertEqual(self.get("/auth/userinfo", password=None, Authorization=bearer).status, 200)
        with self.store.write() as s:
            taken = store.Grants(disabled=frozenset({"authenticate"}))
            store.set_grants(s, store.principal_of_account(s, self.account.id).id, taken)
        self.assertEqual(self.get("/auth/userinfo", password=None, Authorization=bearer).status, 401)
        with self.store.read() as s:
            found = tokens.introspect(s, given["access_token"], issuer=ISSUER, client=None)
        self.assertEqual(found, {"active": False})
        self.error(self.refresh(given["refresh_token"]), "invalid_grant")

    def test_full_disk(self) -> None:
        """A token opens what there is to read though its use can't be noted."""
        token = self.tokens()["access_token"]
        self.later(100)

        def full() -> None:
            raise store.DiskFull("no room")

        self.patch(self.store, "write", full)
        self.assertEqual(self.session(token).status, 200)

    def test_deleted(self) -> None:
        """And with the account, whose grants are gone at once."""
        given = self.tokens()
        with self.store.write() as s:
            store.delete_account(s, self.account.id)
        self.problem(self.session(given["access_token"]), 401)
        self.error(self.refresh(given["refresh_token"]), "invalid_grant")

    def test_expires(self) -> None:
        """After an hour, though it was used all the time."""
        token = self.tokens()["access_token"]
        for _ in range(4):
            self.assertEqual(self.session(token).status, 200)
            self.later(899)
        self.later(4)
        answer = self.session(token)
        self.assertEqual(answer.status, 401)
        self.assertIn('error="invalid_token"', answer.headers["www-authenticate"])

    def test_last_use(self) -> None:
        """When an authorisation was last used, and from where, is kept."""
        token = self.tokens()["access_token"]
        self.later(400)
        self.assertEqual(self.session(token).status, 200)
        with self.store.read() as s:
            (row,) = store.list_grants(s, self.account.id)
        self.assertEqual((row.last_used_at, row.created_at), (int(self.now), int(self.now) - 400))
        self.assertEqual(row.address, "192.0.2.7")

    def test_other_process(self) -> None:
        """What another process revokes ends here with the next request."""
        token = self.tokens()["access_token"]
        self.assertEqual(self.session(token).status, 200)
        other = store.Store.open(self.store.path, self.store.blobs, clock=self.store.clock, exclusive=False)
        try:
            with other.write() as s:
                store.end_grants(s, self.account.id)
        finally:
            other.close()
        self.problem(self.session(token), 401)

    def test_guesses_keep_nobody_waiting(self) -> None:
        """Whoever tries passwords here has no more threads than at JMAP, and is refused when many wait."""
        token = self.tokens()["access_token"]
        self.assertEqual(self.session(token).status, 200)
        self.threads.held = True
        guesses = [self.http.connect() for _ in range(110)]
        for number, wire in enumerate(guesses):
            method, path = (("GET", "/auth/userinfo"), ("POST", "/auth/register"))[number % 2]
            wire.send(self.head(method, path, f"guess {number}", Content_Length="0"))
        self.assertEqual(len(self.threads.waiting), 2)
        answers = [answer for wire in guesses for answer in wire.answers()]
        self.assertEqual({(answer.status, answer.headers["retry-after"]) for answer in answers}, {(429, "5")})
        served = self.http.connect()
        served.send(self.head("GET", "/jmap/session", None, Authorization=f"Bearer {token}"))
        self.assertEqual(len(self.threads.waiting), 3)
        for wire in guesses[2:]:
            wire.hang_up()
        self.threads.release()
        self.assertEqual(served.answers()[0].status, 200)

    def test_refresh_token_opens_nothing(self) -> None:
        """A refresh token is no access token."""
        self.problem(self.session(self.tokens()["refresh_token"]), 401)

    def test_tickets(self) -> None:
        """A ticket that a token got opens as much as the token does, and ends with it."""
        for scope, status in ((MAIL_SCOPE, 101), (scopes.ACCOUNT, 403)):
            given = self.tokens(scope=scope)
            asked = self.octets("/jmap/ticket?for=cookie", b"", authorization=f"Bearer {given['access_token']}")
            cookie = asked.headers["set-cookie"].partition(";")[0]
            self.assertEqual(self.stream(cookie), status)
            self.form("/auth/revoke", client_id="phone", token=given["access_token"])
            self.assertEqual(self.stream(cookie), 403)

    def stream(self, cookie: str) -> int:
        """The status of a WebSocket's handshake with this cookie."""
        fields = {
            "Origin": "http://mail.example.org:8443",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
            "Sec_WebSocket_Version": "13",
            "Sec_WebSocket_Protocol": "jmap",
            "Cookie": cookie,
        }
        wire = self.http.connect()
        wire.send(self.head("GET", "/jmap/ws", None, **fields))
        return int(wire.raw().split(b" ", 2)[1])

    def test_push_subscriptions(self) -> None:
        """A push subscription outlives the access token that made it, and ends with the authorisation."""
        given = self.tokens()
        create = {"deviceClientId": "d", "url": "https://push.example/x", "types": None}
        self.ask_for(given["access_token"], ["PushSubscription/set", {"create": {"k": create}}, "c"])
        self.later(3601)
        with self.store.read() as s:
            (row,) = store.list_subscriptions(s)
            assert row.grant_id is not None
            self.assertIsNotNone(load_principal(s, row.account_id, row.credential_id, grant_id=row.grant_id))
        again = json.loads(self.refresh(given["refresh_token"]).body)["access_token"]
        ((_, found, _),) = self.ask_for(again, ["PushSubscription/get", {}, "c"])
        self.assertEqual(len(found["list"]), 1)
        ((_, found, _),) = self.ask_for(self.tokens()["access_token"], ["PushSubscription/get", {}, "c"])
        self.assertEqual(found["list"], [])
        with self.store.write() as s:
            store.end_grant(s, row.grant_id)
        with self.store.read() as s:
            self.assertEqual(store.list_subscriptions(s), [])

    def test_not_logged(self) -> None:
        """No code, token or secret gets into a log line, whether it is right or wrong."""
        request = self.begin()
        with capturedLogs() as events:
            code = self.agree(request)["code"]
            given = json.loads(self.exchange(code).body)
            self.session(given["access_token"])
            self.exchange(code)
            self.refresh(given["refresh_token"])
            self.session(given["access_token"])
            self.form("/auth/revoke", client_id="webmail", client_secret="verysecret", token=given["access_token"])
            self.get(f"/auth/token?code={code}", password=None)
        logged = repr(events) + repr(self.http.log.lines)
        self.assertIn("used again", logged)
        for secret in (code, given["access_token"], given["refresh_token"], given["id_token"], "verysecret"):
            self.assertNotIn(secret, logged)

    def test_stored(self) -> None:
        """Nothing that lies in the database opens anything."""
        given = self.tokens()
        code = answer_of(f"https://x/?code={self.code()}")["code"]
        with self.store.read() as s:
            kept = "".join(s.driver.iterdump())
        for secret in (code, given["access_token"], given["refresh_token"]):
            self.assertNotIn(secret, kept)
            self.assertNotIn(secret.partition("_")[2] or secret, kept)

    def test_swept(self) -> None:
        """What has expired is removed, and what is left of an authorisation goes with its last token."""
        self.tokens()
        self.code()
        with self.store.write() as s:
            store.expire_grants(s)
            self.assertEqual(len(self.kept(s)), 2)
        self.later(601)
        with self.store.write() as s:
            store.expire_grants(s)
            self.assertEqual(len(self.kept(s)), 1)
        self.later(30 * 86400)
        with self.store.write() as s:
            store.expire_grants(s)
            self.assertEqual(self.kept(s), [])

    def test_swept_in_portions(self) -> None:
        """Much that has expired is removed some at a time, so that no transaction is long."""
        self.tokens()
        with self.store.write() as s:
            (grant,) = store.list_grants(s)
            for number in range(1200):
                store.add_token(s, str(number), "access", grant.id, ("openid",), expires_at=s.now() - 1)
            portions = [store.expire_grants(s) for _ in range(4)]
            self.assertEqual((portions, len(self.kept(s))), ([500, 500, 200, 0], 1))

    def kept(self, s: store.Session) -> list[object]:
        """The rows of authorisations."""
        return list(s.connection.exec_driver_sql("SELECT id FROM oauth_grant"))


class ScopeTests(OAuthBed):
    """What the scopes say."""

    def test_permissions(self) -> None:
        """Every permission that a scope gives is there; mail gives all of JMAP, and nothing of administration."""
        for name, permissions in scopes.PERMISSIONS_OF.items():
            self.assertLessEqual(permissions, ALL_PERMISSIONS, name)
        mail = scopes.PERMISSIONS_OF[scopes.MAIL]
        self.assertEqual({name for name in PERMISSIONS if name.startswith("jmap-")} - mail, set())
        for name in scopes.PERMISSIONS_OF:
            if name != scopes.ADMIN:
                self.assertLessEqual(scopes.PERMISSIONS_OF[name], BUILT_IN_ROLES["user"], name)

    def test_of_jmap(self) -> None:
        """The URN of each capability gives the permissions of its own methods."""
        mail, sending = scopes.PERMISSIONS_OF[scopes.JMAP_MAIL], scopes.PERMISSIONS_OF[scopes.JMAP_SUBMISSION]
        for permission in ("jmap-email-query-changes", "jmap-search-snippet", "jmap-blob-upload", "jmap-thread-get"):
            self.assertIn(permission, mail)
            self.assertNotIn(permission, sending)
        for permission in ("jmap-identity-set", "jmap-email-submission-set", "email-send"):
            self.assertIn(permission, sending)
            self.assertNotIn(permission, mail)
        self.assertIn("jmap-vacation-response-set", scopes.PERMISSIONS_OF[scopes.JMAP_VACATION])

    def test_narrowest(self) -> None:
        """Who lacks a permission is told of the scope that gives least beside it."""
        self.assertEqual(scopes.scope_giving("jmap-identity-set"), scopes.JMAP_SUBMISSION)
        self.assertEqual(scopes.scope_giving("manage-passwords"), scopes.ACCOUNT)
        self.assertEqual(scopes.scope_giving("settings-update"), scopes.ADMIN)
        self.assertIsNone(scopes.scope_giving("authenticate-oauth"))

    def test_of_no_scope(self) -> None:
        """What no token may do is refused without a scope that would help."""
        token = self.tokens()["access_token"]
        principal = self.authenticator.verify(f"Bearer {token}".encode())
        assert principal is not None
        error = self.assertRaises(Problem, require, principal, "authenticate-oauth")
        self.assertEqual(error.status, 403)
        self.assertNotIn("scope=", dict(error.headers)["WWW-Authenticate"].replace("insufficient_scope", ""))
