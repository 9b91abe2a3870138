"""The weights of a sum: a conditional logit of the validation targets.

The probability of a user's target among the candidates is the softmax of the sum (McFadden, "Conditional logit analysis
of qualitative choice behavior", 1974). Its likelihood has one maximum, which Newton's method finds in a few steps. A
search for the weights of the highest NDCG@10 was no better on other users than these weights, and less stable.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...data.csr import offsets, owners, ranges
from .candidates import Candidates
from .scorer import Weights

_PENALTY = 1e-3
"""Of the squared numbers, for features of deviation 1."""
_FOLDS = 2


@dataclass(frozen=True)
class Features:
    """Candidates with the features whose weighted sum is the score: P scores, these times log(1 + n), log(1 + n)."""

    indptr: np.ndarray
    """int64 [E+1]."""
    target: np.ndarray
    """int64 [E]; -1 for none."""
    values: np.ndarray
    """float32 [N, 2P+1]."""

    @classmethod
    def of(cls, candidates: Candidates, occurrences: np.ndarray) -> Features:
        """Make the features, given the items' training interactions, int64 [I+1]."""
        frequency = np.log1p(occurrences)[candidates.items].astype(np.float32)[:, None]
        return cls(candidates.indptr, candidates.target,
                   np.concatenate([candidates.scores, candidates.scores * frequency, frequency], axis=1))

    def take(self, users: np.ndarray) -> Features:
        """Return those of some users, int64 [E']."""
        lengths = np.diff(self.indptr)[users]
        indptr, target = offsets(lengths), self.target[users]
        moved = np.where(target >= 0, target - self.indptr[users] + indptr[:-1], -1)
        return Features(indptr, moved, self.values[ranges(self.indptr[users], lengths)])

    def without(self, part: int) -> Features:
        """Return those of a sum without one of its parts."""
        n_parts = self.values.shape[1] // 2
        return Features(self.indptr, self.target, np.delete(self.values, [part, n_parts + part], axis=1))

    def ndcg(self, scores: np.ndarray) -> np.ndarray:
        """Return every user's NDCG@10, float64 [E], given the candidates' scores, [N]; ties count half.

        A target that isn't among the candidates counts 0.
        """
        values = np.zeros(len(self.target))
        known = np.flatnonzero(self.target >= 0)
        if len(known):
            owner = owners(np.diff(self.indptr))
            own = np.full(len(self.target), np.inf)
            own[known] = scores[self.target[known]]
            starts = self.indptr[known]  # the entries of users in between, whose own score is infinite, count nothing
            above = np.add.reduceat((scores > own[owner]).astype(np.int32), starts)
            equal = np.add.reduceat((scores == own[owner]).astype(np.int32), starts) - 1
            rank = above + equal / 2
            values[known] = np.where(rank < 10, 1 / np.log2(rank + 2), 0)
        return values


def cross_validated(features: Features) -> np.ndarray:
    """Return every user's NDCG@10, float64 [E], by weights that were fitted on the other half of the users."""
    fold = np.arange(len(features.target)) % _FOLDS
    values = np.empty(len(fold))
    for held_out in range(_FOLDS):
        own = features.take(np.flatnonzero(fold == held_out))
        values[fold == held_out] = own.ndcg(own.values @ fitted(features.take(np.flatnonzero(fold != held_out))))
    return values


def as_weights(numbers: np.ndarray) -> Weights:
    """Return the weights of the features, float64 [2P+1], as those of the P parts."""
    n_parts = len(numbers) // 2
    return Weights(numbers[:n_parts], numbers[n_parts:2 * n_parts], float(numbers[-1]))


def fitted(features: Features) -> np.ndarray:
    """Maximise the penalised likelihood of the targets by Newton's method."""
    known = features.take(np.flatnonzero(features.target >= 0))
    if not len(known.target):
        return np.append(np.ones(known.values.shape[1] // 2), np.zeros(known.values.shape[1] // 2 + 1))
    values = known.values.astype(np.float64)
    values -= values.mean(axis=0)  # the same for all candidates of a user, so it changes no probability
    scale = values.std(axis=0)
    scale = np.where(scale > 1e-6, scale, np.inf)  # a feature that is the same everywhere gets the weight 0
    values /= scale
    starts, owner = known.indptr[:-1], owners(np.diff(known.indptr))
    numbers, n_users = np.zeros(values.shape[1]), len(known.target)

    def loss_of(numbers: np.ndarray) -> tuple[float, np.ndarray]:
        scores = values @ numbers
        scores -= np.maximum.reduceat(scores, starts)[owner]
        chances = np.exp(scores)
        sums = np.add.reduceat(chances, starts)
        loss = (np.log(sums) - scores[known.target]).mean() + _PENALTY / 2 * numbers @ numbers
        return float(loss), chances / sums[owner]

    loss, chances = loss_of(numbers)
    for _ in range(25):
        weighted = values * chances[:, None]
        means = np.add.reduceat(weighted, starts)
        gradient = means.mean(axis=0) - values[known.target].mean(axis=0) + _PENALTY * numbers
        curvature = (weighted.T @ values - means.T @ means) / n_users + _PENALTY * np.eye(len(numbers))
        step, size = np.linalg.solve(curvature, gradient), 1.0
        while (tried := loss_of(numbers - size * step))[0] > loss and size > 1e-4:
            size /= 2
        if (gain := loss - tried[0]) > 0:
            numbers, (loss, chances) = numbers - size * step, tried
        if gain < 1e-9:
            break
    return numbers / scale
