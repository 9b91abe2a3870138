"""Comparisons of arms that were evaluated separately, from their stored ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..configs import EvaluateConfig
from ..errors import TslrecError
from ..recommenders.learned import described
from .arms import parse_named_folder
from .artifact import COUNTS, Results, load_results
from .summary import BEYOND_ACCURACY, report_of, summarise


def compare(specifications: Sequence[str], config: EvaluateConfig, *, baseline: str | None = None,
            metrics: Sequence[str] | None = None) -> dict[str, Any]:
    """Compare the arms of several results.

    Args:
        specifications: ``FOLDER`` that `evaluation.evaluate.evaluate` wrote, or ``NAME=FOLDER`` to rename its only arm.
        config: paired test; split and groups come from the results.
        baseline: the arm that the others are compared with; None: the first one.
        metrics: metrics to report and to test; None: the defaults of `summarise`.

    Returns:
        The report that `evaluation.evaluate.evaluate` gives for the same arms.

    Raises:
        TslrecError: results have different data, splits or users, their runs learned from different histories, or
            different arms have the same name.
        ValueError: there is no such metric.
    """
    stored = [_named_results(specification) for specification in specifications]
    first = stored[0]
    origin: dict[str, Results] = {}
    for results in stored:
        _check_comparable(first, results)
        for arm in results.run_names:
            if not _same_ranks(origin.setdefault(arm, results), results, arm):  # results may share a baseline
                raise TslrecError(f"the arm {arm!r} is in {origin[arm].path} and, with other ranks, in "
                                  f"{results.path}; rename one: NAME={results.path} (for results of one arm)")
    if baseline is not None and baseline not in origin:
        raise TslrecError(f"--baseline {baseline!r} is not among the arms: {', '.join(map(repr, origin))}")
    order = origin if baseline is None else dict.fromkeys([baseline, *origin])
    ranks = {protocol: {arm: origin[arm].ranks[protocol][arm] for arm in order} for protocol in first.ranks}
    chosen = {} if metrics is None else {"metrics": metrics, "tested": metrics}
    summary = summarise(ranks, first.groups, replace(config, split=first.split, head_share=first.head_share), **chosen)
    report = report_of(first.split, first.data, {arm: origin[arm].run_names[arm] for arm in order}, summary,
                       first.learned_from)
    return report | {"arms": {arm: values | _list_figures(arm, origin) for arm, values in report["arms"].items()}}


def _list_figures(arm: str, origin: Mapping[str, Results]) -> dict[str, Any]:
    """Return the figures of an arm's lists that all arms have; distances by other vectors can't be compared."""
    names = [name for name in origin[arm].list_figures[arm]
             if all(name in results.list_figures[other] for other, results in origin.items())]
    if len({results.list_vectors for results in origin.values()}) > 1:
        names = [name for name in names if not name.startswith("distance@")]
    return {BEYOND_ACCURACY: {name: origin[arm].list_figures[arm][name] for name in names}} if names else {}


def _named_results(specification: str) -> Results:
    name, path = parse_named_folder(specification)
    results = load_results(path)
    if name is None:
        return results
    if len(results.run_names) != 1:
        raise TslrecError(f"{specification}: {path} has {len(results.run_names)} arms "
                          f"({', '.join(map(repr, results.run_names))}); only results of one arm can be renamed")
    old, = results.run_names
    return replace(results, run_names={name: results.run_names[old]},
                   list_figures={name: results.list_figures[old]},
                   ranks={protocol: {name: of_arms[old]} for protocol, of_arms in results.ranks.items()})


def _same_ranks(one: Results, other: Results, arm: str) -> bool:
    counts = [[[[getattr(run, count) for count in COUNTS] for run in runs[arm]] for runs in results.ranks.values()]
              for results in (one, other)]
    return all(map(np.array_equal, *counts))


def _check_comparable(first: Results, other: Results) -> None:
    """Raise TslrecError unless both rank the same targets of the same users among the same items."""
    both = f"{first.path} and {other.path} can't be compared: "
    if first.split != other.split:
        raise TslrecError(f"{both}the first ranks {first.split} targets, the other {other.split} targets; evaluate "
                          "both with the same --split")
    if first.learned_from != other.learned_from:
        raise TslrecError(f"{both}their runs learned from different histories, the first from "
                          f"{described(first.learned_from)}, the other from {described(other.learned_from)}; train "
                          "both with the same --refit")
    about = [f"{results.data['users']} users, {results.data['items']} items, split hash "
             f"{results.data['split_hash'][:16]}" for results in (first, other)]
    if any(first.data[key] != other.data[key] for key in ("split_hash", "users", "items")):
        raise TslrecError(f"{both}they use different data sets ({about[0]}; {about[1]}); evaluate both on the same one")
    if list(first.user_ids) != list(other.user_ids) or not np.array_equal(first.groups.target, other.groups.target):
        raise TslrecError(f"{both}they rank different users ({len(first.user_ids)} and {len(other.user_ids)}) or "
                          "targets; evaluate both on the same data set")
    if first.head_share != other.head_share:
        raise TslrecError(f"{both}the head items are {first.head_share:g} and {other.head_share:g} of all items; "
                          "evaluate both with the same --head-share")
