"""Summaries and paired comparisons of arms from the ranks of their runs: no model and no torch is needed.

An *arm* is a way of training, its *runs* differ by the seed. A metric's mean and standard deviation are over
runs; paired tests compare two arms user by user, each user's value averaged over the runs. The p-values of one report
are corrected together (`significance.holm`).

Figures are given for all users and for groups of them, as is usual where long-tail items matter (LLM-ESR, NeurIPS
2024): *head* and *tail* by the popularity of the target, *short* and *long* by the training history's length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .artifacts import load_arrays, open_artifact, read_json
from .checks import Int64Array, check_length
from .configs import EvaluateConfig
from .data.dataset import Dataset, Evaluation, Histories
from .errors import TslrecError
from .metrics import DEFAULT_METRICS, metric_values
from .ranking import Ranks
from .significance import holm, paired_bootstrap, paired_permutation_test

TESTED_METRICS = ("hr@10", "ndcg@10")
_COUNTS = ("greater", "equal", "n_candidates")

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
    return UserGroups(asked.targets, np.diff(training.indptr)[asked.users].astype(np.int64),
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
        overall[name] = _over_runs([float(of_users.mean()) for of_users in values])
        for group, figures in of_groups.items():
            figures[name] = _over_runs([float(of_users[members[group]].mean()) for of_users in values])
    return overall, of_groups


def _over_runs(means: list[float]) -> dict[str, float | list[float]]:
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


@dataclass(frozen=True)
class Results:
    """What `evaluation.evaluate` stored."""

    path: Path
    """Its folder."""
    split: str
    """``validation`` or ``test``."""
    data: Mapping[str, Any]
    """Statistics of the data set."""
    head_share: float
    """Share of the items that are head items."""
    run_names: Mapping[str, Sequence[str]]
    """Arm -> names of its runs."""
    ranks: RanksOfArms
    """Of all arms."""
    groups: UserGroups
    """Of the users."""
    user_ids: Sequence[str]
    """External ids, [E]."""


def save_ranks(folder: Path, ranks: RanksOfArms, groups: UserGroups, user_ids: Sequence[str]) -> None:
    """Write ranks.npz, and users.txt in the same order.

    The arrays are int64 [runs, users] per protocol, arm and count, and those of the groups, [users]:
    ``users/target`` (internal item id) and ``users/training_length``, int64, and ``users/head``, bool.
    """
    arrays = {"users/target": groups.target, "users/training_length": groups.training_length,
              "users/head": groups.head}
    for protocol, by_arm in ranks.items():
        for arm, runs in by_arm.items():
            for count in _COUNTS:
                arrays[f"{protocol}/{arm}/{count}"] = np.stack([getattr(run, count) for run in runs])
    np.savez(folder / "ranks.npz", **arrays)  # type: ignore[arg-type]
    (folder / "users.txt").write_text("".join(f"{user}\n" for user in user_ids), encoding="utf-8")


def load_results(path: Path) -> Results:
    """Read a folder that `evaluation.evaluate` wrote.

    Raises:
        TslrecError: it is missing, damaged, something else, or by a version that stored no groups.
    """
    artifact = open_artifact(path, "evaluate")
    report = read_json(path / "metrics.json")
    arrays = load_arrays(path / "ranks.npz", ("users/target", "users/training_length", "users/head"))
    ranks: dict[str, dict[str, list[Ranks]]] = {}
    for protocol in ("filtered", "unfiltered"):
        for arm in report["arms"]:
            counts = [arrays[f"{protocol}/{arm}/{count}"] for count in _COUNTS]
            ranks.setdefault(protocol, {})[arm] = [Ranks(*run) for run in zip(*counts, strict=True)]
    groups = UserGroups(arrays["users/target"], arrays["users/training_length"], arrays["users/head"])
    return Results(path, report["split"], report["data"], artifact.config["head_share"],
                   {arm: values["runs"] for arm, values in report["arms"].items()}, ranks, groups,
                   (path / "users.txt").read_text(encoding="utf-8").split("\n")[:-1])


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


def report_of(split: str, data: Mapping[str, Any], run_names: Mapping[str, Sequence[str]],
              summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return the contents of metrics.json: a summary and what it is of."""
    arms = {arm: {"runs": list(run_names[arm])} | values for arm, values in summary["arms"].items()}
    return {"split": split, "data": dict(data)} | dict(summary) | {"arms": arms}


def _named_results(specification: str) -> Results:
    name, separator, path = specification.partition("=")
    if not separator or Path(specification).exists():  # a folder's own name may hold a =
        return load_results(Path(specification))
    results = load_results(Path(path))
    if len(results.run_names) != 1:
        raise TslrecError(f"{specification}: {path} has {len(results.run_names)} arms "
                          f"({', '.join(map(repr, results.run_names))}); only results of one arm can be renamed")
    old, = results.run_names
    return replace(results, run_names={name: results.run_names[old]},
                   ranks={protocol: {name: of_arms[old]} for protocol, of_arms in results.ranks.items()})


def _same_ranks(one: Results, other: Results, arm: str) -> bool:
    return all(len(runs[arm]) == len(other.ranks[protocol][arm]) and all(
        np.array_equal(getattr(ours, count), getattr(theirs, count))
        for ours, theirs in zip(runs[arm], other.ranks[protocol][arm], strict=True) for count in _COUNTS)
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
