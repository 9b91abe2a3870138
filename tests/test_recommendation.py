"""Recommendations: those of a plain reference, for stored users and for the same histories given anew."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from tslrec_min.cli import main
from tslrec_min.configs import MODELS, TrainConfig
from tslrec_min.data.dataset import Dataset, load_dataset
from tslrec_min.errors import TslrecError
from tslrec_min.recommendation import recommend as recommendation
from tslrec_min.recommendation.recommend import RecommendOptions, recommend, recommended_blocks
from tslrec_min.recommendation.requests import GivenIds, histories_in
from tslrec_min.recommendation.writers import Recommendations
from tslrec_min.recommenders.artifact import load_recommender
from tslrec_min.recommenders.inference import final_states
from tslrec_min.recommenders.train import train
from tslrec_min.storage.atomic import output_files

from . import _reference as reference

CPU = torch.device("cpu")
SMALL = {"width": 8, "blocks": 1, "max_len": 6, "epochs": 1, "units": 8}


@pytest.fixture(scope="module")
def runs(cycle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a train artifact of every recommender."""
    folder = tmp_path_factory.mktemp("runs")
    for model in MODELS:
        train(cycle, folder / model, TrainConfig(model=model, **SMALL), device=CPU, threads=1)
    return folder


def tslrec(*words: object, text: str | None = None) -> Result:
    return CliRunner().invoke(main, [str(word) for word in ("recommend", *words, "--threads", 1)], input=text)


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_histories(path: Path, dataset: Dataset) -> Path:
    """Write all stored histories as new ones."""
    lines = [json.dumps({"user": user, "items": [dataset.item_ids[item - 1] for item in dataset.histories.of(number)]})
             for number, user in enumerate(dataset.user_ids)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("keep_seen", [False, True])
def test_equal_a_plain_reference_for_stored_users_and_for_the_same_histories_given_anew(
        cycle: Path, runs: Path, tmp_path: Path, monkeypatch, model: str, keep_seen: bool) -> None:
    monkeypatch.setattr(recommendation, "BLOCK_USERS", 7)
    dataset, dataset_hash = load_dataset(cycle)
    recommender = load_recommender(runs / model, dataset_hash, CPU)
    with torch.no_grad():  # all rows but the padding in pairs: every item is tied with another
        weight = recommender.adapter.weight
        weight[2::2] = weight[1:-1:2]
    everyone = np.arange(dataset.n_users)
    states, table = final_states(recommender, dataset.histories, everyone, device=CPU)
    seen = [set() if keep_seen else set(dataset.histories.of(user).tolist()) for user in everyone]
    scores = (states[:, None].astype(np.float64) * table).sum(axis=2)  # each summed alike, so ties stay ties
    expected = reference.best(scores, 5, seen)

    given = GivenIds(dataset)
    stored = given.stored_blocks(None, recommendation.BLOCK_USERS)
    anew = given.given_blocks(histories_in(write_histories(tmp_path / "new.jsonl", dataset)),
                              recommendation.BLOCK_USERS)
    for blocks in (stored, anew):
        found: list[Recommendations] = list(recommended_blocks(recommender, blocks, 5, keep_seen=keep_seen, device=CPU,
                                                               threads=2))
        assert [user for block in found for user in block.user_ids] == dataset.user_ids and len(found) == 9
        items, scores = (np.concatenate([getattr(block, name) for block in found]) for name in ("items", "scores"))
        np.testing.assert_allclose(scores, expected[1], rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(items, expected[0])


def test_stored_users_are_answered_for_what_follows_all_they_had(cycle: Path, runs: Path, tmp_path: Path) -> None:
    dataset, _ = load_dataset(cycle)
    users = [dataset.user_ids[number] for number in (30, 2, 30)]
    (tmp_path / "users.txt").write_text("\n".join(users))
    result = tslrec(cycle, runs / "sasrec", "--users", tmp_path / "users.txt", "-o", tmp_path / "out.jsonl", "-k", 99)
    assert result.exit_code == 0 and result.stdout == "" and "3 users" in result.stderr
    rows = rows_of(tmp_path / "out.jsonl")
    assert [row["user"] for row in rows] == users and {row["history"] for row in rows} == {"stored"}
    for row, number in zip(rows, (30, 2, 30), strict=True):
        whole = {dataset.item_ids[item - 1] for item in dataset.histories.of(number)}  # test item included
        assert set(row["items"]) == set(dataset.item_ids) - whole
        assert row["scores"] == sorted(row["scores"], reverse=True)


def test_all_forms_say_the_same(cycle: Path, runs: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    dataset, _ = load_dataset(cycle)
    titles = dict(zip(dataset.item_ids, dataset.titles, strict=True))
    for name in ("out.jsonl", "out.csv", "out.parquet"):
        assert tslrec(cycle, runs / "gru4rec", "-o", tmp_path / name, "-k", 3, "--titles").exit_code == 0
    rows = rows_of(tmp_path / "out.jsonl")
    assert len(rows) == dataset.n_users
    assert all(row["titles"] == [titles[item] for item in row["items"]] for row in rows)
    flat = [{"user": row["user"], "history": "stored", "rank": rank, "item": item, "score": score,
             "title": titles[item]} for row in rows for rank, (item, score)
            in enumerate(zip(row["items"], row["scores"], strict=True), 1)]
    table = parquet.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row | {"score": np.float32(row["score"])} for row in table] == [
        row | {"score": np.float32(row["score"])} for row in flat]
    with open(tmp_path / "out.csv", encoding="utf-8", newline="") as stream:
        assert list(csv.DictReader(stream)) == [{name: str(value) for name, value in row.items()} for row in flat]


def test_new_histories_from_standard_input(cycle: Path, runs: Path) -> None:
    by_words = tslrec(cycle, runs / "sasrec", "--histories", "-", text="me i3 i4 i5\n\nyou i7\n")
    as_json = tslrec(cycle, runs / "sasrec", "--histories", "-",
                     text='{"user": "me", "items": ["i3", "i4", "i5"]}\r\n{"items": ["i7"], "user": "you"}')
    assert by_words.exit_code == 0 and by_words.stdout == as_json.stdout and by_words.stderr == ""
    rows = [json.loads(line) for line in by_words.stdout.splitlines()]
    assert [(row["user"], row["history"], len(row["items"])) for row in rows] == [("me", "given", 10),
                                                                                  ("you", "given", 10)]
    assert not {"i3", "i4", "i5"} & set(rows[0]["items"])
    for flag in ("--histories", "--users"):
        nothing = tslrec(cycle, runs / "sasrec", flag, "-", text="\n")
        assert (nothing.exit_code, nothing.stdout) == (0, "") and f"{flag}: no line in it" in nothing.stderr
    table = tslrec(cycle, runs / "sasrec", "--histories", "-", "--format", "csv", "-k", 1, text="me i3 i4 i5\n")
    assert table.stdout.splitlines()[0] == "user,history,rank,item,score" and len(table.stdout.splitlines()) == 2


def test_unknown_ids_are_named_with_their_line_or_left_out_and_counted(cycle: Path, runs: Path, tmp_path: Path) -> None:
    words = (cycle, runs / "sasrec", "--histories", "-")
    form = """expected a line such as u1 i3 i7 or {"user": "u1", "items": ["i3", "i7"]}"""
    cases = [("me i3\nyou i4 x1 i5 x2 x1\n", "input, line 2 (user 'you'): the data set has no item 'x1', 'x2'; take"),
             ("me,i3\n", f"standard input, line 1 (user 'me,i3'; {form}): the history has no item"),
             ('["me", "i3"]\n', "line 1: expected a JSON object"), ("[me i9x\n", "(user '[me'): the data set has no"),
             ('{"user": "me"}\n', "line 1: expected a JSON object"),
             ('{"user": "me", "items": ["i3"]}\nyou i4\n', "line 2: expected a JSON object"),
             ('{"user": "me", "items": [true]}\n', "line 1: expected a JSON object"),
             ('{"user": "\\ud800", "items": ["i3"]}\n', "line 1: expected a JSON object"),
             ('{"user": ' + "[" * 100_000 + "\n", "line 1: expected a JSON object"),
             ("me " + " ".join(f"x{n}" for n in range(9)), "'x4' and 4 more")]
    for text, message in cases:
        result = tslrec(*words, "-o", tmp_path / "out.jsonl", text=text)
        assert result.exit_code == 1 and message in result.stderr and not list(tmp_path.iterdir()), result.output
    result = tslrec(*words, "--unknown", "skip", text="me i3 x1\nyou x2 x1\n")
    assert [json.loads(line)["user"] for line in result.stdout.splitlines()] == ["me"]
    assert "left out: 3 unknown items of histories, 1 users" in result.stderr
    only = tslrec(*words, "--unknown", "skip", "-o", tmp_path / "none.csv", text="you x2\n")
    assert only.exit_code == 0 and (tmp_path / "none.csv").read_text() == "user,history,rank,item,score\n"
    users = (cycle, runs / "sasrec", "--users", "-")
    assert "line 2: the data set has no user 'nobody'" in tslrec(*users, text="u1\nnobody\n").stderr
    result = tslrec(*users, "--unknown", "skip", text="u1\nnobody\n")
    assert len(result.stdout.splitlines()) == 1 and "1 users" in result.stderr


def test_the_output_is_whole_or_not_there(cycle: Path, runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text("old\n")
    (tmp_path / "bad.txt").write_text("me i3\nyou x1\n")
    assert "--overwrite" in tslrec(cycle, runs / "sasrec", "-o", out).stderr
    for words in (("--histories", tmp_path / "bad.txt"), ("--histories", tmp_path / "missing.txt")):
        assert tslrec(cycle, runs / "sasrec", *words, "-o", out, "--overwrite").exit_code == 1
    assert out.read_text() == "old\n" and sorted(path.name for path in tmp_path.iterdir()) == ["bad.txt", "out.jsonl"]
    assert tslrec(cycle, runs / "sasrec", "-o", out, "--overwrite").exit_code == 0 and len(rows_of(out)) == 60
    assert "is a folder" in tslrec(cycle, runs / "sasrec", "-o", tmp_path, "--format", "csv").stderr
    os.mkfifo(tmp_path / "pipe")
    result = tslrec(cycle, runs / "sasrec", "-o", tmp_path / "pipe", "--format", "csv", "--overwrite")
    assert result.exit_code == 1 and "is a device or a pipe" in result.stderr and (tmp_path / "pipe").is_fifo()
    with pytest.raises(TslrecError, match="already exists"), output_files(tmp_path / "new") as (temporary,):
        temporary.write_text("mine")
        (tmp_path / "new").write_text("of another process")
    assert (tmp_path / "new").read_text() == "of another process" and not list(tmp_path.glob(".*"))


def test_wrong_usage(cycle: Path, runs: Path, tmp_path: Path, monkeypatch) -> None:
    assert tslrec(cycle, runs / "sasrec", "--users", "a", "--histories", "b").exit_code == 2
    assert "--out" in tslrec(cycle, runs / "sasrec", "--format", "parquet").stderr
    for name in ("out.xlsx", "out"):
        result = tslrec(cycle, runs / "sasrec", "-o", tmp_path / name)
        assert result.exit_code == 2 and "expected the ending .jsonl, .csv, .parquet" in result.stderr
    assert tslrec(cycle, runs / "sasrec", "-o", tmp_path / "x" / "out.txt", "--format", "csv").exit_code == 0
    shutil.rmtree(tmp_path / "x")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    result = tslrec(cycle, runs / "sasrec", "-o", tmp_path / "out.parquet")
    assert result.exit_code == 1 and "tslrec-min[parquet]" in result.stderr and not list(tmp_path.iterdir())
    with pytest.raises(TslrecError, match="expected a train artifact"):
        recommend(cycle, cycle, tmp_path / "out", RecommendOptions(), device=CPU, threads=1)


def test_answers_without_loading_a_language_model(cycle: Path, runs: Path, tmp_path: Path) -> None:
    program = ("import sys, tslrec_min.cli\n"
               f"try: tslrec_min.cli.main(['recommend', {str(cycle)!r}, {str(runs / 'sasrec')!r}, '--histories', '-', "
               "'--threads', '1'])\n"
               "except SystemExit: pass\n"
               "heavy = {'transformers', 'llama_cpp', 'gguf', 'pyarrow'} & sys.modules.keys()\n"
               "sys.exit(f'loaded: {heavy}' if heavy else 0)")
    done = subprocess.run([sys.executable, "-P", "-c", program], check=True, cwd=tmp_path, capture_output=True,
                          text=True, input="me i3\n")
    assert json.loads(done.stdout)["user"] == "me"
