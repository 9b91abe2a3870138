"""The stage ``tune``: a search for hyper-parameters of `train` by successive halving, on validation targets alone.

Successive halving (Jamieson and Talwalkar, AISTATS 2016, arXiv 1502.07943), the inner loop of Hyperband (Li et al.,
JMLR 2018, arXiv 1603.06560): all trials are trained for a few epochs, the better half of them goes on to twice as many,
and so on; so every rung costs about the same. A trial is a training of `train`, paused at the end of a rung and
continued in the next one: its figures are those of the first epochs of that training, also where the learning rate
decays, as planned for `epochs`.

The search is resumed after an interruption: beside the future folder, in ``.NAME.trials``, are the trials' states and,
in state.json, the finished rungs. What is drawn and decided follows from the seed and the figures.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import __version__
from ..config_fields import own_settings
from ..configs import AdapterConfig, TrainConfig, TuneConfig
from ..data.dataset import Dataset, load_dataset
from ..errors import TslrecError
from ..item_vectors.load import load_item_embeddings
from ..runtime.progress import note
from ..storage.artifacts import (
    Artifact,
    Recipe,
    is_current,
    open_artifact,
    read_json,
    sha256_of_json,
    write_artifact,
    write_json,
)
from ..storage.atomic import replace_file
from ..storage.checkpoints import Checkpointing, remove_checkpoint
from ..storage.existing import Existing
from .batching import with_max_len
from .search_space import candidates, searched
from .training import trained

_FIGURES = ("validation_ndcg@10", "validation_hr@10")


@dataclass
class Trial:
    """A configuration, and how good it was at the end of each rung."""

    number: int
    config: TrainConfig
    rungs: list[dict[str, Any]] = field(default_factory=list)
    """Results: ``rung`` (from 0), ``epochs`` so far, ``best_epoch``, its validation figures, and ``seconds`` of the
    rung; or ``rung`` and ``error``."""

    def result(self, rung: int) -> dict[str, Any]:
        """Return the last result up to a rung, that of an earlier one if it ended there; empty before the first.

        An interrupted search is decided again from its first rung on, when later results may be known.
        """
        return next((result for result in reversed(self.rungs) if result["rung"] <= rung), {})

    def score(self, rung: int) -> float:
        """Return the best validation NDCG@10 up to a rung."""
        return float(self.result(rung)[_FIGURES[0]])

    def ended(self, rung: int) -> bool:
        """Return whether it failed up to a rung, or was ended by early stopping or by the maximum number of epochs."""
        result = self.result(rung)
        epochs, best = result.get("epochs", 0), result.get("best_epoch", 0)
        return "error" in result or epochs >= self.config.epochs or epochs - best >= self.config.patience


def tune(dataset_path: Path, out: Path, config: TuneConfig, *, embeddings_path: Path | None = None,
         embedding_ids: Path | None = None, ignore_unknown: bool = False, device: torch.device, threads: int,
         existing: Existing = Existing.REFUSE) -> None:
    """Search for the configuration of the best validation NDCG@10; test targets are not looked at.

    Writes trials.json (``space``, ``trials``, ``best``), and best.toml: the best configuration for `tslrec run`.

    Args:
        dataset_path: data set artifact.
        out: folder of the artifact.
        config: the first trial, and the search.
        embeddings_path, embedding_ids, ignore_unknown: see `recommenders.train.train`.
        device, threads: see `trained`.
        existing: what to do with an artifact at `out`.

    Raises:
        TslrecError: an option to vary is unknown, the first trial fails at once or all fail, or see `train`.
    """
    dataset, dataset_hash = load_dataset(dataset_path)
    embeddings = None if embeddings_path is None else load_item_embeddings(
        embeddings_path, dataset, config.vectors, ids_path=embedding_ids, ignore_unknown=ignore_unknown)
    config = with_max_len(config, dataset.training().lengths)
    recipe = Recipe("tune", asdict(config), {"dataset": dataset_hash, **(embeddings.hashes if embeddings else {})},
                    config.seed)
    states = out.parent / f".{out.name}.trials"
    if not (existing.reuses and is_current(out, recipe)):
        space = searched(config.training, config.vary, int(dataset.training().lengths.max(initial=0)))
        with write_artifact(out, recipe, overwrite=existing.overwrites) as folder:
            configs = candidates(config.training, space, config.trials)
            if len(configs) < config.trials:
                note(f"the search space has only {len(configs)} configurations, fewer than the {config.trials} trials")
            search = _Search(dataset, embeddings.known if embeddings else None, config, device, threads, states,
                             sha256_of_json([asdict(recipe), __version__]))
            best = search.run(configs)
            shown = [{"trial": trial.number, "config": {name: getattr(trial.config, name) for name in space},
                      "rungs": trial.rungs} for trial in search.trials]
            write_json(folder / "trials.json", {
                "space": {name: str(values) for name, values in space.items()}, "trials": shown,
                "best": shown[best.number] | {"settings": own_settings(best.config)}})
            (folder / "best.toml").write_text(_as_toml(best, len(search.trials), embeddings_path), encoding="utf-8")
    shutil.rmtree(states, ignore_errors=True)


@dataclass
class _Search:
    """A search, and where its state is saved."""

    dataset: Dataset
    embeddings: np.ndarray | None
    config: TuneConfig
    device: torch.device
    threads: int
    folder: Path
    recipe: str
    trials: list[Trial] = field(default_factory=list)

    def run(self, configs: Sequence[TrainConfig]) -> Trial:
        """Train the configurations, rung by rung, and return the best trial; ties go to the earlier one."""
        self.trials = [Trial(number, config) for number, config in enumerate(configs)]
        self._resume()
        alive, rung = self.trials, 0
        while True:
            for trial in alive:
                if not trial.ended(rung) and trial.result(rung).get("rung") != rung:
                    self._advance(trial, rung)
            ranked = _ranked(alive, rung)
            kept = ranked[:len(alive) // 2]
            if len(kept) <= 1 or all(trial.ended(rung) for trial in ranked):
                return ranked[0]
            for trial in alive:
                if trial not in kept:
                    remove_checkpoint(self._place(trial))
            alive, rung = sorted(kept, key=lambda trial: trial.number), rung + 1

    def _advance(self, trial: Trial, rung: int) -> None:
        """Train a trial to the end of a rung, and save its figures."""
        started, until = time.monotonic(), min(self.config.budget * 2**rung, trial.config.epochs)
        checkpointing = Checkpointing(self._place(trial), sha256_of_json([self.recipe, asdict(trial.config)]),
                                      quiet=True)
        try:
            _, metrics = trained(self.dataset.n_items, self.dataset.training(), self.dataset.evaluation("validation"),
                                 trial.config, self.embeddings, self.device, self.threads, "", checkpointing,
                                 until=until)
        except TslrecError as error:
            if trial.number == rung == 0:  # what is wrong there is wrong in all
                raise
            trial.rungs.append({"rung": rung, "error": str(error)})
            said = f"failed: {error}"
        else:
            log = metrics["epochs"][:until]  # an interrupted search may have gone on to a later rung
            best = max(range(len(log)), key=lambda epoch: float(log[epoch][_FIGURES[0]]))
            trial.rungs.append({"rung": rung, "epochs": len(log), "best_epoch": best + 1}
                               | {name: log[best][name] for name in _FIGURES}
                               | {"seconds": round(time.monotonic() - started, 3)})
            said = f"validation NDCG@10 {trial.score(rung):.4f} after {len(log)} epochs"
        self._save()
        given, own = asdict(self.trials[0].config), asdict(trial.config)
        changes = [f"{name} {value}" for name, value in own.items() if value != given[name]]
        note(f"rung {rung + 1}, trial {trial.number} of 0-{len(self.trials) - 1}: {said} "
             f"({', '.join(changes) or 'as given'})")

    def _place(self, trial: Trial) -> Path:
        return self.folder / str(trial.number)

    def _save(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with replace_file(self.folder / "state.json") as temporary:
            write_json(temporary, {"recipe": self.recipe, "rungs": [trial.rungs for trial in self.trials]})

    def _resume(self) -> None:
        """Take up the finished rungs of an interrupted search of the same recipe; discard another one's states."""
        path = self.folder / "state.json"
        if not path.is_file():
            return
        try:
            state = read_json(path)
            if state["recipe"] != self.recipe:
                raise ValueError("it is of other settings or inputs")
            saved = list(zip(self.trials, state["rungs"], strict=True))
        except (TslrecError, ValueError, KeyError, TypeError) as error:
            note(f"the interrupted search in {self.folder} is discarded, and this one starts from the beginning: "
                 f"{error}")
            shutil.rmtree(self.folder)
            return
        for trial, rungs in saved:
            trial.rungs = rungs
        note(f"{self.folder}: resuming; {sum(len(trial.rungs) for trial in self.trials)} of the trials' rungs are done")


