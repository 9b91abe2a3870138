"""What several test files build or ask alike."""

from __future__ import annotations

import xml.etree.ElementTree as ET


def parsed(text: str) -> ET.Element:
    """Read the page as XML, which is stricter than HTML: every element is closed, every attribute quoted."""
    assert text.startswith("<!DOCTYPE html>\n")
    return ET.fromstring(text.removeprefix("<!DOCTYPE html>\n"))


def headings(root: ET.Element) -> list[str]:
    return [element.text or "" for element in root.iter() if element.tag == "h2"]
