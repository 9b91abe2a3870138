from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tslrec_min.data.dataset import load_dataset
from tslrec_min.recommenders import scorer as scorers
from tslrec_min.recommenders.artifact import load_cold_rows, load_recommender
from tslrec_min.recommenders.inference import TrainedScorer, final_states

CPU = torch.device("cpu")


def test_a_cold_item_with_a_warm_ones_vector_gets_its_score(cold: Path, trained: Path) -> None:
    dataset, dataset_hash = load_dataset(cold)
    asked = dataset.cold_evaluation()
    states, table = final_states(load_recommender(trained / "linear", dataset_hash, CPU), asked.histories, asked.users,
                                 device=CPU)
    rows = load_cold_rows(trained / "linear", 5)
    assert rows is not None
    np.testing.assert_allclose(states @ rows[1], states @ table[7], rtol=1e-5, atol=1e-6)
    assert not np.allclose(states @ rows[0], states @ table[7], rtol=1e-2, atol=1e-3)


def test_the_item_table_is_made_once_for_all_blocks(cold: Path, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, dataset_hash = load_dataset(cold)
    recommender = load_recommender(trained / "linear", dataset_hash, CPU)
    everyone, made = np.arange(len(dataset.histories)), []
    expected, _ = final_states(recommender, dataset.histories, everyone, device=CPU)
    recommender.adapter.register_forward_hook(lambda *_: made.append(1))
    monkeypatch.setattr(scorers, "BLOCK_USERS", 7)
    blocks = [scores.states for _, scores in TrainedScorer(recommender, CPU).blocks(dataset.histories, everyone)]
    assert len(blocks) > 1 and len(made) == 1
    np.testing.assert_allclose(np.concatenate(blocks), expected, rtol=1e-5, atol=1e-6)
