"""Raw formats in, the same interactions out; bad input gives one clear line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tslrec_min.configs import PrepareConfig
from tslrec_min.data.raw import tables
from tslrec_min.data.raw import text as files
from tslrec_min.data.raw.discover import find_source
from tslrec_min.data.raw.readers import read_interactions
from tslrec_min.errors import TslrecError

from .factories import in_words, pairs, read, times, write_csv, write_movielens, write_recbole

EXPECTED = [("u1", "b", 30), ("u2", "a", 10), ("u1", "a", 20)]


@pytest.mark.parametrize("write", [write_recbole, write_csv, write_movielens])
def test_formats_agree(tmp_path: Path, write) -> None:
    raw, titles = read(write(tmp_path))
    assert [(*ids, time) for ids, time in zip(pairs(raw), times(raw), strict=True)] == EXPECTED
    assert titles == {"a": "Amélie", "b": "Heat"}


@pytest.mark.parametrize("write", [write_recbole, write_csv, write_movielens])
def test_min_rating_and_renamed_columns_of_fixed_formats(tmp_path: Path, write) -> None:
    raw, _ = read(write(tmp_path), PrepareConfig(min_rating=4))
    assert pairs(raw) == [("u1", "b"), ("u1", "a")] and raw.below_min_rating == 1


def test_ids_of_interactions_and_items_keep_the_same_spaces(tmp_path: Path) -> None:
    (write_recbole(tmp_path) / "x.inter").write_text("user_id:token\titem_id:token\ttimestamp:float\nu \tb \t1\n")
    (tmp_path / "x.item").write_text("item_id:token\ttitle:token_seq\nb \tSpaced\nb\tOther\n")
    raw, titles = read(tmp_path)
    assert pairs(raw) == [("u ", "b ")] and titles == {"b ": "Spaced", "b": "Other"}


def test_sequences_keep_their_order(tmp_path: Path) -> None:
    (tmp_path / "sequences.txt").write_text("u1 b a b\n\nu2 a\n")
    (tmp_path / "items.tsv").write_text('item_id\ttitle\na\t6" pipe &amp; co\nb\t  Two \u2028 words \n')
    raw, titles = read(tmp_path)
    assert pairs(raw) == [("u1", "b"), ("u1", "a"), ("u1", "b"), ("u2", "a")]
    assert raw.times is None and titles == {"a": '6" pipe & co', "b": "Two words"}


@pytest.mark.parametrize(("text", "message"), [
    ("user_id,item,timestamp\nu,i,1\n", "--item-column item_id.*its columns are user_id, item, timestamp"),
    ("user_id,item_id,timestamp\nu,i\n", "line 2: 2 fields; expected 3"),
    ("user_id,item_id,timestamp\nu,i,noon\n", "line 2: time 'noon'"),
    ("user_id,item_id,timestamp\nu,i,nan\n", "line 2: time 'nan'"),
    (f"user_id,item_id,timestamp\nu,i,{'9' * 5000}\n", "line 2: time '9{79}… does not fit into 64 bits"),
    ("user_id,item_id,timestamp\nu,,3\n", "line 2: the user or item id is empty"),
    ("", "is empty: it has no column"),
])
def test_bad_rows_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "r.csv").write_text(text)
    with pytest.raises(TslrecError, match=message):
        read(tmp_path / "r.csv")


@given(st.lists(st.tuples(st.sampled_from(["u1", "u2", "", "ü"]), st.sampled_from(["a", "b", 'q"q'])), min_size=1,
                max_size=30), st.integers(1, 40), st.sampled_from(["\n", "\r\n", "\r"]))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_nothing_depends_on_the_size_of_blocks(tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]],
                                               size: int, end: str) -> None:
    text = end.join(["user_id,item_id,timestamp", "", *(
        f'{user},"{item.replace(chr(34), chr(34) * 2)}",{time}' if '"' in item else f"{user},{item},{time}"
        for time, (user, item) in enumerate(pairs))]) + end
    file = tmp_path_factory.mktemp("r") / "r.csv"
    file.write_bytes(text.encode())
    config = PrepareConfig(on_bad_row="skip")
    found = []
    for threads, characters in enumerate((files.BLOCK_CHARACTERS, *[size] * 3)):  # 0: Python alone
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(files, "BLOCK_CHARACTERS", characters)
            patch.setattr(files, "BLOCK_BYTES", characters)
            patch.setattr(tables, "usable_processors", lambda count=threads: count)
            if not threads:
                patch.setattr(tables, "cut", lambda *arguments, **options: None)
            raw = read_interactions(find_source(file, None, config), config)
        found.append((in_words(raw), raw.bad_rows))
    assert found[1:] == found[:1] * 3
    assert found[0][0] == [(user, item, time) for time, (user, item) in enumerate(pairs) if user]
    lines = [line for line, (user, _) in enumerate(pairs, 3) if not user]
    assert found[0][1] == ({"user or item id is empty": {"rows": len(lines), "first_lines": lines[:5]}}
                           if lines else {})


def test_memory_does_not_grow_with_text(tmp_path: Path) -> None:
    """A row of reviews takes 16 bytes, however long its text is."""
    import tracemalloc

    rows = "".join(json.dumps({"user_id": f"u{row % 50}", "item_id": f"i{row % 40}", "timestamp": row,
                               "text": "x" * 5000}) + "\n" for row in range(8000))  # 40 MB
    (tmp_path / "interactions.jsonl.gz").write_bytes(gzip.compress(rows.encode(), 1))
    config = PrepareConfig()
    source = find_source(tmp_path, None, config)
    tracemalloc.start()
    raw = read_interactions(source, config)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(raw.users) == 8000 and peak < 12 << 20
