from __future__ import annotations

import doctest
import re
import shutil
from pathlib import Path

import pytest

from tslrec_min import api

from ..factories import ROOT, api_functions


@pytest.fixture
def folder(llm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of the examples."""
    shutil.copytree(llm, tmp_path / "tiny-llm")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_examples_of_the_functions(folder: Path) -> None:
    examples = [(api.__name__, api.__doc__)] + [(name, getattr(api, name).__doc__) for name in api_functions()]
    run_examples(examples)


def test_examples_of_the_page(folder: Path) -> None:
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    run_examples([("python.md", block) for block in re.findall(r"```pycon\n(.*?)```", text, re.DOTALL)])


def run_examples(texts: list[tuple[str, str | None]]) -> None:
    names: dict[str, object] = {}
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for name, text in texts:
        test = doctest.DocTestParser().get_doctest(text or "", names, name, None, None)
        assert test.examples, name
        problems: list[str] = []
        failed, _ = runner.run(test, out=problems.append, clear_globs=False)
        assert not failed, "".join(problems)
        names |= test.globs  # the examples go on from each other
