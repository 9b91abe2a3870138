"""``tslrec embed``."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

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
@click.option("--model", help="Embed with a model as it is instead: an alias, a .gguf file, a folder or hub id.")
@click.option("--append-to", type=ArtifactFolder("embed"), help="Embeddings by the same model, template and engine: "
              "items whose prompt is in them keep their vector, the others are computed.")
@click.option("--pretrain", type=ArtifactFolder("pretrain"), help="Also say how many of an item's 10 nearest "
              "neighbours are of its latent category, by this folder of tslrec pretrain.")
@click.option("--shard", metavar="I/N", help="Compute the I-th of N parts; the part that finishes last puts all "
                                             "together. Processes and machines that see --out can work at once.")
@config_options(EmbedConfig)
@stage_options
def embed(dataset: Path, out: Path, finetuned: Path | None, model: str | None, append_to: Path | None,
          pretrain: Path | None, shard: str | None, config: EmbedConfig, device: str, threads: int, existing: Existing,
          as_json: bool) -> None:
    """Embed every item with a language model.

    A fine-tuned model reads the prompt it was tuned with; a model as it is, the default prompt of finetune. What was
    interrupted goes on where it was when the command is given again. Under torchrun the processes share the work.

    \b
    Examples:
        tslrec embed dataset --finetuned finetune -o embed --pretrain pretrain
        tslrec embed dataset --model smollm2-135m -o embed-untuned
        tslrec embed dataset --finetuned finetune -o embed --shard 1/2
        tslrec embed larger-dataset --finetuned finetune --append-to embed -o larger-embed
        torchrun --nproc-per-node 2 -m tslrec_min.cli embed dataset --finetuned finetune -o embed
    """
    if (finetuned is None) == (model is None):
        raise click.UsageError("give either --finetuned PATH or --model MODEL")
    if pretrain is not None:
        from ..storage.artifacts import open_artifact

        open_artifact(pretrain, "pretrain", check_files=False)  # a wrong folder is named before the work, not after
    part = _part(shard)
    torch_device = start_torch(device, threads, processes=True) if config.engine == "torch" else device
    from ..embedding.embed import embed_base, embed_tuned
    from ..llm.prompts import template_of

    if finetuned is not None:
        missing = embed_tuned(dataset, finetuned, out, config, device=torch_device, threads=threads, existing=existing,
                              append_to=append_to, part=part)
    else:
        missing = embed_base(dataset, str(model), template_of(FinetuneConfig()), out, config, device=torch_device,
                             threads=threads, existing=existing, append_to=append_to, part=part)
    if missing:
        click.echo(json.dumps({"missing_shards": missing}) if as_json else
                   f"part {shard} is done; {out} is made with the last of the parts ({missing} shards are missing)")
    elif not part.launch or part.number == 0:
        print_embedding(out, as_json, _neighbours(dataset, pretrain, out))


def _neighbours(dataset: Path, pretrain: Path | None, out: Path) -> dict[str, float] | None:
    if pretrain is None:
        return None
    from ..embedding.quality import category_neighbours

    return category_neighbours(dataset, pretrain, out)


def _part(shard: str | None) -> Part:
    from ..embedding.store import Part, part_of_process

    part = part_of_process()
    if shard is None:
        return part
    numbers = re.fullmatch(r"(\d{1,6})/(\d{1,6})", shard)
    if not numbers or not 1 <= int(numbers[1]) <= int(numbers[2]):
        raise click.BadParameter(f"{shard!r} is not I/N with I from 1 to N, such as 2/4", param_hint="--shard")
    if part.launch:
        raise click.UsageError("--shard divides the work by hand, torchrun does it by itself: give one of them")
    return Part(int(numbers[1]) - 1, int(numbers[2]))
