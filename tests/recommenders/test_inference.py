from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from tslrec_min.data.dataset import load_dataset
from tslrec_min.recommenders.artifact import load_cold_rows, load_recommender
from tslrec_min.recommenders.inference import final_states

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
