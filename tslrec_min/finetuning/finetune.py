"""The stage ``finetune``: fine-tune, merge, convert to GGUF, quantise, verify."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ..categories.artifact import Categories, load_categories
from ..configs import FinetuneConfig
from ..data.dataset import Dataset, load_dataset
from ..errors import TslrecError
from ..llm.gguf.tokenizer import TextTokenizer
from ..llm.lora import add_lora, save_adapter
from ..llm.prompts import Prompts, TokenPrompt
from ..runtime import distributed
from ..runtime.device import resolve_precision
from ..runtime.progress import step
from ..storage.artifacts import Recipe, write_json
from ..storage.checkpoints import Checkpointing, is_trained, training_artifact
from ..storage.existing import Existing
from ..storage.tensors import save_tensors
from .conversion import convert, parity_prompts, some_users
from .head import PreferenceModel
from .item_samples import item_prompts, make_item_samples
from .item_tokens import ItemTokens
from .item_training import ItemModel, fine_tune_items
from .kinds import kind_of
from .next_titles import ItemGroups
from .projection import FILE as PROJECTION_FILE
from .samples import history_prompts, make_samples
from .training import fine_tune, held_out_loss
from .two_level import TwoLevelModel, check_two_level, fine_tune_two_level

_Learned = tuple[dict[str, Any], list[TokenPrompt], dict[str, torch.Tensor]]
"""Metrics, prompts of users for the parity check, and tensors that are stored beside the head."""


def finetune(dataset_path: Path, pretrain_path: Path, out: Path, config: FinetuneConfig, *, device: torch.device,
             threads: int, existing: Existing = Existing.REFUSE) -> None:
    """Fine-tune the language model on the users' preference distributions and write it as a verified GGUF file.

    Args:
        dataset_path, pretrain_path: artifacts of one data set.
        out: folder of the artifact: adapter/, head.safetensors, metrics.json, model-f16.gguf, model-<quant>.gguf,
            parity.json, projection.safetensors of a model tuned on next items, and prompt.json or, of an encoder,
            encoder.json and tokenizer.json.
        config: model, prompt and training settings.
        device: where to train.
        threads: of quantisation and llama.cpp.
        existing: what to do with an artifact at `out`: refuse, overwrite or reuse.

    Raises:
        TslrecError: an input is missing or damaged, the model is of a kind that can't be fine-tuned, or the GGUF's
            states differ too much from the model's; then ``<out>.parity.json`` keeps the figures.
    """
    dataset, dataset_hash = load_dataset(dataset_path)
    categories, pretrain_hash = load_categories(pretrain_path, dataset, dataset_hash)
    base, kind = kind_of(config.model)
    if config.objective == "two-level":
        check_two_level(config, kind)
    template = kind.prompts(config)
    recipe = Recipe("finetune", asdict(config), {"dataset": dataset_hash, "pretrain": pretrain_hash,
                                                 "model": base.hash}, config.seed)
    if is_trained(out, recipe, existing):
        return
    with training_artifact(out, recipe, existing) as (folder, checkpointing):
        torch.manual_seed(config.seed)
        step(f"loading {config.model}")
        # Loaded in this dtype, not cast to it: a cast would round the rotary frequencies too.
        dtype = resolve_precision(config.precision, device)
        language_model = kind.load(base, dtype)
        network = language_model.network.to(device)
        n_layers = network.config.num_hidden_layers
        if config.lora_layers > n_layers:
            raise TslrecError(f"--lora-layers is {config.lora_layers}, the model has {n_layers} layers; use at most "
                              f"{n_layers}, or 0 for all layers")
        add_lora(network, rank=config.lora_rank, alpha=config.lora_alpha, dropout=config.lora_dropout,
                 layers=range(n_layers - (config.lora_layers or n_layers), n_layers))
        model = PreferenceModel(kind.reader(network, checkpointing=config.checkpointing), categories.n_categories)
        metrics, shown, tensors = _LEARN[config.objective](
            model, dataset, categories, language_model.tokenizer, template, config, kind.context_length(network),
            checkpointing, threads)
        metrics |= {"objective": config.objective, "precision": str(dtype).removeprefix("torch.")}
        if distributed.rank() != 0:
            return
        write_json(folder / "metrics.json", metrics)
        save_adapter(network, folder / "adapter", alpha=config.lora_alpha, dropout=config.lora_dropout,
                     base_model=config.model)
        save_tensors(folder / "head.safetensors", model.linear_head())
        if tensors:
            save_tensors(folder / PROJECTION_FILE, tensors)
        kind.save(folder, base, config)
        prompts = parity_prompts(dataset, shown, language_model.tokenizer, template, config)
        del model, network, language_model  # loaded again in float32
        report = convert(base, kind, folder / "adapter", folder, config.quant, prompts, threads=threads)
        evidence = out.with_name(out.name + ".parity.json")
        write_json(folder / "parity.json" if report["passed"] else evidence, report)
        if not report["passed"]:
            cosines = [f"{name} {report['comparisons'][name]['mean_cosine']:.4f} (expected at least {minimum})"
                       for name, minimum in report["thresholds"].items()]
            raise TslrecError("the GGUF files differ too much from the model; mean cosines of their states: "
                              f"{', '.join(cosines)}; choose a finer quantisation; {evidence} has all figures")
        evidence.unlink(missing_ok=True)  # of an earlier failure


def _learn_users(model: PreferenceModel, dataset: Dataset, categories: Categories, tokenizer: TextTokenizer,
                 template: Prompts, config: FinetuneConfig, context_length: int,
                 checkpointing: Checkpointing | None, threads: int) -> _Learned:
    """Learn users' categories; return the metrics, prompts of users, and no further tensors."""
    samples = make_samples(dataset, categories, tokenizer, template, config, context_length=context_length)
    step(f"fine-tuning on {len(samples.training)} samples")
    metrics = fine_tune(model, samples.training, samples.held_out, config, checkpointing=checkpointing) | samples.report
    if samples.held_out_instances is not None:
        metrics["held_out_instance_loss"] = held_out_loss(model, samples.held_out_instances, config)
    return metrics, samples.held_out.prompts + samples.training.prompts, {}


