"""``tslrec embed``."""

from __future__ import annotations

from pathlib import Path

import click

from ..configs import EmbedConfig, FinetuneConfig
from .options import PATH, config_options, out_option, stage_options, start_torch
from .tables import print_embedding


@click.command()
@click.argument("dataset", type=PATH)
@out_option("Folder of the item embeddings.")
@click.option("--finetuned", type=PATH, help="Embed with this fine-tuned model, a folder that tslrec finetune wrote.")
@click.option("--model", help="Embed with a model as it is instead: an alias, a .gguf file, a folder or hub id.")
@config_options(EmbedConfig)
@stage_options
def embed(dataset: Path, out: Path, finetuned: Path | None, model: str | None, config: EmbedConfig, device: str,
          threads: int, existing: str, as_json: bool) -> None:
    """Embed every item with a language model.

    A fine-tuned model reads the prompt it was tuned with; a model as it is, the default prompt of finetune.

    \b
    Examples:
        tslrec embed dataset --finetuned finetune -o embed
        tslrec embed dataset --model smollm2-135m -o embed-untuned
    """
    if (finetuned is None) == (model is None):
        raise click.UsageError("give either --finetuned PATH or --model MODEL")
    torch_device = start_torch(device, threads)
    from ..adaptation import template_of
    from ..embedding.stage import embed_base, embed_tuned

    if finetuned is not None:
        embed_tuned(dataset, finetuned, out, config, device=torch_device, threads=threads, existing=existing)
    elif model is not None:
        embed_base(dataset, model, template_of(FinetuneConfig()), out, config, device=torch_device, threads=threads,
                   existing=existing)
    print_embedding(out, as_json)
