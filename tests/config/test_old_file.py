"""The flat YAML file that stalwart-jmap had in 2022: what its keys become, what is wrong with one, and its TOML."""

from __future__ import annotations

import os

from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.cli.config import check, config
from stalwart.config import Settings, TcpAddress
from stalwart.config.flat_yaml import Line, NotFlat, YamlSyntax, read_flat
from stalwart.config.old_file import KEYS, read_old
from stalwart.config.old_toml import as_toml
from stalwart.http.rules import check_rule
from tests.config.support import FILE, Pair, errors_of, load_text

OLD = "/etc/test/old.yml"
PAIR = Pair()
FILES = {"/etc/test/tls/cert.pem": PAIR.cert, "/keys/key.pem": PAIR.key}
TLS = "jmap-cert-path: tls/cert.pem\njmap-key-path: /keys/key.pem\n"
WHOLE = f"""\
# as it was in 2022
jmap-bind-addr: 0.0.0.0
jmap-port: 8443
jmap-url: "https://mail.example.org:8443/"
{TLS}log-level: debug
strict-cors: true
cache-size-ids: 1000000
cache-tti-ids: 60
cache-tti-sharings: 61
cache-tti-acl: 62
cache-tti-recipients: 7200
worker-pool-size: 3
"""


def load_old(text: str) -> Settings:
    """The settings of an old file with this content."""
    return load_text(text, files=FILES, file=OLD)


def plain(loaded: Settings) -> object:
    """All values, without where they come from."""
    entries = [(entry.key, entry.value) for entry in loaded.entries]
    url = loaded.http.url.otherwise.text if loaded.http.url is not None else None
    certificates = [(each.id, each.cert, each.private_key.reveal(), each.default) for each in loaded.certificates]
    return entries, loaded.listeners, certificates, url, loaded.cache, loaded.data, loaded.blob, loaded.fts


class KeyTests(SynchronousTestCase):
    """What each key does."""

    def test_every_key(self) -> None:
        """Each key of the file has its effect."""
        loaded = load_old(WHOLE)
        http = next(each for each in loaded.listeners if each.protocol == "http")
        self.assertEqual(http.bind, (TcpAddress(host="0.0.0.0", port=8443),))
        self.assertTrue(http.tls_implicit)
        self.assertEqual(loaded.certificates[0].cert, PAIR.cert.decode().rstrip("\n"))
        assert loaded.http.url is not None
        self.assertEqual(loaded.http.url.otherwise.text, "'https://mail.example.org:8443'")
        self.assertEqual(list(check_rule(loaded.http.url, "text")), [])
        self.assertEqual((loaded.log_level, loaded.worker_pool_size), ("debug", 3))
        self.assertFalse(loaded.http.permissive_cors)
        cache = loaded.cache
        self.assertEqual((cache.ids_size, cache.ids_tti, cache.sharings_tti), (1_000_000, 60.0, 61.0))
        self.assertEqual((cache.acl_tti, cache.recipients_tti), (62.0, 7200.0))
        self.assertEqual(loaded.warnings, ())

    def test_defaults(self) -> None:
        """A key that is left out has the value that it had in 2022; open CORS is the one that differs today."""
        for text in ("", "---\n", "# nothing\n", "{}\n"):
            loaded = load_old(text)
            self.assertEqual(
                [(each.protocol, str(each.bind[0]), each.tls_implicit) for each in loaded.listeners],
                [("lmtp", "127.0.0.1:8024", False), ("http", "127.0.0.1:8080", False)],
            )
            self.assertTrue(loaded.http.permissive_cors)
            self.assertEqual((loaded.http.url, loaded.certificates), (None, ()))
            self.assertEqual((loaded.log_level, loaded.worker_pool_size), ("info", 4))
            cache = loaded.cache
            self.assertEqual((cache.ids_size, cache.ids_tti, cache.sharings_tti), (33_554_432, 3600.0, 300.0))
            self.assertEqual((cache.acl_tti, cache.recipients_tti), (3600.0, 86_400.0))

    def test_ways_of_yaml(self) -> None:
        """Values may be quoted, keys too; YAML's own booleans count; an IPv6 address gets its brackets."""
        loaded = load_old("\"jmap-bind-addr\": ::1\njmap-port: '9000'\nstrict-cors: yes\n")
        self.assertEqual(str(loaded.listeners[1].bind[0]), "[::1]:9000")
        self.assertFalse(loaded.http.permissive_cors)
        loaded = load_old("{jmap-bind-addr: '1:2:3:4:5:6:7:8', strict-cors: Off}")
        self.assertEqual(str(loaded.listeners[1].bind[0]), "[1:2:3:4:5:6:7:8]:8080")
        self.assertTrue(loaded.http.permissive_cors)
        self.assertEqual(
            str(load_old("jmap-bind-addr: 1:2:3:4:5:6:7:8").listeners[1].bind[0].host),  # type: ignore[union-attr]
            "1:2:3:4:5:6:7:8",
        )

    def test_names_that_are_old(self) -> None:
        """The name's end decides, in any case; the same content under another name is TOML, and wrong."""
        for name in ("/etc/test/old.yaml", "/etc/test/OLD.YML"):
            self.assertEqual(load_text("log-level: warn", file=name).log_level, "warn")
        self.assertIn("TOML", errors_of("log-level: warn", file="/etc/test/old.conf")[0].wanted)