def _ranked(trials: Sequence[Trial], rung: int) -> list[Trial]:
    """Return the trials that have not failed, best first; ties go to the earlier one.

    Raises:
        TslrecError: all have failed.
    """
    good = [trial for trial in trials if "error" not in trial.result(rung)]
    if not good:
        raise TslrecError(f"all trials failed; the last one: {trials[-1].result(rung)['error']}")
    return sorted(good, key=lambda trial: (-trial.score(rung), trial.number))


def _as_toml(best: Trial, count: int, embeddings: Path | None) -> str:
    """Return the best configuration as a file of `tslrec run`, with an arm unless it needs a file of vectors."""
    own = own_settings(best.config)
    seed = own.pop("seed", 0)
    score = best.rungs[-1][_FIGURES[0]]
    lines = [f"# From tslrec tune: validation NDCG@10 {score:.4f}, trial {best.number} of 0-{count - 1}.",
             f"seeds = [{seed}]", "", "[train]"]
    of_arm = {name: own.pop(name) for name in AdapterConfig.__dataclass_fields__ if name in own}
    lines += [f"{name} = {json.dumps(value)}" for name, value in own.items()]
    if embeddings is None or embeddings.is_dir():
        kind = "none" if embeddings is None else _kind(open_artifact(embeddings, "embed", check_files=False))
        lines += ["", "[[arms]]", 'name = "best"', f'embeddings = "{kind}"']
    lines += [f"{name} = {json.dumps(value)}" for name, value in of_arm.items()]
    return "\n".join(lines) + "\n"


def _kind(embedded: Artifact) -> str:
    """Return what `tslrec run` calls the item embeddings of an artifact."""
    if "finetune" in embedded.record["inputs"]:
        return "tuned"
    if embedded.config.get("model") == "tfidf":
        return "tfidf"
    return "encoder" if "encoder" in embedded.config else "untuned"
