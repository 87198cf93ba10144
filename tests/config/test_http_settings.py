"""The settings of HTTP: their names, their values, and what is doubtful about some together."""

from __future__ import annotations

import json
import tomllib
from ipaddress import ip_network

from twisted.trial.unittest import SynchronousTestCase

from stalwart.config import Hsts, HttpSettings
from stalwart.config.schema import Group, members, sections
from stalwart.config.settings import Declared
from stalwart.config.show import as_text
from tests.config.support import JSON_FILE, errors_of, listener, load_text


def http(text: str) -> HttpSettings:
    """The settings of a `[http]` table."""
    return load_text(f"[http]\n{text}\n").http


def fault(case: SynchronousTestCase, text: str) -> str:
    """What the only error of a `[http]` table wants."""
    errors = errors_of(f"[http]\n{text}\n")
    case.assertEqual(len(errors), 1, text)
    return errors[0].wanted


def warned(text: str) -> list[str]:
    """The keys that are warned of."""
    return [warning.key for warning in load_text(text).warnings]


class SpellingTests(SynchronousTestCase):
    """One setting under the names it had over the years."""

    EVERY = (
        ("allowed-endpoint", "allowedEndpoints", '"404"'),
        ("allow-loopback", "allowLoopback", "false"),
        ("url", "url", "\"'x'\""),
        ("headers", "responseHeaders", '["X-A: b"]'),
        ("use-x-forwarded", "useXForwarded", "true"),
        ("trusted-proxies", "trustedProxies", '"192.0.2.1"'),
        ("hsts", "enableHsts", "true"),
        ("hsts-max-age", "hstsMaxAge", '"1d"'),
        ("hsts-include-subdomains", "hstsIncludeSubdomains", "false"),
        ("redirect-https", "redirectHttps", "true"),
        ("permissive-cors", "usePermissiveCors", "true"),
        ("cors.allowed-origins", "corsAllowedOrigins", '"https://a.example"'),
        ("rate-limit.anonymous", "rateLimitAnonymous", '"7/1m"'),
        ("rate-limit.account", "rateLimitAuthenticated", '"8/1h"'),
    )

    def test_list_is_complete(self) -> None:
        """The list above has every key of the table, and each has a name in the object."""
        (section,) = [section for section in sections(Declared) if section.path == ("http",)]
        names = [(".".join(setting.path[1:]), setting.note.object_name) for setting in section.settings]
        self.assertEqual(names, [row[:2] for row in self.EVERY])

    def test_same_effect(self) -> None:
        """`http`, `server.http`, `Http` and the bare object give the same settings."""
        defaults = load_text("").http
        for key, name, value in self.EVERY:
            found = http(f"{key} = {value}")
            shown = found.__class__.__struct_fields__
            changed = [field for field in shown if getattr(found, field) != getattr(defaults, field)]
            self.assertEqual(len(changed), 1, key)
            for other in (
                load_text(f"[server.http]\n{key} = {value}"),
                load_text(f"[server]\nhttp.{key} = {value}"),
                load_text(f"[Http]\n{name} = {value}"),
                load_text(f'{{"Http": {{"{name}": {value}}}}}', file=JSON_FILE),
                load_text(f'{{"{name}": {value}}}', file=JSON_FILE),
            ):
                (entry,) = [entry for entry in other.entries if entry.key == f"http.{key}"]
                self.assertEqual(entry.origin.kind, "file")
                for field in changed:
                    before, after = getattr(found, field), getattr(other.http, field)
                    if field in ("allowed_endpoint", "url"):
                        before, after = before.otherwise.text, after.otherwise.text
                    self.assertEqual(before, after, key)

    def test_twice(self) -> None:
        """A setting under two of its names is an error that names both, whatever it says."""
        text = (
            "[http]\nhsts = true\ncors.allowed-origins = []\n[server.http]\nhsts = true\ncors = {allowed-origins=[]}\n"
        )
        errors = errors_of(text + "[Http]\nenableHsts = true\n")
        self.assertEqual(
            [(error.line, error.key, error.found) for error in errors],
            [
                (5, "server.http.hsts", "the same setting as http.hsts (line 2)"),
                (6, "server.http.cors.allowed-origins", "the same setting as http.cors.allowed-origins (line 3)"),
                (8, "Http.enableHsts", "the same setting as http.hsts (line 2)"),
            ],
        )
        (error,) = errors_of('{"Http": {"enableHsts": true},\n"enableHsts": true}', file=JSON_FILE)
        self.assertEqual((error.line, error.key), (2, "enableHsts"))
        self.assertIn("Http.enableHsts (line 1)", str(error.found))

    def test_spread(self) -> None:
        """Different settings may stand under different names."""
        found = load_text('[http]\nhsts = true\n[server.http]\nheaders = "X-A: b"\ncors.allowed-origins = []\n')
        self.assertEqual((found.http.hsts_enabled, found.http.headers), (True, (("X-A", "b"),)))

    def test_errors_name_the_key_as_written(self) -> None:
        """Of whatever table it is."""
        for text, key in [
            ("[server.http]\nhsts = 3", "server.http.hsts"),
            ("[server.http]\nhtst = true", "server.http.htst"),
            ("[Http]\nenableHsts = 3", "Http.enableHsts"),
            ("[Http]\nhsts-max-age = '1d'\nenable = true", "Http.enable"),
            ("[http]\nenableHsts = true", "http.enableHsts"),
        ]:
            self.assertIn((2, key) if key != "Http.enable" else (3, key), [(e.line, e.key) for e in errors_of(text)])
        for text, key in [('{"enableHsts": 3}', "enableHsts"), ('{"Http": {"enableHsts": 3}}', "Http.enableHsts")]:
            self.assertEqual([error.key for error in errors_of(text, file=JSON_FILE)], [key])

    def test_no_table(self) -> None:
        """A value in place of the table, and names of the object outside of it."""
        for text in ("http = 3", "server.http = 3", "Http = 3", "server = 3", "http.cors = 3", "enableHsts = true"):
            self.assertEqual(len(errors_of(text)), 1, text)
        self.assertEqual(len(errors_of("http = 3\n[server.http]\nhsts = true")), 1)
        self.assertEqual(len(errors_of("http.cors = 3\n[server.http]\ncors.allowed-origins = []")), 1)

    def test_deep_nonsense(self) -> None:
        """Tables nested beyond what anybody recurses into are one error."""
        self.assertEqual(len(errors_of("server.http.a" + ".a" * 5000 + " = 1")), 1)
        self.assertEqual(len(errors_of("server.http.hsts" + ".a" * 5000 + " = 1")), 1)

    def test_groups_with_objects_have_only_keys(self) -> None:
        """What is brought under one name is a flat list of settings."""
        for member in members(Declared):
            if isinstance(member.note, Group) and member.note.object_name:
                self.assertFalse([inner for inner in members(member.type) if isinstance(inner.note, Group)])


