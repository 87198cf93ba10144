"""Writes small XML documents; everything that goes into one is escaped here."""

from __future__ import annotations

from xml.etree import ElementTree as ET
from xml.etree.ElementTree import Element


def add(parent: Element, name: str, text: str | int | None = None, **attributes: str) -> Element:
    """A new element at the end of `parent`, with a text if there is one."""
    child = ET.SubElement(parent, name, attributes)
    if text is not None:
        child.text = str(text)
    return child


def document(root: Element) -> bytes:
    """The document in UTF-8, indented."""
    ET.indent(root)
    written: bytes = ET.tostring(root, encoding="UTF-8", xml_declaration=True)
    return written.replace(b"<?xml version='1.0' encoding='UTF-8'?>", b'<?xml version="1.0" encoding="UTF-8"?>') + b"\n"
