"""The stage ``embed``: every item as a virtual user whose history is that item (TSLRec, arXiv 2406.00333, stage 2), or,
with an encoder, as its title.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..configs import EmbedConfig
from ..data.dataset import Dataset, load_dataset
from ..errors import TslrecError
from ..finetuning.artifact import open_tuned
from ..finetuning.preference_head import PreferenceHead
from ..finetuning.projection import Projection
from ..item_vectors.artifact import (
    BLOCK,
    KEY_WORDS,
    PREFERENCES,
    PROJECTED,
    OlderEmbeddings,
    describe_embeddings,
    open_older,
    save_prompt_keys,
    write_derived,
    write_embeddings,
)
from ..llm.encoders import encoder_of
from ..llm.engines.engine import BatchedEngine
from ..llm.prompts import PromptTemplate
from ..llm.resolve import resolve_model
from ..runtime.measuring import start_measuring
from ..runtime.progress import progress, step
from ..storage.artifacts import (
    Recipe,
    is_current,
    recorded_versions,
    refuse_existing,
    sha256_of_json,
    write_artifact,
    write_json,
)
from ..storage.existing import Existing
from .engines import base_engine, encoder_engine, tuned_engine
from .plan import ItemPrompts, Plan, plan_of
from .reading import PromptReading, Reading, TitleReading
from .store import WHOLE, Part, ShardStore, forget_check_in, remove_store
from .tfidf import TFIDF

if TYPE_CHECKING:
    import torch

_COMPUTED_BY = {"llama": ("tslrec-min", "llama-cpp-python"), "torch": ("tslrec-min", "torch", "transformers")}


def embed_tuned(dataset_path: Path, finetune_path: Path, out: Path, config: EmbedConfig, *,
                device: torch.device | str, threads: int, existing: Existing = Existing.REFUSE,
                append_to: Path | None = None, part: Part = WHOLE) -> int:
    """Embed every item with a fine-tuned model and the prompt it was tuned with; an interrupted run is resumed.

    Args:
        dataset_path, finetune_path: artifacts.
        out: folder of the artifact: item_embeddings.npy, item_preferences.npy, items.txt, prompts.npy, embed.json,
            and item_projected.npy of a model tuned on next items.
        config: engine settings.
        device: of the torch engine.
        threads: of llama.cpp.
        existing: what to do with an artifact at `out`: refuse, overwrite or reuse.
        append_to: embed artifact whose vectors are kept for items with the same prompt.
        part: this process's part of the work.

    Returns:
        The number of shards, missing or damaged, that other parts have to compute. With 0 the artifact exists, unless
        torchrun's first process has yet to write it.

    Raises:
        TslrecError: an input is missing or damaged, or `append_to` was made by another model, template or engine.
    """
    tuned = open_tuned(finetune_path)
    _refuse_prefix(config, "a fine-tuned model reads what it was tuned with")
    job = _Job(*load_dataset(dataset_path), out, config, PromptReading(tuned.template, tuned.tokenizer_model),
               {"finetune": tuned.artifact.hash}, lambda: tuned_engine(tuned, config, device, threads),
               PreferenceHead.load(tuned), Projection.load(tuned))
    return _embed(job, existing, append_to, part)


def embed_base(dataset_path: Path, model: str, template: PromptTemplate, out: Path, config: EmbedConfig, *,
               device: torch.device | str, threads: int, existing: Existing = Existing.REFUSE,
               append_to: Path | None = None, part: Part = WHOLE) -> int:
    """Embed every item with a model that is not fine-tuned; arguments, result and errors are as for `embed_tuned`.

    A decoder reads the prompt that `template` makes, an encoder (`llm.encoders`) the item's title after
    `config.prefix`. The llama engine reads a .gguf file as it is unless `config.quant` is set; a model in another
    format is first written as an f16 GGUF.
    """
    base = resolve_model(model, also=(TFIDF,))
    encoder = encoder_of(base)
    if encoder is None:
        _refuse_prefix(config, f"{base.name}, a decoder, reads a prompt")
    reading: Reading = TitleReading(encoder, config.prefix, base) if encoder else PromptReading(template, base)

    def engine() -> AbstractContextManager[BatchedEngine]:
        if encoder is None:
            return base_engine(base, config, device, threads)
        return encoder_engine(base, encoder, config, device, threads)

    job = _Job(*load_dataset(dataset_path), out, config, reading, {"model": base.hash}, engine)
    return _embed(job, existing, append_to, part)


def _refuse_prefix(config: EmbedConfig, reason: str) -> None:
    if config.prefix:
        raise TslrecError(f"--prefix {config.prefix!r} is only for encoders, as they are, which read the title alone; "
                          f"{reason}: leave the prefix out")


@dataclass(frozen=True)
class _Job:
    """What is embedded, and with which model."""

    dataset: Dataset
    dataset_hash: str
    out: Path
    config: EmbedConfig
    reading: Reading
    model: dict[str, str]
    """The model's hash, by the name of the input."""
    engine: Callable[[], AbstractContextManager[BatchedEngine]]
    head: PreferenceHead | None = None
    """Of a fine-tuned model."""
    projection: Projection | None = None
    """Of a model tuned on next items."""


