from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest

from tslrec_min.data.csr import offsets
from tslrec_min.recommenders.fusion.candidates import Candidates
from tslrec_min.recommenders.fusion.fit import _PENALTY, Features, as_weights, cross_validated, fitted

N_ITEMS = 50


def features_of(n_users: int = 60, n_parts: int = 2, seed: int = 0, hidden: float = 0.2, empty: bool = True
                ) -> Features:
    """Users with 0 to 15 candidates; the first part is good at the target, the others know nothing."""
    random = np.random.default_rng(seed)
    lengths = random.integers(0 if empty else 2, 16, n_users)
    indptr = offsets(lengths)
    items = np.concatenate([np.sort(random.permutation(N_ITEMS)[:length]) + 1 for length in lengths]).astype(np.int32)
    scores = random.normal(size=(len(items), n_parts)).astype(np.float32)
    target = np.full(n_users, -1)
    for user in range(n_users):
        if lengths[user] and random.random() > hidden:
            target[user] = indptr[user] + random.integers(lengths[user])
            scores[target[user], 0] += 1.5
    return Features.of(Candidates(indptr, items, scores, target), random.integers(0, 40, N_ITEMS + 1))


def loss_of(features: Features, numbers: np.ndarray) -> float:
    """The mean negative log-likelihood of the targets, with the penalty, from the definition."""
    known, scale = features.target >= 0, features.values[used_entries(features)].astype(np.float64).std(axis=0)
    losses = []
    for user in np.flatnonzero(known):
        scores = features.values[features.indptr[user]:features.indptr[user + 1]].astype(np.float64) @ numbers
        own = float(features.values[features.target[user]].astype(np.float64) @ numbers)
        losses.append(np.log(np.exp(scores - own).sum()))
    return float(np.mean(losses) + _PENALTY / 2 * ((numbers * scale) ** 2).sum())


def used_entries(features: Features) -> np.ndarray:
    return np.repeat(features.target >= 0, np.diff(features.indptr))


def test_features_are_the_scores_the_same_by_frequency_and_the_frequency() -> None:
    candidates = Candidates(offsets([2, 1]), np.array([1, 3, 2], np.int32),
                            np.array([[1, 2], [3, 4], [5, 6]], np.float32), np.array([1, -1]))
    features = Features.of(candidates, np.array([0, 0, 1, 7]))
    log2 = np.log(2)
    np.testing.assert_allclose(features.values, [[1, 2, 0, 0, 0], [3, 4, 9 * log2, 12 * log2, 3 * log2],
                                                 [5, 6, 5 * log2, 6 * log2, log2]], rtol=1e-6)
    assert features.without(0).values.tolist() == features.values[:, [1, 3, 4]].tolist()
    weights = as_weights(np.array([1.0, 2, 3, 4, 5]))
    np.testing.assert_allclose(
        features.values @ [1.0, 2, 3, 4, 5],
        (weights.of_items(np.array([0, 7, 1])) * candidates.scores.T).sum(axis=0) + weights.bias(np.array([0, 7, 1])),
        rtol=1e-5)


def test_figures_are_those_of_a_count() -> None:
    features = features_of(80)
    scores = np.round(features.values[:, 0] * 2)  # ties
    found = features.ndcg(scores)
    for user, target in enumerate(features.target):
        expected = 0.0
        if target >= 0:
            others = scores[features.indptr[user]:features.indptr[user + 1]]
            rank = (others > scores[target]).sum() + ((others == scores[target]).sum() - 1) / 2
            expected = 1 / np.log2(rank + 2) if rank < 10 else 0
        assert found[user] == pytest.approx(expected)
    assert 0 < found.mean() < 1 and (found[features.target < 0] == 0).all()


def test_some_users_keep_their_candidates_and_targets() -> None:
    features, users = features_of(30), np.array([7, 0, 29, 7])
    part, whole = features.take(users), features.ndcg(features.values[:, 0])
    assert part.ndcg(part.values[:, 0]).tolist() == whole[users].tolist()
    nobody = features.take(users[:0])
    assert len(nobody.target) == len(nobody.values) == len(nobody.ndcg(nobody.values[:, 0])) == 0


@pytest.mark.parametrize("n_parts", [1, 2, 3])
def test_the_likeliest_weights_have_no_gradient(n_parts: int) -> None:
    features = features_of(n_parts=n_parts)
    best = fitted(features)
    for place in range(len(best)):
        step = np.zeros(len(best))
        step[place] = 1e-4
        assert abs(loss_of(features, best + step) - loss_of(features, best - step)) / 2e-4 < 1e-4


def test_no_weights_near_the_likeliest_are_likelier() -> None:
    features = features_of(20, n_parts=1)
    best = fitted(features)
    lowest = loss_of(features, best)
    for move in itertools.product((-0.3, -0.05, 0, 0.05, 0.3), repeat=3):
        assert loss_of(features, best + move) >= lowest - 1e-9


def test_features_that_are_the_same_everywhere_get_no_weight() -> None:
    features = features_of()
    constant = Features(features.indptr, features.target, features.values.copy())
    constant.values[:, 4] = np.float32(0.1)  # all items occur as often
    found = fitted(constant)
    assert found[4] == 0 and np.isfinite(found).all() and found[0] > 0.3
    alike = Features(features.indptr, features.target, np.full_like(features.values, 0.7))
    assert fitted(alike).tolist() == [0] * 5


def test_the_good_part_gets_the_weight() -> None:
    features = features_of(400, n_parts=2, hidden=0.0)
    weights, by_user = as_weights(fitted(features)), cross_validated(features)
    assert weights.of_items(np.array([10]))[0, 0] > 5 * abs(weights.of_items(np.array([10]))[1, 0])
    alone = [features.ndcg(features.values[:, part]).mean() for part in range(2)]
    assert by_user.mean() > alone[1] + 0.1 and by_user.mean() > alone[0] - 0.05


def test_a_user_is_judged_by_weights_of_the_other_half() -> None:
    """Of the even users the target is the best of part 0, of the odd ones the worst: each half is wrong on the other.
    """
    n_users, length = 40, 12
    scores = np.tile(np.arange(length, dtype=np.float32), n_users)[:, None]
    target = np.arange(n_users) * length + np.where(np.arange(n_users) % 2 == 0, length - 1, 0)
    candidates = Candidates(offsets([length] * n_users), np.tile(np.arange(1, length + 1, dtype=np.int32), n_users),
                            scores, target)
    by_user = cross_validated(Features.of(candidates, np.full(length + 1, 3)))
    assert (by_user == 0).all()


@pytest.mark.parametrize("n_users", [1, 2, 3])
def test_few_users_and_none_with_a_target_among_the_candidates(n_users: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for hidden in (0.0, 1.1):
            features = features_of(n_users, hidden=hidden, empty=False)
            numbers, by_user = fitted(features), cross_validated(features)
            assert np.isfinite(numbers).all() and numbers.shape == (5,) and by_user.shape == (n_users,)
            if hidden:
                assert numbers[0] == numbers[1] > 0 and not numbers[2:].any() and not by_user.any()
