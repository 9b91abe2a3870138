"""The weights of a sum: first by likelihood, then by NDCG@10, on validation targets.

The first step is a conditional logit (McFadden 1974): the probability of a user's target among the candidates is the
softmax of the sum. It is convex, so it needs no starting point. The second step moves one number at a time as long as
NDCG@10 rises (coordinate ascent on the metric itself, as in Metzler and Croft, "Linear feature-based models for
information retrieval", 2007), since likelihood also cares for ranks far below the tenth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...data.csr import offsets, owners, ranges
from .candidates import Candidates
from .scorer import Weights

_PENALTY = 1e-2
"""Of the squared numbers, for features of deviation 1."""
_STEPS = (0.3, 0.1)
"""Of a number's size, in the order of the rounds."""
_LEAST_MOVE = 0.02
_ROUNDS = 3
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


def fitted(features: Features) -> tuple[np.ndarray, np.ndarray]:
    """Fit the weights on halves of the users, and take the mean: what one half alone suggests weighs less.

    Returns:
        The weights of the features, float64 [2P+1]; and every user's NDCG@10, float64 [E], by the weights of the other
        half, which have not seen the user.
    """
    fold = np.arange(len(features.target)) % _FOLDS
    values, numbers = np.empty(len(fold)), []
    for held_out in range(_FOLDS):
        others, own = features.take(np.flatnonzero(fold != held_out)), features.take(np.flatnonzero(fold == held_out))
        found = _ascended(others, _likeliest(others))
        values[fold == held_out] = own.ndcg(own.values @ found)
        numbers.append(found / max(np.abs(found).sum(), 1e-30))
    return np.mean(numbers, axis=0), values


def as_weights(numbers: np.ndarray) -> Weights:
    """Return the weights of the features, float64 [2P+1], as those of the P parts."""
    n_parts = len(numbers) // 2
    return Weights(numbers[:n_parts], numbers[n_parts:2 * n_parts], float(numbers[-1]))


def _likeliest(features: Features) -> np.ndarray:
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


def _ascended(features: Features, numbers: np.ndarray) -> np.ndarray:
    """Move one number at a time while the mean NDCG@10 rises."""
    if not len(features.target):
        return numbers
    numbers, sizes = numbers.copy(), np.abs(numbers) + _LEAST_MOVE
    scores = features.values @ numbers
    best = features.ndcg(scores).mean()
    for step in _STEPS:
        for _ in range(_ROUNDS):
            before = best
            for place, size in enumerate(sizes):
                for move in (step * size, -step * size):
                    moved = scores + move * features.values[:, place]
                    if (value := features.ndcg(moved).mean()) > best:
                        best, scores = value, moved
                        numbers[place] += move
                        break
            if best - before < 1e-5:
                break
    return numbers
