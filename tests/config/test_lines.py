"""On which line each key stands."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.config.errors import KeyPath
from stalwart.config.lines import key_lines

EXAMPLE = '''\
# a comment = 1
top = """
[not.a.table]
key = 1 \\
"""  # and a comment
a.b.'c d'."e\\u0041" = 1

[server]  # [x]
many = [ # ]
  "]", # "
  [1, 2,
   3],
]
inline = { x = 1, y.z = """
""", w = [{v = 2}] }
literal = \'\'\'
''quotes\'\'\'\'\'

[ server . "li.st" ]
key=2020-01-01 10:00:00
[[array]]
x = 1
[array.sub]
y = 1
[[array]]
[[array.nested]]
[[array.nested]]
z = 1
'''


def paths(value: object, path: KeyPath = ()) -> Iterator[KeyPath]:
    """The path of everything inside a parsed document."""
    if path:
        yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from paths(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from paths(item, (*path, index))


class ExampleTests(SynchronousTestCase):
    """A document with everything in it."""

    def test_every_syntax(self) -> None:
        """Comments, dotted and quoted keys, nested values, multi-line strings and arrays of tables."""
        self.assertEqual(
            key_lines(EXAMPLE),
            {
                ("top",): 2,
                ("a",): 6,
                ("a", "b"): 6,
                ("a", "b", "c d"): 6,
                ("a", "b", "c d", "eA"): 6,
                ("server",): 8,
                ("server", "many"): 9,
                ("server", "many", 0): 10,
                ("server", "many", 1): 11,
                ("server", "many", 1, 0): 11,
                ("server", "many", 1, 1): 11,
                ("server", "many", 1, 2): 12,
                ("server", "inline"): 14,
                ("server", "inline", "x"): 14,
                ("server", "inline", "y"): 14,
                ("server", "inline", "y", "z"): 14,
                ("server", "inline", "w"): 15,
                ("server", "inline", "w", 0): 15,
                ("server", "inline", "w", 0, "v"): 15,
                ("server", "literal"): 16,
                ("server", "li.st"): 19,
                ("server", "li.st", "key"): 20,
                ("array",): 21,
                ("array", 0): 21,
                ("array", 0, "x"): 22,
                ("array", 0, "sub"): 23,
                ("array", 0, "sub", "y"): 24,
                ("array", 1): 25,
                ("array", 1, "nested"): 26,
                ("array", 1, "nested", 0): 26,
                ("array", 1, "nested", 1): 27,
                ("array", 1, "nested", 1, "z"): 28,
            },
        )
        self.assertEqual(set(key_lines(EXAMPLE)), set(paths(tomllib.loads(EXAMPLE))))

    def test_windows_line_ends(self) -> None:
        """CRLF counts as one line end, inside strings too."""
        self.assertEqual(key_lines(EXAMPLE.replace("\n", "\r\n")), key_lines(EXAMPLE))

    def test_empty(self) -> None:
        """A document without keys has no lines."""
        self.assertEqual(key_lines(""), {})
        self.assertEqual(key_lines("\n# only a comment"), {})

    def test_header_after_mention(self) -> None:
        """A table stands at its own header, also when one of its tables came first."""
        self.assertEqual(key_lines("[a.b]\n[a]\nx = 1\n")[("a",)], 2)

    def test_quotes_at_the_end_of_multiline_strings(self) -> None:
        """A multi-line string may end in one or two quotes of its own."""
        for quote in ('"', "'"):
            for extra in range(3):
                text = f"a = {quote * 3}\nx{quote * (3 + extra)}\nb = 1"
                tomllib.loads(text)
                self.assertEqual(key_lines(text), {("a",): 1, ("b",): 3})


BARE = st.text(alphabet="abc-_1", min_size=1, max_size=3)
ANY_TEXT = st.text(alphabet=st.sampled_from("ab \"'\\#=[]{},.\n\t\u00e9%"), max_size=8)


@st.composite
def written_key(draw: st.DrawFn) -> tuple[str, str]:
    """A key and one of its spellings."""
    if draw(st.booleans()):
        key = draw(BARE)
        return key, draw(st.sampled_from([key, f'"{key}"', f"'{key}'"]))
    key = draw(ANY_TEXT)
    return key, json.dumps(key)


@st.composite
def written_string(draw: st.DrawFn) -> str:
    """A string in one of the four spellings of TOML."""
    text = draw(ANY_TEXT)
    spelling = draw(st.sampled_from(["basic", "literal", "long", "long literal"]))
    if spelling == "literal" and not set(text) & set("'\n"):
        return f"'{text}'"
    if spelling == "long":
        return '"""' + text.replace("\\", "\\\\").replace('""', '"\\"') + '"""'
    if spelling == "long literal" and "''" not in text:
        return f"'''{text}'''"
    return json.dumps(text)


def gap(draw: st.DrawFn) -> str:
    """What may stand between the elements of an array."""
    return "".join(draw(st.lists(st.sampled_from([" ", "\n", "# ] } , \" '\n", "\t"]), max_size=3)))


@st.composite
def written_value(draw: st.DrawFn, depth: int = 2) -> str:
    """Any TOML value."""
    kind = draw(st.sampled_from(["plain", "string", "array", "table"] if depth else ["plain", "string"]))
    if kind == "plain":
        return draw(st.sampled_from(["1", "-0.5e3", "true", "0xff", "inf", "1979-05-27 07:32:00", "07:32:00", "1_0"]))
    if kind == "string":
        return draw(written_string())
    items = draw(st.lists(written_value(depth=depth - 1), max_size=3))
    if kind == "array":
        inner = ",".join(gap(draw) + item + gap(draw) for item in items)
        comma = draw(st.sampled_from(["", ","])) if items else ""
        return f"[{inner}{comma}{gap(draw)}]"
    keys = draw(st.lists(written_key(), min_size=len(items), max_size=len(items)))
    return "{" + ", ".join(f"{key[1]} = {item}" for key, item in zip(keys, items, strict=True)) + " }"


@st.composite
def document(draw: st.DrawFn) -> str:
    """Statements of all sorts; not every one is valid TOML (keys may be defined twice)."""
    out = []
    for _ in range(draw(st.integers(0, 8))):
        parts = draw(st.lists(written_key(), min_size=1, max_size=3))
        name = draw(st.sampled_from([".", " . "])).join(part[1] for part in parts)
        statement: str = draw(st.sampled_from(["pair", "pair", "table", "array", "blank"]))
        end: str = draw(st.sampled_from(["\n", " # comment = 1\n", "\n\n", "\r\n"]))
        if statement == "pair":
            out.append(f"{name} = {draw(written_value())}{end}")
        elif statement == "blank":
            out.append(end)
        else:
            out.append(f"[{name}]{end}" if statement == "table" else f"[[{name}]]{end}")
    return "".join(out)


@st.composite
def numbered(draw: st.DrawFn) -> tuple[str, dict[KeyPath, int]]:
    """A valid document with distinct names, and the lines of its keys as they were written."""
    text = ""
    lines: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for number in range(draw(st.integers(1, 10))):
        line = text.count("\n") + 1
        name = f"k{number}"
        if draw(st.integers(0, 3)) == 0:
            table = (name,)
            text += f"[{name}]\n"
            lines[table] = line
            continue
        lines[(*table, name)] = line
        text += f"{name} = {draw(written_value())}\n" + "\n" * draw(st.integers(0, 2))
    return text, lines


class PropertyTests(SynchronousTestCase):
    """For every document that tomllib accepts."""

    @given(document())
    @settings(deadline=None, max_examples=300)
    def test_same_keys_as_tomllib(self, text: str) -> None:
        """There is a line for every key, table and element that tomllib finds, and for nothing else."""
        try:
            parsed = tomllib.loads(text)
        except tomllib.TOMLDecodeError:
            assume(False)
        found = key_lines(text)
        self.assertEqual(set(found), set(paths(parsed)))
        self.assertTrue(all(1 <= line <= text.count("\n") + 1 for line in found.values()))

    @given(numbered())
    @settings(deadline=None, max_examples=200)
    def test_lines(self, case: tuple[str, dict[KeyPath, int]]) -> None:
        """Each key stands where it was written, whatever the values before it contain."""
        text, lines = case
        try:
            tomllib.loads(text)
        except tomllib.TOMLDecodeError:
            assume(False)  # an inline table with a key twice
        found = key_lines(text)
        self.assertEqual({path: found[path] for path in lines}, lines)

    @given(st.text(alphabet="a=[]{}\"'.,#\n 1\\", max_size=30))
    @settings(deadline=None, max_examples=500)
    def test_any_valid_text(self, text: str) -> None:
        """Random text that happens to be TOML is followed too."""
        try:
            parsed = tomllib.loads(text)
        except tomllib.TOMLDecodeError:
            return
        self.assertEqual(set(key_lines(text)), set(paths(parsed)))
