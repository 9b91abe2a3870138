"""The whole chain from one configuration file, stage by stage, in a folder each.

A stage is kept if its artifact is undamaged and was made from the same inputs with the same configuration. So an
interrupted or edited run only repeats what is necessary.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..configs import EmbedConfig, PrepareConfig, PretrainConfig, ProbeConfig
from ..data.builtin import resolve_dataset
from ..errors import TslrecError
from ..llm.resolve import is_built_in, resolve_model
from ..runtime.device import start_torch
from ..runtime.progress import note, progress
from ..storage.artifacts import read_json
from ..storage.atomic import sole_run
from ..storage.existing import Existing
from .arms import embeddings_of
from .config import RunConfig
from .runner import Runner
from .serving import for_serving
from .trainings import EMBEDDED, Trainings
from .work import Work

if TYPE_CHECKING:
    from ..data.raw.discover import Source

_ITEMS_A_CATEGORY = 4
"""A run has at most one latent category for so many items."""


def run(config: RunConfig, out: Path, *, data: Path | None = None, items: Path | None = None,
        device_name: str = "cpu", threads: int = 1, jobs: int | None = None) -> dict[str, Any]:
    """Run the chain.

    Args:
        config: of the chain.
        out: folder of the run, with a folder per stage.
        data: file or folder of interactions that replaces the configuration's source and items.
        items: file with titles that replaces the configuration's.
        device_name: torch device.
        threads: number of threads.
        jobs: number of recommenders trained at the same time, in separate processes that share the threads; None: as
            the configuration says, but not more than threads, and one on a GPU.

    Returns:
        ``evaluation`` (the contents of evaluate/metrics.json), ``advice`` in a sentence or two, ``best``, the arm that
        it names, ``seconds`` to make one run of each arm, ``stages`` with time and memory of each,
        ``category_neighbours`` by folder of item embeddings, ``probe`` (the contents of probe/metrics.json; None
        without fine-tuning, or if all items have the same text), and ``jobs``, as taken.

    Raises:
        TslrecError: a stage fails (finished stages are kept), or another run is using `out`.
    """
    from ..categories.pretrain import pretrain
    from ..embedding.embed import embed_base, embed_tuned
    from ..embedding.quality import category_neighbours
    from ..embedding.tfidf import embed_tfidf
    from ..evaluation.advice import advice, best_arm
    from ..evaluation.evaluate import evaluate
    from ..evaluation.probe import make_probe
    from ..finetuning.finetune import finetune
    from ..llm.prompts import template_of

    compute: dict[str, Any] = {"device": start_torch(device_name, threads), "threads": threads,
                               "existing": Existing.REUSE}
    if jobs is None:  # several would share a GPU's memory
        jobs = min(config.jobs, threads) if compute["device"].type == "cpu" else 1
    settings, raw = config.stages, find_raw(config, data, items)  # before a folder is created
    wanted = embeddings_of(config.arms)
    model = settings["finetune"].model
    for name in [model] * bool(wanted & {"untuned", "tuned"}) + [config.encoder] * ("encoder" in wanted):
        if not is_built_in(name):
            resolve_model(name)  # a missing model is reported now, not when its stage starts
    dataset, pretrained, tuned = out / "dataset", out / "pretrain", out / "finetune"
    template, of_decoders = template_of(settings["finetune"]), replace(settings["embed"], prefix="")
    plan = Trainings(config, out)
    before: dict[str, Callable[[Path], Any]] = {"dataset": lambda path: make_dataset(raw, path, settings["prepare"])}
    if "tfidf" in wanted:
        before["embed-tfidf"] = lambda path: embed_tfidf(dataset, path, EmbedConfig(), **compute)
    if "encoder" in wanted:
        before["embed-encoder"] = lambda path: embed_base(dataset, config.encoder, template, path, settings["embed"],
                                                          **compute)
    if "untuned" in wanted:
        before["embed-untuned"] = lambda path: embed_base(dataset, model, template, path, of_decoders, **compute)
    if "tuned" in wanted:
        before |= {"pretrain": lambda path: pretrain(dataset, path, _fitting(settings["pretrain"], dataset), **compute),
                   "finetune": lambda path: finetune(dataset, pretrained, path, settings["finetune"], **compute),
                   "embed": lambda path: embed_tuned(dataset, tuned, path, of_decoders, **compute)}
    with sole_run(out), progress(len(before) + plan.count + 1, "", "stage", even=False) as bar:
        runner = Runner(out, bar)
        runner("dataset", before.pop("dataset"))
        work = Work.of(dataset, compute["device"])
        runner.expect(work.of_stages([*before, "evaluate"], config) | work.of_recommenders(plan))
        for name, make in before.items():
            runner(name, make)
        if compared := _compared(wanted, out):
            bar.total = (bar.total or 0) + 1
            runner.expect({"probe": work.of_probe(len(compared))})
            runner("probe", lambda path: make_probe(dataset, compared, ProbeConfig(), path, threads=threads,
                                                    existing=Existing.REUSE))
        runner.make(plan, jobs, compute)
        runner("evaluate", lambda path: evaluate(dataset, plan.runs, settings["evaluate"], out=path, **compute))
        evaluation, scores = read_json(out / "evaluate" / "metrics.json"), plan.validation_scores()
        best = best_arm(evaluation, scores)
        if config.serving:
            serving = for_serving(plan, best, out)
            bar.total = (bar.total or 0) + serving.count
            runner.expect(work.of_recommenders(serving))
            runner.make(serving, jobs, compute)
    neighbours = {} if "tuned" not in wanted else {
        EMBEDDED[kind]: category_neighbours(dataset, pretrained, out / EMBEDDED[kind])
        for kind in ("untuned", "tuned") if kind in wanted}
    return {"evaluation": evaluation, "advice": advice(evaluation, scores), "best": best, "seconds": plan.seconds(),
            "stages": runner.stages, "category_neighbours": neighbours,
            "probe": read_json(out / "probe" / "metrics.json") if compared else None, "jobs": jobs}


def _compared(wanted: Collection[str], out: Path) -> dict[str, Path]:
    """Return the item embeddings that fine-tuned ones are probed with: those of the same model before it first.

    There are none without fine-tuning, and none where all items have the same text, and so the same vector.
    """
    folders = {kind: out / EMBEDDED[kind] for kind in ("untuned", "encoder", "tuned") if kind in wanted}
    if "tuned" not in folders:
        return {}
    return {kind: folder for kind, folder in folders.items()
            if read_json(folder / "embed.json")["different_prompts"] > 1}


def _fitting(config: PretrainConfig, dataset: Path) -> PretrainConfig:
    """Return the configuration with fewer latent categories if a catalogue is too small for them."""
    most = max(2, int(read_json(dataset / "dataset.json")["items"]) // _ITEMS_A_CATEGORY)
    if config.categories <= most:
        return config
    note(f"{most} latent categories in place of {config.categories}, as the catalogue is small")
    return replace(config, categories=most)


def make_dataset(raw: Source, out: Path, config: PrepareConfig) -> None:
    """Run the stage ``dataset``: prepare interactions into the folder `out`, and note their number."""
    from ..data.prepare import prepare

    statistics = prepare(raw, out, config, existing=Existing.REUSE)
    duplicates = f"{statistics['duplicates']:,} duplicates left out, " if statistics["duplicates"] else ""
    note("{}: {users:,} users, {items:,} items, {interactions:,} interactions; {}{below_k_core:,} left out by the "
         "{k_core}-core".format(out, duplicates, **statistics))


def find_raw(config: RunConfig, data: Path | None, items: Path | None) -> Source:
    """Return the files of interactions and titles.

    Args:
        config: of the chain; it names its own.
        data, items: files that replace them, see `run`.

    Raises:
        TslrecError: there are none, or they lack something.
    """
    from ..data.raw.readers import find_files

    if data is None and config.source is None:
        raise TslrecError("no data: the configuration has no key source (a built-in data set, a file or a folder of "
                          "interactions), and --data is not given; add one")
    interactions, known = resolve_dataset(data or str(config.source))
    titles = items or (Path(config.items) if config.items and data is None else known)
    return find_files(interactions, titles, config.stages["prepare"])
