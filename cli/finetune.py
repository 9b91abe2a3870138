"""``tslrec finetune``."""

from __future__ import annotations

from pathlib import Path

import click

from ..configs import FinetuneConfig
from ..storage.existing import Existing
from .options import DATASET, ArtifactFolder, config_options, out_option, stage_options, start_torch, writes_output
from .tables import print_finetuning


@click.command()
@click.argument("dataset", type=DATASET)
@click.argument("pretrained", type=ArtifactFolder("pretrain"))
@out_option("Folder of the fine-tuned model.")
@config_options(FinetuneConfig)
@stage_options
def finetune(dataset: Path, pretrained: Path, out: Path, config: FinetuneConfig, device: str, threads: int,
             existing: Existing, as_json: bool) -> None:
    """Fine-tune a language model on the users' preferences, and write it as a verified, quantised GGUF file.

    One sample per user: the titles of the history in, the distribution over latent categories out (LoRA and a
    linear head). --objective residual learns from items and what follows them instead. Then LoRA is merged in
    float32, the model is written as GGUF f16 and quantised, and the hidden states of real prompts are compared at
    every step. `tslrec gguf` has the last steps as commands of their own. An encoder (type bert, in transformers'
    format) reads titles alone, newest first; it has no --prompt-* or --pooling.

    \b
    Examples:
        tslrec finetune dataset pretrain -o finetune --model smollm2-135m --users 500
        tslrec finetune dataset pretrain -o tuned --model all-minilm-l6-v2 --objective residual --epochs 4
    """
    torch_device = start_torch(device, threads, processes=True)
    from ..finetuning.finetune import finetune as finetune_model

    finetune_model(dataset, pretrained, out, config, device=torch_device, threads=threads, existing=existing)
    if writes_output():
        print_finetuning(out, as_json)
