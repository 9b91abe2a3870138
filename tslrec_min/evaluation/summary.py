"""Summaries and paired comparisons of arms from the ranks of their runs.

An *arm* is a way of training; its *runs* differ in the seed. A metric's mean and standard deviation are over runs.
Paired tests compare two arms user by user, with each user's value averaged over the runs; the p-values of a report are
corrected together (`significance.holm`).

Figures are for all users and for groups of users, as is usual for long-tail items (LLM-ESR, NeurIPS 2024): *head* and
*tail* by the popularity of the target, *short* and *long* by the length of the training history.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..configs import EvaluateConfig
from ..data.dataset import Dataset, Evaluation, Histories
from ..ranking.metrics import DEFAULT_METRICS, metric_values
from ..ranking.ranks import Ranks
from ..ranking.significance import holm, paired_bootstrap, paired_permutation_test
from ..recommenders.learned import TRAINING
from ..runtime.validation import Int64Array, check_length

TESTED_METRICS = ("hr@10", "ndcg@10")
BEYOND_ACCURACY = "beyond_accuracy"
"""Key of an arm's figures of recommended lists, see `lists`; reports of older versions and of `compare` have none."""

BoolArray = NDArray[np.bool_]
RanksOfArms = Mapping[str, Mapping[str, Sequence[Ranks]]]
"""Protocol -> arm -> ranks of its runs; the first arm is the baseline."""


@dataclass(frozen=True)
class UserGroups:
    """Properties by which the evaluated users are grouped; all [E], in the order of the ranks."""

    target: Int64Array
    """Internal item id."""
    training_length: Int64Array
    """Items in the user's training history."""
    head: BoolArray
    """Whether the target is one of the most popular items."""

    @property
    def length_threshold(self) -> float:
        """Longest training history that counts as short: the median."""
        return float(np.median(self.training_length))

    def members(self) -> dict[str, BoolArray]:
        """Return group -> which users are in it, bool [E]: head or tail, and short or long."""
        short = self.training_length <= self.length_threshold
        return {"head": self.head, "tail": ~self.head, "short": short, "long": ~short}


def head_items(training: Histories, n_items: int, share: float) -> BoolArray:
    """Return whether each item is one of the most popular ones, bool [I+1].

    Args:
        training: training histories, whose interactions are counted.
        n_items: number of items I.
        share: fraction of the items, 0 to 1; ties at the limit go to the smaller id.
    """
    counts = np.bincount(training.items, minlength=n_items + 1)[1:]
    chosen = 1 + np.argsort(-counts, kind="stable")[:round(share * n_items)]
    head = np.zeros(n_items + 1, dtype=np.bool_)
    head[chosen] = True
    return head


def user_groups(dataset: Dataset, asked: Evaluation, head_share: float) -> UserGroups:
    """Group the users of an evaluation, by their training histories only."""
    training = dataset.training()
    return UserGroups(asked.targets, training.lengths[asked.users].astype(np.int64),
                      head_items(training, dataset.n_items, head_share)[asked.targets])


def summarise(ranks: RanksOfArms, groups: UserGroups, config: EvaluateConfig, *,
              metrics: Sequence[str] = DEFAULT_METRICS, tested: Sequence[str] = TESTED_METRICS) -> dict[str, Any]:
    """Summarise the ranks of all arms, and compare every arm with the first one.

    Args:
        ranks: ranks of the users' targets.
        groups: groups of the same users.
        config: paired test; `head_share` is only reported.
        metrics: names of the metrics.
        tested: metrics of the paired tests, for all users under the protocol ``filtered``; hit rates are also tested
            for the group ``tail``.

    Returns:
        JSON-able: ``groups``, their definition and numbers of users; ``arms``: arm -> protocol -> metric -> ``mean``,
        ``std`` and ``runs``, and arm -> ``groups`` -> protocol -> group -> the same, for groups with users;
        ``resamples``; ``comparisons``.

    Raises:
        ValueError: there is no such metric, or the number of users differs.
    """
    members = groups.members()
    everyone = {"all": np.ones_like(groups.head)}
    arms: dict[str, dict[str, Any]] = {}
    for protocol, by_arm in ranks.items():
        for arm, runs in by_arm.items():
            for run in runs:
                check_length(f"ranks of {arm}", run.greater, len(groups.target), "user")
            of_groups = _summary(runs, metrics, everyone | members)
            summary = arms.setdefault(arm, {"groups": {}})
            summary[protocol], summary["groups"][protocol] = of_groups.pop("all"), of_groups
    about = {"head_share": config.head_share, "length_threshold": groups.length_threshold,
             "users": {group: int(users.sum()) for group, users in members.items()}}
    return {"groups": about, "arms": arms, "resamples": config.resamples,
            "comparisons": _comparisons(ranks["filtered"], members["tail"], config, tested)}


