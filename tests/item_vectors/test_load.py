from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import tslrec_min
from tslrec_min.configs import TrainConfig
from tslrec_min.data.dataset import Dataset
from tslrec_min.errors import TslrecError
from tslrec_min.item_vectors.formats import write_vectors
from tslrec_min.item_vectors.load import load_item_embeddings
from tslrec_min.recommenders.train import train
from tslrec_min.storage.artifacts import open_artifact, sha256_of_file

from ..factories import tslrec
from .factories import write_ids

CPU = torch.device("cpu")
SMALL = {"width": 8, "blocks": 1, "max_len": 6, "epochs": 1, "adapter": "linear"}


def test_shuffled_rows_give_the_same_training(cycle: Path, dataset: Dataset, embed: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    embeddings = load_item_embeddings(embed, dataset)
    order = np.random.default_rng(1).permutation(dataset.n_items)
    rows = np.concatenate([embeddings.rows[1:][order], np.ones((1, 12))])
    np.savez(tmp_path / "shuffled.npz", ids=np.array([*np.array(embeddings.ids)[order], "stranger"]), vectors=rows)
    train(cycle, tmp_path / "whole", TrainConfig(**SMALL), embeddings_path=embed, device=CPU, threads=1)
    words = ("train", cycle, "--embeddings", tmp_path / "shuffled.npz", "-o", tmp_path / "run", "--threads", 1,
             *(f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()))
    assert "'stranger'" in tslrec(*words).stderr and not (tmp_path / "run").exists()
    result = tslrec(*words, "--ignore-unknown-items")
    assert result.exit_code == 0 and "ignoring 1 items that are not in the data set" in result.stderr
    whole, run = (open_artifact(tmp_path / name, "train") for name in ("whole", "run"))
    assert whole.hash == run.hash  # the same weights and metrics
    assert run.record["inputs"]["embeddings"] == sha256_of_file(tmp_path / "shuffled.npz")
    np.save(tmp_path / "shuffled.npy", rows)
    ids = write_ids(tmp_path / "ids.txt", [*np.array(embeddings.ids)[order], "stranger"])
    with pytest.raises(TslrecError, match="'stranger'"):
        tslrec_min.train(cycle, tmp_path / "api", embeddings=tmp_path / "shuffled.npy", embedding_ids=ids, **SMALL)
    tslrec_min.train(cycle, tmp_path / "api", embeddings=tmp_path / "shuffled.npy", embedding_ids=ids,
                     ignore_unknown_items=True, threads=1, **SMALL)
    assert open_artifact(tmp_path / "api", "train").hash == whole.hash


def test_what_does_not_fit_is_refused_by_name(cycle: Path, dataset: Dataset, embed: Path, tmp_path: Path) -> None:
    rows, ids = np.ones((dataset.n_items, 3)), list(dataset.item_ids)
    not_finite = rows.copy()
    not_finite[4], not_finite[6] = np.nan, 1e300  # the latter is finite in float64
    cases = [(ids[:-2], rows[:-2], f"no vector of '{ids[-2]}', '{ids[-1]}': 2 of 24 items"),
             ([*ids, "x"], np.ones((25, 3)), "vectors of 'x', 1 in all"),
             ([*ids[:-1], ids[0]], rows, f"several vectors of '{ids[0]}'"),
             (ids, np.ones((25, 3)), "has 25 vectors but 24 ids"),
             (ids, not_finite, f"the vectors of '{ids[4]}', '{ids[6]}' are not finite"),
             (ids, np.ones(24), "float64 [24]"),
             (ids, np.ones((24, 3), int), "int64 [24, 3]"), (ids, np.empty((24, 0)), "[24, 0]"),
             (ids, np.full((24, 1), None), "pickle")]
    for given_ids, given_rows, message in cases:
        np.save(tmp_path / "v.npy", given_rows)
        with pytest.raises(TslrecError) as caught:
            load_item_embeddings(tmp_path / "v.npy", dataset, ids_path=write_ids(tmp_path / "ids.txt", given_ids))
        assert message in str(caught.value)
    for path, ids_path, message in ((tmp_path / "v.npy", None, "--embedding-ids"),
                                    (embed, tmp_path / "ids.txt", "folder"),
                                    (tmp_path / "x.npz", tmp_path / "ids.txt", "ids of its own"),
                                    (tmp_path / "x.npz", None, "does not exist")):
        with pytest.raises(TslrecError, match=message):
            load_item_embeddings(path, dataset, ids_path=ids_path)


def test_cold_items_are_exported_and_asked_for(dataset: Dataset, tmp_path: Path) -> None:
    from tslrec_min.data.cold import ColdItems

    cold = ColdItems(["cold"], ["A new one"], {}, users=np.zeros(1, np.int64), targets=np.ones(1, np.int64),
                     warm_before=np.ones(1, np.int64), earlier=np.empty(0, np.int64), indptr=np.zeros(2, np.int64),
                     n_interactions=1)
    with_cold, ids = replace(dataset, cold=cold), [*dataset.item_ids, "cold"]
    write_vectors([tmp_path / "v.vec"], "word2vec", ids[::-1], np.arange(25, dtype=np.float32)[:, None])
    vectors = load_item_embeddings(tmp_path / "v.vec", with_cold).rows
    assert vectors[:, 0].tolist() == [0, *range(24, -1, -1)]
    write_vectors([tmp_path / "w.vec"], "word2vec", ids[:-1], np.ones((24, 1), np.float32))
    with pytest.raises(TslrecError, match="no vector of 'cold'"):
        load_item_embeddings(tmp_path / "w.vec", with_cold)
