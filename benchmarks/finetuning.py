"""Fine-tuning speed and memory beside Hugging Face's Trainer with PEFT: the same model, LoRA, prompts and schedule.

The peer reads padded batches (dynamic padding, its default batch of 8, accumulated to the same 16 users a step) through
transformers' network with PEFT's LoRA. Both sides start from the same constant predictor, and both compute in float32
and in bf16 (the peer by its autocast). Compared are what ``--precision auto`` takes here and the faster peer. Every run
is a process of its own, the kinds take turns, and peak memory is the process's.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

KINDS = ("ours fp32", "ours bf16", "peft fp32", "peft bf16")
LIMITS = {"users a second": 2.0, "memory": 0.7, "loss": 0.02}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=200, help="training users")
    parser.add_argument("--repeats", type=int, default=2, help="runs of each kind")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="what to run: at least what "
                        "--precision auto takes here and one peer (default: all; bf16 without instructions is slow)")
    parser.add_argument("--run", choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not {"ours fp32", "ours bf16"} & set(options.kinds) or not set(KINDS[2:]) & set(options.kinds):
        parser.error("--kinds needs at least one of ours and one of peft")
    if options.run:
        print(json.dumps(measure(options.run, options.folder, options)))
        return
    with tempfile.TemporaryDirectory() as folder:
        prepare_data(Path(folder), options.threads)
        runs = in_turns(__file__, options.kinds, folder, options, "--model", options.model)
    report(runs, options)


def in_turns(script: str, kinds: Iterable[str], folder: str, options: argparse.Namespace, *further: str
             ) -> dict[str, list[dict[str, float]]]:
    """Run each kind in a process of its own, all of them in turns; return what each run has printed last, JSON."""
    runs: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
    for _ in range(options.repeats):
        for kind, of_kind in runs.items():
            command = [sys.executable, script, f"--run={kind}", "--folder", folder, "--users", str(options.users),
                       "--threads", str(options.threads), *further]
            found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            of_kind.append(json.loads(found.stdout.splitlines()[-1]))
            print(f"{kind}: {of_kind[-1]}", file=sys.stderr, flush=True)
    return runs


def prepare_data(folder: Path, threads: int) -> None:
    """Make the data set and latent categories of MovieLens-100K; a short pretraining will do here."""
    import torch

    from tslrec_min.categories.pretrain import pretrain
    from tslrec_min.configs import PrepareConfig, PretrainConfig
    from tslrec_min.data.builtin import resolve_dataset
    from tslrec_min.data.prepare import prepare

    torch.set_num_threads(threads)
    interactions, items = resolve_dataset("ml-100k")
    prepare(interactions, folder / "dataset", PrepareConfig(), items=items)
    pretrain(folder / "dataset", folder / "pretrain", PretrainConfig(epochs=3), device=torch.device("cpu"),
             threads=threads)


def measure(kind: str, folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Fine-tune once, and return users a second, peak memory (MiB), held-out loss and baseline."""
    import torch

    from tslrec_min.categories.artifact import load_categories
    from tslrec_min.configs import FinetuneConfig
    from tslrec_min.data.dataset import load_dataset
    from tslrec_min.finetuning.samples import make_samples
    from tslrec_min.llm.model import load_language_model
    from tslrec_min.llm.prompts import template_of
    from tslrec_min.runtime.device import resolve_precision

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    side, precision = kind.split()
    config = FinetuneConfig(model=options.model, users=options.users, precision=precision, checks=1)
    dataset, dataset_hash = load_dataset(folder / "dataset")
    categories, _ = load_categories(folder / "pretrain", dataset, dataset_hash)
    dtype = resolve_precision(config.precision, torch.device("cpu")) if side == "ours" else torch.float32
    model = load_language_model(options.model, dtype=dtype)
    samples = make_samples(dataset, categories, model.tokenizer, template_of(config), config,
                           context_length=model.network.config.max_position_embeddings)
    run = ours if side == "ours" else peers
    found = run(model.network, samples.training, samples.held_out, config, categories.n_categories, kind)
    return found | {"MiB": peak_memory()}


def ours(network: Any, training: Any, held_out: Any, config: Any, n_categories: int, _kind: str) -> dict[str, float]:
    """Time the steps of `FinetuningRun`."""
    from tslrec_min.finetuning.head import PreferenceModel
    from tslrec_min.finetuning.training import FinetuningRun
    from tslrec_min.llm.lora import add_lora
    from tslrec_min.llm.packed_decoder import PackedDecoder

    add_lora(network, rank=config.lora_rank, alpha=config.lora_alpha)
    run = FinetuningRun(PreferenceModel(PackedDecoder(network), n_categories), training, held_out, config)
    begin = time.perf_counter()
    while not run.epoch:
        run.learn()
    seconds = time.perf_counter() - begin
    run.check()
    return {"users a second": len(training) / seconds, "loss": run.checks[0]["loss"], "baseline": run.baseline}


