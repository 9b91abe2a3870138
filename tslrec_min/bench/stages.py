"""Times of what the stages spend most time on, each against the usual way or against bare matrix products."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from ..categories.artifact import load_categories
from ..configs import PrepareConfig, TrainConfig
from ..data.csr import owners
from ..data.dataset import Dataset, load_dataset
from ..data.prepare import prepare
from ..finetuning.artifact import open_tuned
from ..finetuning.head import PreferenceModel
from ..finetuning.losses import preference_loss
from ..finetuning.samples import make_samples
from ..llm.engines.llama_engine import LlamaEngine
from ..llm.lora import add_lora
from ..llm.model import load_language_model
from ..llm.packed_decoder import PackedDecoder
from ..recommenders.adapters import build_adapter
from ..recommenders.artifact import load_recommender
from ..recommenders.batching import history_batch
from ..recommenders.inference import TrainedScorer
from ..recommenders.models import build_recommender
from ..recommenders.scorer import rank
from ..recommenders.training import TrainingRun
from .chain import CPU, Chain
from .figures import Effort, Figure, relative_time
from .references import pooled_states, read_histories

_PRODUCT = 384
"""Rows and columns of the bare products."""
_PADDED_PROMPTS = 32


def stage_figures(chain: Chain, interactions: Path, effort: Effort) -> Iterator[tuple[str, Figure]]:
    """Yield the name and the figure of every stage, measured on the artifacts of a chain from these interactions."""
    dataset, dataset_hash = load_dataset(chain.dataset)
    with tempfile.TemporaryDirectory(dir=chain.folder) as folder:
        yield "prepare_time", _preparing(interactions, Path(folder), effort)
    yield "train_time", _training(dataset, chain.train, effort, chain.threads)
    yield "finetune_time", _fine_tuning(chain, dataset, dataset_hash, effort)
    yield "embed_time", _embedding(chain, dataset, effort)
    yield "evaluate_time", _evaluating(chain, dataset, dataset_hash, effort)


def _preparing(interactions: Path, folder: Path, effort: Effort) -> Figure:
    numbers = itertools.count()
    return relative_time(lambda: prepare(interactions, folder / str(next(numbers)), PrepareConfig(k_core=2)),
                         lambda: read_histories(interactions), effort,
                         "prepare / reading and sorting by Python's csv module")


def _training(dataset: Dataset, config: TrainConfig, effort: Effort, threads: int) -> Figure:
    """Time SASRec's training steps, always on the same batches."""
    torch.manual_seed(0)
    recommender = build_recommender(build_adapter(config, dataset.n_items, None, dataset.training()), config)
    run = TrainingRun(recommender, dataset.training(), config, CPU, threads)
    recommender.train()
    windows, batches = run.plan(1)
    left = torch.randn(_PRODUCT, _PRODUCT)

    def steps() -> None:
        for chosen in batches[:3]:
            run.learn(windows, chosen)

    def products() -> None:
        for _ in range(40):
            torch.mm(left, left)

    return relative_time(steps, products, effort, f"3 steps of SASRec / 40 products of {_PRODUCT} x {_PRODUCT}")


def _fine_tuning(chain: Chain, dataset: Dataset, dataset_hash: str, effort: Effort) -> Figure:
    """Time the loss and its gradients for a batch of users, packed and padded, by the same weights."""
    config = chain.finetune
    categories, _ = load_categories(chain.folder / "pretrain", dataset, dataset_hash)
    language_model = load_language_model(config.model)
    add_lora(language_model.network, rank=config.lora_rank, alpha=config.lora_alpha)
    model = PreferenceModel(PackedDecoder(language_model.network), categories.n_categories)
    template = open_tuned(chain.folder / "finetune").template
    samples = make_samples(dataset, categories, language_model.tokenizer, template, config,
                           context_length=language_model.network.config.max_position_embeddings).training
    part = samples.take(np.arange(min(config.batch_size, len(samples))))

    def packed() -> None:
        preference_loss(model(part.prompts), part.preferences, config.loss).mean().backward()

    def padded() -> None:
        states = (pooled_states(language_model.network, part.prompts, CPU) - model.mean) / model.scale
        preference_loss(model.head(states), part.preferences, config.loss).mean().backward()

    return relative_time(packed, padded, effort, "gradients of fine-tuning / of padded batches through transformers")


def _embedding(chain: Chain, dataset: Dataset, effort: Effort) -> Figure:
    """Time the states of items by llama.cpp on the quantised file, and by the base model in float32."""
    tuned = open_tuned(chain.folder / "finetune")
    language_model = load_language_model(chain.finetune.model)
    titles = dataset.titles[:4 * _PADDED_PROMPTS]
    prompts = tuned.template.tokenize_all([[title] for title in titles], language_model.tokenizer)
    by_length = sorted(prompts, key=lambda prompt: prompt.pool_stop)

    @torch.inference_mode()
    def padded() -> None:
        for start in range(0, len(prompts), _PADDED_PROMPTS):
            pooled_states(language_model.network, by_length[start:start + _PADDED_PROMPTS], CPU)

    with LlamaEngine(tuned.quantised, threads=chain.threads) as engine:
        return relative_time(lambda: engine.embed(prompts), padded, effort,
                             "embedding by llama.cpp / padded batches through transformers")


def _evaluating(chain: Chain, dataset: Dataset, dataset_hash: str, effort: Effort) -> Figure:
    """Time reading all histories and ranking their targets, against whole padded batches and sorted scores."""
    recommender = load_recommender(chain.folder / "ids", dataset_hash, CPU)
    asked = dataset.evaluation("test")
    seen = asked.seen(dataset.n_items)
    rows = owners(np.diff(seen.indptr))

    @torch.no_grad()
    def sorted_scores() -> None:
        table = recommender.item_table()
        batch = history_batch(asked.histories.indptr, asked.histories.items, np.arange(len(asked.histories)),
                              recommender.max_len)
        items = torch.nn.functional.pad(torch.from_numpy(batch.items),
                                        (0, recommender.max_len - batch.items.shape[1]))
        scores = recommender.backbone.final_states(items, torch.from_numpy(batch.lengths), table) @ table.T
        scores[rows, seen.items] = -torch.inf
        scores.argsort(dim=1, descending=True)

    scorer = TrainedScorer(recommender, CPU)
    return relative_time(lambda: rank(scorer, asked, [seen], device=CPU, threads=chain.threads), sorted_scores, effort,
                         "evaluation / one padded batch and sorted scores")
