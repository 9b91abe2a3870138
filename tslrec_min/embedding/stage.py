"""The stage ``embed``: every item as a virtual user whose history is that item (TSLRec, arXiv 2406.00333, stage 2)."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..adaptation import load_tuned, open_tuned
from ..artifacts import Recipe, is_current, write_artifact, write_json
from ..configs import EmbedConfig
from ..data.dataset import Dataset, load_dataset
from ..errors import TslrecError
from ..finetuning import resolve_precision
from ..gguf.writer import write_gguf
from ..llm import load_language_model, load_tokenizer, model_hash
from ..lora import merge_lora
from ..prompts import PromptTemplate, TokenPrompt
from ..sources import resolve_model
from . import BatchedEngine
from .artifact import save_embeddings
from .llama_engine import LlamaEngine
from .torch_engine import TorchEngine

_SAMPLED_PAIRS = 10_000


def embed_tuned(dataset_path: Path, finetune_path: Path, out: Path, config: EmbedConfig, *, device: torch.device,
                threads: int, existing: str = "refuse") -> None:
    """Embed every item with a fine-tuned model and the prompt it was tuned with.

    Args:
        dataset_path: data set artifact.
        finetune_path: finetune artifact.
        out: folder of the artifact: item_embeddings.npy, items.txt, embed.json.
        config: engine settings.
        device: of the torch engine.
        threads: of llama.cpp.
        existing: what to do with an artifact at `out`: refuse, overwrite or reuse.

    Raises:
        TslrecError: an input is missing or damaged.
    """
    tuned = open_tuned(finetune_path)

    def engine() -> AbstractContextManager[BatchedEngine]:
        if config.engine == "llama":
            return _llama(tuned.quantised, config, threads)
        model = load_tuned(tuned)
        merge_lora(model.network)
        return _torch(model.network, config, device)

    _embed(dataset_path, out, config, tuned.template, tuned.quantised, {"finetune": tuned.artifact.hash}, engine,
           existing)


def embed_base(dataset_path: Path, model: str, template: PromptTemplate, out: Path, config: EmbedConfig, *,
               device: torch.device, threads: int, existing: str = "refuse") -> None:
    """Embed every item with a model as it is, before any fine-tuning; otherwise like `embed_tuned`.

    The llama engine reads a .gguf as it stands; a model in another format is written as an f16 GGUF first.
    """

    def engine() -> AbstractContextManager[BatchedEngine]:
        if config.engine == "torch":
            return _torch(load_language_model(model).network, config, device)
        resolved = resolve_model(model)
        if resolved.kind == "gguf":
            return _llama(resolved.path, config, threads)
        return _converted(model, config, threads)

    _embed(dataset_path, out, config, template, model, {"model": model_hash(model)}, engine, existing)


def _torch(network: Any, config: EmbedConfig, device: torch.device) -> TorchEngine:
    return TorchEngine(network, device=device, batch_tokens=config.batch_tokens,
                       dtype=resolve_precision(config.torch_precision, device))


def _llama(path: Path, config: EmbedConfig, threads: int) -> LlamaEngine:
    return LlamaEngine(path, threads=threads, gpu_layers=config.gpu_layers, batch_tokens=config.batch_tokens)


@contextmanager
def _converted(model: str, config: EmbedConfig, threads: int) -> Iterator[LlamaEngine]:
    """Write a model as a temporary GGUF and open it."""
    loaded = load_language_model(model)
    with tempfile.TemporaryDirectory(prefix="tslrec-") as folder:
        path = Path(folder) / "model-f16.gguf"
        write_gguf(path, loaded.network, loaded.network.config.to_dict(), loaded.metadata)
        del loaded
        with _llama(path, config, threads) as engine:
            yield engine


def _embed(dataset_path: Path, out: Path, config: EmbedConfig, template: PromptTemplate, tokenizer_of: str | Path,
           inputs: dict[str, str], engine: Callable[[], AbstractContextManager[BatchedEngine]], existing: str) -> None:
    dataset, dataset_hash = load_dataset(dataset_path)
    recipe = Recipe("embed", asdict(config) | {"template": asdict(template)}, {"dataset": dataset_hash} | inputs)
    if existing == "reuse" and is_current(out, recipe):
        return
    with write_artifact(out, recipe, overwrite=existing != "refuse") as folder:
        prompts = item_prompts(dataset, template, tokenizer_of)
        with engine() as opened:
            if config.autotune:
                opened.autotune(prompts)
            vectors = opened.embed(prompts)
            settings = opened.describe()
        save_embeddings(folder, vectors, dataset)
        write_json(folder / "embed.json", describe_embeddings(vectors) | {
            "engine": config.engine, **settings, "template": asdict(template),
            "catalogue_hash": dataset.catalogue_hash(), "different_prompts": len(set(prompts)),
            "tokens": sum(len(prompt.token_ids) for prompt in prompts)})


def item_prompts(dataset: Dataset, template: PromptTemplate, model: str | Path) -> Sequence[TokenPrompt]:
    """Return the prompt of every item, [I]."""
    tokenizer = load_tokenizer(model)
    return [template.tokenize([title], tokenizer) for title in dataset.titles]


def describe_embeddings(vectors: np.ndarray) -> dict[str, float | int]:
    """Check item vectors, float32 [I, D], and say how they spread.

    Raises:
        TslrecError: all of them are the same.
    """
    if len(vectors) > 1 and not np.ptp(vectors, axis=0).any():
        raise TslrecError("every item got the same vector; the titles are all equal or the model is broken")
    norms = np.linalg.norm(vectors, axis=1)
    random = np.random.default_rng(0)
    left = random.integers(0, len(vectors), _SAMPLED_PAIRS)
    right = (left + random.integers(1, max(2, len(vectors)), _SAMPLED_PAIRS)) % len(vectors)  # another item
    cosines = (vectors[left] * vectors[right]).sum(axis=1) / np.maximum(norms[left] * norms[right], 1e-12)
    return {"items": len(vectors), "width": vectors.shape[1], "norm_mean": float(norms.mean()),
            "norm_std": float(norms.std()), "mean_cosine": float(cosines.mean())}