class HeaderTests(SynchronousTestCase):
    """`http.headers`."""

    def test_forms(self) -> None:
        """One text, an array, a table of names and values, numbered keys; spaces around both parts go."""
        expected = (("X-A", "b: c"), ("X-Empty", ""))
        for text in (
            'headers = ["X-A: b: c", "X-Empty:"]',
            'headers = [" X-A :b: c  ", "X-Empty :  "]',
            'headers.X-A = "b: c"\nheaders.X-Empty = ""',
            'headers.0001 = "X-Empty:"\nheaders.0000 = "X-A: b: c"',
        ):
            self.assertEqual(http(text).headers, expected, text)
        self.assertEqual(http('headers = "X-A: b"').headers, (("X-A", "b"),))
        self.assertEqual(http("headers = []").headers, ())
        self.assertEqual(http("headers = {}").headers, ())
        self.assertEqual(
            load_text('{"responseHeaders": {"X-A": "%{env:B}%"}}', {"B": "c"}, file=JSON_FILE).http.headers,
            (("X-A", "c"),),
        )

    def test_one_error_each(self) -> None:
        """Every bad entry is told, with its place."""
        errors = errors_of('http.headers = ["X-A: b",\n "nonsense", "X-B: c",\n "X C: d", 3]')
        self.assertEqual(
            [(error.line, error.key) for error in errors],
            [(2, "http.headers[1]"), (3, "http.headers[3]"), (3, "http.headers[4]")],
        )

    def test_names(self) -> None:
        """A name is a token; a name in a table cannot bring a value along."""
        for name in ("", "X A", "X\\tA", "Ä", "X/A", "X\\u0000", "X\\r\\nY", '\\"X'):
            self.assertIn("a header name", fault(self, f'headers = "{name}: v"'), name)
        self.assertIn("a header name", fault(self, 'headers = {"X: y" = "z"}'))
        self.assertIn("a header name", fault(self, 'headers = {"" = "z"}'))

    def test_values(self) -> None:
        """No controls, nothing beyond ASCII: nothing that could end the line."""
        for value in ("a\\nb", "a\\r\\nSet-Cookie: b", "\\u0000", "\\u007f", "a\\tb", "ä", "a\\n"):
            self.assertIn("printable ASCII", fault(self, f'headers = "X: {value}"'), value)
        self.assertIn("printable ASCII", errors_of('http.headers = "X: %{env:V}%"', {"V": "a\r\nb"})[0].wanted)

    def test_refused(self) -> None:
        """What frames a response or belongs to its connection is the server's, in any case."""
        for name in (
            *("Content-Length", "Transfer-Encoding", "Trailer", "Connection", "Keep-Alive", "Upgrade", "TE"),
            *("Proxy-Connection", "Content-Type", "Content-Encoding", "Content-Range", "Date"),
        ):
            for written in (name, name.lower(), name.upper()):
                self.assertIn("another header", fault(self, f'headers = "{written}: x"'))


