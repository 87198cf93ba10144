"""The documentation of the keys, and that it fits the program."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from stalwart.config.reference import reference
from stalwart.config.schema import ID, Key, Setting, Table, every_setting, sections, shape
from stalwart.config.settings import Declared
from stalwart.config.unknown import known_keys
from tests.config.support import Pair, errors_of, load_text

ROOT = Path(__file__).parents[2]


class DeclarationTests(SynchronousTestCase):
    """What every declaration must have."""

    def test_documented(self) -> None:
        """Every key has a sentence of documentation, and an example that is read as its kind."""
        for setting in every_setting(Declared):
            self.assertRegex(setting.note.doc, r"^[A-Z`].*[.]$", setting.path)
            example = tomllib.loads(f"example = {setting.note.example}")["example"]
            for item in example if setting.shape.many and isinstance(example, list) else [example]:
                if "%{" not in str(item):
                    setting.shape.kind.read(item, "/")

    def test_defaults_are_of_the_kind(self) -> None:
        """A default is a value that the file could have given."""
        for setting in every_setting(Declared):
            if setting.default is None:
                self.assertTrue(setting.shape.optional, setting.path)
            elif setting.default is not msgspec.NODEFAULT:
                kind, default = setting.shape.kind, setting.default
                for value in default if isinstance(default, tuple) else [default]:
                    self.assertEqual(kind.show(kind.read(kind.show(value), "/")), kind.show(value))
                    if kind.build is None:  # else the value carries its place
                        self.assertEqual(kind.read(kind.show(value), "/"), value)

    def test_keys_are_distinct(self) -> None:
        """No key is declared twice, and none is both a value and a table."""
        keys = [(setting.path, setting.variant) for setting in every_setting(Declared)]
        self.assertEqual(len(keys), len(set(keys)))
        root = known_keys(Declared)
        for setting in every_setting(Declared):
            node = root.grow(setting.path)
            self.assertFalse(node.children or node.any, setting.path)

    def test_unknown_type(self) -> None:
        """A field whose type has no kind is refused when it is declared, not when it is read."""
        self.assertRaises(TypeError, shape, bytes)
        self.assertRaises(TypeError, shape, int | str)

    def test_new_setting(self) -> None:
        """A new field is all that a new key needs, in tables too."""
        self.assertEqual(
            [setting.path for section in sections(_Example) for setting in section.settings],
            [("top",), ("table", ID, "inner", "key")],
        )


class _Entry(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    inner: Annotated[bool, Key(name="inner.key", doc="A key.", example="true")] = False


class _Example(msgspec.Struct, frozen=True, kw_only=True):
    top: Annotated[bool, Key(name="top", doc="A key.", example="true")] = False
    table: Annotated[tuple[_Entry, ...], Table(name="table", doc="A table.")] = ()


class ReferenceTests(SynchronousTestCase):
    """The page of all keys."""

    def test_page_is_up_to_date(self) -> None:
        """docs/configuration.md is what `stalwart config reference` prints."""
        page = (ROOT / "docs" / "configuration.md").read_text()
        self.assertEqual(page, reference(), "run: stalwart config reference > docs/configuration.md")

    def test_every_key_is_there(self) -> None:
        """Each key has a heading, its documentation and its example."""
        text = reference()
        for section in sections(Declared):
            for setting in section.settings:
                self.assertIn(f"### `{_name(setting)}`", text)
                self.assertIn(setting.note.doc, text)
                self.assertIn(f"= {setting.note.example}\n", text)

    def test_fallbacks_are_named(self) -> None:
        """A key that falls back on another says on which."""
        self.assertIn("Falls back on: `server.max-connections`", reference())

    def test_examples_together(self) -> None:
        """The examples of one section make a section that loads."""
        pair = Pair()
        files = {"/etc/stalwart/tls/fullchain.pem": pair.cert, "/etc/stalwart/tls/privkey.pem": pair.key}
        files["/etc/stalwart/tls/clients-ca.pem"] = pair.cert
        for name in ("relay", "fallback-admin"):
            files[f"/etc/stalwart/{name}.secret"] = b"secret"
        files |= {"/etc/stalwart/eab.key": b"c2VjcmV0", "/etc/stalwart/internal-ca.pem": pair.cert}
        text = "".join(
            f"{_name(setting).replace(ID, setting.variant or 'x')} = {setting.note.example}\n"
            for setting in every_setting(Declared)
            if setting.path[0] != "storage" and setting.path[-1] != "type"
        )
        self.assertEqual(errors_of(text + 'store.sqlite.type="sqlite"\nstore.fs.type="fs"\n', files=files), ())


class SampleTests(SynchronousTestCase):
    """etc/stalwart.toml."""

    SAMPLE = (ROOT / "etc" / "stalwart.toml").read_text()

    def test_loads(self) -> None:
        """The sample is right, without warnings."""
        settings = load_text(self.SAMPLE)
        self.assertEqual(settings.warnings, ())
        self.assertEqual([listener.id for listener in settings.listeners], ["private-http", "lmtp"])

    def test_switched_on(self) -> None:
        """With everything switched on that it offers, only the files of the certificate are missing."""
        lines: list[str] = []
        for line in self.SAMPLE.splitlines():
            switched_on = line[1:] if line.startswith("#") and line[1:2] not in ("", " ") else line
            if switched_on.startswith("bind = [") and lines[-1].startswith("bind"):
                lines.pop()  # the other form of the line before
            lines.append(switched_on)
        errors = errors_of("\n".join(lines))
        self.assertEqual(
            [error.key for error in errors],
            ["server.listener.public-http.tls.client-ca", "certificate.main.cert", "certificate.main.private-key"],
        )


def _name(setting: Setting) -> str:
    return ".".join(setting.path)
