"""The section on the data set."""

from __future__ import annotations

import numpy as np

from ..data.dataset import SPLITS
from .collect import Run
from .figures import histogram
from .markup import Content, Html, element, hash_code, paragraph, table

_LEAVE_ONE_OUT = ("Leave-one-out: of every history of at least three items the last is the test target, the one "
                  "before it the validation target, the rest is for training.")
_TEMPORAL = ("Temporal split: two times cut all histories alike. What is before the first is for training; a user's "
             "last interaction between the two is the validation target, the last one from the second on the test "
             "target.")


def content(run: Run, name: str) -> Html | None:
    """Return the section on the data set, or None without one."""
    dataset, summary = run.dataset, run.file("dataset", "dataset.json")
    if dataset is None:
        return None
    rows: list[list[Content]] = [
        ["users", f"{summary['users']:,}"], ["items", f"{summary['items']:,}"],
        ["interactions", f"{summary['interactions']:,}"], ["density", f"{summary['density']:.4%}"],
        ["interactions a user, mean", f"{summary['mean_length']:.1f}"],
        ["interactions an item, mean", f"{summary['interactions'] / summary['items']:.1f}"],
        ["items without a title", f"{summary['blank_titles']:,}"]]
    rows += [[f"users with a {split} target", f"{len(dataset.evaluation(split).users):,}"] for split in SPLITS]
    if "k_core" in summary:
        rows.append(["k of the k-core", str(summary["k_core"])])
    if dataset.cold:
        rows += [["cold items", f"{summary['cold_items']:,}"],
                 ["users with a cold target", f"{summary['cold_users']:,}"]]
    rows.append(["split hash", hash_code(summary["split_hash"])])
    lengths = np.diff(dataset.histories.indptr)
    popularity = np.bincount(dataset.histories.items, minlength=dataset.n_items + 1)[1:]
    pictures = [
        element("figure", histogram(f"{name}-lengths", "Histogram of the lengths of the users' histories", lengths,
                                    "items in the history", "users"),
                element("figcaption", f"Lengths of histories: {_spread(lengths)}.")),
        element("figure", histogram(f"{name}-popularity", "Histogram of the popularity of items", popularity,
                                    "interactions with the item", "items"),
                element("figcaption", f"Popularity of items: {_spread(popularity)}; the most popular tenth has "
                                      f"{_share_of_top_tenth(popularity):.0%} of the interactions."))]
    return Html(paragraph(_LEAVE_ONE_OUT if dataset.cuts is None else _TEMPORAL, " The split hash is equal exactly if "
                          "every user's ordered history and its parts are.")
                + table("The data set", ["", "figure"], rows) + element("div", pictures, class_="figures"))


def _spread(values: np.ndarray) -> str:
    least, low, middle, high, most = np.quantile(values, [0, 0.25, 0.5, 0.75, 1])
    return f"{least:,.0f} to {most:,.0f}, median {middle:,.0f}, the middle half {low:,.0f} to {high:,.0f}"


def _share_of_top_tenth(popularity: np.ndarray) -> float:
    top = np.sort(popularity)[::-1][:max(1, round(len(popularity) / 10))]
    return float(top.sum() / max(1, popularity.sum()))
