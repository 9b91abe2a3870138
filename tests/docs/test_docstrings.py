"""What is public says what it does, and what its arrays are."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import tslrec_min

PACKAGE = Path(str(tslrec_min.__file__)).parent
MODULES = [path for path in sorted(PACKAGE.rglob("*.py")) if "cli" not in path.relative_to(PACKAGE).parts]
ARRAYS = re.compile(r"\b(ndarray|NDArray|ArrayLike|\w+Array|Tensor)\b")
Function = ast.FunctionDef | ast.AsyncFunctionDef


def public(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, Function | ast.ClassDef]]:
    """Yield (name, node) of public classes, functions and methods below a node; not those within functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function | ast.ClassDef) and not child.name.startswith("_"):
            yield prefix + child.name, child
            if isinstance(child, ast.ClassDef):
                yield from public(child, f"{child.name}.")


def array_parameters(function: Function) -> list[str]:
    given = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return [found.arg for found in given if found.annotation and ARRAYS.search(ast.unparse(found.annotation))]


def args_section(docstring: str) -> str:
    found = re.search(r"^Args:\n((?:[ ]+.*\n?|\n)*)", docstring, re.MULTILINE)
    return found[1] if found else ""


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_what_is_public_is_described(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree) or not tree.body
    problems = []
    for name, node in public(tree):
        docstring = ast.get_docstring(node)
        if not docstring:
            problems.append(f"{name} has no docstring")
            continue
        if isinstance(node, ast.ClassDef):
            continue
        arrays = array_parameters(node)
        described = args_section(docstring)
        if re.search(r"[Aa]rguments (are )?as for `[\w.]+`", docstring):
            continue  # those of another function, which are described there
        if len(arrays) > 1:
            problems += [f"{name}: its Args don't describe the array {array}" for array in arrays
                         if not re.search(rf"^ +(?:[\w*, ]*\b)?{array}\b[\w, *]*:", described, re.MULTILINE)]
        elif arrays and not re.search(rf"\b{arrays[0]}\b|\[[^\]]+\]|{' '.join(arrays[0].split('_'))}", docstring):
            problems.append(f"{name} doesn't say what the array {arrays[0]} is")
    assert not problems, "\n".join(problems)