def peers(network: Any, training: Any, held_out: Any, config: Any, n_categories: int, kind: str) -> dict[str, float]:
    """Time `Trainer.train` with PEFT's LoRA; head, standardisation, learning rates and schedule as ours."""
    import torch
    from peft import LoraConfig, get_peft_model
    from torch import nn
    from transformers import Trainer, TrainingArguments

    from tslrec_min.bench.references import pooled_states
    from tslrec_min.finetuning.losses import constant_loss, constant_outputs, preference_loss
    from tslrec_min.finetuning.training import _scale
    from tslrec_min.llm.lora import TARGETS

    mean_preference = training.preferences.mean(dim=0)
    with torch.no_grad():
        states = torch.cat([pooled_states(network, training.prompts[at:at + 8], torch.device("cpu"))
                            for at in range(0, min(64, len(training)), 8)])

    class Regressor(nn.Module):
        """PEFT's network, masked mean pooling and a linear head."""

        def __init__(self) -> None:
            super().__init__()
            self.body = get_peft_model(network.model, LoraConfig(
                r=config.lora_rank, lora_alpha=config.lora_alpha, target_modules=list(TARGETS)))
            self.mean, self.scale = states.mean(dim=0), states.std(dim=0, unbiased=False)
            self.head = nn.Linear(network.config.hidden_size, n_categories)
            nn.init.zeros_(self.head.weight)
            with torch.no_grad():
                self.head.bias.copy_(constant_outputs(mean_preference, config.loss))

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, spans: torch.Tensor,
                    labels: torch.Tensor) -> dict[str, torch.Tensor]:
            hidden = self.body(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).last_hidden_state
            pooled = torch.einsum("btd,bt->bd", hidden.float(), spans)
            outputs = self.head((pooled - self.mean) / self.scale)
            return {"loss": preference_loss(outputs, labels, config.loss).mean(), "logits": outputs}

    def collate(rows: list[tuple[Any, torch.Tensor]]) -> dict[str, torch.Tensor]:
        prompts = [prompt for prompt, _ in rows]
        longest = max(len(prompt.token_ids) for prompt in prompts)
        ids = torch.zeros(len(rows), longest, dtype=torch.int64)
        mask, spans = torch.zeros_like(ids), torch.zeros(len(rows), longest)
        for row, prompt in enumerate(prompts):
            ids[row, :len(prompt.token_ids)] = torch.tensor(prompt.token_ids)
            mask[row, :len(prompt.token_ids)] = 1
            spans[row, prompt.pool_start:prompt.pool_stop] = 1 / (prompt.pool_stop - prompt.pool_start)
        return {"input_ids": ids, "attention_mask": mask, "spans": spans,
                "labels": torch.stack([preference for _, preference in rows])}

    model = Regressor()
    optimiser = torch.optim.AdamW([
        {"params": [value for value in model.body.parameters() if value.requires_grad], "lr": config.learning_rate},
        {"params": model.head.parameters(), "lr": config.head_learning_rate}], weight_decay=0.0)
    steps = -(-len(training) // config.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _scale(step, steps))
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(folder, num_train_epochs=1, gradient_accumulation_steps=2, save_strategy="no",
                                      report_to=[], use_cpu=True, bf16=kind.endswith("bf16"), disable_tqdm=True,
                                      remove_unused_columns=False, logging_strategy="no")
        rows = list(zip(training.prompts, training.preferences, strict=True))
        trainer = Trainer(model, arguments, data_collator=collate, train_dataset=rows,  # type: ignore[arg-type]
                          optimizers=(optimiser, schedule))
        begin = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - begin
    model.eval()
    with torch.no_grad():
        rows = list(zip(held_out.prompts, held_out.preferences, strict=True))
        losses = [float(model(**collate(rows[at:at + 8]))["loss"]) * len(rows[at:at + 8])
                  for at in range(0, len(rows), 8)]
    baseline = constant_loss(held_out.preferences, mean_preference, config.loss).mean().item()
    return {"users a second": len(training) / seconds, "loss": sum(losses) / len(rows), "baseline": baseline}


def peak_memory() -> float:
    """Return the most memory that this process has held, in MiB."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


def report(runs: dict[str, list[dict[str, float]]], options: argparse.Namespace) -> None:
    """Print medians and the ratios that are asked for."""
    import torch

    from tslrec_min.runtime.device import resolve_precision

    found = {kind: {name: statistics.median(run[name] for run in of_kind) for name in of_kind[0]}
             for kind, of_kind in runs.items()}
    print(f"{options.model}, {options.users} users of MovieLens-100K, LoRA on all layers, {options.threads} threads, "
          f"medians of {options.repeats} runs")
    print("| | users a second | peak MiB | held-out loss | constant predictor |\n|---|---|---|---|---|")
    for kind, values in found.items():
        print(f"| {kind} | {values['users a second']:.2f} | {values['MiB']:.0f} | {values['loss']:.4f} | "
              f"{values['baseline']:.4f} |")
    best = max(runs.keys() & KINDS[2:], key=lambda kind: found[kind]["users a second"])
    mine = "ours bf16" if resolve_precision("auto", torch.device("cpu")) == torch.bfloat16 else "ours fp32"
    mine = mine if mine in found else next(iter(found.keys() & KINDS[:2]))
    speed = found[mine]["users a second"] / found[best]["users a second"]
    memory = found[mine]["MiB"] / found[best]["MiB"]
    loss = found[mine]["loss"] / found[best]["loss"] - 1
    print(f"{mine} (auto) against {best}: {speed:.2f} times the users a second (at least {LIMITS['users a second']}"
          f"{'' if speed >= LIMITS['users a second'] else ', MISSED'}); {memory:.0%} of its memory (at most "
          f"{LIMITS['memory']:.0%}{'' if memory <= LIMITS['memory'] else ', MISSED'}); held-out loss {loss:+.1%} "
          f"(at most {LIMITS['loss']:.0%} more{'' if loss <= LIMITS['loss'] else ', MISSED'})")


if __name__ == "__main__":
    main()
