"""Summaries and paired comparisons of arms from the ranks of their runs.

An *arm* is a way of training, its *runs* differ by the seed. A metric's mean and standard deviation are over
runs; paired tests compare two arms user by user, each user's value averaged over the runs. The p-values of one report
are corrected together (`significance.holm`).

Figures are given for all users and for groups of them, as is usual where long-tail items matter (LLM-ESR, NeurIPS
2024): *head* and *tail* by the popularity of the target, *short* and *long* by the training history's length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..configs import EvaluateConfig
from ..data.dataset import Dataset, Evaluation, Histories
from ..ranking.metrics import DEFAULT_METRICS, metric_values
from ..ranking.ranks import Ranks
from ..ranking.significance import holm, paired_bootstrap, paired_permutation_test
from ..runtime.validation import Int64Array, check_length

TESTED_METRICS = ("hr@10", "ndcg@10")

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]
RanksOfArms = Mapping[str, Mapping[str, Sequence[Ranks]]]
"""Protocol -> arm -> the ranks of its runs; the first arm is the baseline."""


@dataclass(frozen=True)
class UserGroups:
    """What the evaluated users are grouped by; all [E], in the order of the ranks."""

    target: Int64Array
    """The item that is asked for."""
    training_length: Int64Array
    """Items in the user's training history."""
    head: BoolArray
    """Whether the target is one of the most popular items."""

    @property
    def length_threshold(self) -> float:
        """Longest training history that counts as short: the median."""
        return float(np.median(self.training_length))

    def members(self) -> dict[str, BoolArray]:
        """Return name of the group -> which users are in it; users are split twice."""
        short = self.training_length <= self.length_threshold
        return {"head": self.head, "tail": ~self.head, "short": short, "long": ~short}


def head_items(training: Histories, n_items: int, share: float) -> BoolArray:
    """Return which items are the most popular ones, bool [I+1]; of equally popular ones the smaller id comes first.

    Args:
        training: training histories; popularity is the number of interactions in them.
        n_items: number of items I.
        share: of the items, 0 to 1; their number is rounded.
    """
    counts = np.bincount(training.items, minlength=n_items + 1)[1:]
    chosen = 1 + np.argsort(-counts, kind="stable")[:round(share * n_items)]
    head = np.zeros(n_items + 1, dtype=np.bool_)
    head[chosen] = True
    return head


def user_groups(dataset: Dataset, asked: Evaluation, head_share: float) -> UserGroups:
    """Group the users of an evaluation by what is known before it: the training histories alone."""
    training = dataset.training()
    return UserGroups(asked.targets, training.lengths[asked.users].astype(np.int64),
                      head_items(training, dataset.n_items, head_share)[asked.targets])


def summarise(ranks: RanksOfArms, groups: UserGroups, config: EvaluateConfig, *,
              metrics: Sequence[str] = DEFAULT_METRICS, tested: Sequence[str] = TESTED_METRICS) -> dict[str, Any]:
    """Summarise the ranks of all arms, and compare every arm with the first one.

    Args:
        ranks: of the users' targets, by protocol, arm and run.
        groups: of the same users in the same order.
        config: paired test; `head_share` is reported, the groups are not made anew.
        metrics: names of the metrics.
        tested: those that are compared by the paired test, under the protocol ``filtered``; hit rates for the users
            of the group ``tail`` too.

    Returns:
        JSON-able: ``groups``, what they are and their users; ``arms``: arm -> protocol -> metric -> ``mean``, ``std``
        and ``runs``, and arm -> ``groups`` -> protocol -> group -> the same, for groups with users; ``comparisons``.

    Raises:
        ValueError: there is no such metric, or the ranks are of another number of users.
    """
    members = groups.members()
    arms: dict[str, dict[str, Any]] = {}
    for protocol, by_arm in ranks.items():
        for arm, runs in by_arm.items():
            for run in runs:
                check_length(f"ranks of {arm}", run.greater, len(groups.target), "user")
            overall, of_groups = _summary(runs, metrics, members)
            found = arms.setdefault(arm, {"groups": {}})
            found[protocol], found["groups"][protocol] = overall, of_groups
    about = {"head_share": config.head_share, "length_threshold": groups.length_threshold,
             "users": {group: int(users.sum()) for group, users in members.items()}}
    return {"groups": about, "arms": arms, "resamples": config.resamples,
            "comparisons": _comparisons(ranks["filtered"], members["tail"], config, tested)}


