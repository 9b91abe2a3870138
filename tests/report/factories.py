"""What several test files build or ask alike."""

from __future__ import annotations

import xml.etree.ElementTree as ET


def parsed(text: str) -> ET.Element:
    """Read the page as XML, which is stricter than HTML: every element is closed, every attribute quoted."""
    assert text.startswith("<!DOCTYPE html>\n")
    return ET.fromstring(text.removeprefix("<!DOCTYPE html>\n"))


def headings(root: ET.Element) -> list[str]:
    return [element.text or "" for element in root.iter() if element.tag == "h2"]


def tables(root: ET.Element) -> dict[str, list[list[str]]]:
    """Return the cells of every table by its caption."""
    return {"".join(table.find("caption").itertext()):  # type: ignore[union-attr]
            [["".join(cell.itertext()) for cell in row] for row in table.iter("tr")] for table in root.iter("table")}


def paragraphs(root: ET.Element) -> list[str]:
    return [" ".join("".join(element.itertext()).split()) for element in root.iter("p")]
