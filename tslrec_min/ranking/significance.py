"""Is run A better than run B? Paired tests of one metric over users, and Holm's correction.

Both tests are described for ranked retrieval by Smucker, Allan and Carterette, "A Comparison of Statistical
Significance Tests for Information Retrieval Evaluation", CIKM 2007. Users whose values differ by the same amount
are drawn together: the sum of m random signs is binomial, a resample of the users is multinomial. The distributions
are exactly those of drawing user by user, at a cost that grows with the number of *distinct* differences (for HR and
NDCG of untied ranks: dozens, for any number of users). If most differences are distinct, as for MRR, users are drawn
one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..runtime.validation import whole_number

FloatArray = NDArray[np.float64]

_TAIL = (1 - 0.95) / 2
"""Fraction of the resamples on each side of the interval of `paired_bootstrap`."""
_CHUNK_NUMBERS = 1 << 20
"""Random numbers held at a time: 8 MiB an array."""
_GROUPING_GAIN = 8
"""Drawing a group costs about as much as drawing this many users one by one (measured)."""


@dataclass(frozen=True)
class PairedTest:
    """Result of a paired test."""

    mean_difference: float
    """Mean of a - b."""
    p_value: float
    """Two-sided, never 0."""


@dataclass(frozen=True)
class BootstrapTest(PairedTest):
    """Result of `paired_bootstrap`."""

    low: float
    """Lower end of the 95% interval of the mean difference."""
    high: float
    """Its upper end."""


def paired_permutation_test(a: ArrayLike, b: ArrayLike, *, n_resamples: int = 10000, seed: int = 0) -> PairedTest:
    """Test whether the mean of a - b is 0: under the null hypothesis each user's difference has a random sign.

    p = (1 + #{|mean of flipped| >= |mean|}) / (1 + n_resamples), as Phipson and Smyth, "Permutation P-values Should
    Never Be Zero", Statistical Applications in Genetics and Molecular Biology 9(1), 2010.

    Args:
        a: float [B], a metric of every user in one run.
        b: float [B], the same users in another run.
        n_resamples: random draws; the smallest possible p is 1 / (1 + n_resamples).
        seed: of the draws.
    """
    differences = _differences(a, b)
    magnitudes = np.sort(np.abs(differences))
    sizes, counts = np.unique(magnitudes, return_counts=True)
    grouped = len(sizes) * _GROUPING_GAIN <= len(differences)

    def flipped_sums(rng: np.random.Generator, n_draws: int) -> FloatArray:
        if grouped:
            return (2 * rng.binomial(counts, 0.5, size=(n_draws, len(counts))) - counts) @ sizes
        heads = rng.integers(0, 2, size=(n_draws, len(differences)), dtype=np.int8)
        return np.asarray(2 * (heads @ magnitudes) - magnitudes.sum())

    sums = _resample(flipped_sums, len(sizes) if grouped else len(differences), n_resamples, seed)
    slack = 1e-12 * float(sizes @ counts)  # rounding must not split equal sums
    extreme = int(np.count_nonzero(np.abs(sums) >= abs(differences.sum()) - slack))
    return PairedTest(float(differences.mean()), (1 + extreme) / (1 + n_resamples))


def paired_bootstrap(a: ArrayLike, b: ArrayLike, *, n_resamples: int = 10000, seed: int = 0) -> BootstrapTest:
    """Return the mean of a - b with a 95% percentile interval, and test whether it is 0.

    Users are drawn with replacement (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993: interval of
    section 13.3). The test shifts the resampled means to 0 (section 16.4, as Smucker et al. do) and counts those at
    least as far from 0 as the observed mean. Arguments as for `paired_permutation_test`.
    """
    differences = _differences(a, b)
    values, counts = np.unique(differences, return_counts=True)
    grouped = len(values) * _GROUPING_GAIN <= len(differences)

    def resampled_sums(rng: np.random.Generator, n_draws: int) -> FloatArray:
        if grouped:
            return rng.multinomial(len(differences), counts / len(differences), size=n_draws) @ values
        chosen = rng.integers(0, len(differences), size=(n_draws, len(differences)))
        return np.asarray(differences[chosen].sum(axis=1))

    means = _resample(resampled_sums, len(values) if grouped else len(differences), n_resamples, seed)
    means /= len(differences)
    mean = float(differences.mean())
    low, high = np.quantile(means, [_TAIL, 1 - _TAIL])
    slack = 1e-12 * float(np.abs(values).max())  # rounding must not split equal means
    extreme = int(np.count_nonzero(np.abs(means - mean) >= abs(mean) - slack))
    return BootstrapTest(mean, (1 + extreme) / (1 + n_resamples), float(low), float(high))


def holm(p_values: ArrayLike) -> FloatArray:
    """Adjust the p-values of several tests, [m], to bound the chance of any false rejection; float64 [m], same order.

    Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of Statistics 6(2), 1979: with
    p_(1) <= ... <= p_(m), p_(j) becomes max over i <= j of (m - i + 1) p_(i), at most 1. The tests need not be
    independent.

    Raises:
        ValueError: a value is out of range.
    """
    given = np.asarray(p_values, dtype=np.float64)
    if given.ndim != 1 or not ((given >= 0) & (given <= 1)).all():
        raise ValueError(f"p_values are {given}; expected a list of numbers from 0 to 1")
    order = np.argsort(given, kind="stable")
    corrected = np.empty_like(given)
    corrected[order] = np.minimum(1, np.maximum.accumulate(given[order] * np.arange(len(given), 0, -1)))
    return corrected


def stars(p_value: float) -> str:
    """Return * for p < .05, ** for p < .01 and *** for p < .001."""
    return "*" * sum(p_value < level for level in (0.05, 0.01, 0.001))


def _differences(a: ArrayLike, b: ArrayLike) -> FloatArray:
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.ndim != 1 or first.shape != second.shape or not first.size:
        raise ValueError(f"a has shape {first.shape} and b {second.shape}; expected one value for each user, for the "
                         "same users in the same order, and at least one user")
    differences = first - second
    if not np.isfinite(differences).all():
        raise ValueError(f"the values of user {int(np.argmin(np.isfinite(differences)))} aren't finite; expected "
                         "metrics without NaN and infinity")
    return np.sort(differences)  # so that the order of the users changes nothing


def _resample(draw_sums: Callable[[np.random.Generator, int], FloatArray], width: int, n_resamples: int,
              seed: int) -> FloatArray:
    """Return `n_resamples` sums, drawn in chunks to bound the memory; a sum takes `width` random numbers."""
    n_resamples = whole_number("n_resamples", n_resamples, 1)
    rng = np.random.default_rng(whole_number("seed", seed, 0, 2**64 - 1))
    chunk = max(1, _CHUNK_NUMBERS // width)
    return np.concatenate([draw_sums(rng, min(chunk, n_resamples - start))
                           for start in range(0, n_resamples, chunk)])
