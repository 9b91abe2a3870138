"""Stored results of evaluations: every user's rank on the disk, and comparisons of arms that were evaluated apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..configs import EvaluateConfig
from ..errors import TslrecError
from ..ranking.ranks import Ranks
from .arms import parse_named_folder
from .artifact import COUNTS, Results, load_results
from .summary import report_of, summarise


def compare(specifications: Sequence[str], config: EvaluateConfig, *, baseline: str | None = None,
            metrics: Sequence[str] | None = None) -> dict[str, Any]:
    """Put the arms of several results together and compare them.

    Args:
        specifications: ``FOLDER`` that `evaluation.evaluate` wrote, or ``NAME=FOLDER`` to call its only arm NAME.
        config: paired test; split and groups are those of the results.
        baseline: the arm that the others are compared with; None: the first one.
        metrics: names of the metrics to give and to test; None: those of `summarise`.

    Returns:
        The report that `evaluation.evaluate` gives for the same arms.

    Raises:
        TslrecError: results are of different data, splits or users, or different arms have one name.
        ValueError: there is no such metric.
    """
    found = [_named_results(specification) for specification in specifications]
    ranks: dict[str, dict[str, Sequence[Ranks]]] = {protocol: {} for protocol in found[0].ranks}
    run_names: dict[str, Sequence[str]] = {}
    origin: dict[str, Results] = {}
    for results in found:
        _check_comparable(found[0], results)
        for arm, names in results.run_names.items():
            if arm in origin and not _same_ranks(origin[arm], results, arm):  # one baseline may be in several results
                raise TslrecError(f"the arm {arm!r} is in {origin[arm].path} and, with other ranks, in "
                                  f"{results.path}; rename one: NAME={results.path} (for results of one arm)")
            if arm in origin:
                continue
            origin[arm], run_names[arm] = results, names
            for protocol, of_arms in ranks.items():
                of_arms[arm] = results.ranks[protocol][arm]
    first = next(iter(origin)) if baseline is None else baseline
    if first not in origin:
        raise TslrecError(f"--baseline {first!r} is not among the arms: {', '.join(map(repr, origin))}")
    order = [first, *(arm for arm in origin if arm != first)]
    chosen = {} if metrics is None else {"metrics": metrics, "tested": metrics}
    summary = summarise({protocol: {arm: of_arms[arm] for arm in order} for protocol, of_arms in ranks.items()},
                        found[0].groups, replace(config, split=found[0].split, head_share=found[0].head_share),
                        **chosen)
    return report_of(found[0].split, found[0].data, run_names, summary)


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
                   ranks={protocol: {name: of_arms[old]} for protocol, of_arms in results.ranks.items()})


def _same_ranks(one: Results, other: Results, arm: str) -> bool:
    return all(len(runs[arm]) == len(other.ranks[protocol][arm]) and all(
        np.array_equal(getattr(ours, count), getattr(theirs, count))
        for ours, theirs in zip(runs[arm], other.ranks[protocol][arm], strict=True) for count in COUNTS)
        for protocol, runs in one.ranks.items())


def _check_comparable(first: Results, other: Results) -> None:
    """Raise TslrecError, naming both, unless the ranks of both are of the same targets among the same items."""
    both = f"{first.path} and {other.path} can't be compared: "
    if first.split != other.split:
        raise TslrecError(f"{both}the first is of the {first.split} targets, the other of the {other.split} targets; "
                          "evaluate both with one --split")
    about = [f"{results.data['users']} users, {results.data['items']} items, split hash "
             f"{results.data['split_hash'][:16]}" for results in (first, other)]
    if any(first.data[key] != other.data[key] for key in ("split_hash", "users", "items")):
        raise TslrecError(f"{both}they are of different data sets ({about[0]}; {about[1]}); evaluate both on one")
    if list(first.user_ids) != list(other.user_ids) or not np.array_equal(first.groups.target, other.groups.target):
        raise TslrecError(f"{both}they rank different users ({len(first.user_ids)} and {len(other.user_ids)}) or "
                          "targets; evaluate both on one data set")
    if first.head_share != other.head_share:
        raise TslrecError(f"{both}their head items are {first.head_share:g} and {other.head_share:g} of all; evaluate "
                          "both with one --head-share")
