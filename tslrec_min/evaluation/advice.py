"""Which arm to use, in a sentence or two."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LEVEL = 0.05
"""Of the corrected p-value below which an arm counts as better than the first one."""


def advice(report: Mapping[str, Any], validation: Mapping[str, float]) -> str:
    """Name the arm to use, how it compares with the first one, and the arms that are no better than that.

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
    if best in tests:
        test = tests[best]
        verdict = "significantly above" if is_better(test) else "not significantly above"
        text += f", {verdict} {baseline} (p = {test['p_holm']:.4f}, Holm)"
    no_better = [arm for arm in others if arm in tests and not is_better(tests[arm])]
    return text + "." + (f" No better than {baseline}: {', '.join(no_better)}." if no_better else "")


def best_arm(report: Mapping[str, Any], validation: Mapping[str, float]) -> str:
    """Return the arm of the highest validation NDCG@10; of equal ones the opponent, else the earliest."""
    baseline, *_ = report["arms"]
    return max(validation, key=lambda arm: (validation[arm], arm == baseline))


def is_better(test: Mapping[str, Any]) -> bool:
    """Return whether a comparison of a report finds its arm better than the first one."""
    return bool(test["difference"] > 0 and test["p_holm"] < LEVEL)
