"""Which arm to use, in a sentence or two."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LEVEL = 0.05
"""Of the corrected p-value below which an arm counts as better than the first one."""
_VERDICTS = {"better": "Better", "no better": "Not told apart by the test", "worse": "Worse"}
"""Results of `judged`, and how `advice` says them."""


def advice(report: Mapping[str, Any], validation: Mapping[str, float]) -> str:
    """Name the arm to use, and how all arms compare with the first one.

    Args:
        report: what `evaluate` returns; its first arm is the opponent.
        validation: every arm's validation NDCG@10. The choice is made by it, never by the figures of the report.
    """
    baseline, *_ = report["arms"]
    best = best_arm(report, validation)
    figure = report["arms"][best]["filtered"]["ndcg@10"]["mean"]
    sentences = [f"Use {best}: of all arms it has the highest NDCG@10 on validation targets, {validation[best]:.4f}; "
                 f"on {report['split']} targets {figure:.4f}."]
    verdicts = judged(report)
    if verdicts:
        sentences.append(f"Compared with {baseline} (NDCG@10, p < .05).")
    for verdict, text in _VERDICTS.items():
        if arms := [arm for arm, of_arm in verdicts.items() if of_arm == verdict]:
            sentences.append(f"{text}: {', '.join(arms)}.")
    return " ".join(sentences)


def best_arm(report: Mapping[str, Any], validation: Mapping[str, float]) -> str:
    """Return the arm of the highest validation NDCG@10; of equal ones the opponent, else the earliest."""
    baseline, *_ = report["arms"]
    return max(validation, key=lambda arm: (validation[arm], arm == baseline))


def deciding_tests(report: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return every tested arm -> the comparison with the first one by which it is judged."""
    return {test["arm"]: test for test in report["comparisons"]
            if (test["metric"], test["group"]) == ("ndcg@10", "all")}


def judged(report: Mapping[str, Any]) -> dict[str, str]:
    """Return every tested arm -> whether it is ``better`` than the first one, ``no better``, or ``worse``."""
    return {arm: "better" if is_better(test) else "worse" if test["p_holm"] < LEVEL else "no better"
            for arm, test in deciding_tests(report).items()}


def is_better(test: Mapping[str, Any]) -> bool:
    """Return whether a comparison of a report finds its arm better than the first one."""
    return bool(test["difference"] > 0 and test["p_holm"] < LEVEL)
