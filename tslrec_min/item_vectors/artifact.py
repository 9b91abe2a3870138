"""The embed artifact: item embeddings with the ids of their rows, written block by block; appending to an older one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap

from ..data.dataset import Dataset
from ..errors import TslrecError
from ..storage.arrays import load_array
from ..storage.artifacts import Artifact, Recipe, open_artifact, read_json

KEY_WORDS = 2
"""Length of a prompt's key in 64-bit words."""
BLOCK = 1024
"""Rows read or copied at once."""
_SAMPLED_PAIRS = 10_000
STATES, ITEMS, _PROMPTS = "item_embeddings.npy", "items.txt", "prompts.npy"
PREFERENCES, PROJECTED = "item_preferences.npy", "item_projected.npy"
"""Only for fine-tuned models; projected vectors only for those that were tuned on next items."""
_NOT_SETTINGS = ("dataset", "appended_to", "shard_size", "batch_tokens", "autotune", "gpu_layers", "torch_precision")
"""Settings that may differ when appending, as they change states by rounding only. For torch_precision,
`OlderEmbeddings.check_precision` compares the precision in use."""


def write_embeddings(folder: Path, blocks: Iterable[tuple[np.ndarray, np.ndarray]], dataset: Dataset) -> None:
    """Write item_embeddings.npy, float32 [I+C+1, D] with a zero row 0, and items.txt, the ids in row order from row 1.

    Args:
        folder: folder of the artifact.
        blocks: item indices from 0, int64 [n], and their embeddings, float32 [n, D]; every item once.
        dataset: the items; cold ones come last.
    """
    dataset = dataset.with_cold_items()
    (folder / ITEMS).write_text("".join(f"{item}\n" for item in dataset.item_ids), encoding="utf-8")
    path = folder / STATES
    for rows, embeddings in blocks:
        if not path.exists():
            _allocate(path, (dataset.n_items + 1, embeddings.shape[1]))
        open_memmap(path, "r+")[rows + 1] = embeddings  # mapped per block: mapped pages count as this process's memory


def _allocate(path: Path, shape: tuple[int, int]) -> None:
    """Create a file of float32 zeros."""
    open_memmap(path, "w+", np.float32, shape)
    if hasattr(os, "posix_fallocate"):  # a full disk is an error here; in the map it would kill the process
        with open(path, "r+b") as stream:
            os.posix_fallocate(stream.fileno(), 0, path.stat().st_size)


def describe_embeddings(folder: Path) -> dict[str, Any]:
    """Check the embeddings that `write_embeddings` wrote, and return their size, norms and mean cosine.

    Raises:
        TslrecError: all embeddings are equal.
    """
    path = folder / STATES
    n_items, width = len(open_memmap(path, "r")) - 1, open_memmap(path, "r").shape[1]
    norms, least, most = np.empty(n_items, np.float32), np.full(width, np.inf), np.full(width, -np.inf)
    for start in range(0, n_items, BLOCK):
        block = _rows(path, slice(start, start + BLOCK))
        norms[start: start + len(block)] = np.linalg.norm(block, axis=1)
        least, most = np.minimum(least, block.min(axis=0)), np.maximum(most, block.max(axis=0))
    if n_items > 1 and (least == most).all():
        raise TslrecError("all item embeddings are equal; check that the titles differ and that the model is intact")
    random = np.random.default_rng(0)
    left = random.integers(0, n_items, _SAMPLED_PAIRS)
    right = (left + random.integers(1, max(2, n_items), _SAMPLED_PAIRS)) % n_items  # another item
    products = np.concatenate([(_rows(path, left[at: at + BLOCK]) * _rows(path, right[at: at + BLOCK])).sum(axis=1)
                               for at in range(0, _SAMPLED_PAIRS, BLOCK)])
    cosines = products / np.maximum(norms[left] * norms[right], 1e-12)
    return {"items": n_items, "width": width, "norm_mean": float(norms.mean()), "norm_std": float(norms.std()),
            "mean_cosine": float(cosines.mean())}


