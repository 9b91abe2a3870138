from __future__ import annotations

from pathlib import Path

import numpy as np

from tslrec_min.configs import PrepareConfig
from tslrec_min.data.dataset import load_dataset
from tslrec_min.data.hold_out import hold_out_items
from tslrec_min.data.prepare import prepare
from tslrec_min.storage.artifacts import read_json


def test_round_trip_and_statistics(cycle_raw: Path, cold: Path, tmp_path: Path) -> None:
    dataset, _ = load_dataset(cold)
    assert dataset.cold is not None
    assert (dataset.n_items, dataset.cold.n_items) == (19, 5)
    summary = read_json(cold / "dataset.json")
    assert summary["cold_items"] == 5 and summary["interactions"] + summary["cold_interactions"] == 60 * 14
    assert summary["cold_users"] == len(dataset.cold.users) > 50
    direct = hold_out_items(load_dataset(prepared(cycle_raw, tmp_path / "all"))[0], 0.2, 3)
    assert direct.cold is not None
    for name in ("users", "targets", "warm_before", "indptr", "earlier"):
        assert np.array_equal(getattr(dataset.cold, name), getattr(direct.cold, name))
    assert (dataset.cold.item_ids, dataset.cold.titles) == (direct.cold.item_ids, direct.cold.titles)
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == [
        "config.json", "dataset.json", "interactions.npz", "items.tsv", "users.txt"]  # as without this option


def prepared(raw: Path, out: Path) -> Path:
    prepare(raw, out, PrepareConfig(k_core=0))
    return out
