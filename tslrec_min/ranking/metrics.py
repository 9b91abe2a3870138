"""Ranking metrics of one relevant item per user, exact under ties.

All follow from two numbers of `Ranks`: `greater` candidates score above the target, `equal` candidates tie with it.
The target is then at each of the places greater + 1 .. greater + equal + 1 with the same probability, and a
metric is its mean over these places: constant scores of N candidates give HR@k = min(k, N) / N. Scoring tied
documents by expectation: McSherry and Najork, "Computing Information Retrieval Performance Measures Efficiently
in the Presence of Tied Scores", ECIR 2008. NDCG: Jarvelin and Kekalainen, ACM TOIS 20(4), 2002, with discount
1 / log2(place + 1); with one relevant item the ideal DCG is 1.
"""

from __future__ import annotations

import re
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..runtime.validation import Int64Array, as_int64, check_length, check_range, whole_number
from .ranks import Ranks

FloatArray = NDArray[np.float64]

DEFAULT_METRICS = ("hr@5", "hr@10", "hr@20", "ndcg@5", "ndcg@10", "ndcg@20", "mrr")
COLD_METRICS = ("hr@10", "ndcg@10", "hr@50")
"""For cold items, with a longer list too: only their texts are known."""


def hit_rate(greater: ArrayLike, equal: ArrayLike, k: int) -> FloatArray:
    """Return the probability that the target is among the first k, float64 [B].

    Args:
        greater: int64 [B], candidates above the target.
        equal: int64 [B], other candidates with the target's score.
        k: length of the list.
    """
    above, beside = _checked(greater, equal)
    return np.clip(whole_number("k", k, 1) - above, 0, beside + 1) / (beside + 1)


def ndcg(greater: ArrayLike, equal: ArrayLike, k: int) -> FloatArray:
    """Return the expected NDCG@k, float64 [B]; arguments as for `hit_rate`."""
    above, beside = _checked(greater, equal)
    last = above + beside + 1
    longest = min(whole_number("k", k, 1), 1 << int(last.max(initial=1)).bit_length())  # a list ends with the catalogue
    gains = _cumulative_discounts(longest)
    return (gains[np.minimum(last, longest)] - gains[np.minimum(above, longest)]) / (beside + 1)


def reciprocal_rank(greater: ArrayLike, equal: ArrayLike) -> FloatArray:
    """Return the expected 1 / place over the whole list, float64 [B]; arguments as for `hit_rate`."""
    above, beside = _checked(greater, equal)
    last = above + beside + 1
    return (_harmonic_numbers(last) - _harmonic_numbers(above)) / (beside + 1)


def metric_values(ranks: Ranks, name: str) -> FloatArray:
    """Return ``hr@K``, ``ndcg@K`` or ``mrr`` for every user, float64 [B].

    Raises:
        ValueError: there is no such metric.
    """
    if name == "mrr":
        return reciprocal_rank(ranks.greater, ranks.equal)
    match = re.fullmatch(r"(hr|ndcg)@([1-9][0-9]{0,8})", name)
    if not match:
        raise ValueError(f"there is no metric {name!r}; expected hr@K, ndcg@K or mrr, for example ndcg@10")
    metric = hit_rate if match[1] == "hr" else ndcg
    return metric(ranks.greater, ranks.equal, int(match[2]))


def _checked(greater: ArrayLike, equal: ArrayLike) -> tuple[Int64Array, Int64Array]:
    above, beside = as_int64("greater", greater), as_int64("equal", equal)
    check_length("equal", beside, len(above), "entry of greater")
    check_range("greater", above, 0, 2**31)
    check_range("equal", beside, 0, 2**31)
    return above, beside


@lru_cache(maxsize=16)
def _cumulative_discounts(k: int) -> FloatArray:
    """Return the DCG of lists whose first 0..k places are relevant, float64 [k + 1]."""
    return np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, k + 2)))])


def _harmonic_numbers(n: Int64Array) -> FloatArray:
    """Return the sums of 1, 1/2 .. 1/n, float64 [B], in memory that doesn't grow with n."""
    table = _cumulative_reciprocals()
    far = np.maximum(n, len(table)).astype(np.float64)
    # The asymptotic expansion: the next term, 1 / (120 n^4), is below the table's rounding error.
    expansion = np.log(far) + np.euler_gamma + 1 / (2 * far) - 1 / (12 * far**2)
    return np.where(n < len(table), table[np.minimum(n, len(table) - 1)], expansion)


@lru_cache(maxsize=1)
def _cumulative_reciprocals() -> FloatArray:
    """Return the harmonic numbers of 0 .. 65535, float64."""
    return np.concatenate([[0.0], np.cumsum(1 / np.arange(1, 1 << 16))])
