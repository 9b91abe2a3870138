"""The stage ``embed``: every item as a virtual user whose history is that item (TSLRec, arXiv 2406.00333, stage 2).

With llama.cpp and a .gguf file neither torch nor transformers is imported: they would take most of the memory.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..configs import EmbedConfig
from ..data.dataset import Dataset, load_dataset
from ..errors import TslrecError
from ..finetuning.artifact import F16_FILE, open_tuned
from ..finetuning.preference_head import PreferenceHead
from ..item_vectors.artifact import (
    BLOCK,
    KEY_WORDS,
    OlderEmbeddings,
    describe_embeddings,
    open_older,
    save_prompt_keys,
    write_embeddings,
    write_preferences,
)
from ..llm.engines.engine import BatchedEngine
from ..llm.gguf.tokenizer import load_tokenizer
from ..llm.prompts import PromptTemplate, item_texts
from ..llm.resolve import ResolvedModel, resolve_model
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
from .plan import ItemPrompts, Plan, plan_of
from .store import WHOLE, Part, ShardStore, forget_check_in, remove_store

if TYPE_CHECKING:
    import torch

    from ..llm.engines.torch_engine import TorchEngine

_COMPUTED_BY = {"llama": ("tslrec-min", "llama-cpp-python"), "torch": ("tslrec-min", "torch", "transformers")}


def embed_tuned(dataset_path: Path, finetune_path: Path, out: Path, config: EmbedConfig, *,
                device: torch.device | str, threads: int, existing: Existing = Existing.REFUSE,
                append_to: Path | None = None, part: Part = WHOLE) -> int:
    """Embed every item with a fine-tuned model and the prompt it was tuned with; an interrupted run is resumed.

    Args:
        dataset_path, finetune_path: artifacts.
        out: folder of the artifact: item_embeddings.npy, item_preferences.npy, items.txt, prompts.npy, embed.json.
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

    def engine() -> AbstractContextManager[BatchedEngine]:
        if config.engine == "llama":
            half = tuned.artifact.path / F16_FILE
            stored = {"auto": tuned.quantised, "F16": half}.get(config.quant)
            return _llama(stored or half, None if stored else config.quant, config, threads)
        from ..finetuning.artifact import load_tuned
        from ..llm.lora import merge_lora

        model = load_tuned(tuned)
        merge_lora(model.network)
        return _torch(model.network, config, device)

    job = _Job(*load_dataset(dataset_path), out, config, tuned.template, tuned.quantised,
               {"finetune": tuned.artifact.hash}, engine, PreferenceHead.load(tuned))
    return _embed(job, existing, append_to, part)


def embed_base(dataset_path: Path, model: str, template: PromptTemplate, out: Path, config: EmbedConfig, *,
               device: torch.device | str, threads: int, existing: Existing = Existing.REFUSE,
               append_to: Path | None = None, part: Part = WHOLE) -> int:
    """Embed every item with a model that is not fine-tuned; arguments, result and errors are as for `embed_tuned`.

    The llama engine reads a .gguf file as it is unless `config.quant` is set; a model in another format is first
    written as an f16 GGUF.
    """
    base = resolve_model(model)

    def engine() -> AbstractContextManager[BatchedEngine]:
        if config.engine == "torch":
            from ..llm.model import load_language_model

            return _torch(load_language_model(base).network, config, device)
        if base.kind != "gguf":
            return _llama(base, None if config.quant in ("auto", "F16") else config.quant, config, threads)
        from ..llm.gguf.quantization import quant_for_speed

        quant = quant_for_speed(base.path) if config.quant == "auto" else config.quant
        return _llama(base.path, quant, config, threads)

    job = _Job(*load_dataset(dataset_path), out, config, template, base, {"model": base.hash}, engine)
    return _embed(job, existing, append_to, part)


def _torch(network: Any, config: EmbedConfig, device: Any) -> TorchEngine:
    from ..llm.engines.torch_engine import TorchEngine
    from ..runtime.device import resolve_precision

    return TorchEngine(network, device=device, batch_tokens=config.batch_tokens,
                       dtype=resolve_precision(config.torch_precision, device))


@contextmanager
def _llama(source: Path | ResolvedModel, quant: str | None, config: EmbedConfig, threads: int
           ) -> Iterator[BatchedEngine]:
    """Open a GGUF file, or a model in another format; with `quant`, after writing it in this quantisation."""
    from ..llm.engines.llama_engine import LlamaEngine
    from ..llm.gguf.quantization import quantize

    with tempfile.TemporaryDirectory(prefix="tslrec-") as folder:
        path = source if isinstance(source, Path) else Path(folder) / F16_FILE
        if not isinstance(source, Path):
            from ..finetuning.conversion import write_f16
            from ..llm.model import load_language_model

            write_f16(path, load_language_model(source))
        if quant:
            step(f"writing {path.name} as {quant}")
            unquantised, path = path, Path(folder) / f"model-{quant}.gguf"
            quantize(unquantised, path, quant, threads=threads, again=True)
        with LlamaEngine(path, threads=threads, gpu_layers=config.gpu_layers, batch_tokens=config.batch_tokens
                         ) as engine:
            yield engine


@dataclass(frozen=True)
class _Job:
    """What is embedded, and with which model."""

    dataset: Dataset
    dataset_hash: str
    out: Path
    config: EmbedConfig
    template: PromptTemplate
    tokenizer_of: Path | ResolvedModel
    model: dict[str, str]
    """The model's hash, by the name of the input."""
    engine: Callable[[], AbstractContextManager[BatchedEngine]]
    head: PreferenceHead | None = None
    """Of a fine-tuned model."""


def _embed(job: _Job, existing: Existing, append_to: Path | None, part: Part) -> int:
    started = start_measuring()
    if part.launch:
        forget_check_in(job.out, part)  # before slow work: the first process may look for it soon
    recipe = Recipe("embed", asdict(job.config) | {"template": asdict(job.template)},
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
    texts, tokenizer = item_texts(dataset, job.template), load_tokenizer(job.tokenizer_of)
    step(f"tokenising {len(texts)} texts")
    prompts = ItemPrompts(texts, job.template, tokenizer)
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
                    "engine": job.config.engine, "engine_settings": settings, "template": asdict(job.template),
                    "catalogue_hash": dataset.catalogue_hash(), "tokens": prompts.n_tokens,
                    "different_prompts": len(np.unique(prompts.keys, axis=0)),
                    "titles_cut": len(job.template.cut(texts, tokenizer)),
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
    if job.head:
        write_preferences(folder, len(job.head.bias), job.head.vectors)
