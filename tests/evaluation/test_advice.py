from __future__ import annotations

from typing import Any

import pytest

from tslrec_min.evaluation.advice import advice, best_arm, is_better


def report(tests: dict[str, tuple[float, float]]) -> dict[str, Any]:
    """A report on "first" and the arms given: difference from it, and corrected p-value."""
    means = {"first": 0.1} | {arm: 0.1 + difference for arm, (difference, _) in tests.items()}
    comparisons = [{"arm": arm, "metric": "ndcg@10", "group": "all", "difference": difference, "p_holm": p}
                   for arm, (difference, p) in tests.items()]
    misleading = [test | {"metric": metric, "group": group, "difference": -test["difference"], "p_holm": 0.01}
                  for test in comparisons for metric, group in (("hr@10", "all"), ("hr@10", "tail"))]
    return {"split": "test", "arms": {arm: {"filtered": {"ndcg@10": {"mean": mean}}} for arm, mean in means.items()},
            "comparisons": [*misleading, *comparisons]}


def test_the_choice_is_made_by_validation_figures_alone() -> None:
    found = report({"a": (0.02, 0.001), "b": (0.05, 0.001)})
    text = advice(found, {"first": 0.1, "a": 0.3, "b": 0.2})
    assert text == ("Use a: of all arms it has the highest NDCG@10 on validation targets, 0.3000; on test targets "
                    "0.1200. Compared with first (NDCG@10, p < .05). Better: a, b.")


def test_all_arms_are_judged_beside_the_opponent() -> None:
    found = report({"a": (0.02, 0.001), "b": (0.05, 0.05), "c": (-0.05, 0.001), "d": (0.001, 0.9)})
    text = advice(found, {"first": 0.1, "a": 0.1, "b": 0.2, "c": 0.0, "d": 0.0})
    assert text.startswith("Use b: ") and "0.1500. Compared with first (NDCG@10, p < .05). Better: a." in text
    assert text.endswith(" Not told apart by the test: b, d. Worse: c.")


def test_the_opponent_may_be_best() -> None:
    text = advice(report({"a": (-0.02, 0.2)}), {"first": 0.2, "a": 0.1})
    assert text == ("Use first: of all arms it has the highest NDCG@10 on validation targets, 0.2000; on test targets "
                    "0.1000. Compared with first (NDCG@10, p < .05). Not told apart by the test: a.")


def test_arms_that_were_not_tested_are_not_judged() -> None:
    text = advice(report({"a": (0.02, 0.2)}) | {"comparisons": []}, {"first": 0.1, "a": 0.3})
    assert text.endswith("on test targets 0.1200.")


@pytest.mark.parametrize(("validation", "best"), [
    ({"a": 0.2, "first": 0.2, "b": 0.2}, "first"), ({"b": 0.3, "a": 0.3, "first": 0.2}, "b"),
    ({"first": 0.1, "a": 0.1, "b": 0.2}, "b")])
def test_of_equal_arms_the_opponent_is_used_else_the_earliest(validation: dict[str, float], best: str) -> None:
    found = report({"a": (0.0, 1.0), "b": (0.0, 1.0)})
    assert best_arm(found, validation) == best and advice(found, validation).startswith(f"Use {best}: ")


@pytest.mark.parametrize(("difference", "p", "better"), [(0.1, 0.049, True), (0.1, 0.05, False), (0.0, 0.0, False),
                                                         (-0.1, 0.001, False)])
def test_better_is_above_and_significant(difference: float, p: float, better: bool) -> None:
    assert is_better({"difference": difference, "p_holm": p}) is better
