"""Draw the imports between folders into architecture.md; ``--check`` writes nothing and fails if the picture is stale.

An arrow that follows from others (a folder imports what one of its imports imports) is left out.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = Path(__file__).with_name("architecture.md")
PLACE = re.compile(r"(?<=<!-- imports -->\n).*?(?=<!-- end -->)", re.DOTALL)
SETTINGS = {"errors": "configs", "config_fields": "configs"}  # the three modules at the bottom are one box


def folder_of(module: tuple[str, ...]) -> str:
    """Return the box of a module of the package, such as ("data", "dataset"); "" for the package itself."""
    return SETTINGS.get(module[0], module[0]) if module else ""


def modules() -> Iterator[tuple[tuple[str, ...], Path]]:
    """Yield every module of the package and of the command line by its name's parts, and its file."""
    for place, prefix in ((ROOT / "tslrec_min", ()), (ROOT / "cli", ("cli",))):
        for path in sorted(place.rglob("*.py")):
            parts = (*prefix, *path.relative_to(place).with_suffix("").parts)
            yield parts[:-1] if path.name == "__init__.py" else parts, path


def imported(module: tuple[str, ...], path: Path) -> Iterator[tuple[str, ...]]:
    """Yield what a module imports of the package, inside functions too."""
    package = module if path.name == "__init__.py" else module[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ("tslrec_min", *package[:len(package) + 1 - node.level]) if node.level else ()
            inside = (*base, *(node.module.split(".") if node.module else ()))
            names = [".".join((*inside, alias.name)) for alias in node.names]
        else:
            continue
        yield from (tuple(name.split(".")[1:]) for name in names if name.startswith("tslrec_min."))


def arrows() -> dict[str, set[str]]:
    """Return folder -> the folders that it imports from."""
    found: dict[str, set[str]] = {}
    for module, path in modules():
        if module:  # the package itself loads functions by name
            targets = found.setdefault(folder_of(module), set())
            targets |= {folder_of(other) for other in imported(module, path)}
    return {own: {other for other in others if other in found and other != own} for own, others in found.items()}


def reduced(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """Return the transitive reduction."""
    below: dict[str, set[str]] = {}
    for own in TopologicalSorter(graph).static_order():
        below[own] = graph[own].union(*(below[other] for other in graph[own]))
    return {own: {other for other in others if not any(other in below[via] for via in others)}
            for own, others in graph.items()}


def picture() -> str:
    """Return the picture as a block of Mermaid."""
    graph = reduced(arrows())
    order = [own for own in TopologicalSorter({own: sorted(graph[own]) for own in sorted(graph)}).static_order()][::-1]
    compiled = {own: sorted(path.stem for path in (ROOT / "tslrec_min" / own).rglob("_*.pyi")) for own in graph}
    boxes = [f'  {own}["{"<br/>".join([label(own), *compiled[own]])}"]' for own in order]
    lines = [f"  {own} --> {' & '.join(sorted(graph[own]))}" for own in order if graph[own]]
    return "\n".join(["```mermaid", "flowchart TD", *boxes, *lines, "```", ""])


def label(own: str) -> str:
    """Return the text of a box."""
    return "configs, config_fields, errors" if own == "configs" else own


def run() -> None:
    """Write or check the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether the picture is what would be drawn")
    check = parser.parse_args().check
    text = PAGE.read_text(encoding="utf-8")
    fresh = PLACE.sub(lambda _: picture(), text)
    if check and fresh != text:
        sys.exit(f"{PAGE} has a stale picture; run: python docs/generate_architecture.py")
    PAGE.write_text(fresh, encoding="utf-8")


if __name__ == "__main__":
    run()
