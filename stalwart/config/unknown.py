"""Finds keys that are not declared, with the nearest one that is, and values where a table belongs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from stalwart.config.errors import key_text, kind_of
from stalwart.config.nearest import nearest
from stalwart.config.report import Report
from stalwart.config.schema import ID, Setting, every_setting

Path = tuple[str, ...]


class Node:
    """A place in the tree of known keys: a setting, or a table with fixed keys or with free ones (`any`)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_setting = False
        self.children: dict[str, Node] = {}
        self.any: Node | None = None
        self.variants: dict[str, Node] = {}  # by the value of the key `type`

    def grow(self, path: Path) -> Node:
        """The node below this one, made if it is not there."""
        node = self
        for part in path:
            if part == ID:
                node.any = node.any or Node((*node.path, ID))
                node = node.any
            else:
                node = node.children.setdefault(part, Node((*node.path, part)))
        return node

    def chosen(self, table: Mapping[str, object]) -> Node:
        """The node of the variant that the table's `type` names, or this one, which has the keys of all."""
        tag = table.get("type")
        return self.variants.get(tag.strip().lower(), self) if isinstance(tag, str) else self


def known_keys(struct: type[msgspec.Struct]) -> Node:
    """The tree of all keys that a struct declares."""
    root = Node(())
    for setting in every_setting(struct):
        root.grow(setting.path).is_setting = True
        if setting.variant is not None:
            _grow_variant(root, setting)
    return root


def _grow_variant(root: Node, setting: Setting) -> None:
    entry = setting.path.index(ID) + 1
    table = root.grow(setting.path[:entry])
    variant = table.variants.setdefault(str(setting.variant), Node(table.path))
    variant.grow(("type",)).is_setting = True
    variant.grow(setting.path[entry:]).is_setting = True


def report_unknown(table: Mapping[str, object], root: Node, report: Report) -> None:
    """Report every key of the document that the tree does not have."""
    pending: list[tuple[Path, Mapping[str, object], Node]] = [((), table, root)]
    while pending:
        path, table, node = pending.pop()
        for key, value in table.items():
            at = (*path, key)
            child = node.children.get(key) or node.any
            if child is None:
                report.error(at, found="an unknown key", wanted=_advice(path, key, node, root))
            elif child.is_setting:
                continue
            elif isinstance(value, dict):
                pending.append((at, value, child.chosen(value)))
            else:
                report.error(at, found=kind_of(value), wanted=_table_wanted(at, child))


def _table_wanted(path: Path, node: Node) -> str:
    if node.any is not None and not node.children:
        return f"tables with a name of your choice, [{key_text(path)}.<id>]"
    names = sorted(node.children)
    return f"a table with keys such as {' and '.join(names[:2])}"


def _advice(path: Path, key: str, node: Node, root: Node) -> str:
    known = {name: (*path, name) for name in node.children}
    near = _nearest(key, known) or _nearest(key, _below(node, path)) or _nearest(key, _below(root, path))
    if near is not None:
        return f"a known one, perhaps {key_text(near)}"
    if not path:
        return f"one of {', '.join(sorted(node.children))}"
    return f"one of the keys of {key_text(path)}: {', '.join(sorted(node.children))}"


def _nearest(key: str, known: Mapping[str, Path]) -> Path | None:
    """The place of the known name that is most like `key`."""
    match = nearest(key, known)
    return None if match is None else known[match]


def _below(top: Node, path: Path) -> dict[str, Path]:
    """All names below a node with their places, also dotted; `<id>` is what `path` has there, if it goes there."""
    found: dict[str, Path] = {}
    for node in _nodes(top):
        if node.path and node.path[-1] != ID:
            place = tuple(
                path[index] if part == ID and path[:index] == node.path[:index] and len(path) > index else part
                for index, part in enumerate(node.path)
            )
            found.setdefault(node.path[-1], place)
            found[".".join(place)] = place
    return found


def _nodes(top: Node) -> Iterator[Node]:
    pending = [top]
    while pending:
        node = pending.pop(0)
        yield node
        pending.extend(node.children.values())
        if node.any is not None:
            pending.append(node.any)