def _rows(path: Path, rows: np.ndarray | slice) -> np.ndarray:
    """Copy the embeddings of items, by index from 0; the copy keeps no map, whose pages would count as memory."""
    return np.array(open_memmap(path, "r")[1:][rows])


def save_prompt_keys(folder: Path, keys: np.ndarray) -> None:
    """Write prompts.npy: uint64 [I+C+1, 2], a zero row and the `keys` of the items' prompts."""
    np.save(folder / _PROMPTS, np.concatenate([np.zeros_like(keys[:1]), keys]))


@dataclass(frozen=True)
class OlderEmbeddings:
    """An embed artifact that new items are appended to."""

    artifact: Artifact
    keys: np.ndarray
    """uint64 [I, 2], see `ItemPrompts.keys`."""
    engine_settings: Mapping[str, Any]

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """Return the embeddings of items, float32 [n, D]; `rows`, int64 [n], count from 0."""
        return np.asarray(open_memmap(self.artifact.path / STATES, "r")[rows + 1])

    def check_precision(self, precision: str | None) -> None:
        """Raise TslrecError if the embeddings have another precision."""
        _refuse_other(self.artifact.path, {"precision": self.engine_settings.get("precision")},
                      {"precision": precision})


def open_older(path: Path, recipe: Recipe) -> OlderEmbeddings:
    """Open an embed artifact to append to, given the recipe of the new artifact, whose data set may differ.

    Raises:
        TslrecError: it is missing or damaged, or was made with other settings; the message names them.
    """
    artifact = open_artifact(path, "embed")
    stored = {"prefix": "", **artifact.config, **artifact.record["inputs"]}  # older versions had no prefix
    _refuse_other(path, stored, {**recipe.config, **recipe.inputs})
    if not (artifact.path / _PROMPTS).is_file():
        raise TslrecError(f"{path} has no {_PROMPTS}, as an older version made it; run tslrec embed without "
                          "--append-to")
    keys, described = load_array(artifact.path / _PROMPTS), read_json(artifact.path / "embed.json")
    if keys.dtype != np.uint64 or keys.ndim != 2 or keys.shape[1] != KEY_WORDS or not isinstance(described, dict) or (
            not isinstance(described.get("engine_settings"), dict)):
        raise TslrecError(f"{path}: {_PROMPTS} or embed.json is not what tslrec embed writes; run tslrec embed without "
                          "--append-to")
    return OlderEmbeddings(artifact, keys[1:], described["engine_settings"])


def _refuse_other(path: Path, stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    stored, wanted = _flat(stored), _flat(wanted)
    differing = [f"{name} {_short(stored.get(name))}, now {_short(wanted.get(name))}"
                 for name in sorted(stored.keys() | wanted.keys()) if stored.get(name) != wanted.get(name)]
    if differing:
        raise TslrecError(f"{path} was embedded with other settings ({'; '.join(differing)}); use the same ones, or "
                          "run tslrec embed without --append-to")


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in json.loads(json.dumps(settings)).items():  # as stored: tuples become lists
        if name not in _NOT_SETTINGS:
            flat |= {f"{name}.{key}": part for key, part in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def _short(value: Any) -> str:
    return repr(value) if len(repr(value)) <= 50 else f"{repr(value)[:16]}..."


def write_derived(folder: Path, name: str, width: int, of_states: Callable[[np.ndarray, range], np.ndarray]
                  ) -> None:
    """Write vectors made from the states that `write_embeddings` wrote, float32 [I+C+1, k] with a zero row 0.

    Args:
        folder: folder of the artifact.
        name: of the file, `PREFERENCES` or `PROJECTED`.
        width: k.
        of_states: pooled states, float32 [n, D], and the items' numbers from 0 -> vectors, float32 [n, k].
    """
    n_items = len(open_memmap(folder / STATES, "r")) - 1
    _allocate(folder / name, (n_items + 1, width))
    for start in range(0, n_items, BLOCK):
        items = range(start, min(start + BLOCK, n_items))
        block = of_states(_rows(folder / STATES, slice(items.start, items.stop)), items)
        open_memmap(folder / name, "r+")[start + 1: start + 1 + len(block)] = block
