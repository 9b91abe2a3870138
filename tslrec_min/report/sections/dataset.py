"""The data set: its size, split and shape."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...data.dataset import SPLITS
from ..collect import Run
from ..figures import histogram
from ..text import hash_code


def dataset(run: Run, name: str) -> dict[str, Any] | None:
    """Return the section on the data set, or None without one."""
    data, summary = run.dataset, run.file("dataset", "dataset.json")
    if data is None:
        return None
    rows = [["users", f"{summary['users']:,}"], ["items", f"{summary['items']:,}"],
            ["interactions", f"{summary['interactions']:,}"], ["density", f"{summary['density']:.4%}"],
            ["interactions a user, mean", f"{summary['mean_length']:.1f}"],
            ["interactions an item, mean", f"{summary['interactions'] / summary['items']:.1f}"],
            ["items without a title", f"{summary['blank_titles']:,}"]]
    rows += [[f"users with a {split} target", f"{len(data.evaluation(split).users):,}"] for split in SPLITS]
    if "k_core" in summary:
        rows.append(["k of the k-core", str(summary["k_core"])])
    if data.cold:
        rows += [["cold items", f"{summary['cold_items']:,}"],
                 ["users with a cold target", f"{summary['cold_users']:,}"]]
    rows.append(["split hash", hash_code(summary["split_hash"])])
    lengths = data.histories.lengths
    popularity = np.bincount(data.histories.items, minlength=data.n_items + 1)[1:]
    return {"temporal": data.cuts is not None, "rows": rows, "length_spread": _spread(lengths),
            "popularity_spread": _spread(popularity), "top_tenth": _share_of_top_tenth(popularity),
            "lengths": histogram(f"{name}-lengths", "Histogram of the lengths of the users' histories", lengths,
                                 "items in the history", "users"),
            "popularity": histogram(f"{name}-popularity", "Histogram of the popularity of items", popularity,
                                    "interactions with the item", "items")}


def _spread(values: np.ndarray) -> str:
    least, low, middle, high, most = np.quantile(values, [0, 0.25, 0.5, 0.75, 1])
    return f"{least:,.0f} to {most:,.0f}, median {middle:,.0f}, the middle half {low:,.0f} to {high:,.0f}"


def _share_of_top_tenth(popularity: np.ndarray) -> float:
    top = np.sort(popularity)[::-1][:max(1, round(len(popularity) / 10))]
    return float(top.sum() / max(1, popularity.sum()))
