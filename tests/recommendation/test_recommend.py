"""Recommendations: those of a plain reference, for stored users and for the same histories given anew."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tslrec_min.configs import MODELS
from tslrec_min.data.dataset import Dataset, load_dataset
from tslrec_min.errors import TslrecError
from tslrec_min.recommendation import recommend as recommendation
from tslrec_min.recommendation.recommend import RecommendOptions, recommend, recommended_blocks
from tslrec_min.recommendation.requests import GivenIds, histories_in
from tslrec_min.recommendation.writers import Recommendations
from tslrec_min.recommenders.artifact import load_recommender
from tslrec_min.recommenders.inference import TrainedScorer, final_states

from .. import _reference as reference
from .factories import rows_of, tslrec

CPU = torch.device("cpu")


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
        found: list[Recommendations] = list(recommended_blocks(TrainedScorer(recommender, CPU), blocks, 5,
                                                               keep_seen=keep_seen, threads=2))
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