class ForwardedTests(SynchronousTestCase):
    """Proxies that are believed."""

    def test_networks(self) -> None:
        """Addresses and networks of both families; IPv4 in IPv6 is IPv4."""
        found = http(
            'trusted-proxies = ["192.0.2.7", "10.0.0.0/8", "2001:db8::/32", "::ffff:10.0.0.1"]\nuse-x-forwarded = true'
        )
        self.assertEqual(
            found.trusted_proxies,
            tuple(ip_network(text) for text in ("192.0.2.7/32", "10.0.0.0/8", "2001:db8::/32", "10.0.0.1/32")),
        )

    def test_no_networks(self) -> None:
        """Names, host bits, zones, ports and networks of nearly everybody."""
        for text in (
            "proxy.example",
            "",
            "10.0.0.0/33",
            "10.0.0.1/",
            "fe80::1%eth0",
            "[::1]",
            "192.0.2.1:80",
            "*",
            "10",
        ):
            self.assertIn("an IP address or network", fault(self, f'trusted-proxies = "{text}"'), text)
        self.assertIn('"10.0.0.0/8"', fault(self, 'trusted-proxies = "10.1.2.3/8"'))
        for text in ("0.0.0.0/0", "64.0.0.0/7", "::ffff:0:0/96"):
            self.assertIn("at least /8", fault(self, f'trusted-proxies = "{text}"'), text)
        for text in ("::/0", "2000::/3"):
            self.assertIn("at least /7", fault(self, f'trusted-proxies = "{text}"'), text)
        self.assertIn("at least one", fault(self, "trusted-proxies = []"))

    def test_believed(self) -> None:
        """Nobody without the setting; those that are named; else loopback and private networks, no public one."""
        on, named = "use-x-forwarded = true\n", 'trusted-proxies = "192.0.2.7"\n'
        self.assertEqual(http(named).believed_proxies, ())
        self.assertEqual(http(on + named).believed_proxies, (ip_network("192.0.2.7/32"),))
        nearby = http(on).believed_proxies
        self.assertEqual(len(nearby), 6)
        self.assertTrue(all(network.is_private and not network.is_global for network in nearby))

    def test_per_listener(self) -> None:
        """`proxy.trusted-networks` of a listener goes before that of the server, an empty one too."""
        text = '[server]\nproxy.trusted-networks = ["192.0.2.0/24"]\n'
        text += listener("a", '"127.0.0.1:1"') + listener("b", '"127.0.0.1:2"', more='proxy.trusted-networks = "::1"')
        text += listener("c", '"127.0.0.1:3"', "lmtp", more="proxy.trusted-networks = []")
        found = load_text(text)
        self.assertEqual(
            [each.proxy_trusted_networks for each in found.listeners],
            [(ip_network("192.0.2.0/24"),), (ip_network("::1/128"),), ()],
        )
        self.assertEqual(found.warnings, ())
        self.assertEqual(load_text("").listeners[0].proxy_trusted_networks, ())

    def test_warnings(self) -> None:
        """Trust that is not written down, two sources for one address, and settings without effect."""
        both = listener("a", '"127.0.0.1:1"', more='proxy.trusted-networks = "192.0.2.1"')
        lmtp = listener("a", '"127.0.0.1:1"', "lmtp", more='proxy.trusted-networks = "192.0.2.1"')
        on, proxies = "http.use-x-forwarded = true\n", 'http.trusted-proxies = "192.0.2.1"\n'
        self.assertEqual(warned(on), ["http.use-x-forwarded"])
        self.assertEqual(warned(on + proxies), [])
        self.assertEqual(warned(proxies), ["http.trusted-proxies"])
        self.assertEqual(warned(on + proxies + both), ["http.use-x-forwarded"])
        self.assertEqual(warned(on + proxies + lmtp), [])
        self.assertEqual(warned(both), [])
        (warning,) = load_text(on).warnings
        self.assertIn("loopback and all private networks", warning.text)
        (warning,) = load_text(on + proxies + both).warnings
        self.assertIn(
            'PROXY protocol tells the client\'s address too (proxy.trusted-networks of listener "a")', warning.text
        )