class ErrorTests(SynchronousTestCase):
    """What is wrong with a file."""

    def errors(self, text: str | bytes) -> list[str]:
        """All errors of an old file, as a person reads them, without the file's name."""
        return [str(error).removeprefix(f"{OLD}:") for error in errors_of(text, files=FILES, file=OLD)]

    def test_all_at_once(self) -> None:
        """Every error with its line, its key, what was found and wanted; unknown keys with the nearest known one."""
        self.assertEqual(
            self.errors(
                "jmap-bind-addr: localhost\njmap_port: 80\njmap-port: 70000\njmap-port: 80\nstrict-cors: maybe\n"
                "cache-tti-ids: 0\nworker-pool-size:\nzzz: 1\nlog-level: loud\njmap-url: mail.example.org\n"
            ),
            [
                '1: jmap-bind-addr: found "localhost"; wanted an IP address such as "127.0.0.1" or "::"',
                '2: "jmap_port": found an unknown key; wanted a known one, perhaps jmap-port',
                "3: jmap-port: found 70000; wanted a whole number from 0 to 65535",
                "4: jmap-port: found a key that is there twice; wanted it once; it is in line 3 too",
                '5: strict-cors: found "maybe"; wanted true or false',
                "6: cache-tti-ids: found 0; wanted a whole number of seconds from 1 to 1000000000",
                "7: worker-pool-size: found null; wanted a whole number from 1 to 1024",
                f'8: "zzz": found an unknown key; wanted one of {", ".join(sorted(KEYS))}',
                '9: log-level: found "loud"; wanted "error", "warn", "info", "debug" or "trace"',
                '10: jmap-url: found "mail.example.org"; wanted a URL such as "https://mail.example.org", of ASCII '
                "characters",
            ],
        )

    def test_together_with_later_ones(self) -> None:
        """What only shows when all is put together stands in the same list, under the old keys."""
        found = self.errors("jmap-port: 8024\njmap-cert-path: gone.pem\njmap-key-path: /keys/key.pem\nlog-level: x\n")
        self.assertEqual(len(found), 3, found)
        self.assertTrue(found[0].startswith('1: jmap-port: found "127.0.0.1:8024"; wanted an address of its own'))
        self.assertTrue(found[1].startswith("2: jmap-cert-path: found "), found[1])
        self.assertIn('a file "/etc/test/gone.pem" that can be read', found[1])
        self.assertTrue(found[2].startswith("4: log-level: "))

    def test_half_a_certificate(self) -> None:
        """A certificate without its key is an error, and the other way round."""
        wanted = "wanted {} beside it, or none of the two"
        for line, other in (("jmap-cert-path: tls/cert.pem", "jmap-key-path"), ("jmap-key-path: k", "jmap-cert-path")):
            (found,) = self.errors(line)
            self.assertEqual(found, f"1: {line.partition(':')[0]}: found no {other}; {wanted.format(other)}")

    def test_a_key_that_does_not_fit(self) -> None:
        """The private key of another certificate is refused under the old key's name."""
        other = {"/etc/test/tls/cert.pem": Pair().cert, "/keys/key.pem": PAIR.key}
        (error,) = errors_of(TLS, files=other, file=OLD)
        self.assertEqual((error.line, error.key), (2, "jmap-key-path"))

    def test_only_plain_values(self) -> None:
        """Anchors, aliases, tags, lists and mappings are refused by name; none of them is followed."""
        found = self.errors(
            "jmap-url: &a https://x.example\njmap-port: *a\nlog-level: [info]\nstrict-cors: {a: b}\n"
            "cache-tti-ids: !!int 5\n? [a]\n: b\n<<: 1\n"
        )
        plain_value = "wanted a single plain value: text, a number, true or false"
        self.assertEqual(
            found[:6],
            [
                f'1: jmap-url: found an anchor, "&a"; {plain_value}',
                f'2: jmap-port: found an alias, "*a"; {plain_value}',
                f"3: log-level: found a list; {plain_value}",
                f"4: strict-cors: found a mapping; {plain_value}",
                f'5: cache-tti-ids: found a tag, "tag:yaml.org,2002:int"; {plain_value}',
                f"6: found a list; {plain_value}",
            ],
        )
        self.assertTrue(found[6].startswith('8: "<<": found an unknown key'))
        self.assertEqual(len(found), 7)

    def test_bomb(self) -> None:
        """Aliases of aliases cost nothing: each is an error."""
        lines = ["a: &a [x, x]"] + [
            f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]" for n in range(20)
        ]
        self.assertEqual(len(self.errors("\n".join(lines))), 21)

    def test_no_mapping(self) -> None:
        """A list, a bare word, or a second document is no such file."""
        self.assertEqual(self.errors("- a\n"), ["1: found a list; wanted lines of the form `key: value`"])
        self.assertEqual(self.errors("word"), ['1: found "word"; wanted lines of the form `key: value`'])
        self.assertEqual(
            self.errors("log-level: info\n---\na: b\n"), ["2: found a second document; wanted one document"]
        )

    def test_no_yaml(self) -> None:
        """A syntax error has its line; so has an octet that isn't UTF-8, and nesting without end."""
        self.assertTrue(self.errors("log-level: info\na: 'b\n")[0].startswith("3: found a syntax error ("))
        self.assertTrue(self.errors("log-level: info\n\tx: y\n")[0].startswith("2: found a syntax error ("))
        self.assertTrue(self.errors("log-level: info\na: \x07\n")[0].startswith("2: found a syntax error ("))
        self.assertTrue(self.errors(b"a: \xff\n")[0].startswith("1: found the octet 0xFF"))
        self.assertIn("nested too deeply", self.errors("a: " + "[" * 5000)[0])
        for escape in ("\\U00110000", "\\UFFFFFFFF"):
            (error,) = self.errors(f'log-level: info\njmap-url: "{escape}"\n')
            self.assertTrue(error.startswith("2: found a syntax error (an escape that stands for no character)"), error)


