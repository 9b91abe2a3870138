from __future__ import annotations

import itertools
from pathlib import Path

from tslrec_min.bench.references import read_histories
from tslrec_min.bench.synthetic import write_interactions


def test_data_are_the_same_for_a_seed_and_have_structure(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        (tmp_path / name).mkdir()
        write_interactions(tmp_path / name, users=200, items=80, seed=seed)
    texts = [[(tmp_path / name / file).read_text() for file in ("interactions.csv", "items.csv")] for name in "abc"]
    assert texts[0] == texts[1] and texts[0] != texts[2]
    histories = read_histories(tmp_path / "a" / "interactions.csv")
    assert len(histories) == 200 and all(10 <= len(items) <= 24 for items in histories.values())
    pairs = [pair for items in histories.values() for pair in itertools.pairwise(items)]
    followers: dict[str, list[str]] = {}
    for first, second in pairs:
        followers.setdefault(first, []).append(second)
    commonest = sum(max(map(items.count, set(items))) for items in followers.values())
    assert commonest / len(pairs) > 0.6  # one item follows an item most of the time
