from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from tslrec_min.configs import TrainConfig
from tslrec_min.data.dataset import Dataset, load_dataset
from tslrec_min.recommenders.artifact import load_item_table
from tslrec_min.recommenders.train import train

from ..factories import tslrec

CPU = torch.device("cpu")
SMALL = {"width": 8, "blocks": 1, "max_len": 6, "epochs": 1, "adapter": "linear"}


def test_export_names_the_endings_that_it_knows(cycle: Path, embed: Path, tmp_path: Path) -> None:
    result = tslrec("export", cycle, embed, "-o", tmp_path / "vectors.bin")
    assert result.exit_code == 2 and "the format of" in result.stderr and not list(tmp_path.iterdir())
    assert "expected the ending .npy, .parquet, .txt, .vec, .itememb; or give --format" in result.stderr
    assert tslrec("export", cycle, embed, "-o", tmp_path / "vectors.bin", "--format", "npy").exit_code == 0


def test_the_table_of_a_recommender_is_exported_too(cycle: Path, dataset: Dataset, embed: Path, tmp_path: Path) -> None:
    train(cycle, tmp_path / "run", TrainConfig(**SMALL), embeddings_path=embed, device=CPU, threads=1)
    assert tslrec("export", cycle, tmp_path / "run", "-o", tmp_path / "table.npy").exit_code == 0
    result = tslrec("export", cycle, tmp_path / "run", "-o", tmp_path / "t.npy", "--ignore-unknown-items")
    assert result.exit_code == 1 and "are for files of vectors" in result.stderr
    for words in (("similar", cycle, "i3", "--run", tmp_path / "run"), ("train", cycle, "-o", tmp_path / "other")):
        for more in (["--ignore-unknown-items"], ["--embedding-ids", tmp_path / "table.ids.txt"]):
            result = tslrec(*words, *more)
            assert result.exit_code == 2 and "go with a file as --embeddings" in result.stderr
    table = load_item_table(tmp_path / "run", dataset, load_dataset(cycle)[1]).rows
    np.testing.assert_array_equal(np.load(tmp_path / "table.npy"), table[1:])
    assert table[1:].shape == (dataset.n_items, 8)
    found = json.loads(tslrec("similar", cycle, "i3", "i5", "--run", tmp_path / "run", "-k", 2, "--json").stdout)
    assert [(entry["item"], len(entry["similar"])) for entry in found] == [("i3", 2), ("i5", 2)]


def test_export_of_embeddings_loads_no_torch(cycle: Path, embed: Path, tmp_path: Path) -> None:
    program = ("import sys, tslrec_min.cli\n"
               f"try: tslrec_min.cli.main(['export', {str(cycle)!r}, {str(embed)!r}, '-o', 'x.npy'])\n"
               "except SystemExit as end: assert not end.code\n"
               "sys.exit('loaded' if 'torch' in sys.modules else 0)")
    subprocess.run([sys.executable, "-P", "-c", program], check=True, cwd=tmp_path)
