"""The whole chain from one configuration file, stage by stage, one folder each.

A stage whose artifact is there, whole, and made from the same inputs by the same configuration is kept; so an
interrupted or edited run goes on where it must.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..configs import TrainConfig
from ..data.builtin import resolve_dataset
from ..errors import TslrecError
from ..llm.resolve import is_built_in, resolve_model
from ..runtime.progress import note, progress, set_verbosity, verbosity
from ..storage.artifacts import read_json
from ..storage.atomic import sole_run

if TYPE_CHECKING:
    from tqdm import tqdm
from .config import RunConfig


@dataclass
class _Runner:
    """Runs stages and keeps account of them."""

    out: Path
    bar: tqdm
    stages: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, name: str, work: Callable[[Path], Any]) -> Path:
        """Run one stage into the folder `name`; return the folder."""
        self.bar.set_description(name)
        path = self.out / name
        before = self._stamp(path)
        work(path)
        self._account(name, before)
        return path

    def train_all(self, trainings: Sequence[_Training], jobs: int, compute: dict[str, Any]) -> None:
        """Run trainings, `jobs` at a time in processes of their own that share the threads."""
        if jobs == 1:
            for training in trainings:
                self(training.name, partial(training, **compute))
            return
        own = compute | {"threads": max(1, compute["threads"] // jobs)}
        before = {training.name: self._stamp(self.out / training.name) for training in trainings}
        # Started anew, not forked: a fork of a process that has used threads can hang.
        with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), set_verbosity, (verbosity(),)) as pool:
            running = {pool.submit(_train_alone, training, self.out / training.name, own): training.name
                       for training in trainings}
            self.bar.set_description(f"{jobs} trainings at a time")
            try:
                for future in as_completed(running):
                    future.result()
                    self._account(running[future], before[running[future]])
            except BaseException:  # those that have begun end or fail on their own; the others do not begin
                pool.shutdown(cancel_futures=True)
                raise
        order = {training.name: place for place, training in enumerate(trainings)}
        self.stages.sort(key=lambda stage: order.get(stage["name"], -1))  # as listed, not as they ended

    def _account(self, name: str, before: int | None) -> None:
        record = read_json(self.out / name / "config.json")
        self.stages.append({"name": name, "made": self._stamp(self.out / name) != before} | {
            key: record[key] for key in ("wall_seconds", "peak_memory_mib", "hash")})
        self.bar.update()

    @staticmethod
    def _stamp(path: Path) -> int | None:
        return path.stat().st_ino if path.is_dir() else None


@dataclass(frozen=True)
class _Training:
    """A training of one arm with one seed; can be sent to another process."""

    name: str
    """Of its folder."""
    label: str
    dataset: Path
    embeddings: Path | None
    config: TrainConfig

    def __call__(self, path: Path, **compute: Any) -> None:
        """Train into the folder `path`."""
        from ..recommenders.train import train

        train(self.dataset, path, self.config, embeddings_path=self.embeddings, label=self.label, **compute)


def _train_alone(training: _Training, path: Path, compute: dict[str, Any]) -> None:
    """Train in a process of its own, without a progress bar: several on one terminal can't be read."""
    import torch

    torch.set_num_threads(compute["threads"])
    replace(training, label="")(path, **compute)