def _summary(runs: Sequence[Ranks], metrics: Sequence[str], members: Mapping[str, BoolArray]
             ) -> dict[str, dict[str, Any]]:
    """Return group -> metric -> `over_runs`, for groups with users."""
    of_groups: dict[str, dict[str, Any]] = {group: {} for group, users in members.items() if users.any()}
    for name in metrics:
        values = [metric_values(run, name) for run in runs]
        for group, figures in of_groups.items():
            figures[name] = over_runs([float(of_users[members[group]].mean()) for of_users in values])
    return of_groups


def over_runs(means: list[float]) -> dict[str, float | list[float]]:
    """Summarise a metric's means over users in each run: their mean, sample standard deviation (0 for one), values."""
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
    comparisons: list[dict[str, Any]] = []
    for arm in others:
        for name, group in wanted:
            ours, theirs = (values[name][which][groups[group]] for which in (arm, baseline))
            comparisons.append({"arm": arm, "baseline": baseline, "metric": name, "group": group}
                               | compared(ours, theirs, config))
    return corrected(comparisons)


def compared(ours: np.ndarray, theirs: np.ndarray, config: EvaluateConfig) -> dict[str, Any]:
    """Test the difference of a metric of the same users between two arms.

    Args:
        ours: float [E], the arm's.
        theirs: float [E], the baseline's.
        config: the paired test, not ``none``.

    Returns:
        ``test``, ``difference``, ``relative`` (None if the baseline's mean is 0), ``p_value``, and of a bootstrap the
        interval.
    """
    test = paired_permutation_test if config.test == "permutation" else paired_bootstrap
    result = asdict(test(ours, theirs, n_resamples=config.resamples, seed=config.seed))
    del result["mean_difference"]
    return {"test": config.test, "difference": float(ours.mean() - theirs.mean()),
            "relative": float(ours.mean() / theirs.mean() - 1) if theirs.mean() else None} | result


def corrected(comparisons: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return comparisons with ``p_holm``, their p-values corrected together."""
    p_values = holm([comparison["p_value"] for comparison in comparisons])
    return [{**comparison, "p_holm": float(p_value)}
            for comparison, p_value in zip(comparisons, p_values, strict=True)]


def report_of(split: str, data: Mapping[str, Any], run_names: Mapping[str, Sequence[str]],
              summary: Mapping[str, Any], learned_from: str = TRAINING) -> dict[str, Any]:
    """Return the contents of metrics.json, given the result of `summarise` and what all runs learned from."""
    arms = {arm: {"runs": list(run_names[arm]), "learned_from": learned_from} | values
            for arm, values in summary["arms"].items()}
    return {"split": split, "data": dict(data)} | dict(summary) | {"arms": arms}


def report_rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the figures of a report, one row per arm, protocol, group and metric; those of lists are of ``all`` users.

    ``relative`` is to the first arm; it, ``p`` and ``p_holm`` are None where there is no such figure.
    """
    tests = {(test["arm"], "filtered", test["group"], test["metric"]): test for test in report["comparisons"]}
    users = {"all": report["data"]["evaluated_users"]} | report["groups"]["users"]
    baseline, *_ = report["arms"]
    lists = {(arm, "filtered"): summary.get(BEYOND_ACCURACY, {}) for arm, summary in report["arms"].items()}
    figures = {(arm, protocol, group, metric): values for arm, summary in report["arms"].items()
               for protocol, groups in summary["groups"].items()
               for group, of_group in ({"all": summary[protocol] | lists.get((arm, protocol), {})} | groups).items()
               for metric, values in of_group.items()}
    rows = []
    for (arm, protocol, group, metric), values in figures.items():
        reference = figures[baseline, protocol, group, metric]["mean"]
        test = tests.get((arm, protocol, group, metric), {})
        rows.append({"arm": arm, "metric": metric, "protocol": protocol, "group": group, "users": users[group],
                     "mean": values["mean"], "std": values["std"], "n_runs": len(values["runs"]),
                     "relative": values["mean"] / reference - 1 if reference and arm != baseline else None,
                     "p": test.get("p_value"), "p_holm": test.get("p_holm"),
                     "learned_from": report["arms"][arm].get("learned_from", TRAINING)})
    return rows