class BrowserTests(SynchronousTestCase):
    """HSTS and CORS."""

    def test_hsts(self) -> None:
        """Off without the setting; a year for all names below, unless said otherwise."""
        self.assertIsNone(http("").hsts)
        self.assertIsNone(http('hsts-max-age = "1d"').hsts)
        self.assertEqual(http("hsts = true").hsts, Hsts(max_age=31536000, include_subdomains=True))
        self.assertEqual(
            http('hsts = true\nhsts-max-age = "2H"\nhsts-include-subdomains = false').hsts,
            Hsts(max_age=7200, include_subdomains=False),
        )
        self.assertEqual(http('hsts = true\nhsts-max-age = "0s"').hsts, Hsts(max_age=0))

    def test_ages(self) -> None:
        """An age needs its unit: in a header it would be seconds, elsewhere in this file milliseconds."""
        for value in ("31536000", '"31536000"', '"500ms"', '"-1d"', '"100000d"', "true", '"d"'):
            self.assertIn("an age with its unit", fault(self, f"hsts-max-age = {value}"), value)

    def test_origins(self) -> None:
        """Scheme, host and port as browsers send them, in lower case."""
        for written, origin in [
            ("https://Mail.Example.org", "https://mail.example.org"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("https://a.example:8443", "https://a.example:8443"),
            ("http://[::1]:80001"[:-1], "http://[::1]:8000"),
            ("http://[0:0::1]", "http://[::1]"),
            ("capacitor://localhost", "capacitor://localhost"),
        ]:
            self.assertEqual(http(f'cors.allowed-origins = "{written}"').cors_allowed_origins, (origin,))
        self.assertEqual(http("cors.allowed-origins = []").cors_allowed_origins, ())

    def test_no_origins(self) -> None:
        """Patterns, paths, default ports and what else would never equal an origin."""
        for text in (
            *(
                "mail.example.org",
                "https://",
                "https://*.example.org",
                "https://a.example/x",
                "https://a.example?",
                "null",
            ),
            *(
                "https://u@a.example",
                "https://a.example:",
                "https://a.example:99999x",
                "https://ä.example",
                "https://a..b",
            ),
        ):
            self.assertIn("an origin such as", fault(self, f'cors.allowed-origins = "{text}"'), text)
        for text, hint in [
            ("*", "http.permissive-cors"),
            ("https://a.example/", '"https://a.example"'),
            ("https://a.example:443", '"https://a.example"'),
            ("http://a.example:80", '"http://a.example"'),
            ("https://a.example:0", "a port"),
            ("https://a.example:65536", "a port"),
            ("https://a.example.", "dot"),
            ("https://[::1::]", "IPv6"),
        ]:
            self.assertIn(hint, fault(self, f'cors.allowed-origins = "{text}"'), text)

    def test_permissive_and_list(self) -> None:
        """A list beside permission for all is moot."""
        text = 'http.cors.allowed-origins = "https://a.example"\nhttp.permissive-cors = '
        self.assertEqual(warned(text + "true"), ["http.cors.allowed-origins"])
        self.assertEqual(warned(text + "false"), [])


class ShowTests(SynchronousTestCase):
    """`stalwart config show`."""

    def test_defaults_load(self) -> None:
        """The defaults as they are shown are settings that a file can have."""
        shown = tomllib.loads(as_text(load_text("")))["http"]
        self.assertEqual(errors_of(json.dumps({"http": shown}), file=JSON_FILE), ())

    def test_what_is_shown_loads(self) -> None:
        """The settings of HTTP as they are shown give the same settings."""
        text = (
            '[http]\nallowed-endpoint = [{if = "a == \'x\'", then = "200"}, {else = 404}]\nurl = "\'https://x\'"\n'
            'headers = ["X-A: b"]\nhsts-max-age = "1d"\ncors.allowed-origins = "https://a.example"\n'
            'trusted-proxies = ["10.0.0.0/8"]\nuse-x-forwarded = true\n'
        )
        found = load_text(text)
        shown = tomllib.loads(as_text(found))["http"]
        again = load_text(json.dumps({"http": shown}), file=JSON_FILE)
        self.assertEqual(
            [(entry.key, entry.value) for entry in again.entries if entry.key.startswith("http.")],
            [(entry.key, entry.value) for entry in found.entries if entry.key.startswith("http.")],
        )


class LoopbackTests(SynchronousTestCase):
    """Listeners where the exemption of loopback may let in everybody."""

    RULE = '[http]\nallowed-endpoint = "404"\n'

    def test_behind_a_proxy(self) -> None:
        """A rule, and a listener that only programs of this machine reach: the warning names it and what to do."""
        text = self.RULE + listener("front", '["127.0.0.1:8080", "[::1]:8080"]') + listener("all", '"0.0.0.0:80"')
        (warning,) = load_text(text).warnings
        self.assertEqual((warning.key, warning.line), ("http.allowed-endpoint", 2))
        self.assertIn('listener "front" is', warning.text)
        self.assertIn("http.use-x-forwarded", warning.text)

    def test_nothing_to_warn_of(self) -> None:
        """No rule, no exemption, one that is wanted, a proxy that is believed, other listeners."""
        front = listener("front", '"127.0.0.1:8080"')
        for text in (
            front,
            "[http]\nallowed-endpoint = \"'200'\"\n" + front,
            self.RULE + "allow-loopback = false\n" + front,
            self.RULE + "allow-loopback = true\n" + front,
            self.RULE + 'use-x-forwarded = true\ntrusted-proxies = "127.0.0.1"\n' + front,
            self.RULE + listener("front", '"127.0.0.1:8080"', more='proxy.trusted-networks = "127.0.0.1"'),
            self.RULE + listener("front", '["127.0.0.1:8080", "192.0.2.1:8080"]'),
            self.RULE + listener("front", '"unix:/run/x.sock"'),
            self.RULE + listener("front", '"127.0.0.1:24"', "lmtp") + listener("all", '"[::]:80"'),
        ):
            self.assertEqual(warned(text), [], text)
