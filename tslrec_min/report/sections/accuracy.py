"""How good the arms are: intervals over users, groups of users, longer and shorter lists, cold items."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from ...evaluation.artifact import Results
from ...ranking.metrics import COLD_METRICS, DEFAULT_METRICS, metric_values
from ..collect import Run
from ..drawing import legend
from ..figures import curves, intervals
from ..statistics import RESAMPLES, ArmFigure, arm_figures
from ..text import quoted, short, with_deviation
from .summary import METRICS

_LONGEST_LIST = 100


def accuracy(run: Run, name: str) -> dict[str, Any] | None:
    """Return the section on the stored ranks, or None without an evaluation."""
    results, evaluation = run.results, run.evaluation
    if results is None or evaluation is None:
        return None
    figures = list(arm_figures(results, METRICS))
    ndcg = [figure for figure in figures if figure.metric == "ndcg@10"]
    arms = list(evaluation["arms"])
    first = quoted(arms[0])
    columns = [text for metric in METRICS for text in (metric.upper(), "difference")]
    metrics = [name for name in DEFAULT_METRICS if name in evaluation["arms"][arms[0]]["filtered"]]
    return {
        "evaluation": evaluation, "n_users": len(results.user_ids), "resamples": RESAMPLES, "legend": legend(arms),
        "intervals": intervals(f"{name}-ndcg", "NDCG@10 of every arm with 95% intervals, by group of users", ndcg,
                               lift=False, xlabel="NDCG@10"),
        "differences": None if len(arms) == 1 else intervals(
            f"{name}-lift", f"Difference in NDCG@10 from {first} with 95% intervals, by group", ndcg, lift=True,
            xlabel=f"difference in NDCG@10 from {quoted(arms[0], 30)}"),
        "hits": curves(f"{name}-hits", "HR@k of every arm by the length k of the list",
                       list(enumerate(_hit_rates(results))), "k, length of the list", "HR@k", logarithmic=True),
        "groups": (["users", "arm", "number", *columns], list(_group_rows(figures))),
        "metrics": (["arm", "seen items", *map(str.upper, metrics)], list(_metric_rows(evaluation, metrics))),
        "cold": _cold_rows(evaluation["cold"]) if "cold" in evaluation else None}


def _hit_rates(results: Results) -> list[list[float]]:
    """Return HR@k of every arm for k = 1.._LONGEST_LIST, averaged over runs and users."""
    return [[float(np.mean([metric_values(run, f"hr@{k}").mean() for run in runs]))
             for k in range(1, _LONGEST_LIST + 1)] for runs in results.ranks["filtered"].values()]


def _group_rows(figures: Sequence[ArmFigure]) -> Iterator[list[str]]:
    by_place = {(figure.group, figure.arm, figure.metric): figure for figure in figures}
    for group, arm in dict.fromkeys((figure.group, figure.arm) for figure in figures):
        row = [group, quoted(arm), f"{by_place[group, arm, METRICS[0]].users:,}"]
        for metric in METRICS:
            figure = by_place[group, arm, metric]
            row += [_between(figure.own), _between(figure.lift) if figure.lift else ""]
        yield row


def _between(test: Any) -> Markup:
    return Markup('<span class="mean">{}</span><span class="range"> [{}, {}]</span>').format(
        short(test.mean_difference), short(test.low), short(test.high))


def _metric_rows(evaluation: Mapping[str, Any], metrics: Sequence[str]) -> Iterator[list[str]]:
    for arm, figures in evaluation["arms"].items():
        for kind, protocol in (("filtered", "left out"), ("unfiltered", "kept")):
            yield [quoted(arm), protocol, *(with_deviation(figures[kind][metric]) for metric in metrics)]


def _cold_rows(cold: Mapping[str, Any]) -> dict[str, Any]:
    columns = [(among, metric) for among in ("all", "cold") for metric in COLD_METRICS]
    rows = [[quoted(arm), *("–" if "reason" in figures else with_deviation(figures[among][metric])
                            for among, metric in columns)] for arm, figures in cold["arms"].items()]
    rows += [[label, *(short(cold[order][among][metric]) for among, metric in columns)]
             for label, order in (("by popularity", "popularity"), ("in random order", "random"))]
    return {"users": cold["users"], "items": cold["items"], "rows": rows,
            "header": ["", *(f"{metric.upper()} among {among}" for among, metric in columns)],
            "some_without": any("reason" in figures for figures in cold["arms"].values())}
