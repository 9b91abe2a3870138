from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tslrec_min.configs import PrepareConfig
from tslrec_min.data.csr import offsets
from tslrec_min.data.dataset import load_dataset
from tslrec_min.data.interaction_rows import UserRows
from tslrec_min.data.prepare import examine, prepare
from tslrec_min.data.raw import interactions, tables
from tslrec_min.data.raw import text as reading
from tslrec_min.data.raw.text import text_blocks
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


HEADER = "user_id,item_id,rating,timestamp\n"
AWKWARD = {
    "plain": HEADER + "".join(f"u{row % 7},i{row % 5},{row % 4}.5,{row // 3}\n" for row in range(200)),
    "quoted": HEADER + "".join(f'"u{row % 7}", "i{row % 5}" ,"{row % 4}",{row // 3}\n' for row in range(60)),
    "quoted in part": HEADER + "u,a,1,1\n" * 30 + 'u,"b, c",1,2\nü,"b ""c""",1,2\nu, a ,3,1\n',
    "line breaks in quotes": HEADER + "u,a,1,1\n" + 'u,"a\nb",1,1\nv,"b",2,2\n' * 3 + "\n\n" + "u,a,1,3",
    "unfinished quotes": HEADER + 'u,a,1,1\nu,b,"2,2\n' + "u,a,1,1\n" * 9,
    "carriage returns": (HEADER + "u1,a,1,1\nu2, b\t,2,2\n\nu3,c,3,3\n").replace("\n", "\r\n"),
    "old line ends": (HEADER + "u1,a,1,1\nu2,b,2,2\nu3,c,3\n").replace("\n", "\r"),
    "both line ends": HEADER + "u1,a,1,1\r\nu2,b,2,2\ru3,c,3,3\nu4,,4,4\r\n",
    "white space": HEADER + "u1 ,\u00a0a,1,1\n\u3000u1,a\x1c,1,1\nu 1,a\tb,1,1\nu1,\x85,1,1\n",
    "scripts": HEADER + "".join(f"ü{row % 3},七人の侍{row % 2},{row % 4},{row}\n" for row in range(40)),
    "bad rows": HEADER + "u,a,1\nu,a,1,2,3\n,a,1,1\nu,,1,1\nu,a,one,1\nu,a,1,noon\nu,a,1,nan\nu\0,a,1,1\nu,a,1,5\n" * 3,
    "times": HEADER + "".join(f"u,{item},1,{time}\n" for item, time in enumerate(
        ["1", "1.0", " 2", "-3", "2.5", "007", "1e3", "1970-01-01T00:00:09", "1_0", "9" * 18, "9" * 19, "+4", "-0"])),
    "ratings": HEADER + "".join(f"u,{item},{rating},1\n" for item, rating in enumerate(
        ["3", "2.9999999999999999", "nan", "-3.5", "1e1", "inf", " 3.0", "3.", ".5", "+4", "1_0", "0.1"])),
    "mark": "\ufeff" + HEADER + "u,a,1,1\n",
    "only a header": HEADER,
    "ids": HEADER + "".join(f"{user},{'i' * (row % 40)}{row % 6},1,{row}\n" for row, user in enumerate(
        ["10", "9", "007", "x y", "²", "٣", "a" * 33, "-1", "7"] * 9)),
    "latin-1": HEADER.encode() + b"u,\xe9,1,1\n",
}


def outcome(source: Path, out: Path, config: PrepareConfig) -> object:
    """Return the hashes of all files that are written, or the error."""
    try:
        prepare(source, out, config)
    except TslrecError as error:
        return str(error)
    return json.loads((out / "config.json").read_text())["files"]


def slow_and_general(patch: pytest.MonkeyPatch) -> None:
    """Read and order without the kernels that are tested."""
    def repeated(rows: UserRows) -> np.ndarray:
        if rows.times is None:
            return np.zeros(len(rows.users), bool)
        keys = list(zip(rows.users, rows.items, rows.times, strict=True))
        first = {row: place for place, row in reversed([*enumerate(keys)])}
        return np.array([first[row] != place for place, row in enumerate(keys)], bool)

    def by_user(users: np.ndarray, items: np.ndarray, times: np.ndarray | None, n_users: int) -> UserRows:
        order = np.lexsort((users,) if times is None else (times, users))
        return UserRows(offsets(np.bincount(users, minlength=n_users)), users[order], items[order],
                        None if times is None else times[order])

    patch.setattr(tables, "cut", lambda *arguments, **options: None)
    patch.setattr(tables, "byte_blocks", text_blocks)
    patch.setattr(interactions, "repeated_rows", repeated)
    patch.setattr(interactions, "rows_by_user", by_user)


@pytest.mark.kernel
@pytest.mark.parametrize("name", AWKWARD)
def test_the_fast_way_gives_what_the_general_one_gives(tmp_path: Path, name: str) -> None:
    text = AWKWARD[name]
    file = tmp_path / "r.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    for number, options in enumerate([{}, {"on_bad_row": "skip"}, {"on_bad_row": "skip", "min_rating": 3},
                                      {"on_bad_row": "skip", "time_unit": "ms", "from_time": "0.001"},
                                      {"encoding": "latin-1", "on_bad_row": "skip", "duplicates": "keep"}]):
        config = PrepareConfig(**{"k_core": number % 2 * 2, "missing_titles": "blank"} | options)
        fast = outcome(file, tmp_path / f"fast{number}", config)
        with pytest.MonkeyPatch.context() as patch:
            slow_and_general(patch)
            assert fast == outcome(file, tmp_path / f"slow{number}", config)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(reading, "BLOCK_CHARACTERS", 50)
            patch.setattr(reading, "BLOCK_BYTES", 50)
            patch.setattr(tables, "usable_processors", lambda count=number: count % 3 + 1)
            assert fast == outcome(file, tmp_path / f"blocks{number}", config) or "text (" in str(fast)
