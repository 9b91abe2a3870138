"""What several test files build or ask alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tslrec_min.configs import EmbedConfig
from tslrec_min.embedding.embed import embed_base
from tslrec_min.embedding.store import ShardStore
from tslrec_min.llm.prompts import PromptTemplate

CONFIG = EmbedConfig(shard_size=2)


def embed(dataset: Path, model: Path, out: Path, config: EmbedConfig = CONFIG, **options: object) -> int:
    return embed_base(dataset, str(model), PromptTemplate(), out, config, **{"device": "cpu", "threads": 1, **options})


def command(dataset: Path, gguf: Path, out: Path, *options: object) -> list[str]:
    return [*map(str, ["embed", dataset, "--model", gguf, "-o", out, "--shard-size", 2, "--threads", 1, *options])]


def shards(out: Path) -> list[Path]:
    return sorted(out.parent.glob(f".{out.name}.shards/*/*.npz"))


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name != "config.json"}


def interrupt(cycle: Path, gguf: Path, out: Path, after: int, **options: object) -> None:
    """Leave a store with so many shards."""

    class Enough(Exception):
        pass

    original, written = ShardStore.write, []

    def write(self: ShardStore, shard: int, states: np.ndarray) -> None:
        if len(written) == after:
            raise Enough
        original(self, shard, states)
        written.append(shard)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Enough):
        patch.setattr(ShardStore, "write", write)
        embed(cycle, gguf, out, **options)
    assert len(shards(out)) == after
