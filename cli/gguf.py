"""``tslrec gguf``: the last steps of fine-tuning, one by one."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ..configs import QUANTS
from .options import PATH, json_option, start_torch, threads_option
from .tables import print_parity


@click.group()
def gguf() -> None:
    """Merge, quantise and verify GGUF files: what finetune does at its end, step by step."""


@gguf.command()
@click.argument("model")
@click.argument("adapter", type=PATH)
@click.argument("target", type=PATH)
def merge(model: str, adapter: Path, target: Path) -> None:
    """Merge a LoRA adapter (PEFT's format) into MODEL and write an f16 GGUF file TARGET.

    \b
    Example:
        tslrec gguf merge smollm2-135m finetune/adapter merged-f16.gguf
    """
    from ..adaptation import merge as merge_adapter

    _refuse_existing(target)
    merge_adapter(model, adapter, target)
    click.echo(str(target))


@gguf.command()
@click.argument("source", type=PATH)
@click.argument("target", type=PATH)
@click.option("--quant", type=click.Choice(QUANTS), default="Q8_0", show_default=True, help="Quantisation.")
@threads_option
def quantize(source: Path, target: Path, quant: str, threads: int) -> None:
    """Quantise a GGUF file with llama.cpp.

    \b
    Example:
        tslrec gguf quantize merged-f16.gguf merged-Q4_K_M.gguf --quant Q4_K_M
    """
    from ..gguf.quantization import quantize as quantize_file

    _refuse_existing(target)
    quantize_file(source, target, quant, threads=threads)
    click.echo(str(target))


def _refuse_existing(target: Path) -> None:
    if target.exists():
        raise click.ClickException(f"{target} already exists; give another name or remove it")


@gguf.command()
@click.argument("dataset", type=PATH)
@click.argument("finetuned", type=PATH)
@threads_option
@json_option
def verify(dataset: Path, finetuned: Path, threads: int, as_json: bool) -> None:
    """Compare the hidden states of a fine-tuned model's GGUF files with those of HF + LoRA.

    \b
    Example:
        tslrec gguf verify dataset finetune
    """
    start_torch("cpu", threads)
    from ..adaptation import verify as verify_artifact

    report = verify_artifact(dataset, finetuned, threads=threads)
    click.echo(json.dumps(report)) if as_json else print_parity(report)
    if not report["passed"]:
        raise click.ClickException(f"the GGUF files of {finetuned} differ too much from the model; fine-tune again")
