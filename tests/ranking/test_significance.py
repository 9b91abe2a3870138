from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from tslrec_min.ranking import significance
from tslrec_min.ranking.significance import holm, paired_bootstrap, paired_permutation_test, stars


@pytest.fixture(params=["few distinct differences", "all distinct"])
def runs(request):
    """Two runs of 200 users: graded values with many equal differences, as HR and NDCG have them, or with none."""
    rng = np.random.default_rng(0)
    b = rng.choice([0, 0, 0, 0.3, 0.5, 1.0], size=200)
    a = np.where(rng.random(200) < 0.2, rng.choice([0, 0.5, 0.63, 1.0], size=200), b)
    return a + (rng.normal(scale=0.01, size=200) if request.param == "all distinct" else 0), b


def test_permutation_test_agrees_with_all_sign_flips():
    a, b = np.array([0.9, 0.5, 0.4, 0.8, 0.2, 0.7, 0.7, 1.0]), np.array([0.1, 0.5, 0.5, 0.3, 0.2, 0.1, 0.4, 0.5])
    sums = [np.dot(signs, a - b) for signs in itertools.product([-1, 1], repeat=8)]
    exact = np.mean(np.abs(sums) >= abs((a - b).sum()) - 1e-9)
    result = paired_permutation_test(a, b, n_resamples=100_000)
    assert result.mean_difference == pytest.approx(np.mean(a - b))
    assert result.p_value == pytest.approx(exact, abs=5 * np.sqrt(exact / 100_000))


def test_permutation_test_agrees_with_scipy(runs):
    a, b = runs
    theirs = stats.permutation_test((a, b), lambda x, y, axis: np.mean(x - y, axis=axis), vectorized=True,
                                    permutation_type="samples", n_resamples=10_000, random_state=1)
    ours = paired_permutation_test(a, b)
    assert 0.005 < theirs.pvalue < 0.9
    assert ours.p_value == pytest.approx(theirs.pvalue, abs=5 * np.sqrt(2 * theirs.pvalue / 10_000))
    assert ours.mean_difference == pytest.approx(theirs.statistic)


def test_bootstrap_agrees_with_scipy_and_the_normal_law(runs):
    a, b = runs
    theirs = stats.bootstrap((a - b,), np.mean, n_resamples=10_000, method="percentile", random_state=1)
    ours = paired_bootstrap(a, b)
    spread = np.std(a - b) / np.sqrt(len(a))
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.1 * spread)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.1 * spread)
    assert ours.low < ours.mean_difference < ours.high
    assert ours.p_value == pytest.approx(2 * stats.norm.sf(abs(np.mean(a - b)) / spread), abs=0.02)


def test_a_clear_and_a_missing_difference():
    rng = np.random.default_rng(2)
    b = rng.random(300)
    for test in (paired_permutation_test, paired_bootstrap):
        assert test(b + 0.1, b, n_resamples=999).p_value == pytest.approx(0.001)  # never 0
        assert test(b, b, n_resamples=999).p_value == 1
        noise = rng.normal(size=300)
        assert test(b + noise - noise.mean(), b, n_resamples=999).p_value > 0.9
    same = paired_bootstrap(b, b)
    assert (same.mean_difference, same.low, same.high) == (0, 0, 0)


@pytest.mark.parametrize("test", [paired_permutation_test, paired_bootstrap])
def test_true_hypotheses_are_rejected_as_often_as_stated(test):
    rng = np.random.default_rng(3)
    p_values = [test(rng.choice([0, 0.5, 1], 60), rng.choice([0, 0.5, 1], 60), n_resamples=199).p_value
                for _ in range(400)]
    assert 0.05 == pytest.approx(np.mean(np.array(p_values) <= 0.05), abs=5 * np.sqrt(0.05 * 0.95 / 400))


def test_symmetry_seed_and_order(runs):
    a, b = runs
    order = np.random.default_rng(4).permutation(len(a))
    for test in (paired_permutation_test, paired_bootstrap):
        result = test(a, b, seed=5)
        assert test(a, b, seed=5) == result and test(a, b, seed=6) != result
        assert test(a[order], b[order], seed=5) == result
        assert test(b, a).mean_difference == pytest.approx(-result.mean_difference)
    assert paired_permutation_test(b, a, seed=5).p_value == paired_permutation_test(a, b, seed=5).p_value


def test_chunks_bound_the_memory(monkeypatch):
    rng = np.random.default_rng(6)
    a, b = rng.random(50), rng.random(50)  # 50 distinct differences
    expected = {test: test(a, b, n_resamples=4010).p_value for test in (paired_permutation_test, paired_bootstrap)}
    monkeypatch.setattr(significance, "_CHUNK_NUMBERS", 1000)
    sizes = []
    significance._resample(lambda rng, n_draws: sizes.append(n_draws) or np.zeros(n_draws), 50, 4010, 0)
    assert sizes == [20] * 200 + [10]
    for test, p_value in expected.items():
        assert test(a, b, n_resamples=4010).p_value == pytest.approx(p_value, abs=0.05)


@pytest.mark.parametrize("test", [paired_permutation_test, paired_bootstrap])
@pytest.mark.parametrize("a, b, message", [
    ([1.0, 2.0], [1.0], "expected one value for each user"), ([], [], "at least one user"),
    ([[1.0]], [[1.0]], "expected one value for each user"), ([1.0, np.nan], [1.0, 0.0], "user 1 aren't finite"),
    ([1.0, 2.0], [np.inf, 0.0], "user 0 aren't finite"),
])
def test_wrong_values_are_refused(test, a, b, message):
    with pytest.raises(ValueError, match=message):
        test(a, b)


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match="n_resamples is 0"):
        paired_permutation_test([1.0], [0.0], n_resamples=0)


def test_holm_on_known_values():
    # R 4: p.adjust(p, "holm")
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.01, 0.02, 0.03, 0.04]) == pytest.approx([0.04, 0.06, 0.06, 0.06])
    assert holm([0.6, 0.5, 0.001]) == pytest.approx([1, 1, 0.003])
    assert holm([0.2]) == pytest.approx([0.2]) and holm([]).shape == (0,)


def test_holm_rejects_what_the_step_down_procedure_rejects():
    rng = np.random.default_rng(7)
    for n_tests in (1, 2, 5, 12):
        p_values = np.round(rng.random(n_tests) ** 3, 2)  # with equal ones
        corrected = holm(p_values)
        for level in np.linspace(0.0005, 0.9995, 1000):
            rejected, left = set(), sorted(range(n_tests), key=lambda test: p_values[test])
            while left and p_values[left[0]] <= level / len(left):
                rejected.add(left.pop(0))
            assert {test for test in range(n_tests) if corrected[test] <= level} == rejected


@pytest.mark.parametrize("p_values", [[0.5, np.nan], [-0.1], [1.1], [[0.5]]])
def test_wrong_p_values_are_refused(p_values):
    with pytest.raises(ValueError, match="expected a list of numbers from 0 to 1"):
        holm(p_values)


def test_stars() -> None:
    assert [stars(p) for p in (0.05, 0.049, 0.01, 0.0099, 0.001, 0.00099)] == ["", "*", "*", "**", "**", "***"]
