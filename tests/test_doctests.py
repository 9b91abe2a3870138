"""The Python API: its examples, its options, and that it waits with what is heavy."""

from __future__ import annotations

import dataclasses
import doctest
import inspect
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tslrec_min
from tslrec_min import api
from tslrec_min.configs import (
    EmbedConfig,
    EvaluateConfig,
    FinetuneConfig,
    PrepareConfig,
    PretrainConfig,
    TrainConfig,
)
from tslrec_min.errors import TslrecError

ROOT = Path(__file__).parents[1]
STAGES = {"prepare": PrepareConfig, "pretrain": PretrainConfig, "finetune": FinetuneConfig, "embed": EmbedConfig,
          "train": TrainConfig, "evaluate": EvaluateConfig}


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


def api_functions() -> list[str]:
    """Names of the functions, in the order of the file."""
    return [name for name, value in vars(api).items()
            if inspect.isfunction(value) and value.__module__ == api.__name__ and not name.startswith("_")]


def test_the_package_offers_every_function_of_the_module() -> None:
    assert api_functions()[:len(STAGES)] == list(STAGES)
    for name in api_functions():
        assert name in tslrec_min.__all__ and name in dir(tslrec_min)
        assert getattr(tslrec_min, name) is getattr(api, name)
    assert tslrec_min.TslrecError is TslrecError
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        tslrec_min.trian  # noqa: B018


@pytest.mark.parametrize("name", STAGES)
def test_signature_and_help_name_every_option(name: str) -> None:
    function, config = getattr(api, name), STAGES[name]
    parameters = inspect.signature(function).parameters
    hidden = set(api.ADAPTER_OPTIONS) if name == "pretrain" else set()
    for field in dataclasses.fields(config):
        assert (field.name in parameters) == (field.name not in hidden), field.name
        if field.name not in hidden:
            assert parameters[field.name].default == field.default
            assert f"    {field.name}: {field.metadata['help']}" in str(function.__doc__)
    assert "options" not in parameters


def test_bad_options_are_named_together(cycle: Path, tmp_path: Path) -> None:
    with pytest.raises(TslrecError, match="train: .*epochs: 0 is out of range.*unknown key 'widht'"):
        tslrec_min.train(cycle, tmp_path / "out", widht=8, epochs=0)
    with pytest.raises(ValueError, match="expected one of refuse, overwrite, reuse"):
        tslrec_min.train(cycle, tmp_path / "out", existing="replace")
    with pytest.raises(ValueError, match="give one of them"):
        tslrec_min.embed(cycle, tmp_path / "out")


def test_existing_results_are_refused_or_reused(cycle: Path, tmp_path: Path) -> None:
    tiny = {"epochs": 1, "width": 8, "threads": 1}
    first = tslrec_min.train(cycle, tmp_path / "a", **tiny)
    with pytest.raises(TslrecError, match="already exists"):
        tslrec_min.train(cycle, tmp_path / "a", **tiny)
    made = os.stat(tmp_path / "a").st_ino
    assert tslrec_min.train(cycle, tmp_path / "a", existing="reuse", **tiny) == first
    assert os.stat(tmp_path / "a").st_ino == made


def test_arms_can_be_given_as_on_the_command_line(cycle: Path, tmp_path: Path) -> None:
    for seed in (0, 1):
        tslrec_min.train(cycle, tmp_path / f"s{seed}", epochs=1, width=8, threads=1, seed=seed)
    words = [f"ids={tmp_path / 's0'}", f"ids={tmp_path / 's1'}"]
    report = tslrec_min.evaluate(cycle, words, out=tmp_path / "results", threads=1)
    assert report.path == tmp_path / "results" and list(report.metrics["arms"]) == ["ids"]
    assert {row["n_runs"] for row in report.rows} == {2} and {row["p"] for row in report.rows} == {None}
    alone = tslrec_min.evaluate(cycle, str(tmp_path / "s0"), threads=1)
    assert alone.path is None and list(alone.metrics["arms"]) == ["s0"]
    for paths in (tmp_path / "s0", [tmp_path / "s0"]):
        assert tslrec_min.evaluate(cycle, paths, threads=1).metrics == alone.metrics


def test_the_package_imports_nothing_heavy(tmp_path: Path) -> None:
    program = ("import sys, tslrec_min\n"
               "assert not {'numpy', 'tqdm', 'tslrec_min.api'} & sys.modules.keys()\n"
               "tslrec_min.prepare, tslrec_min.set_verbosity\n"
               "heavy = {'torch', 'transformers', 'llama_cpp', 'gguf', 'numpy', 'tqdm'} & sys.modules.keys()\n"
               "sys.exit(f'loaded: {heavy}' if heavy else 0)")
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path)
