"""How good the arms are: intervals over users, groups of users, longer and shorter lists, cold items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..evaluation.artifact import Results
from ..ranking.metrics import COLD_METRICS, DEFAULT_METRICS, metric_values
from .collect import Run
from .figures import hit_curves, intervals, style
from .markup import Content, Html, bullets, element, paragraph, quoted, short, table
from .statistics import RESAMPLES, ArmFigure, arm_figures
from .summary import METRICS, with_deviation

_LONGEST_LIST = 100


def accuracy(run: Run, name: str) -> Html | None:
    """Return the section on the stored ranks, or None without an evaluation."""
    results, evaluation = run.results, run.evaluation
    if results is None or evaluation is None:
        return None
    found = list(arm_figures(results, METRICS))
    ndcg = [figure for figure in found if figure.metric == "ndcg@10"]
    arms = list(evaluation["arms"])
    pictures = [_figure(intervals(f"{name}-ndcg", "NDCG@10 of every arm with 95% intervals, by group of users", ndcg,
                                  lift=False, xlabel="NDCG@10"), "NDCG@10 with 95% intervals over users.")]
    if len(arms) > 1:
        pictures.append(_figure(
            intervals(f"{name}-lift", f"Difference in NDCG@10 from {quoted(arms[0])} with 95% intervals, by group",
                      ndcg, lift=True, xlabel=f"difference in NDCG@10 from {quoted(arms[0], 30)}"),
            "Difference from the first arm, user by user. Where an interval holds 0 the two can't be told apart; of "
            "many intervals some miss it by chance, which only the p-values of the summary take into account."))
    pictures.append(_figure(hit_curves(f"{name}-hits", "HR@k of every arm by the length k of the list",
                                       _hit_rates(results), _LONGEST_LIST), "HR@k by the length of the list."))
    return Html("".join([
        paragraph(f"{len(results.user_ids):,} users, {evaluation['split']} targets, full ranking, seen items left out. "
                  f"Intervals: percentile bootstrap over users, {RESAMPLES:,} resamples, each user's value averaged "
                  "over the seeds; they say what other users might give, not what other seeds might."),
        legend(arms), element("div", pictures, class_="figures"), _table(found), _group_notes(evaluation),
        _all_metrics(evaluation), *([_cold(evaluation["cold"])] if "cold" in evaluation else [])]))


def legend(labels: Sequence[str]) -> Html:
    """Return which line is whose."""
    from .drawing import swatch

    return bullets([[swatch(style(place)["color"], style(place)["linestyle"][1]), quoted(label)]
                    for place, label in enumerate(labels)], class_="legend")


def _figure(picture: Html, caption: Content) -> Html:
    return element("figure", picture, element("figcaption", caption))


def _hit_rates(results: Results) -> dict[str, np.ndarray]:
    """Return HR@k of every arm for k = 1.._LONGEST_LIST, averaged over runs and users."""
    return {arm: np.array([np.mean([metric_values(run, f"hr@{k}").mean() for run in runs])
                           for k in range(1, _LONGEST_LIST + 1)]) for arm, runs in results.ranks["filtered"].items()}


def _table(figures: Sequence[ArmFigure]) -> Html:
    rows: list[list[Content]] = []
    found = {(figure.group, figure.arm, figure.metric): figure for figure in figures}
    for group, arm in dict.fromkeys((figure.group, figure.arm) for figure in figures):
        row: list[Content] = [group, quoted(arm), f"{found[group, arm, METRICS[0]].users:,}"]
        for metric in METRICS:
            figure = found[group, arm, metric]
            row += [_between(figure.own), _between(figure.lift) if figure.lift else ""]
        rows.append(row)
    header = ["users", "arm", "number", *(text for metric in METRICS for text in (metric.upper(), "difference"))]
    return table("Metrics and differences from the first arm with 95% intervals, by group of users", header, rows,
                 texts=2)


def _between(found: Any) -> Html:
    return Html(element("span", short(found.mean_difference), class_="mean")
                + element("span", f" [{short(found.low)}, {short(found.high)}]", class_="range"))


def _group_notes(evaluation: Mapping[str, Any]) -> Html:
    about = evaluation["groups"]
    return paragraph(
        f"head: the target is among the {about['head_share']:.0%} of the items that are most popular by training "
        f"interactions; tail: it is not. short: at most {about['length_threshold']:g} training items, the median; "
        "long: more.", class_="note")


def _all_metrics(evaluation: Mapping[str, Any]) -> Html:
    metrics = [name for name in DEFAULT_METRICS if name in next(iter(evaluation["arms"].values()))["filtered"]]
    rows = [[quoted(arm), protocol, *(with_deviation(found[kind][metric]) for metric in metrics)]
            for arm, found in evaluation["arms"].items()
            for kind, protocol in (("filtered", "left out"), ("unfiltered", "kept"))]
    return element("details", element("summary", "All metrics, with seen items left out and kept"),
                   table("All metrics, mean ± standard deviation over seeds",
                         ["arm", "seen items", *map(str.upper, metrics)], rows, texts=2))


def _cold(cold: Mapping[str, Any]) -> Html:
    columns = [(among, metric) for among in ("all", "cold") for metric in COLD_METRICS]
    rows = [[quoted(arm), *("–" if "reason" in found else with_deviation(found[among][metric])
                            for among, metric in columns)] for arm, found in cold["arms"].items()]
    rows += [[label, *(short(cold[order][among][metric]) for among, metric in columns)]
             for label, order in (("by popularity", "popularity"), ("in random order", "random"))]
    header = ["", *(f"{metric.upper()} among {among}" for among, metric in columns)]
    lift = "" if all("reason" not in found for found in cold["arms"].values()) else (
        " –: an adapter with vectors for the items it was trained with alone.")
    return Html(table(f"Cold start: {cold['users']:,} users, {cold['items']:,} items that nothing has learned from",
                      header, rows)
                + paragraph("Every target is ranked among all items, and among the cold ones." + lift, class_="note"))
