"""Stored results of evaluations: every user's rank on the disk, and comparisons of arms that were evaluated apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..configs import EvaluateConfig
from ..errors import TslrecError
from ..ranking.ranks import Ranks
from ..runtime.validation import check_range
from ..storage.arrays import load_arrays
from ..storage.artifacts import Artifact, open_artifact, read_json
from .summary import RanksOfArms, UserGroups, report_of, summarise

_COUNTS = ("greater", "equal", "n_candidates")


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
    arrays = load_arrays(path / "ranks.npz", ("users/target", "users/training_length", "users/head"))
    try:
        return _results(path, artifact, read_json(path / "metrics.json"), arrays)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise TslrecError(f"{path} is not what tslrec evaluate writes ({type(error).__name__}: {error}); run it again"
                          ) from None


def _results(path: Path, artifact: Artifact, report: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Results:
    """Put what was read together; raises ValueError, KeyError, TypeError and the like if the parts do not fit."""
    user_ids = (path / "users.txt").read_text(encoding="utf-8").split("\n")[:-1]
    for name, array in arrays.items():
        if array.shape[-1:] != (len(user_ids),) or array.ndim != (1 if name.startswith("users/") else 2) or (
                array.dtype != (bool if name == "users/head" else np.int64)):
            raise ValueError(f"{name} is {array.dtype} {list(array.shape)}; there are {len(user_ids)} users")
        check_range(name, array.reshape(-1), 0, 2**31)
    for key, kind in {"users": int, "items": int, "evaluated_users": int, "split_hash": str}.items():
        if type(report["data"][key]) is not kind:
            raise TypeError(f"data.{key} is {report['data'][key]!r}")
    ranks: dict[str, dict[str, list[Ranks]]] = {}
    for protocol in ("filtered", "unfiltered"):
        for arm in report["arms"]:
            counts = [arrays[f"{protocol}/{arm}/{count}"] for count in _COUNTS]
            ranks.setdefault(protocol, {})[arm] = [Ranks(*run) for run in zip(*counts, strict=True)]
    groups = UserGroups(arrays["users/target"], arrays["users/training_length"], arrays["users/head"])
    return Results(path, report["split"], report["data"], artifact.config["head_share"],
                   {arm: list(values["runs"]) for arm, values in report["arms"].items()}, ranks, groups,
                   user_ids)


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


def parse_named_folder(specification: str) -> tuple[str | None, Path]:
    """Parse ``FOLDER`` or ``NAME=FOLDER``; the name is None where none is given."""
    name, separator, path = specification.partition("=")
    if not separator or Path(specification).exists():  # a folder's own name may hold a =
        return None, Path(specification)
    return name, Path(path)


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
