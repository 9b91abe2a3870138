from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tslrec_min.configs import PrepareConfig
from tslrec_min.data.dataset import load_dataset
from tslrec_min.data.prepare import examine, prepare
from tslrec_min.errors import TslrecError

from .factories import write_plain


def test_copies_of_rows_change_nothing_and_are_counted(tmp_path: Path) -> None:
    rows = [f"u{row % 7},i{row % 5},{row // 3}\n" for row in range(70)]
    for name, lines in (("once", rows), ("twice", [*rows, *rows[::2]])):
        (tmp_path / f"{name}.csv").write_text("".join(["user_id,item_id,timestamp\n", *lines]))
    config = PrepareConfig(missing_titles="blank")
    once, twice = (prepare(tmp_path / f"{name}.csv", tmp_path / name, config) for name in ("once", "twice"))
    assert once["duplicates"] == 0 and twice == once | {"duplicates": 35, "raw_interactions": 105}
    kept = prepare(tmp_path / "twice.csv", tmp_path / "kept", replace(config, duplicates="keep"))
    assert kept["interactions"] == kept["raw_interactions"] == 105 and kept["duplicates"] == 0


def test_without_times_a_repeated_item_is_a_repeat(tmp_path: Path) -> None:
    (tmp_path / "sequences.txt").write_text("u1 a a b a\nu2 b a\n")
    found = prepare(tmp_path, tmp_path / "d", PrepareConfig(k_core=0, missing_titles="blank"))
    assert found["interactions"] == 6 and found["duplicates"] == 0


def test_same_input_gives_the_same_artifact_hash(cycle_raw: Path, tmp_path: Path) -> None:
    hashes = set()
    for name in "ab":
        prepare(cycle_raw, tmp_path / name, PrepareConfig())
        hashes.add(load_dataset(tmp_path / name)[1])
    assert len(hashes) == 1


@pytest.mark.parametrize(("name", "users", "items", "interactions"), [
    ("ml-100k", 943, 1349, 99287), ("ml-1m", 6040, 3416, 999611), ("amazon-beauty", 22363, 12101, 198502)])
def test_real_data_has_the_published_size(real_data: Path, tmp_path: Path, name: str, users: int, items: int,
                                          interactions: int) -> None:
    summary = prepare(real_data / name, tmp_path / "d", PrepareConfig())
    assert (summary["users"], summary["items"], summary["interactions"]) == (users, items, interactions)


def test_time_window(tmp_path: Path) -> None:
    raw = write_plain(tmp_path / "raw")
    whole = examine(raw, PrepareConfig())
    assert (whole["first_time"], whole["last_time"]) == (1_000_000_000, 1_000_199_000)
    window = PrepareConfig(from_time="1000010000", until_time="2001-09-09T02:00:00")  # 1,000,000,800
    with pytest.raises(TslrecError, match="exchange --from-time and --until-time"):
        examine(raw, window)
    found = examine(raw, replace(window, until_time="2001-09-11"))  # 1,000,166,400
    assert (found["first_time"], found["last_time"]) == (1_000_010_000, 1_000_166_000)
    assert found["outside_time_window"] == 200 - 157 and found["interactions"] == 157
    assert found["raw_interactions"] == 200 and found["below_k_core"] == 0
    both = examine(raw, replace(window, until_time="", min_rating=1))
    assert (both["below_min_rating"], both["outside_time_window"], both["interactions"]) == (50, 7, 143)
    for wrong in ("yesterday", "nan", "1e400"):
        with pytest.raises(TslrecError, match="--from-time: time"):
            examine(raw, PrepareConfig(from_time=wrong))
    with pytest.raises(TslrecError, match="need a column of times"):
        examine(raw, PrepareConfig(time_column="", from_time="1"))


def test_examining_writes_nothing_and_says_what_preparing_does(tmp_path: Path) -> None:
    raw = write_plain(tmp_path / "raw")
    before = sorted(tmp_path.rglob("*"))
    config = PrepareConfig(min_rating=1, cold_items=0.2, split="temporal", validation_share=0.2, test_share=0.2)
    found = examine(raw, config)
    assert sorted(tmp_path.rglob("*")) == before
    assert found == prepare(raw, tmp_path / "d", config) == json.loads((tmp_path / "d" / "dataset.json").read_text())
    lengths = np.diff(load_dataset(tmp_path / "d")[0].histories.indptr)
    assert found["median_length"] == np.median(lengths) and found["mean_length"] == pytest.approx(lengths.mean())
