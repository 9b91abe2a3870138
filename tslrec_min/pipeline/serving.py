"""The recommender that a run leaves for serving: the first run of its best arm, made again from all items.

Nothing is chosen again. Networks are trained for the best number of epochs that is known, recommenders without training
choose their constants as before, and a sum takes over the weights that were fitted. No figure can be computed from the
result, which has learned all targets: the arm's own figures, of less data, are the best guess.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from .trainings import Recommenders, Trainings

SERVING = "serving"
"""Folder of the result; those of a sum's parts are in ``serving-parts``."""


def for_serving(plan: Trainings, arm: str, out: Path) -> Recommenders:
    """Return what is to be made of an arm, of which `plan` made the runs in the folder `out`."""
    serving = Recommenders()
    run = plan.runs[arm][0]
    fused = plan.sums.get(run.relative_to(out).as_posix())
    if fused is None:
        _add_refit(serving, SERVING, plan, run, out)
        return serving
    parts = {name: out / f"{SERVING}-parts" / path.name for name, path in fused["parts"].items()}
    for name, path in fused["parts"].items():
        _add_refit(serving, parts[name].relative_to(out).as_posix(), plan, path, out)
    serving.sums[SERVING] = fused | {"parts": parts, "weights_from": run}
    return serving


def _add_refit(serving: Recommenders, folder: str, plan: Trainings, run: Path, out: Path) -> None:
    """Add a run that is no sum, made from all items."""
    name = run.relative_to(out).as_posix()
    known = plan.alone | plan.trained
    arguments = known[name] | {"config": replace(known[name]["config"], refit="all")}
    if name in plan.trained:
        serving.trained[folder] = arguments | {"refit_from": run}
    else:
        serving.alone[folder] = arguments