def _summary(runs: Sequence[Ranks], metrics: Sequence[str], members: Mapping[str, BoolArray]
             ) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return metric -> mean, sample standard deviation (0 for one run) and runs; and the same for every group."""
    overall: dict[str, Any] = {}
    of_groups: dict[str, dict[str, Any]] = {group: {} for group, users in members.items() if users.any()}
    for name in metrics:
        values = [metric_values(run, name) for run in runs]
        overall[name] = over_runs([float(of_users.mean()) for of_users in values])
        for group, figures in of_groups.items():
            figures[name] = over_runs([float(of_users[members[group]].mean()) for of_users in values])
    return overall, of_groups


def over_runs(means: list[float]) -> dict[str, float | list[float]]:
    """Return the mean, sample standard deviation (0 for one run) and values of a metric, given its mean in each run."""
    deviation = float(np.std(means, ddof=1)) if len(means) > 1 else 0.0
    return {"mean": float(np.mean(means)), "std": deviation, "runs": means}


def _comparisons(runs: Mapping[str, Sequence[Ranks]], tail: BoolArray, config: EvaluateConfig,
                 tested: Sequence[str]) -> list[dict[str, Any]]:
    """Compare every arm with the first one."""
    if config.test == "none":
        return []
    baseline, *others = runs
    groups = {"all": np.ones_like(tail)} | ({"tail": tail} if tail.any() else {})
    wanted = [(name, group) for group in groups for name in tested if group == "all" or name.startswith("hr@")]
    values = {name: {arm: np.mean([metric_values(run, name) for run in of_arm], axis=0)
                     for arm, of_arm in runs.items()} for name in tested}
    found: list[dict[str, Any]] = []
    for arm in others:
        for name, group in wanted:
            ours, theirs = (values[name][which][groups[group]] for which in (arm, baseline))
            result = {"arm": arm, "baseline": baseline, "metric": name, "group": group, "test": config.test,
                      "difference": float(ours.mean() - theirs.mean()),
                      "relative": float(ours.mean() / theirs.mean() - 1) if theirs.mean() else None}
            found.append(result | _paired_test(ours, theirs, config))
    corrected = holm([result["p_value"] for result in found])
    return [result | {"p_holm": float(p_value)} for result, p_value in zip(found, corrected, strict=True)]


def _paired_test(ours: FloatArray, theirs: FloatArray, config: EvaluateConfig) -> dict[str, Any]:
    if config.test == "permutation":
        test = paired_permutation_test(ours, theirs, n_resamples=config.resamples, seed=config.seed)
        return {"p_value": test.p_value}
    interval = paired_bootstrap(ours, theirs, n_resamples=config.resamples, seed=config.seed)
    return {"p_value": interval.p_value, "low": interval.low, "high": interval.high}


def report_of(split: str, data: Mapping[str, Any], run_names: Mapping[str, Sequence[str]],
              summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return the contents of metrics.json: a summary and what it is of."""
    arms = {arm: {"runs": list(run_names[arm])} | values for arm, values in summary["arms"].items()}
    return {"split": split, "data": dict(data)} | dict(summary) | {"arms": arms}


def report_rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the figures of a report, one row per arm, protocol, group and metric.

    Returns:
        Rows with the keys ``arm``, ``metric``, ``protocol``, ``group``, ``users``, ``mean``, ``std``, ``n_runs``, and
        ``relative`` to the first arm, ``p`` and ``p_holm``, None where there is no such figure.
    """
    tests = {(found["arm"], "filtered", found["group"], found["metric"]): found for found in report["comparisons"]}
    users = {"all": report["data"]["evaluated_users"]} | report["groups"]["users"]
    baseline, *_ = report["arms"]
    figures = {(arm, protocol, group, metric): values for arm, found in report["arms"].items()
               for protocol, groups in found["groups"].items()
               for group, of_group in ({"all": found[protocol]} | groups).items()
               for metric, values in of_group.items()}
    rows = []
    for (arm, protocol, group, metric), values in figures.items():
        reference = figures[baseline, protocol, group, metric]["mean"]
        test = tests.get((arm, protocol, group, metric), {})
        rows.append({"arm": arm, "metric": metric, "protocol": protocol, "group": group, "users": users[group],
                     "mean": values["mean"], "std": values["std"], "n_runs": len(values["runs"]),
                     "relative": values["mean"] / reference - 1 if reference and arm != baseline else None,
                     "p": test.get("p_value"), "p_holm": test.get("p_holm")})
    return rows
