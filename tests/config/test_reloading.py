"""What a reload takes over, and what waits for a restart."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from stalwart.config import Settings, plan_reload
from tests.config.support import load_text

HEAD = """\
worker-pool-size = 2
[server]
hostname = "mail.example.org"
[server.listener.one]
protocol = "http"
bind = "127.0.0.1:8080"
[storage]
data = "db"
[store.db]
type = "sqlite"
path = "/tmp/db.sqlite"
"""


def settings(text: str) -> Settings:
    """The settings of a file."""
    return load_text(text)


class PlanTests(SynchronousTestCase):
    """`plan_reload`."""

    def plan(self, wanted: str, running: str = HEAD) -> tuple[Settings, tuple[str, ...], tuple[str, ...]]:
        """What holds after the reload, what has changed, what waits."""
        plan = plan_reload(settings(running), settings(wanted))
        return plan.settings, plan.changed, plan.waiting

    def test_nothing(self) -> None:
        """The same file changes nothing."""
        self.assertEqual(self.plan(HEAD)[1:], ((), ()))

    def test_in_effect(self) -> None:
        """Settings of HTTP, of the log, and those of listeners that may change hold at once; keys that go, too."""
        more = "[http]\nhsts = true\n"
        text = HEAD.replace('"127.0.0.1:8080"\n', '"127.0.0.1:8080"\nmax-connections = 7\n')
        now, changed, waiting = self.plan('log-level = "debug"\n' + text + more)
        self.assertEqual(set(changed), {"log-level", "server.listener.one.max-connections", "http.hsts"})
        self.assertEqual((waiting, now.http.hsts_enabled, now.listeners[0].max_connections), ((), True, 7))
        now, changed, _ = self.plan(HEAD, HEAD + more)
        self.assertEqual((changed, now.http.hsts_enabled), (("http.hsts",), False))

    def test_fallback_admin(self) -> None:
        """Another secret of the fallback administrator is told of, though it isn't shown."""
        admin = '[authentication.fallback-admin]\nuser = "root"\nsecret = "{}"\n'
        now, changed, waiting = self.plan(HEAD + admin.format("new"), HEAD + admin.format("old"))
        self.assertEqual((changed, waiting), (("authentication.fallback-admin",), ()))
        assert now.fallback_admin.secret is not None
        self.assertEqual(now.fallback_admin.secret.reveal(), "new")

    def test_waiting(self) -> None:
        """What waits keeps its old value wherever it is asked for."""
        text = HEAD.replace("mail.example.org", "other.example.org").replace("size = 2", "size = 3")
        text = text.replace("8080", "8081").replace("/tmp/db", "/tmp/other")
        now, changed, waiting = self.plan(text)
        self.assertEqual(changed, ())
        keys = {"server.hostname", "worker-pool-size", "server.listener.one.bind", "store.db.path"}
        self.assertEqual({key for key in waiting if not key.startswith("store.built-in")}, keys)
        self.assertEqual((now.hostname, now.worker_pool_size, now.data.path), ("mail.example.org", 2, "/tmp/db.sqlite"))
        self.assertEqual(str(now.listeners[0].bind[0]), "127.0.0.1:8080")
        self.assertEqual(now.entries, settings(HEAD).entries)

    def test_what_rules_ask(self) -> None:
        """Stores that only rules ask hold at once; of those in use, and of the host's name, rules hear the old."""
        hr = '[store.hr]\ntype = "sqlite"\npath = "/tmp/{}.sqlite"\n'
        rule = "[http]\nallowed-endpoint = \"if_then(sql_query('hr', 'SELECT 1', []), 200, 404)\"\n"
        text = HEAD.replace("mail.example.org", "other.example.org").replace("/tmp/db", "/tmp/other")
        now, changed, waiting = self.plan(text + hr.format("new") + rule)
        self.assertIn("store.hr.path", changed)
        self.assertNotIn("store.hr.path", waiting)
        self.assertEqual(now.rule_names.databases, {"db": "/tmp/db.sqlite", "hr": "/tmp/new.sqlite"})
        self.assertEqual(now.rule_names.lookups["default"]["hostname"], "mail.example.org")
        now, changed, _ = self.plan(HEAD + hr.format("new") + rule, HEAD + hr.format("old") + rule)
        self.assertEqual((changed, now.rule_names.databases["hr"]), (("store.hr.path",), "/tmp/new.sqlite"))
        now, changed, _ = self.plan(HEAD, HEAD + hr.format("old") + rule)
        self.assertIn("store.hr.path", changed)
        self.assertEqual(now.rule_names.databases, {"db": "/tmp/db.sqlite"})

    def test_listeners(self) -> None:
        """Listeners that come or go wait, each told as a whole."""
        text = HEAD.replace("listener.one", "listener.two")
        now, changed, waiting = self.plan(text)
        self.assertEqual(changed, ())
        self.assertEqual(waiting, ("server.listener.one (removed)", "server.listener.two (new)"))
        self.assertEqual([listener.id for listener in now.listeners], ["one"])
        self.assertEqual({entry.key: entry.value for entry in now.entries}, self.values(HEAD))

    def test_again(self) -> None:
        """What waits is told at each reload, until it is taken back."""
        text = HEAD.replace("size = 2", "size = 3")
        now, _, waiting = self.plan(text)
        self.assertEqual(plan_reload(now, settings(text)).waiting, waiting)
        self.assertEqual(plan_reload(now, settings(HEAD)).waiting, ())

    def values(self, text: str) -> dict[str, object]:
        """All values of a file."""
        return {entry.key: entry.value for entry in settings(text).entries}