def run(config: RunConfig, out: Path, *, data: Path | None = None, items: Path | None = None,
        device_name: str = "cpu", threads: int = 1, jobs: int = 1) -> dict[str, Any]:
    """Run the chain.

    Args:
        config: what to do.
        out: folder of the run; a folder per stage is made in it.
        data: file or folder of interactions in place of the configuration's source and items.
        items: file with titles in place of the configuration's.
        device_name: torch device.
        threads: threads to compute with.
        jobs: recommenders trained at a time, each in a process of its own with its share of the threads.

    Returns:
        ``evaluation`` (the contents of evaluate/metrics.json), ``stages``, with time and memory of each, and
        ``category_neighbours`` by folder of item embeddings.

    Raises:
        TslrecError: a stage can't be done; the finished ones stay. Or another run is at work in `out`.
    """
    import torch

    from ..categories.pretrain import pretrain
    from ..data.prepare import prepare_found
    from ..data.raw.inspect import find_files
    from ..embedding.embed import embed_base, embed_tuned
    from ..embedding.quality import category_neighbours
    from ..evaluation.evaluate import evaluate
    from ..finetuning.finetune import finetune
    from ..llm.prompts import template_of
    from ..runtime.device import resolve_device
    from ..runtime.distributed import refuse_several_processes

    refuse_several_processes()
    torch.set_num_threads(threads)
    compute: dict[str, Any] = {"device": resolve_device(device_name), "threads": threads, "existing": "reuse"}
    source, titles = _raw_files(config, data, items)
    settings = config.stages
    raw = find_files(source, titles, settings["prepare"])  # before a folder is made for what can't be read
    wanted = {arm.embeddings for arm in config.arms}
    model = settings["finetune"].model
    if wanted != {"none"} and not is_built_in(model):
        resolve_model(model)  # one that isn't there is named now, not when its stage begins
    runs = len(config.arms) * len(config.seeds)
    total = 1 + ("untuned" in wanted) + 3 * ("tuned" in wanted) + runs + 1
    with sole_run(out), progress(total, "", "stage") as bar:
        stage = _Runner(out, bar)
        dataset = stage("dataset", lambda path: prepare_found(raw, path, settings["prepare"], existing="reuse"))
        found = read_json(dataset / "dataset.json")
        duplicates = f"{found['duplicates']:,} duplicates left out, " if found["duplicates"] else ""
        note(f"{dataset}: {found['users']:,} users, {found['items']:,} items, {found['interactions']:,} interactions; "
             f"{duplicates}{found['below_k_core']:,} left out by the {found['k_core']}-core")
        embeddings: dict[str, Path | None] = {"none": None}
        if "untuned" in wanted:
            embeddings["untuned"] = stage("embed-untuned", lambda path: embed_base(
                dataset, settings["finetune"].model, template_of(settings["finetune"]), path, settings["embed"],
                **compute))
        if "tuned" in wanted:
            pretrained = stage("pretrain", lambda path: pretrain(dataset, path, settings["pretrain"], **compute))
            tuned = stage("finetune", lambda path: finetune(dataset, pretrained, path, settings["finetune"],
                                                            **compute))
            embeddings["tuned"] = stage("embed", lambda path: embed_tuned(dataset, tuned, path, settings["embed"],
                                                                          **compute))
        trainings = [_Training(f"train/{arm.folder}-{seed}", f"{arm.name}, seed {seed}", dataset,
                               embeddings[arm.embeddings], replace(arm.train, seed=seed))
                     for seed in config.seeds for arm in config.arms]
        stage.train_all(trainings, jobs, compute)
        trained = {arm.name: [out / f"train/{arm.folder}-{seed}" for seed in config.seeds] for arm in config.arms}
        stage("evaluate", lambda path: evaluate(dataset, trained, settings["evaluate"], out=path, **compute))
    neighbours = {} if "tuned" not in wanted else {
        path.name: category_neighbours(dataset, pretrained, path) for path in embeddings.values() if path}
    return {"evaluation": read_json(out / "evaluate" / "metrics.json"), "stages": stage.stages,
            "category_neighbours": neighbours}


def _raw_files(config: RunConfig, data: Path | None, items: Path | None) -> tuple[Path, Path | None]:
    """Return the file or folder of interactions, and the items file where it is named apart."""
    if data is None and config.source is None:
        raise TslrecError("there is no data: the configuration has no key source (a built-in data set, a file or a "
                          "folder of interactions), and --data is not given either; add one")
    interactions, known = resolve_dataset(data or str(config.source))
    return interactions, items or (Path(config.items) if config.items and data is None else known)
