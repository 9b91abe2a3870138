"""The Python API: its examples, its options, and that it waits with what is heavy."""

from __future__ import annotations

import csv
import dataclasses
import doctest
import inspect
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import tslrec_min
from tslrec_min import api
from tslrec_min.cli import main
from tslrec_min.configs import EmbedConfig, EvaluateConfig, FinetuneConfig, PrepareConfig, PretrainConfig, TrainConfig
from tslrec_min.errors import TslrecError

from .conftest import N_ITEMS

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
    for field in dataclasses.fields(config):
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


@pytest.fixture(scope="module")
def trained(cycle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(str(tslrec_min.train(cycle, tmp_path_factory.mktemp("api") / "run", epochs=1, width=8, threads=1).path))


def test_recommendations_are_those_of_the_command(cycle: Path, trained: Path, tmp_path: Path) -> None:
    words = ["recommend", str(cycle), str(trained), "-k", "3", "--titles", "--threads", "1"]
    assert CliRunner().invoke(main, [*words, "-o", str(tmp_path / "all.csv")]).exit_code == 0
    (tmp_path / "new.txt").write_text("0 i3 i4\n1 i7\n")
    given = CliRunner().invoke(main, [*words, "--histories", str(tmp_path / "new.txt"), "--format", "csv"]).stdout
    for text, rows in (((tmp_path / "all.csv").read_text(), tslrec_min.recommend(cycle, trained, k=3, threads=1)),
                       (given, tslrec_min.recommend(cycle, trained, histories=[["i3", "i4"], ["i7"]], k=3,
                                                    threads=1))):
        expected = list(csv.DictReader(io.StringIO(text)))
        assert [row | {"score": None, "rank": str(row["rank"])} for row in rows] == [
            row | {"score": None} for row in expected]
        assert [np.float32(row["score"]) for row in rows] == [np.float32(row["score"]) for row in expected]
    kept = tslrec_min.recommend(cycle, trained, users=("u3", "u1"), k=99, keep_seen=True, threads=1)
    assert [row["user"] for row in kept] == ["u3"] * N_ITEMS + ["u1"] * N_ITEMS


def test_what_can_not_be_recommended_is_said(cycle: Path, trained: Path) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"users": ["u1", "nobody"]}, r"users\[1\]: the data set has no user 'nobody'"),
        ({"users": [7]}, "no user '7'"), ({"users": [("u1",)]}, "neither text nor a number"),
        ({"users": "u1"}, "expected a list of user ids"),
        ({"histories": {"me": ["i3", "x"]}}, r"histories\['me'\]: the data set has no item 'x'"),
        ({"histories": ["i3", "i4"]}, r"histories\[0\] is 'i3'; expected a list of item ids"),
        ({"histories": [[]]}, "has no item"), ({"users": ["u1"], "histories": [["i3"]]}, "both given"),
        ({"k": 0}, "k is 0"), ({"k": True}, "k is True"), ({"unknown": "drop"}, "expected refuse or skip")]
    for arguments, message in cases:
        with pytest.raises(TslrecError, match=message):
            tslrec_min.recommend(cycle, trained, threads=1, **arguments)
    rows = tslrec_min.recommend(cycle, trained, histories={"me": ["x"], "you": ["x", "i3"]}, unknown="skip", k=1,
                                threads=1)
    assert [row["user"] for row in rows] == ["you"]


def test_similar_items_are_those_of_the_command(cycle: Path, trained: Path) -> None:
    shown = CliRunner().invoke(main, ["similar", str(cycle), "i3", "i9", "--run", str(trained), "-k", "4", "--json"])
    expected = [{"item": of["item"], "rank": rank, "similar": near["item"], "title": near["title"],
                 "cosine": near["cosine"]}
                for of in json.loads(shown.stdout) for rank, near in enumerate(of["similar"], 1)]
    assert tslrec_min.similar(cycle, ["i3", "i9"], run=trained, k=4) == expected
    assert tslrec_min.similar(cycle, "i3", run=trained, k=4) == expected[:4]
    for arguments, message in (({}, "give one of them"), ({"run": trained, "embeddings": trained}, "give one of them"),
                               ({"run": trained, "k": 0}, "k is 0"), ({"embeddings": trained}, "embed artifact")):
        with pytest.raises(TslrecError, match=message):
            tslrec_min.similar(cycle, "i3", **arguments)
    for name in ("Amélie", "AMELIE"):
        with pytest.raises(TslrecError, match="titles that contain it"):
            tslrec_min.similar(cycle, name, run=trained)


def test_the_package_imports_nothing_heavy(tmp_path: Path) -> None:
    program = ("import sys, tslrec_min\n"
               "assert not {'numpy', 'tqdm', 'tslrec_min.api'} & sys.modules.keys()\n"
               "tslrec_min.prepare, tslrec_min.set_verbosity\n"
               "heavy = {'torch', 'transformers', 'llama_cpp', 'gguf', 'numpy', 'tqdm'} & sys.modules.keys()\n"
               "sys.exit(f'loaded: {heavy}' if heavy else 0)")
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path)
