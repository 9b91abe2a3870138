"""Merging LoRA into its base model, conversion to GGUF, quantisation, and the check that the results agree."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..configs import QUANTS, FinetuneConfig
from ..data.dataset import Dataset, load_dataset
from ..llm.gguf.quantization import quantize
from ..llm.gguf.tokenizer import TextTokenizer, load_tokenizer
from ..llm.lora import load_adapter, merge_lora
from ..llm.prompts import Prompts, TokenPrompt, item_texts
from ..llm.resolve import ResolvedModel
from ..runtime.progress import step
from .artifact import F16_FILE, load_tuned, open_tuned, quantised_name
from .kinds import Kind, kind_of
from .parity import compare_states
from .samples import history_prompts


def parity_prompts(dataset: Dataset, of_users: Sequence[TokenPrompt], tokenizer: TextTokenizer,
                   template: Prompts, config: FinetuneConfig) -> list[TokenPrompt]:
    """Return real prompts for the parity check: the first of those of users, and as many of items."""
    users = list(of_users[:config.parity_prompts // 2])
    n_items = min(config.parity_prompts - len(users), dataset.n_items)
    items = np.random.default_rng(config.seed).choice(dataset.n_items, n_items, replace=False)
    texts = item_texts(dataset, template)
    return users + template.tokenize_all([[texts[item]] for item in items], tokenizer)


def some_users(dataset: Dataset, config: FinetuneConfig) -> list[np.ndarray]:
    """Return what prompts show of a few random users, for the parity check: int64 [n] each."""
    shown = dataset.training().last(config.max_history)
    users = np.random.default_rng(config.seed).permutation(np.flatnonzero(shown.lengths))
    return [shown.of(user) for user in users[:config.parity_prompts // 2]]


def merge(model: str, adapter: Path, target: Path) -> None:
    """Merge an adapter, a folder in PEFT's format, into its base model in float32, and write an f16 GGUF to `target`.

    Raises:
        TslrecError: the adapter doesn't fit the model, or a merged weight is not finite.
    """
    source, kind = kind_of(model)
    base = kind.load(source)
    load_adapter(base.network, adapter)
    merge_lora(base.network)
    base.write_f16(target)


def convert(source: ResolvedModel, kind: Kind, adapter: Path, folder: Path, quant: str, prompts: Sequence[TokenPrompt],
            *, threads: int) -> dict[str, Any]:
    """Merge an adapter as `merge` does, quantise the result, and compare both GGUF files with HF + LoRA on `prompts`.

    Args:
        source, kind: the base model, and what it is.
        adapter: as for `merge`.
        folder: where model-f16.gguf and model-<quant>.gguf are written.
        quant: quantisation.
        prompts: real prompts.
        threads: of llama.cpp.

    Returns:
        The contents of parity.json.

    Raises:
        TslrecError: as `merge`.
    """
    step("computing the states of the model with LoRA")
    base = kind.load(source)
    load_adapter(base.network, adapter)
    reference = kind.torch_engine(base.network).embed(prompts)
    merge_lora(base.network)
    merged = kind.torch_engine(base.network).embed(prompts)
    step(f"writing {F16_FILE}")
    base.write_f16(folder / F16_FILE)
    del base
    if quant != "F16":
        step(f"quantising to {quant}")
        quantize(folder / F16_FILE, folder / quantised_name(quant), quant, threads=threads)
    return _compared(kind, folder, quant, prompts, reference, {"merged": merged}, threads)


def _compared(kind: Kind, folder: Path, quant: str, prompts: Sequence[TokenPrompt], reference: np.ndarray,
              others: dict[str, np.ndarray], threads: int) -> dict[str, Any]:
    """Compare the states of HF + LoRA, float32 [n, D], with those of `others` and of the GGUF files."""
    states = dict(others)
    for name in dict.fromkeys(("F16", quant)):
        step(f"computing the states of the GGUF file {name}")
        with kind.llama_engine(folder / quantised_name(name), threads=threads) as engine:
            states[name] = engine.embed(prompts)
    comparisons = {name: compare_states(reference, other) for name, other in states.items()}
    thresholds = {kind: QUANTS[kind] for kind in ("F16", quant)}
    passed = all(comparisons[name]["mean_cosine"] >= minimum for name, minimum in thresholds.items())
    return {"reference": "HF + LoRA, float32", "prompts": len(prompts), "passed": passed,
            "thresholds": thresholds, "comparisons": comparisons}


def verify(dataset_path: Path, finetune_path: Path, *, threads: int) -> dict[str, Any]:
    """Compare a finetune artifact's GGUF files with its model, and return what parity.json would hold.

    Raises:
        TslrecError: an input is missing or damaged.
    """
    dataset, _ = load_dataset(dataset_path)
    tuned = open_tuned(finetune_path)
    config = tuned.config
    tokenizer = load_tokenizer(tuned.tokenizer_model)
    of_users = history_prompts(dataset, some_users(dataset, config), tuned.template, tokenizer)
    prompts = parity_prompts(dataset, of_users, tokenizer, tuned.template, config)
    reference = tuned.kind.torch_engine(load_tuned(tuned).network).embed(prompts)
    return _compared(tuned.kind, tuned.artifact.path, config.quant, prompts, reference, {}, threads)
