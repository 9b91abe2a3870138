"""Which arm to use, in a sentence or two."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LEVEL = 0.05
"""Of the corrected p-value below which an arm counts as better than the first one."""


def advice(report: Mapping[str, Any], validation: Mapping[str, float]) -> str:
    """Name the arm to use, and how all arms compare with the first one.

    Args:
        report: what `evaluate` returns; its first arm is the opponent.
        validation: every arm's validation NDCG@10. The choice is made by it, never by the figures of the report.
    """
    baseline, *others = report["arms"]
    best = best_arm(report, validation)
    figure = report["arms"][best]["filtered"]["ndcg@10"]["mean"]
    text = f"Use {best}: of all arms it has the highest NDCG@10 on validation targets, {validation[best]:.4f}; "
    text += f"on {report['split']} targets {figure:.4f}"
    tests = {test["arm"]: test for test in report["comparisons"]
             if (test["metric"], test["group"]) == ("ndcg@10", "all")}
    judged = {arm: "Better" if is_better(test) else "Worse" if is_worse(test) else "Not told apart by the test"
              for arm, test in tests.items() if arm in others}
    groups = {verdict: [arm for arm, of_arm in judged.items() if of_arm == verdict]
              for verdict in ("Better", "Not told apart by the test", "Worse")}
    listed = [f"{verdict}: {', '.join(arms)}." for verdict, arms in groups.items() if arms]
    return f"{text}. Compared with {baseline} (NDCG@10, p < .05). {' '.join(listed)}" if listed else f"{text}."


def best_arm(report: Mapping[str, Any], validation: Mapping[str, float]) -> str:
    """Return the arm of the highest validation NDCG@10; of equal ones the opponent, else the earliest."""
    baseline, *_ = report["arms"]
    return max(validation, key=lambda arm: (validation[arm], arm == baseline))


def is_worse(test: Mapping[str, Any]) -> bool:
    """Return whether a comparison of a report finds its arm worse than the first one."""
    return bool(test["difference"] < 0 and test["p_holm"] < LEVEL)


def is_better(test: Mapping[str, Any]) -> bool:
    """Return whether a comparison of a report finds its arm better than the first one."""
    return bool(test["difference"] > 0 and test["p_holm"] < LEVEL)
