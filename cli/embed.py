"""``tslrec embed``."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..configs import EmbedConfig, FinetuneConfig
from ..storage.existing import Existing
from .options import DATASET, ArtifactFolder, config_options, out_option, stage_options, start_torch
from .tables import print_embedding

if TYPE_CHECKING:
    from ..embedding.store import Part


@click.command()
@click.argument("dataset", type=DATASET)
@out_option("Folder of the item embeddings.")
@click.option("--finetuned", type=ArtifactFolder("finetune"),
              help="Embed with this fine-tuned model, a folder that tslrec finetune wrote.")
@click.option("--model", help="Embed with a model that is not fine-tuned, a decoder or an encoder: an alias, a .gguf "
              "file, a folder or hub id. tfidf: without a language model, by the words of the titles.")
@click.option("--tfidf-width", type=click.IntRange(1), show_default="192", help="Number of dimensions to which TF-IDF "
              "is reduced. Only with --model tfidf.")
@click.option("--append-to", type=ArtifactFolder("embed"), help="Earlier embeddings by the same model, template and "
              "engine: items with the same prompt keep their vector, only the others are computed.")
@click.option("--pretrain", type=ArtifactFolder("pretrain"), help="Folder that tslrec pretrain wrote: also report how "
              "many of an item's 10 nearest neighbours are in its latent category.")
@click.option("--shard", metavar="I/N", help="Compute the I-th of N parts; the part that finishes last assembles the "
                                             "result. Processes and machines that share --out can work in parallel.")
@config_options(EmbedConfig)
@stage_options
def embed(dataset: Path, out: Path, finetuned: Path | None, model: str | None, tfidf_width: int | None,
          append_to: Path | None, pretrain: Path | None, shard: str | None, config: EmbedConfig, device: str,
          threads: int, existing: Existing, as_json: bool) -> None:
    """Embed every item with a language model or a sentence encoder, or by the words of its title.

    A fine-tuned model gets the prompt it was tuned with, any other decoder the default prompt of finetune, and an
    encoder the title alone. Run the command again to resume an interrupted run. Under torchrun the processes share the
    work.

    \b
    Examples:
        tslrec embed dataset --finetuned finetune -o embed --pretrain pretrain
        tslrec embed dataset --model smollm2-135m -o embed-untuned
        tslrec embed dataset --model all-minilm-l6-v2 -o embed-encoder
        tslrec embed dataset --model tfidf -o embed-tfidf
        tslrec embed dataset --finetuned finetune -o embed --shard 1/2
        tslrec embed larger-dataset --finetuned finetune --append-to embed -o larger-embed
        torchrun --nproc-per-node 2 -m tslrec_min.cli embed dataset --finetuned finetune -o embed
    """
    if (finetuned is None) == (model is None):
        raise click.UsageError("give either --finetuned PATH or --model MODEL")
    if tfidf_width is not None and model != "tfidf":
        raise click.UsageError("--tfidf-width is only used with --model tfidf")
    part = _part(shard)
    torch_device = start_torch(device, threads, processes=True) if config.engine == "torch" else device
    from ..embedding.embed import embed_base, embed_tuned
    from ..embedding.tfidf import TFIDF, embed_tfidf
    from ..llm.prompts import template_of

    settings: dict[str, Any] = {"device": torch_device, "threads": threads, "existing": existing,
                                "append_to": append_to, "part": part}
    if finetuned is not None:
        missing = embed_tuned(dataset, finetuned, out, config, **settings)
    elif model == TFIDF:
        missing = embed_tfidf(dataset, out, config, tfidf_width, **settings)
    else:
        missing = embed_base(dataset, str(model), template_of(FinetuneConfig()), out, config, **settings)
    if missing:
        click.echo(json.dumps({"missing_shards": missing}) if as_json else
                   f"part {shard} is done; {out} will be written by the last part ({missing} shards are missing)")
    elif not part.launch or part.number == 0:
        from ..embedding.quality import category_neighbours

        print_embedding(out, as_json, None if pretrain is None else category_neighbours(dataset, pretrain, out))


def _part(shard: str | None) -> Part:
    from ..embedding.store import Part, part_of_process

    part = part_of_process()
    if shard is None:
        return part
    numbers = re.fullmatch(r"(\d{1,6})/(\d{1,6})", shard)
    if not numbers or not 1 <= int(numbers[1]) <= int(numbers[2]):
        raise click.BadParameter(f"{shard!r} is not I/N with I from 1 to N, such as 2/4", param_hint="--shard")
    if part.launch:
        raise click.UsageError("--shard divides the work by hand, torchrun does so automatically: give one of them")
    return Part(int(numbers[1]) - 1, int(numbers[2]))
