"""The stage ``fuse``: the sum of several recommenders, with weights fitted on validation targets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from ..configs import REFITS, TrainConfig
from ..data.dataset import Dataset, load_dataset
from ..errors import TslrecError
from ..runtime.progress import progress, step
from ..storage.artifacts import (
    Artifact,
    Recipe,
    is_current,
    open_artifact,
    read_json,
    refuse_existing,
    refuse_other_dataset,
    write_artifact,
    write_json,
)
from ..storage.existing import Existing
from .counting.search import sampled
from .fusion.artifact import FUSED, load_fusion, save_part, save_weights
from .fusion.candidates import candidates_of
from .fusion.fit import Features, as_weights, cross_validated, fitted
from .fusion.parts import Part as Part
from .fusion.parts import check_parts
from .fusion.scorer import Weights
from .learned import KINDS, TRAINING, common_histories, learned_from, same_histories
from .load import load_scorer
from .scorer import Scorer
from .train import train

_USERS = 10_000
"""Users whose validation targets decide; more cost time and change little."""
_SHOWN_FREQUENCIES = (1, 5, 20, 100)


def fuse(dataset_path: Path, parts: Sequence[Part], out: Path, *, weights_from: Path | None = None,
         device: torch.device, threads: int, existing: Existing = Existing.REFUSE) -> dict[str, Any]:
    """Sum the scores of several recommenders, with weights by the items' frequency.

    Args:
        dataset_path: data set artifact.
        parts: at least two, with different names. Their order has no effect: everything is in the order of the names.
        out: folder of the artifact.
        weights_from: another sum, whose weights are taken over for parts of the same names: for parts that are trained
            again on validation items or all, on which no weights can be fitted. None: the weights are fitted.
        device: where networks run.
        threads: threads of the kernels.
        existing: what to do with an artifact at `out`.

    Returns:
        The contents of metrics.json: validation NDCG@10 of the sum, by weights of other users; and for every part its
        name, its own NDCG@10, that of the sum without it, and its weight for items of some frequencies.

    Raises:
        TslrecError: a part is missing, damaged, of another data set, or has learned the validation targets; two are the
            same recommender; they learned from different histories; or the other sum has other parts.
    """
    check_parts(parts)
    refuse_existing(out, "train", overwrite=existing.overwrites)  # before parts are made
    parts = sorted(parts, key=lambda part: part.name)
    names = [part.name for part in parts]
    dataset, dataset_hash = load_dataset(dataset_path)
    given = {part.name: open_artifact(Path(part.source), "train") for part in parts if part.is_run}
    learned = {name: learned_from(run) for name, run in given.items()} or {"": TRAINING}
    kind = common_histories(learned, "validation") if weights_from is None else same_histories(learned)
    refit = REFITS[KINDS.index(kind)]
    other = None if weights_from is None else open_artifact(weights_from, "train")
    if other:
        refuse_other_dataset(other, dataset_hash)
    with TemporaryDirectory() as scratch:
        runs = [given[part.name] if part.name in given else _made(
            dataset_path, part.source, refit, Path(scratch) / str(number), device, threads)
            for number, part in enumerate(parts)]
        _refuse_twins(names, runs)
        inputs = {f"part {name}": run.hash for name, run in zip(names, runs, strict=True)} | {"dataset": dataset_hash}
        inputs |= {"weights_from": other.hash} if other else {}
        recipe = Recipe("train", {"model": FUSED, "parts": names, "refit": refit}, inputs)
        if existing.reuses and is_current(out, recipe):
            return dict(read_json(out / "metrics.json"))
        scorers = [load_scorer(run, dataset_hash, device) for run in runs]
        with write_artifact(out, recipe, overwrite=existing.overwrites) as folder:
            occurrences = np.bincount(dataset.training().items, minlength=dataset.n_items + 1)
            weights, metrics = _taken_over(other, names) if other else fitted_sum(
                dataset, scorers, names, occurrences, threads)
            for number, run in enumerate(runs):
                save_part(folder, number, run)
            save_weights(folder, names, weights, occurrences)
            write_json(folder / "metrics.json", metrics)
    return metrics


def _made(dataset_path: Path, source: Path | str, refit: str, out: Path, device: torch.device, threads: int
          ) -> Artifact:
    """Make a recommender without training: of a name, or of item embeddings."""
    model, embeddings = (source, None) if isinstance(source, str) else ("content", source)
    train(dataset_path, out, TrainConfig(model=model, refit=refit), embeddings_path=embeddings, device=device,
          threads=threads, label="")
    return open_artifact(out, "train")


def _refuse_twins(names: Sequence[str], runs: Sequence[Artifact]) -> None:
    known: dict[str, str] = {}
    for name, run in zip(names, runs, strict=True):
        if known.setdefault(run.hash, name) != name:
            raise TslrecError(f"the parts {known[run.hash]} and {name} are the same recommender; give it once")


def _taken_over(other: Artifact, names: list[str]) -> tuple[Weights, dict[str, Any]]:
    """Return the weights and metrics of another sum, whose parts have these names, in rising order."""
    metrics = read_json(other.path / "metrics.json")
    theirs = [part["name"] for part in metrics["parts"]] if other.config["model"] == FUSED else []
    if theirs != names:
        raise TslrecError(f"{other.path} is {'a sum of ' + ', '.join(theirs) if theirs else 'not a sum'}; expected one "
                          f"of parts with the names {', '.join(names)}: run tslrec fuse on the runs without --refit "
                          "first, and name the parts alike")
    return load_fusion(other).weights, metrics | {"weights_from": other.path.name}


def fitted_sum(dataset: Dataset, scorers: Sequence[Scorer], names: Sequence[str], occurrences: np.ndarray,
               threads: int) -> tuple[Weights, dict[str, Any]]:
    """Fit the weights of parts on validation targets, and tell what each part brings.

    Args:
        dataset: whose validation targets are asked for.
        scorers: the parts.
        names: what they are called.
        occurrences: int64 [I+1], training interactions of every item.
        threads: threads of the kernels.

    Returns:
        The weights, and the contents of metrics.json, see `fuse`.

    Raises:
        TslrecError: there are not two validation targets, so that no weights could be tried on other users.
    """
    features = features_of(dataset, scorers, occurrences, threads)
    with progress(len(names) + 1, "fuse", "fit") as bar:
        weights, whole = as_weights(fitted(features)), cross_validated(features)
        bar.update()
        without = []
        for part in range(len(names)):
            without.append(cross_validated(features.without(part)) if len(names) > 2 else
                           features.ndcg(features.values[:, 1 - part]))
            bar.update()
    shown = weights.of_items(np.array(_SHOWN_FREQUENCIES))
    parts = [{"name": name, "validation_ndcg@10": float(features.ndcg(features.values[:, place]).mean()),
              "without_it": float(without[place].mean()),
              "weights": dict(zip(map(str, _SHOWN_FREQUENCIES), shown[place].tolist(), strict=True))}
             for place, name in enumerate(names)]
    return weights, {"validation_ndcg@10": float(whole.mean()), "users": len(features.target), "parts": parts}


def features_of(dataset: Dataset, scorers: Sequence[Scorer], occurrences: np.ndarray, threads: int) -> Features:
    """Return what weights are fitted on, of a sample of the validation targets; see `fitted_sum`.

    Args:
        dataset: whose validation targets are asked for.
        scorers: the parts.
        occurrences: int64 [I+1], training interactions of every item.
        threads: threads of the kernels.

    Raises:
        TslrecError: there are not two validation targets.
    """
    asked = sampled(dataset.evaluation("validation"), _USERS)
    if len(asked.users) < 2:
        raise TslrecError(f"the data set has {len(asked.users)} validation targets; weights need at least 2: prepare "
                          "more interactions")
    step(f"scoring the candidates of {len(asked.users)} users")
    return Features.of(candidates_of(scorers, asked, asked.seen(dataset.n_items), threads), occurrences)