def _embed(job: _Job, existing: Existing, append_to: Path | None, part: Part) -> int:
    started = start_measuring()
    if part.launch:
        forget_check_in(job.out, part)  # before slow work: the first process may look for it soon
    recipe = Recipe("embed", asdict(job.config) | job.reading.described(),
                    {"dataset": job.dataset_hash} | job.model)
    older = None if append_to is None else open_older(append_to, recipe)
    if older:
        recipe = replace(recipe, inputs={**recipe.inputs, "appended_to": older.artifact.hash})
    by_hand = part.count > 1 and not part.launch

    def is_made() -> bool:
        """Return whether nothing is left to do; refuse an artifact that may not be replaced."""
        # With parts started one by one, an earlier one may have finished the work.
        if (existing.reuses or (not existing.overwrites and by_hand)) and is_current(job.out, recipe):
            remove_store(job.out)  # left by a process that was killed after its last step
            return True
        refuse_existing(job.out, "embed", overwrite=existing.overwrites)
        return False

    if is_made():
        return 0
    dataset = job.dataset.with_cold_items()
    texts = job.reading.texts(dataset)
    step(f"tokenising {len(texts)} texts")
    prompts = ItemPrompts(texts, job.reading)
    plan = plan_of(prompts, older.keys if older else np.zeros((0, KEY_WORDS), np.uint64), job.config.shard_size)
    step(f"loading the engine {job.config.engine}; {plan.n_shards} shards")
    with job.engine() as engine:
        precision = engine.describe().get("precision")
        if older:
            older.check_precision(precision)
        store = _store(job, recipe, prompts, plan, precision, engine.width)
        try:
            if is_made():  # by another process in the meantime
                return 0
        except TslrecError:
            remove_store(job.out)  # new and empty
            raise
        own = part.of(plan.n_shards)
        missing = store.to_compute(own)
        if part.launch:
            store.check_in(part)
        if job.config.autotune and missing:
            engine.autotune(prompts.of(plan.shard(0)))
        _compute(store, engine, prompts, plan, missing, len(own))
        settings = engine.describe()
        if part.launch:
            if part.number:
                return 0
            store.wait_for_check_ins(part)
            # What the others have not done, from the end, which they reach last; computing a shard twice does no harm.
            _compute(store, engine, prompts, plan, store.missing(range(plan.n_shards))[::-1], plan.n_shards)
    with store.alone() as is_there:
        every = range(plan.n_shards)
        left = store.to_compute(every) if by_hand else store.missing(every)  # each part has checked only its own
        if is_there and not left:
            with write_artifact(job.out, recipe, overwrite=existing.overwrites, started=started) as folder:
                _assemble(folder, job, store, prompts, plan, older)
                write_json(folder / "embed.json", describe_embeddings(folder) | {
                    "engine": job.config.engine, "engine_settings": settings, **job.reading.described(),
                    "catalogue_hash": dataset.catalogue_hash(), "tokens": prompts.n_tokens,
                    "different_prompts": len(np.unique(prompts.keys, axis=0)),
                    **job.reading.counts(texts),
                    "kept": int((plan.kept >= 0).sum()), "computed": int((plan.kept < 0).sum())})
            remove_store(job.out)
        return len(left)


def _store(job: _Job, recipe: Recipe, prompts: ItemPrompts, plan: Plan, precision: str | None, width: int
           ) -> ShardStore:
    """Open the store of exactly these states."""
    versions = recorded_versions()
    key = sha256_of_json([asdict(recipe), [versions.get(package) for package in _COMPUTED_BY[job.config.engine]],
                          precision, hashlib.sha256(prompts.keys[plan.order].tobytes()).hexdigest()])
    return ShardStore(job.out, key, [(len(plan.shard(number)), width) for number in range(plan.n_shards)])


def _compute(store: ShardStore, engine: BatchedEngine, prompts: ItemPrompts, plan: Plan, shards: Sequence[int],
             total: int) -> None:
    """Compute `shards`, of `total`, except those that another process computes in the meantime."""
    with progress(total, "embed", "shard", initial=total - len(shards), leave=False) as bar:
        for number in shards:
            if store.missing([number]):
                store.write(number, engine.embed(prompts.of(plan.shard(number))))
            bar.update()


def _assemble(folder: Path, job: _Job, store: ShardStore, prompts: ItemPrompts, plan: Plan,
              older: OlderEmbeddings | None) -> None:
    """Write the vectors, block by block, the prompts' keys and the preferences."""

    def blocks() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        by_place = np.argsort(plan.place, kind="stable")  # kept items first: their place is -1
        first = np.searchsorted(plan.place[by_place], np.arange(plan.n_shards + 1) * plan.shard_size)
        for start in range(0, first[0], BLOCK):
            rows = by_place[start: min(start + BLOCK, first[0])]
            assert older is not None  # for mypy: without it nothing is kept
            yield rows, older.vectors(plan.kept[rows])
        for number in range(plan.n_shards):
            rows = by_place[first[number]: first[number + 1]]
            yield rows, store.read(number)[plan.place[rows] - number * plan.shard_size]

    write_embeddings(folder, blocks(), job.dataset)
    save_prompt_keys(folder, prompts.keys)
    head, projection = job.head, job.projection
    if head:
        write_derived(folder, PREFERENCES, len(head.bias), lambda states, _: head.vectors(states))
    if projection:
        write_derived(folder, PROJECTED, len(projection.bias),
                      lambda states, items: projection.vectors(states, prompts.of(items)))
