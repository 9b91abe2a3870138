"""Cold items: what is held out, that nothing learns from it, and how it is ranked in the end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tslrec_min.configs import EvaluateConfig
from tslrec_min.data.dataset import load_dataset
from tslrec_min.evaluation.cold_start import ColdTargets
from tslrec_min.evaluation.evaluate import evaluate
from tslrec_min.ranking.metrics import hit_rate, metric_values, ndcg
from tslrec_min.ranking.scores import Scores
from tslrec_min.recommenders.artifact import load_cold_rows, load_recommender
from tslrec_min.recommenders.inference import final_states
from tslrec_min.recommenders.scorer import ColdColumns

from ..factories import held_out

CPU = torch.device("cpu")
HISTORIES = st.lists(st.lists(st.integers(0, 7), min_size=1, max_size=9), min_size=1, max_size=8)


def test_figures_equal_a_direct_computation(cold: Path, trained: Path) -> None:
    dataset, dataset_hash = load_dataset(cold)
    assert dataset.cold is not None
    report = evaluate(cold, {"linear": [trained / "linear"], "ids": [trained / "none"]}, EvaluateConfig(test="none"),
                      device=CPU, threads=1)
    found = report["cold"]
    rows = load_cold_rows(trained / "linear", 5)
    asked = dataset.cold_evaluation()
    states, table = final_states(load_recommender(trained / "linear", dataset_hash, CPU), asked.histories, asked.users,
                                 device=CPU)
    assert rows is not None
    counts = np.bincount(dataset.training().items, minlength=25)
    names, sums = ("all", "cold"), {}
    for row, (state, user, target) in enumerate(zip(states, asked.users, asked.targets, strict=True)):
        earlier = dataset.cold.earlier[dataset.cold.indptr[row]:dataset.cold.indptr[row + 1]] + 19
        had = {*asked.histories.of(user).tolist(), *earlier.tolist()} - {target}
        learned = np.concatenate([table, rows]) @ state
        for who, scores in (("linear", learned), ("popularity", counts), ("random", 0 * counts)):
            for among, first in zip(names, (1, 20), strict=True):
                others = [scores[item] for item in range(first, 25) if item not in had and item != target]
                greater, equal = np.sum(others > scores[target]), np.sum(others == scores[target])
                for metric, function, k in (("hr@10", hit_rate, 10), ("hr@50", hit_rate, 50), ("ndcg@10", ndcg, 10)):
                    value = float(function([greater], [equal], k)[0])
                    sums[who, among, metric] = sums.get((who, among, metric), 0) + value / len(states)
    for (who, among, metric), value in sums.items():
        given_value = found["arms"]["linear"][among][metric]["mean"] if who == "linear" else found[who][among][metric]
        assert given_value == pytest.approx(value), (who, among, metric)
    assert found["users"] == len(states) and found["items"] == 5
    assert found["arms"]["ids"] == {
        "reason": "none: the adapter none has vectors for the items it was trained with alone"}
    validation = evaluate(cold, {"a": [trained / "linear"]}, EvaluateConfig(split="validation"), device=CPU, threads=1)
    assert "cold" not in validation


@settings(deadline=None)
@given(HISTORIES, st.integers(0, 5))
def test_constant_scores_give_the_closed_form(rows: list[list[int]], seed: int) -> None:
    dataset, cold = held_out(rows, 0.4, seed)
    targets, width = ColdTargets(dataset), 3
    everyone = np.arange(len(targets.asked.users))
    scores = Scores(np.ones((len(everyone), width), np.float32), np.full((dataset.n_items + 1, width), 2, np.float32))
    found = targets.rank(scores, ColdColumns(np.full((cold.n_items, width), 2, np.float32)), everyone, 1)
    for among in ("all", "cold"):
        for row, user in enumerate(targets.asked.users):
            had = {*(cold.earlier[cold.indptr[row]:cold.indptr[row + 1]].tolist())} - {cold.targets[row]}
            n = cold.n_items - len(had)
            if among == "all":
                n += dataset.n_items - len({*targets.asked.histories.of(user).tolist()})
            for k in (1, 3):
                assert metric_values(found[among], f"hr@{k}")[row] == pytest.approx(min(k, n) / n)
