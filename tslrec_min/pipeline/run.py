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

from ..configs import PrepareConfig, TrainConfig
from ..data.builtin import resolve_dataset
from ..errors import TslrecError
from ..llm.resolve import is_built_in, resolve_model
from ..runtime.progress import note, progress, set_verbosity, verbosity
from ..storage.artifacts import read_json
from ..storage.atomic import sole_run
from ..storage.existing import Existing
from .config import RunConfig

if TYPE_CHECKING:
    from tqdm import tqdm

    from ..data.raw.discover import Source


@dataclass
class _Runner:
    """Runs stages and keeps account of them."""

    out: Path
    bar: tqdm
    stages: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, name: str, work: Callable[[Path], Any]) -> None:
        """Run one stage into the folder `name`."""
        self.bar.set_description(name)
        before = self._record(name)
        work(self.out / name)
        self._account(name, before)

    def train_all(self, trainings: Sequence[_Training], jobs: int, compute: dict[str, Any]) -> None:
        """Run trainings, `jobs` at a time in processes of their own that share the threads."""
        if jobs == 1:
            for training in trainings:
                self(training.name, partial(training, **compute))
            return
        own = compute | {"threads": max(1, compute["threads"] // jobs)}
        before = {training.name: self._record(training.name) for training in trainings}
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

    def _account(self, name: str, before: str) -> None:
        record = read_json(self.out / name / "config.json")
        self.stages.append({"name": name, "made": self._record(name) != before} | {
            key: record[key] for key in ("wall_seconds", "peak_memory_mib", "hash")})
        self.bar.update()

    def _record(self, name: str) -> str:
        """Return a stage's record as it stands there, which changes when the stage is made; empty: there is none."""
        path = self.out / name / "config.json"
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


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
    from ..data.raw.readers import find_files
    from ..embedding.embed import embed_base, embed_tuned
    from ..embedding.quality import category_neighbours
    from ..evaluation.evaluate import evaluate
    from ..finetuning.finetune import finetune
    from ..llm.prompts import template_of
    from ..runtime.device import resolve_device
    from ..runtime.distributed import refuse_several_processes

    refuse_several_processes()
    torch.set_num_threads(threads)
    compute: dict[str, Any] = {"device": resolve_device(device_name), "threads": threads, "existing": Existing.REUSE}
    source, titles = _raw_files(config, data, items)
    settings = config.stages
    raw = find_files(source, titles, settings["prepare"])  # before a folder is made for what can't be read
    wanted = {arm.embeddings for arm in config.arms}
    model = settings["finetune"].model
    if wanted != {"none"} and not is_built_in(model):
        resolve_model(model)  # one that isn't there is named now, not when its stage begins
    dataset, pretrained, tuned = out / "dataset", out / "pretrain", out / "finetune"
    template = template_of(settings["finetune"])
    embeddings = {"untuned": out / "embed-untuned", "tuned": out / "embed"}
    trainings = [_Training(f"train/{arm.folder}-{seed}", f"{arm.name}, seed {seed}", dataset,
                           embeddings.get(arm.embeddings), replace(arm.train, seed=seed))
                 for seed in config.seeds for arm in config.arms]
    trained = {arm.name: [out / f"train/{arm.folder}-{seed}" for seed in config.seeds] for arm in config.arms}
    # What comes before the trainings: name, whether it is needed, work.
    before: list[tuple[str, bool, Callable[[Path], Any]]] = [
        ("dataset", True, lambda path: _prepare(raw, path, settings["prepare"])),
        ("embed-untuned", "untuned" in wanted,
         lambda path: embed_base(dataset, model, template, path, settings["embed"], **compute)),
        ("pretrain", "tuned" in wanted, lambda path: pretrain(dataset, path, settings["pretrain"], **compute)),
        ("finetune", "tuned" in wanted,
         lambda path: finetune(dataset, pretrained, path, settings["finetune"], **compute)),
        ("embed", "tuned" in wanted, lambda path: embed_tuned(dataset, tuned, path, settings["embed"], **compute))]
    before = [stage for stage in before if stage[1]]
    with sole_run(out), progress(len(before) + len(trainings) + 1, "", "stage") as bar:
        runner = _Runner(out, bar)
        for name, _, work in before:
            runner(name, work)
        runner.train_all(trainings, jobs, compute)
        runner("evaluate", lambda path: evaluate(dataset, trained, settings["evaluate"], out=path, **compute))
    neighbours = {} if "tuned" not in wanted else {
        path.name: category_neighbours(dataset, pretrained, path)
        for kind, path in embeddings.items() if kind in wanted}
    return {"evaluation": read_json(out / "evaluate" / "metrics.json"), "stages": runner.stages,
            "category_neighbours": neighbours}


def _prepare(raw: Source, out: Path, config: PrepareConfig) -> None:
    """Prepare the data set, and say what is in it."""
    from ..data.prepare import prepare

    found = prepare(raw, out, config, existing=Existing.REUSE)
    duplicates = f"{found['duplicates']:,} duplicates left out, " if found["duplicates"] else ""
    note(f"{out}: {found['users']:,} users, {found['items']:,} items, {found['interactions']:,} interactions; "
         f"{duplicates}{found['below_k_core']:,} left out by the {found['k_core']}-core")


def _raw_files(config: RunConfig, data: Path | None, items: Path | None) -> tuple[Path, Path | None]:
    """Return the file or folder of interactions, and the items file where it is named apart."""
    if data is None and config.source is None:
        raise TslrecError("there is no data: the configuration has no key source (a built-in data set, a file or a "
                          "folder of interactions), and --data is not given either; add one")
    interactions, known = resolve_dataset(data or str(config.source))
    return interactions, items or (Path(config.items) if config.items and data is None else known)
