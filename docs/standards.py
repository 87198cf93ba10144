"""Writes docs/standards.md: for each section of RFC 8620 and 8621, where it is implemented and which tests hold it.

It is made from the citations in the code and the tests ("RFC 8620 §5.3"). `--check` changes nothing: it fails on a
citation of a section that does not exist, and on a page that is out of date.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import re
import sys
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "standards.md"
# Sections and titles by RFC, in their order.
SECTIONS: dict[str, dict[str, str]] = json.loads((ROOT / "docs" / "standards.json").read_text())
# What asks nothing of a server: introductions, examples, registrations, references, advice to proxies and clients.
SILENT = re.compile(
    r"(Introduction|Notational Conventions|Terminology|Examples?|Example (Request|Response)|The JMAP API Model|User|"
    r"Accounts|Data Types and Records|.*References|Vendor-Specific Extensions|Security Considerations|"
    r"Proxy Considerations|Traffic Analysis|HTML Email Display|Multiple Part Display)"
)
REGISTRATIONS = {"8620": "9", "8621": "10"}
_CITATION = re.compile(
    r"RFC ?(\d{4,5})|(?:§§?|\b[Ss]ections? )((?:\d+|[A-Z])(?:\.\d+)*)(?:\s*(?:to|-)\s*§?(\d+(?:\.\d+)*))?"
)

Place = str
Citations = dict[tuple[str, str], set[Place]]


def main() -> int:
    """Write the page, or with `--check` compare it. The exit code is 1 if something has to be mended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if the page is out of date")
    check = parser.parse_args().check
    faults: list[str] = []
    code = _collect("stalwart", faults)
    tests = _collect("tests", faults)
    for fault in faults:
        print(fault, file=sys.stderr)  # noqa: T201
    if faults:
        return 1
    page = _page(code, tests)
    if not check:
        PAGE.write_text(page)
    elif not PAGE.exists() or PAGE.read_text() != page:
        print("docs/standards.md is out of date: run `make standards`", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _collect(folder: str, faults: list[str]) -> Citations:
    found: Citations = defaultdict(set)
    for path in sorted((ROOT / folder).rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        source = path.read_text()
        owners = _owners(ast.parse(source))
        for line, rfc, section in _citations(source):
            if section not in SECTIONS[rfc]:
                faults.append(f"{name}:{line}: RFC {rfc} has no section {section}")
            owner = _owner(owners, line)
            found[rfc, section].add(f"{name} `{owner}`" if owner else name)
    return found


def _citations(source: str) -> Iterator[tuple[int, str, str]]:
    """Line, RFC and section of each citation of the RFCs that are followed.

    A section without an RFC belongs to the one named before it in the same string or comment.
    """
    for line, text in _texts(source):
        rfc = ""
        for match in _CITATION.finditer(text):
            if match[1]:
                rfc = match[1]
            elif rfc in SECTIONS:
                at = line + text.count("\n", 0, match.start())
                for section in _range(rfc, match[2], match[3]):
                    yield at, rfc, section


def _range(rfc: str, first: str, last: str | None) -> list[str]:
    known = list(SECTIONS[rfc])
    if last is None or first not in known or last not in known:
        return [first] if last is None else [first, last]
    return known[known.index(first) : known.index(last) + 1]


def _texts(source: str) -> Iterator[tuple[int, str]]:
    """Strings, and comments with those on the lines below them, each with its first line."""
    begun, comment, last = 0, "", 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            if comment and token.start[0] == last + 1:
                comment += "\n" + token.string
            else:
                if comment:
                    yield begun, comment
                begun, comment = token.start[0], token.string
            last = token.start[0]
        elif token.type == tokenize.STRING or tokenize.tok_name[token.type] == "FSTRING_MIDDLE":
            yield token.start[0], token.string
    if comment:
        yield begun, comment


def _owners(tree: ast.Module) -> list[tuple[int, int, str]]:
    """First line, last line and dotted name of each class and function; outer ones first."""
    found: list[tuple[int, int, str]] = []

    def walk(node: ast.AST, outer: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                name = f"{outer}.{child.name}" if outer else child.name
                first = min([child.lineno, *(decorator.lineno for decorator in child.decorator_list)])
                found.append((first, child.end_lineno or first, name))
                walk(child, name)
            else:
                walk(child, outer)

    walk(tree, "")
    return found


def _owner(owners: list[tuple[int, int, str]], line: int) -> str:
    inside = [name for first, last, name in owners if first <= line <= last]
    return inside[-1] if inside else ""


def _page(code: Citations, tests: Citations) -> str:
    lines = [
        "# Standards",
        "",
        "Per section of RFC 8620 (JMAP Core) and RFC 8621 (JMAP Mail): its implementation and the tests that hold it.",
        "Made by `make standards` from the citations in the code and the tests; not to be edited by hand.",
        "Introductions, examples, registrations and references are left out.",
    ]
    for rfc, sections in SECTIONS.items():
        wanted = {number: title for number, title in sections.items() if _asks(rfc, number, title)}
        lines += ["", f"## RFC {rfc}", "", "| Section | Implemented in | Held by |", "|---|---|---|"]
        for number, title in wanted.items():
            where, held = code.get((rfc, number)), tests.get((rfc, number))
            if where or held:
                lines.append(f"| {number} {title} | {_list(where)} | {_list(held)} |")
        bare = [number for number in wanted if not code.get((rfc, number)) and not tests.get((rfc, number))]
        lines += ["", f"Sections of RFC {rfc} with neither:", ""]
        lines += [f"- {number} {wanted[number]}" for number in bare] or ["none"]
    return "\n".join(lines) + "\n"


def _asks(rfc: str, number: str, title: str) -> bool:
    return number.split(".")[0] != REGISTRATIONS[rfc] and SILENT.fullmatch(title) is None


def _list(places: set[Place] | None) -> str:
    return "<br>".join(sorted(places)) if places else "-"


if __name__ == "__main__":
    raise SystemExit(main())
