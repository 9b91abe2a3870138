"""What several test files build or ask alike."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from tslrec_min.data.build import build_dataset
from tslrec_min.data.dataset import Dataset
from tslrec_min.data.raw.titles import RawItems
from tslrec_min.errors import TslrecError

from ..factories import raw_interactions

ITEMS = "abcdefgh"
TEXTS = RawItems({item: f"title {item}" for item in ITEMS})
Row = tuple[str, str, int]


def write_plain(folder: Path, packed: bool = False) -> Path:
    rows = [f"u{row % 7},i{row % 5},{row % 4},{1_000_000_000 + 1000 * row}\n" for row in range(200)]
    text = "user_id,item_id,rating,timestamp\n" + "".join(rows)
    folder.mkdir(parents=True)
    name = "interactions.csv.gz" if packed else "interactions.csv"
    (folder / name).write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    (folder / "items.tsv").write_text("item_id\ttitle\n" + "".join(f"i{item}\tTitle {item}\n" for item in range(5)))
    return folder


def random_rows(seed: int) -> list[Row]:
    """Draw 5 to 80 interactions of 5 users with 8 items at 3 to 40 times."""
    random = np.random.default_rng(seed)
    latest = random.integers(3, 40)
    return [(f"u{random.integers(5)}", ITEMS[random.integers(8)], int(random.integers(latest)))
            for _ in range(random.integers(5, 80))]


INTERACTIONS = st.integers(0, 2**32).map(random_rows)


def split_of(rows: Sequence[Row], k_core: int = 1, shares: tuple[float, float] = (0.25, 0.25)) -> Dataset:
    try:
        return build_dataset(raw_interactions(*zip(*rows, strict=True)), TEXTS, k_core=k_core, shares=shares)
    except TslrecError as error:
        assume("too many are equal" not in str(error) and "lower --k-core" not in str(error))
        raise


def named(dataset: Dataset, histories: object) -> dict[str, list[str]]:
    return {user_id: [dataset.item_ids[item - 1] for item in histories.of(user).tolist()]  # type: ignore[attr-defined]
            for user, user_id in enumerate(dataset.user_ids)}
