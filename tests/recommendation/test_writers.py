from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from tslrec_min.data.dataset import load_dataset
from tslrec_min.errors import TslrecError
from tslrec_min.storage.atomic import output_files

from .factories import rows_of, tslrec


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
