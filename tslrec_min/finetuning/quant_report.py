"""A comparison of the quantisations of a fine-tuned model: file size, speed, states and downstream NDCG@10."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..configs import TrainConfig
from ..data.dataset import Dataset, load_dataset
from ..errors import TslrecError
from ..item_vectors.load import of_kind
from ..llm.engines.engine import BatchedEngine
from ..llm.gguf.quantization import LLAMA_TYPES, quantize
from ..llm.gguf.tokenizer import load_tokenizer
from ..llm.lora import merge_lora
from ..llm.prompts import TokenPrompt, item_texts
from ..recommenders.training import trained
from .artifact import F16_FILE, TunedModel, load_tuned, open_tuned
from .parity import compare_states
from .preference_head import PreferenceHead
from .projection import Projection

_WARM_UP = 64
"""Items per thread that are embedded before the timing, while weights are read from disk and contexts are made. It is
the largest size of a batch, so that every thread gets one."""


def report_quantisations(dataset_path: Path, finetune_path: Path, quants: Sequence[str], *, items: int,
                         downstream: TrainConfig | None = None, seeds: Sequence[int] = (0,), device: torch.device,
                         gpu_layers: int = 0, threads: int) -> dict[str, Any]:
    """Compare quantisations of a finetune artifact with its merged float32 model in torch.

    Each is written from model-f16.gguf into a temporary folder, one at a time. Speeds are those of one pass, so they
    mean something only if the machine is otherwise idle. If a model's width is not a multiple of 256, the block of
    k-quants, llama.cpp stores most of a Q6_K in Q8_0, of a Q5_K_M in Q5_1, of a Q4_K_M in Q5_0.

    Args:
        dataset_path, finetune_path: artifacts.
        quants: names in `configs.QUANTS`.
        items: maximum number of items whose states are compared, evenly spaced in the catalogue; at least 2.
        downstream: also train a recommender with the vectors of all items; its adapter must take vectors.
        seeds: of those trainings.
        device: of the torch engine and of the trainings.
        gpu_layers: layers that llama.cpp puts on a GPU, -1 = all.
        threads: of llama.cpp and of kernels.

    Returns:
        ``items`` (compared), ``embedded_items`` (timed), ``threads``; ``reference``: ``items_per_second`` of the
        float32 model; ``quants``: the same for each quantisation, with ``size_mib`` and what `compare_states`
        returns. With `downstream` all have ``validation_ndcg@10``: mean, standard deviation and values of the runs.

    Raises:
        TslrecError: an input is missing or damaged, a quantisation is unknown, or a model's states are not finite.
    """
    unknown = [quant for quant in quants if quant not in LLAMA_TYPES]
    if unknown:
        raise TslrecError(f"the quantisations are {', '.join(quants)}; expected some of {', '.join(LLAMA_TYPES)}")
    dataset, _ = load_dataset(dataset_path)
    compared = min(items, dataset.n_items)
    if compared < 2:
        raise TslrecError(f"--items is {items}, the data set has {dataset.n_items} items; compare at least 2")
    tuned = open_tuned(finetune_path)
    head, projection = PreferenceHead.load(tuned), Projection.load(tuned)
    sample = np.arange(compared) * dataset.n_items // compared
    embedded = np.arange(dataset.n_items) if downstream else sample
    texts = item_texts(dataset, tuned.template)
    prompts = tuned.template.tokenize_all([[texts[item]] for item in embedded], load_tokenizer(tuned.tokenizer_model))

    def vectors(states: np.ndarray) -> np.ndarray:
        """Return what `train --vectors auto` reads, with its row of padding."""
        if projection:
            return padded(projection.vectors(states, prompts))
        return of_kind("auto", lambda: padded(states), lambda: padded(head.vectors(states)), dataset.n_items)

    def padded(rows: np.ndarray) -> np.ndarray:
        return np.concatenate([np.zeros_like(rows[:1]), rows])

    def outcome(states: np.ndarray, seconds: float) -> dict[str, Any]:
        ndcg = {} if downstream is None else {
            "validation_ndcg@10": _downstream(dataset, vectors(states), downstream, seeds, device, threads)}
        return {"items_per_second": len(states) / seconds, **ndcg}

    rows = np.searchsorted(embedded, sample)  # of the states
    network = load_tuned(tuned).network
    merge_lora(network)
    with tuned.kind.torch_engine(network, device=device) as engine:
        reference, seconds = _timed(engine, prompts, _WARM_UP)
    del network, engine
    report: dict[str, Any] = {"items": compared, "embedded_items": len(embedded), "threads": threads,
                              "reference": outcome(reference, seconds), "quants": {}}
    for quant in dict.fromkeys(quants):
        states, seconds, size = _quantised(tuned, quant, prompts, gpu_layers, threads)
        report["quants"][quant] = {"size_mib": size / 2**20, **compare_states(reference[rows], states[rows]),
                                   **outcome(states, seconds)}
    return report


def _quantised(tuned: TunedModel, quant: str, prompts: Sequence[TokenPrompt], gpu_layers: int, threads: int
               ) -> tuple[np.ndarray, float, int]:
    """Return the states of a quantisation, the seconds they took, and the bytes of its file."""
    with tempfile.TemporaryDirectory(prefix="tslrec-") as folder:
        path = source = tuned.artifact.path / F16_FILE
        if quant != "F16":
            path = Path(folder) / f"{quant}.gguf"
            quantize(source, path, quant, threads=threads)
        with tuned.kind.llama_engine(path, threads=threads, gpu_layers=gpu_layers) as engine:
            return *_timed(engine, prompts, _WARM_UP * threads), path.stat().st_size


def _timed(engine: BatchedEngine, prompts: Sequence[TokenPrompt], warm_up: int) -> tuple[np.ndarray, float]:
    engine.embed(prompts[:warm_up])
    started = time.perf_counter()
    states = engine.embed(prompts)
    return states, time.perf_counter() - started


def _downstream(dataset: Dataset, vectors: np.ndarray, config: TrainConfig, seeds: Sequence[int],
                device: torch.device, threads: int) -> dict[str, Any]:
    """Return the validation NDCG@10 of trainings, one per seed, with the items' vectors, float32 [I+1, D]."""
    values = []
    for seed in seeds:
        _, metrics = trained(dataset.n_items, dataset.training(), dataset.evaluation("validation"),
                             replace(config, seed=seed), vectors, device, threads)
        values.append(metrics["validation_ndcg@10"])
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {"mean": float(np.mean(values)), "std": deviation, "runs": values}
