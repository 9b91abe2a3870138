"""The stage ``fuse``: the sum of several recommenders, with weights fitted on validation targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from ..configs import COUNTING_MODELS, TrainConfig
from ..data.dataset import Dataset, Evaluation, load_dataset
from ..errors import TslrecError
from ..ranking.metrics import metric_values
from ..runtime.progress import progress, step
from ..storage.artifacts import Artifact, Recipe, is_current, open_artifact, write_artifact, write_json
from ..storage.existing import Existing
from .counting.search import sampled
from .fusion.artifact import FUSED, save_part, save_weights
from .fusion.candidates import candidates_of
from .fusion.fit import Features, as_weights, cross_validated, fitted
from .fusion.scorer import FusedScorer, Weights
from .learned import common_histories, learned_from
from .load import load_scorer
from .scorer import Scorer, rank
from .train import train

_USERS = 10_000
"""Users whose validation targets decide; more cost time and change little."""
_SHOWN_FREQUENCIES = (1, 5, 20, 100)


@dataclass(frozen=True)
class Part:
    """A part of a sum."""

    name: str
    source: Path | str
    """Folder of a train artifact; one of `configs.COUNTING_MODELS`; or item embeddings, which ``content`` compares."""


def fuse(dataset_path: Path, parts: Sequence[Part], out: Path, *, device: torch.device, threads: int,
         existing: Existing = Existing.REFUSE) -> dict[str, Any]:
    """Sum the scores of several recommenders, with weights by the items' frequency.

    Args:
        dataset_path: data set artifact.
        parts: at least two; their order doesn't matter.
        out: folder of the artifact.
        device: where networks run.
        threads: threads of the kernels.
        existing: what to do with an artifact at `out`.

    Returns:
        The contents of metrics.json: validation NDCG@10 of the sum, by weights of other users; and for every part its
        name, its own NDCG@10, that of the sum without it, and its weight for items of some frequencies.

    Raises:
        TslrecError: a part is missing, damaged, of another data set, has learned the validation targets, or there are
            fewer than two.
    """
    if len(parts) < 2 or len({part.name for part in parts}) < len(parts):
        raise TslrecError(f"got the parts {', '.join(part.name for part in parts) or '(none)'}; a sum needs at least "
                          "two, with different names: NAME=FOLDER")
    dataset, dataset_hash = load_dataset(dataset_path)
    with ExitStack() as until_copied:
        scratch = Path(until_copied.enter_context(TemporaryDirectory()))
        runs = [_run(dataset_path, part, scratch / str(number), device, threads) for number, part in enumerate(parts)]
        common_histories({part.name: learned_from(run) for part, run in zip(parts, runs, strict=True)}, "validation")
        names = [part.name for part in parts]
        hashes = {f"part {name}": run.hash for name, run in zip(names, runs, strict=True)}
        recipe = Recipe("train", {"model": FUSED, "parts": names}, {"dataset": dataset_hash} | hashes)
        if existing.reuses and is_current(out, recipe):
            from ..storage.artifacts import read_json

            return dict(read_json(out / "metrics.json"))
        n_cold = dataset.cold.n_items if dataset.cold else 0
        scorers = [load_scorer(run, dataset_hash, device, n_cold) for run in runs]
        with write_artifact(out, recipe, overwrite=existing.overwrites) as folder:
            occurrences = np.bincount(dataset.training().items, minlength=dataset.n_items + 1)
            weights, metrics = fitted_sum(dataset, scorers, names, occurrences, threads)
            for number, run in enumerate(runs):
                save_part(folder, number, run)
            save_weights(folder, names, weights, occurrences)
            write_json(folder / "metrics.json", metrics)
    return metrics


def _run(dataset_path: Path, part: Part, scratch: Path, device: torch.device, threads: int) -> Artifact:
    """Open the run of a part, or make it in `scratch`."""
    source = part.source
    if isinstance(source, str) or not _is_run(source):
        config = TrainConfig(model=source if isinstance(source, str) else "content")
        train(dataset_path, scratch, config, device=device, threads=threads, label="",
              embeddings_path=None if isinstance(source, str) else source)
        source = scratch
    return open_artifact(source, "train")


def _is_run(path: Path) -> bool:
    return path.is_dir() and not (path / "item_embeddings.npy").is_file()


def fitted_sum(dataset: Dataset, scorers: Sequence[Scorer], names: Sequence[str], occurrences: np.ndarray,
               threads: int) -> tuple[Weights, dict[str, Any]]:
    """Fit the weights of parts on validation targets, and tell what each part brings."""
    asked = sampled(dataset.evaluation("validation"), _USERS)
    seen = asked.seen(dataset.n_items)
    step(f"scoring the candidates of {len(asked.users)} users")
    features = Features.of(candidates_of(scorers, asked, seen, threads), occurrences)
    with progress(len(names) + 2, "fuse", "fit") as bar:
        weights = as_weights(fitted(features))
        bar.update()
        whole = cross_validated(features)
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
    return weights, {"validation_ndcg@10": float(whole.mean()), "users": len(asked.users), "parts": parts}