class ConvertTests(SynchronousTestCase):
    """The TOML that an old file is turned into."""

    def test_same_settings(self) -> None:
        """The TOML of a file with every key, and of one with none, loads to the same settings, from another folder."""
        for text in (WHOLE, ""):
            toml = as_toml(read_old(OLD, text), OLD)
            elsewhere = load_text(toml, files=FILES, file="/other/folder/new.toml")
            self.assertEqual(plain(elsewhere), plain(load_old(text)))

    @settings(deadline=None, max_examples=60)
    @given(
        st.fixed_dictionaries(
            {},
            optional={
                "jmap-bind-addr": st.ip_addresses().map(lambda address: f"'{address}'"),
                "jmap-port": st.integers(0, 65535).filter(lambda port: port != 8024),
                "jmap-url": st.from_regex(r"\Ahttps?://[a-z]{1,9}(:[0-9]{1,4})?(/[a-z._~-]{1,5}){0,2}/?\Z"),
                "log-level": st.sampled_from(["error", "WARN", "trace"]),
                "strict-cors": st.sampled_from(["true", "no", "'false'"]),
                "cache-size-ids": st.integers(0, 2**50),
                "cache-tti-ids": st.integers(1, 10**9),
                "cache-tti-sharings": st.integers(1, 10**9),
                "cache-tti-acl": st.integers(1, 10**9),
                "cache-tti-recipients": st.integers(1, 10**9),
                "worker-pool-size": st.integers(1, 1024),
            },
        ),
        st.booleans(),
    )
    def test_any_file(self, values: dict[str, object], tls: bool) -> None:
        """Whatever right values a file has, its TOML gives exactly the same settings."""
        text = "".join(f"{key}: {value}\n" for key, value in values.items()) + (TLS if tls else "")
        toml = as_toml(read_old(OLD, text), OLD)
        self.assertEqual(plain(load_text(toml, files=FILES, file=FILE)), plain(load_old(text)))

    def test_commands(self) -> None:
        """`config convert` prints TOML that `check` accepts; a wrong file or another kind of file is refused."""
        folder = os.path.abspath(self.mktemp())
        os.mkdir(folder)
        old, new, wrong = (os.path.join(folder, name) for name in ("old.yml", "new.toml", "wrong.yaml"))
        with open(old, "w") as file:
            file.write("jmap-port: 8081\njmap-url: https://mail.example.org\n")
        with open(wrong, "w") as file:
            file.write("jmap-port: x\njmap-prot: 1\n")
        result = CliRunner().invoke(config, ["convert", old])
        self.assertEqual(result.exit_code, 0, result.output)
        with open(new, "w") as file:
            file.write(result.stdout)
        for path in (old, new):
            checked = CliRunner().invoke(check, [path])
            self.assertEqual(checked.exit_code, 0, checked.output)
            self.assertIn("http (http on 127.0.0.1:8081)", checked.stdout)
        refused = CliRunner().invoke(config, ["convert", wrong])
        self.assertEqual((refused.exit_code, refused.stdout), (1, ""))
        self.assertIn(f"{wrong}:1: jmap-port: ", refused.stderr)
        self.assertIn(f"{wrong}:2: ", refused.stderr)
        refused = CliRunner().invoke(config, ["convert", new])
        self.assertEqual((refused.exit_code, refused.stdout), (1, ""))
        self.assertIn("is no file of stalwart-jmap", refused.stderr)


class AnyTextTests(SynchronousTestCase):
    """Texts that nobody meant to be a configuration."""

    @settings(deadline=None, max_examples=300)
    @given(
        st.one_of(
            st.text(max_size=60),
            st.text(alphabet="abjmap-port: \n\t\"'[]{}&*!|>?#,%\\0123\x85\ufeff", max_size=60),
            st.lists(
                st.sampled_from(["jmap-port", ": ", "\n", "[", "]", "{", "}", "&a ", "*a", "- ", "? ", "! ", "--- "])
            ).map("".join),
        )
    )
    def test_any_text(self, text: str) -> None:
        """It is read, or refused with the reader's own error or the loader's; never anything else happens."""
        try:
            for each in read_flat(text):
                self.assertIsInstance(each, Line | NotFlat)
        except YamlSyntax:
            pass
        errors_of(text.encode("utf-8", "surrogatepass"), file=OLD)