def _learn_items(model: PreferenceModel, dataset: Dataset, categories: Categories, tokenizer: TextTokenizer,
                 template: Prompts, config: FinetuneConfig, context_length: int,
                 checkpointing: Checkpointing | None, threads: int) -> _Learned:
    """Learn next items; return the metrics, prompts of some users, and the projection."""
    samples = make_item_samples(dataset, categories, tokenizer, template, config, context_length=context_length)
    shown = history_prompts(dataset, some_users(dataset, config), template, tokenizer)
    longest = max(len(prompt.token_ids) for prompt in shown)
    if longest > context_length:  # only the parity check reads them
        raise TslrecError(f"the longest prompt of a user has {longest} tokens, the model reads at most "
                          f"{context_length}; lower --max-history or --max-title-tokens")
    step(f"fine-tuning on {len(samples.items)} items, {len(samples.training)} places of histories")
    with_items = ItemModel(model, ItemTokens.of(samples.items.prompts), config.projection)
    metrics = fine_tune_items(with_items, samples, config, threads=threads, checkpointing=checkpointing)
    return metrics | samples.report, shown, with_items.projection()


def _learn_two_levels(model: PreferenceModel, dataset: Dataset, categories: Categories, tokenizer: TextTokenizer,
                      template: Prompts, config: FinetuneConfig, context_length: int,
                      checkpointing: Checkpointing | None, threads: int) -> _Learned:
    """Learn users' categories and next titles; return the metrics, prompts of users, and the projection."""
    samples = make_samples(dataset, categories, tokenizer, template, config, context_length=context_length)
    items = item_prompts(dataset, tokenizer, template, context_length)
    step(f"fine-tuning on {len(samples.training)} samples and their next titles")
    with_items = TwoLevelModel(model, ItemTokens.of(items), config.projection)
    metrics = fine_tune_two_level(with_items, samples, items, ItemGroups.of(categories.labels, categories.n_categories),
                                  dataset, config, checkpointing=checkpointing)
    return metrics | samples.report, samples.held_out.prompts + samples.training.prompts, with_items.projection()


_LEARN = {"categories": _learn_users, "residual": _learn_items, "two-level": _learn_two_levels}
