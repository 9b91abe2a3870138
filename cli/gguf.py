"""``tslrec gguf``: the last steps of fine-tuning as commands of their own, and a report on quantisations."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ..configs import QUANTS, TrainConfig
from .options import (
    DATASET,
    PATH,
    ArtifactFolder,
    config_options,
    device_option,
    json_option,
    start_torch,
    threads_option,
)
from .tables import print_parity, print_quantisations

_OF_TRAINING = ("width", "epochs", "patience")
_overwrite_target = click.option("--overwrite", is_flag=True, help="Replace the file TARGET.")


@click.group()
def gguf() -> None:
    """Merge, quantise and verify GGUF files, the last steps of finetune, and compare quantisations."""


@gguf.command()
@click.argument("model")
@click.argument("adapter", type=PATH)
@click.argument("target", type=PATH)
@_overwrite_target
@json_option
def merge(model: str, adapter: Path, target: Path, overwrite: bool, as_json: bool) -> None:
    """Merge a LoRA adapter (PEFT's format) into MODEL and write an f16 GGUF file TARGET.

    \b
    Example:
        tslrec gguf merge smollm2-135m finetune/adapter merged-f16.gguf
    """
    from ..finetuning.conversion import merge as merge_adapter

    _refuse_existing(target, overwrite)
    merge_adapter(model, adapter, target)
    _print_file(target, as_json)


@gguf.command()
@click.argument("source", type=PATH)
@click.argument("target", type=PATH)
@click.option("--quant", type=click.Choice(tuple(QUANTS)), default="Q8_0", show_default=True, help="Quantisation.")
@threads_option
@_overwrite_target
@json_option
def quantize(source: Path, target: Path, quant: str, threads: int, overwrite: bool, as_json: bool) -> None:
    """Quantise a GGUF file with llama.cpp.

    \b
    Example:
        tslrec gguf quantize merged-f16.gguf merged-Q4_K_M.gguf --quant Q4_K_M
    """
    from ..llm.gguf.quantization import quantize as quantize_file

    _refuse_existing(target, overwrite)
    quantize_file(source, target, quant, threads=threads)
    _print_file(target, as_json)


def _refuse_existing(target: Path, overwrite: bool) -> None:
    if target.is_dir():
        raise click.ClickException(f"{target} is a folder; give the name of a file")
    if target.exists() and not overwrite:
        raise click.ClickException(f"{target} already exists; give another name, or --overwrite to replace it")


def _print_file(target: Path, as_json: bool) -> None:
    size = target.stat().st_size
    click.echo(json.dumps({"path": str(target), "bytes": size}) if as_json else f"{target}: {size / 2**20:.1f} MiB")


@gguf.command()
@click.argument("dataset", type=DATASET)
@click.argument("finetuned", type=ArtifactFolder("finetune"))
@threads_option
@json_option
def verify(dataset: Path, finetuned: Path, threads: int, as_json: bool) -> None:
    """Compare the hidden states of a fine-tuned model's GGUF files with those of HF + LoRA.

    \b
    Example:
        tslrec gguf verify dataset finetune
    """
    start_torch("cpu", threads)
    from ..finetuning.conversion import verify as verify_artifact

    report = verify_artifact(dataset, finetuned, threads=threads)
    click.echo(json.dumps(report)) if as_json else print_parity(report)
    if not report["passed"]:
        raise click.ClickException(f"the GGUF files of {finetuned} differ too much from the model; fine-tune again")


def _list_of(kind: click.ParamType) -> Callable[[click.Context, click.Parameter, str], list[Any]]:
    """Return a click callback for values separated by commas."""
    return lambda context, parameter, text: [kind.convert(part.strip(), parameter, context) for part in text.split(",")]


@gguf.command()
@click.argument("dataset", type=DATASET)
@click.argument("finetuned", type=ArtifactFolder("finetune"))
@click.option("--quants", default=",".join(QUANTS), show_default=True, callback=_list_of(click.Choice(tuple(QUANTS))),
              help="Quantisations, separated by commas.")
@click.option("--items", type=click.IntRange(2), default=1000, show_default=True,
              help="Maximum number of items whose vectors are compared and timed, evenly spaced in the catalogue.")
@click.option("--gpu-layers", type=click.IntRange(-1), default=0, show_default=True,
              help="Number of layers that llama.cpp puts on a GPU (-1 = all).")
@click.option("--downstream", is_flag=True, help="Embed all items, and train SASRec with the vectors of every "
                                                 "quantisation (tslrec train --adapter init).")
@click.option("--seeds", default="0", show_default=True, callback=_list_of(click.IntRange(0, 2**63 - 1)),
              help="Seeds of --downstream, separated by commas; the table shows the mean.")
@config_options(TrainConfig, without=tuple(item.name for item in dataclasses.fields(TrainConfig)
                                           if item.name not in _OF_TRAINING))
@device_option
@threads_option
@json_option
def report(dataset: Path, finetuned: Path, quants: list[str], items: int, gpu_layers: int, downstream: bool,
           seeds: list[int], config: TrainConfig, device: str, threads: int, as_json: bool) -> None:
    """Compare the size, speed and accuracy of the quantisations of a fine-tuned model.

    Each is written from the f16 file into a temporary folder and compared with the merged model in float32 (torch):
    file size, speed, cosines of the item vectors, and how many of an item's 10 nearest neighbours stay the same. With
    --downstream also by the validation NDCG@10 of SASRec initialised with the vectors; --width, --epochs and
    --patience are those of tslrec train. If speeds matter, keep the machine otherwise idle.

    \b
    Examples:
        tslrec gguf report dataset finetune
        tslrec gguf report dataset finetune --quants Q8_0,Q4_K_M --downstream --epochs 20 --seeds 0,1,2
    """
    torch_device = start_torch(device, threads)
    from ..finetuning.quant_report import report_quantisations

    compared = report_quantisations(dataset, finetuned, quants, items=items,
                                    downstream=dataclasses.replace(config, adapter="init") if downstream else None,
                                    seeds=seeds, device=torch_device, gpu_layers=gpu_layers, threads=threads)
    click.echo(json.dumps(compared)) if as_json else print_quantisations(compared)
