"""The stage ``finetune``: fine-tune, merge, convert to GGUF, quantise, verify; and its parts on their own."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..configs import FinetuneConfig
from ..data.dataset import Dataset, load_dataset
from ..errors import TslrecError
from ..llm.engines.llama_engine import LlamaEngine
from ..llm.engines.torch_engine import TorchEngine
from ..llm.files import F16_FILE, TunedModel, load_tokenizer, model_hash, open_tuned, quantised_name, template_of
from ..llm.gguf.quantization import quantize
from ..llm.gguf.tokenizer import TextTokenizer
from ..llm.gguf.writer import write_gguf
from ..llm.lora import add_lora, load_adapter, merge_lora, save_adapter
from ..llm.model import LanguageModel, load_language_model
from ..llm.prompts import PromptTemplate, TokenPrompt
from ..recommenders.train import load_categories
from ..runtime import distributed
from ..runtime.progress import step
from ..storage.artifacts import Recipe, write_json
from ..storage.checkpoints import is_trained, training_artifact
from ..storage.tensors import save_tensors
from .parity import check_parity, compare_states
from .samples import make_samples, user_prompts
from .training import PreferenceModel, fine_tune, held_out_loss, resolve_precision

F16_THRESHOLD = 0.998
"""Least mean cosine between the states of HF + LoRA and of the f16 GGUF."""
QUANT_THRESHOLDS = {"F16": 0.998, "BF16": 0.995, "Q8_0": 0.995, "Q6_K": 0.98, "Q5_K_M": 0.97, "Q4_K_M": 0.95,
                    "Q4_0": 0.93}
"""The same for the quantised file; docs/results.md has what a 135M model reaches."""


def finetune(dataset_path: Path, pretrain_path: Path, out: Path, config: FinetuneConfig, *, device: torch.device,
             threads: int, existing: str = "refuse") -> None:
    """Fine-tune the language model on the users' preference distributions and make a verified GGUF of it.

    Args:
        dataset_path: data set artifact.
        pretrain_path: pretrain artifact of the same data set.
        out: folder of the artifact: adapter/, head.safetensors, prompt.json, metrics.json, model-f16.gguf,
            model-<quant>.gguf, parity.json.
        config: model, prompt and training settings.
        device: where to train.
        threads: threads of torch-free parts (quantisation, llama.cpp).
        existing: what to do with an artifact at `out`: refuse, overwrite or reuse.

    Raises:
        TslrecError: an input is missing or damaged, or the GGUF's states differ too much from the model's; then
            ``<out>.parity.json`` keeps the figures.
    """
    dataset, dataset_hash = load_dataset(dataset_path)
    categories, pretrain_hash = load_categories(pretrain_path, dataset, dataset_hash)
    template = template_of(config)
    recipe = Recipe("finetune", asdict(config), {"dataset": dataset_hash, "pretrain": pretrain_hash,
                                                 "model": model_hash(config.model)}, config.seed)
    if existing == "reuse" and is_trained(out, recipe):
        return
    with training_artifact(out, recipe, existing) as (folder, checkpointing):
        torch.manual_seed(config.seed)
        step(f"loads {config.model}")
        # Loaded in its dtype, not cast: a cast would round the rotary frequencies too.
        dtype = resolve_precision(config.precision, device)
        language_model = load_language_model(config.model, dtype=dtype)
        network = language_model.network.to(device)
        n_layers = network.config.num_hidden_layers
        if config.lora_layers > n_layers:
            raise TslrecError(f"--lora-layers is {config.lora_layers}, the model has {n_layers} layers; give at most "
                              "so many, or 0 for all")
        add_lora(network, rank=config.lora_rank, alpha=config.lora_alpha, dropout=config.lora_dropout,
                 layers=range(n_layers - (config.lora_layers or n_layers), n_layers))
        model = PreferenceModel(network, categories.n_categories, checkpointing=config.checkpointing)
        samples = make_samples(dataset, categories, language_model.tokenizer, template, config,
                               context_length=network.config.max_position_embeddings)
        step(f"fine-tunes on {len(samples.training)} samples")
        metrics = fine_tune(model, samples.training, samples.held_out, config, checkpointing=checkpointing)
        metrics |= samples.report | {"precision": str(dtype).removeprefix("torch.")}
        if samples.held_out_instances is not None:
            metrics["held_out_instance_loss"] = held_out_loss(model, samples.held_out_instances, config)
        if distributed.rank() != 0:
            return
        write_json(folder / "metrics.json", metrics)
        save_adapter(network, folder / "adapter", alpha=config.lora_alpha, dropout=config.lora_dropout,
                     base_model=config.model)
        save_tensors(folder / "head.safetensors", model.linear_head())
        template.save(folder / "prompt.json")
        prompts = parity_prompts(dataset, samples.held_out.prompts + samples.training.prompts,
                                 language_model.tokenizer, template, config)
        del model, network, language_model  # the next steps load it again, in float32
        evidence = out.with_name(out.name + ".parity.json")
        try:
            convert(config.model, folder / "adapter", folder, config.quant, prompts, threads=threads)
            evidence.unlink(missing_ok=True)  # of an earlier failure
        except TslrecError:
            if (folder / "parity.json").is_file():
                shutil.copyfile(folder / "parity.json", evidence)
            raise


def parity_prompts(dataset: Dataset, of_users: Sequence[TokenPrompt], tokenizer: TextTokenizer,
                   template: PromptTemplate, config: FinetuneConfig) -> list[TokenPrompt]:
    """Return real prompts for the parity check: half of users (the first of those given), half of items."""
    users = list(of_users[:config.parity_prompts // 2])
    n_items = min(config.parity_prompts - len(users), dataset.n_items)
    items = np.random.default_rng(config.seed).choice(dataset.n_items, n_items, replace=False)
    texts = dataset.texts(template.text, template.fields)
    return users + template.tokenize_all([[texts[item]] for item in items], tokenizer)


def merge(model: str, adapter: Path, target: Path) -> None:
    """Merge an adapter into its base model, in float32, and write the result as an f16 GGUF.

    Args:
        model: the base model.
        adapter: folder in PEFT's format.
        target: the .gguf file to write.

    Raises:
        TslrecError: the adapter doesn't fit the model, or a merged weight is not finite.
    """
    base = load_language_model(model)
    load_adapter(base.network, adapter)
    merge_lora(base.network)
    write_gguf(target, base.network, base.network.config.to_dict(), base.metadata)


def convert(model: str, adapter: Path, folder: Path, quant: str, prompts: Sequence[TokenPrompt], *,
            threads: int) -> dict[str, Any]:
    """Merge, write the f16 GGUF and the quantised one into `folder`, and verify both against HF + LoRA.

    Args:
        model: the base model.
        adapter: folder in PEFT's format.
        folder: where model-f16.gguf, model-<quant>.gguf and parity.json go.
        quant: quantisation.
        prompts: real prompts.
        threads: of llama.cpp.

    Returns:
        The contents of parity.json.

    Raises:
        TslrecError: the states differ more than the thresholds allow; parity.json is written before.
    """
    step("computes the states of the model with LoRA")
    base = load_language_model(model)
    load_adapter(base.network, adapter)
    reference = TorchEngine(base.network).embed(prompts)
    merge_lora(base.network)
    merged = TorchEngine(base.network).embed(prompts)
    step(f"writes {F16_FILE}")
    write_gguf(folder / F16_FILE, base.network, base.network.config.to_dict(), base.metadata)
    del base
    if quant != "F16":
        step(f"quantises to {quant}")
        quantize(folder / F16_FILE, folder / quantised_name(quant), quant, threads=threads)
    report = _compared(folder, quant, prompts, reference, {"merged": merged}, threads)
    write_json(folder / "parity.json", report)
    for name, least in report["thresholds"].items():
        check_parity(report["comparisons"][name], {"mean_cosine": least})
    return report


def _compared(folder: Path, quant: str, prompts: Sequence[TokenPrompt], reference: np.ndarray,
              others: dict[str, np.ndarray], threads: int) -> dict[str, Any]:
    """Compare the states of HF + LoRA with `others` and with the GGUF files."""
    states = dict(others)
    for name in dict.fromkeys(("F16", quant)):
        step(f"computes the states of the GGUF file {name}")
        with LlamaEngine(folder / quantised_name(name), threads=threads) as engine:
            states[name] = engine.embed(prompts)
    comparisons = {name: compare_states(reference, other) for name, other in states.items()}
    thresholds = {"F16": F16_THRESHOLD, quant: QUANT_THRESHOLDS[quant]}
    passed = all(comparisons[name]["mean_cosine"] >= least for name, least in thresholds.items())
    return {"reference": "HF + LoRA, float32", "prompts": len(prompts), "passed": passed,
            "thresholds": thresholds, "comparisons": comparisons}


def load_tuned(tuned: TunedModel) -> LanguageModel:
    """Load the base model of a finetune artifact in float32, with its LoRA layers.

    Raises:
        TslrecError: what the model's name stands for has changed since it was fine-tuned.
    """
    base = load_language_model(tuned.config.model)
    if base.source_hash != tuned.artifact.record["inputs"]["model"]:
        raise TslrecError(f"the base model {tuned.config.model} is not the one that {tuned.artifact.path} "
                          "was fine-tuned from: its weights have changed; run tslrec finetune again")
    load_adapter(base.network, tuned.artifact.path / "adapter")
    return base


def verify(dataset_path: Path, finetune_path: Path, *, threads: int) -> dict[str, Any]:
    """Verify a finetune artifact's GGUF files on prompts of users and items; the report is not stored.

    Raises:
        TslrecError: an input is missing or damaged.
    """
    dataset, _ = load_dataset(dataset_path)
    tuned = open_tuned(finetune_path)
    config = tuned.config
    shown = dataset.training().last(config.max_history)
    tokenizer = load_tokenizer(tuned.quantised)
    users = np.random.default_rng(config.seed).permutation(np.flatnonzero(np.diff(shown.indptr)))
    of_users = user_prompts(dataset, shown, users[:config.parity_prompts // 2], tuned.template, tokenizer)
    prompts = parity_prompts(dataset, of_users, tokenizer, tuned.template, config)
    base = load_tuned(tuned)
    reference = TorchEngine(base.network).embed(prompts)
    del base
    return _compared(tuned.artifact.path, config.quant, prompts, reference, {}, threads)
