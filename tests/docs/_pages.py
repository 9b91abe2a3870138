"""The pages of the documentation, as tests read them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tslrec_min.cli import main

from ..factories import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md")),
         ROOT / "benchmarks" / "README.md"]
_BLOCK = re.compile(r"(?:<!-- where there is a command: (?P<needs>\w+) -->\n)?```bash\n(?P<lines>.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """Commands of a page."""

    lines: list[str]
    needs: str | None
    """A command that this version may lack; then the block is not to be run."""

    @property
    def holds(self) -> bool:
        return self.needs is None or self.needs in main.commands


def blocks(page: Path) -> Iterator[Block]:
    for found in _BLOCK.finditer(page.read_text(encoding="utf-8")):
        yield Block(found["lines"].strip().splitlines(), found["needs"])


def commands_in(text: str) -> list[str]:
    """Return the lines that are commands of tslrec, without those of blocks that don't hold."""
    for found in _BLOCK.finditer(text):
        if not Block([], found["needs"]).holds:
            text = text.replace(found[0], "")
    return [line.strip() for line in text.splitlines() if re.match(r"\s*tslrec [a-z]+ ", line) and "|" not in line]


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    found: list[str] = []
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        found.append(f"{slug}-{found.count(slug)}" if slug in found else slug)
    return set(found)
