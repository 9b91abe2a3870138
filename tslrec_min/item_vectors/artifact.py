"""The embed artifact: item embeddings with the ids of their rows, and the check that they fit a catalogue."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap

from ..data.dataset import Dataset
from ..errors import TslrecError, some_of
from ..storage.arrays import load_array
from ..storage.artifacts import Artifact, Recipe, open_artifact, read_json

KEY_WORDS = 2
"""Length of a prompt's key in 64-bit words."""
BLOCK = 1024
"""Vectors looked at or copied at once."""
_SAMPLED_PAIRS = 10_000
_VECTORS, _PROMPTS = "item_embeddings.npy", "prompts.npy"
PREFERENCES = "item_preferences.npy"
"""What only a fine-tuned model's embeddings have."""
_NOT_SETTINGS = ("dataset", "appended_to", "shard_size", "batch_tokens", "autotune", "gpu_layers", "torch_precision")
"""What may differ between an artifact and the one it is appended to: it changes states by no more than rounding. What
torch_precision comes to on this machine is compared by `OlderEmbeddings.check_precision`."""


def save_embeddings(folder: Path, vectors: np.ndarray, dataset: Dataset) -> None:
    """Write item_embeddings.npy (float32 [I+C+1, D], row 0 zeros) and items.txt (ids in row order, from row 1).

    Args:
        folder: where to write.
        vectors: float32 [I+C, D], one row per item, the C cold ones last.
        dataset: the catalogue.
    """
    write_embeddings(folder, [(np.arange(dataset.with_cold_items().n_items), vectors)], dataset)


def write_embeddings(folder: Path, blocks: Iterable[tuple[np.ndarray, np.ndarray]], dataset: Dataset) -> None:
    """Do what `save_embeddings` does, block by block: in memory is one block, not the array.

    Args:
        folder: where to write.
        blocks: items, int64 [n], by row from 0, and their vectors, float32 [n, D]; every item once.
        dataset: the catalogue; its cold items follow the others.
    """
    dataset = dataset.with_cold_items()
    (folder / "items.txt").write_text("".join(f"{item}\n" for item in dataset.item_ids), encoding="utf-8")
    path = folder / _VECTORS
    for rows, vectors in blocks:
        if not path.exists():
            _allocate(path, (dataset.n_items + 1, vectors.shape[1]))
        open_memmap(path, "r+")[rows + 1] = vectors  # mapped for one block: mapped pages count as this process's memory


def _allocate(path: Path, shape: tuple[int, int]) -> None:
    """Make an array of float32 zeros."""
    open_memmap(path, "w+", np.float32, shape)
    if hasattr(os, "posix_fallocate"):  # on a full disk an error now, where the map would kill the process
        with open(path, "r+b") as stream:
            os.posix_fallocate(stream.fileno(), 0, path.stat().st_size)


def describe_embeddings(folder: Path) -> dict[str, Any]:
    """Check the item vectors that `write_embeddings` has written, and say how they spread.

    Raises:
        TslrecError: all of them are the same.
    """
    path = folder / _VECTORS
    n_items, width = len(open_memmap(path, "r")) - 1, open_memmap(path, "r").shape[1]
    norms, least, most = np.empty(n_items, np.float32), np.full(width, np.inf), np.full(width, -np.inf)
    for start in range(0, n_items, BLOCK):
        block = _rows(path, slice(start, start + BLOCK))
        norms[start: start + len(block)] = np.linalg.norm(block, axis=1)
        least, most = np.minimum(least, block.min(axis=0)), np.maximum(most, block.max(axis=0))
    if n_items > 1 and (least == most).all():
        raise TslrecError("every item got the same vector; the titles are all equal or the model is broken")
    random = np.random.default_rng(0)
    left = random.integers(0, n_items, _SAMPLED_PAIRS)
    right = (left + random.integers(1, max(2, n_items), _SAMPLED_PAIRS)) % n_items  # another item
    products = np.concatenate([(_rows(path, left[at: at + BLOCK]) * _rows(path, right[at: at + BLOCK])).sum(axis=1)
                               for at in range(0, _SAMPLED_PAIRS, BLOCK)])
    cosines = products / np.maximum(norms[left] * norms[right], 1e-12)
    return {"items": n_items, "width": width, "norm_mean": float(norms.mean()), "norm_std": float(norms.std()),
            "mean_cosine": float(cosines.mean())}


def _rows(path: Path, rows: np.ndarray | slice) -> np.ndarray:
    """Return the vectors of items by row from 0; the file is mapped no longer, so its pages don't add up."""
    return np.array(open_memmap(path, "r")[1:][rows])


def save_prompt_keys(folder: Path, keys: np.ndarray) -> None:
    """Write prompts.npy: uint64 [I+C+1, 2], the keys of the items' prompts below a zero row."""
    np.save(folder / _PROMPTS, np.concatenate([np.zeros_like(keys[:1]), keys]))


@dataclass(frozen=True)
class OlderEmbeddings:
    """An embed artifact whose vectors may be kept."""

    artifact: Artifact
    keys: np.ndarray
    """uint64 [I, 2], see `ItemPrompts.keys`."""
    engine_settings: Mapping[str, Any]

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """Return the vectors of items, float32 [n, D]; `rows`, int64 [n], count from 0."""
        return np.asarray(open_memmap(self.artifact.path / _VECTORS, "r")[rows + 1])

    def check_precision(self, precision: str | None) -> None:
        """Raise TslrecError if the vectors were computed in another precision."""
        _refuse_other(self.artifact.path, {"precision": self.engine_settings.get("precision")},
                      {"precision": precision})


def open_older(path: Path, recipe: Recipe) -> OlderEmbeddings:
    """Open an embed artifact that new items are appended to.

    Args:
        path: its folder.
        recipe: of the artifact to be; the data set may be another one.

    Raises:
        TslrecError: it is missing or damaged, or its model, template or engine differs; the message names what.
    """
    artifact = open_artifact(path, "embed")
    _refuse_other(path, artifact.config | artifact.record["inputs"], {**recipe.config, **recipe.inputs})
    if not (artifact.path / _PROMPTS).is_file():
        raise TslrecError(f"{path} has no {_PROMPTS}, by which items are known again: it was made by an older "
                          "version; run tslrec embed without --append-to")
    keys, described = load_array(artifact.path / _PROMPTS), read_json(artifact.path / "embed.json")
    if keys.dtype != np.uint64 or keys.ndim != 2 or keys.shape[1] != KEY_WORDS or not isinstance(described, dict) or (
            not isinstance(described.get("engine_settings"), dict)):
        raise TslrecError(f"{path}: {_PROMPTS} or embed.json is not what tslrec embed writes; run tslrec embed without "
                          "--append-to")
    return OlderEmbeddings(artifact, keys[1:], described["engine_settings"])


def _refuse_other(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    found, wanted = _flat(found), _flat(wanted)
    differing = [f"{name} {_short(found.get(name))}, now {_short(wanted.get(name))}"
                 for name in sorted(found.keys() | wanted.keys()) if found.get(name) != wanted.get(name)]
    if differing:
        raise TslrecError(f"{path} was embedded with other settings ({'; '.join(differing)}); give the same ones, or "
                          "run tslrec embed without --append-to")


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in json.loads(json.dumps(settings)).items():  # as they are stored: a tuple is a list
        if name not in _NOT_SETTINGS:
            flat |= {f"{name}.{key}": part for key, part in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 50 else f"{text[:16]}..."


def write_preferences(folder: Path, n_categories: int, of_states: Callable[[np.ndarray], np.ndarray]) -> None:
    """Write item_preferences.npy, float32 [I+C+1, K] with a zero row 0, of the states that `write_embeddings` wrote.

    Args:
        folder: where to write.
        n_categories: K.
        of_states: pooled states, float32 [n, D] -> preferences, float32 [n, K].
    """
    n_items = len(open_memmap(folder / _VECTORS, "r")) - 1
    _allocate(folder / PREFERENCES, (n_items + 1, n_categories))
    for start in range(0, n_items, BLOCK):
        vectors = of_states(_rows(folder / _VECTORS, slice(start, start + BLOCK)))
        open_memmap(folder / PREFERENCES, "r+")[start + 1: start + 1 + len(vectors)] = vectors


def load_embeddings(path: Path, dataset: Dataset, kind: str = "states") -> tuple[np.ndarray, str]:
    """Read what may be learned from: `load_all_embeddings` without the cold items.

    Returns:
        float32 [I+1, D] with a zero row 0, and the artifact hash.

    Raises:
        TslrecError: as `load_all_embeddings`.
    """
    vectors, found = load_all_embeddings(path, dataset, kind)
    return vectors[:dataset.n_items + 1], found


def load_all_embeddings(path: Path, dataset: Dataset, kind: str = "states") -> tuple[np.ndarray, str]:
    """Read item embeddings for a data set.

    Args:
        path: embed artifact.
        dataset: its catalogue.
        kind: one of `configs.VECTORS`.

    Returns:
        float32 [I+C+1, D] with a zero row 0, cold items from row I+1; and the artifact hash.

    Raises:
        TslrecError: they are missing, damaged, not finite, or of another catalogue (names the ids that differ).
    """
    n_known, dataset = dataset.n_items, dataset.with_cold_items()
    artifact = open_artifact(path, "embed")
    try:
        ids = (artifact.path / "items.txt").read_text(encoding="utf-8").split("\n")[:-1]
    except (OSError, UnicodeDecodeError) as error:
        raise TslrecError(f"{path} has no readable items.txt: {error}; run tslrec embed again") from None
    if ids != list(dataset.item_ids):
        raise TslrecError(f"the embeddings {path} are of another catalogue: {_difference(ids, dataset.item_ids)}; "
                          "run tslrec embed on this data set")
    preferences = artifact.path / PREFERENCES
    if not preferences.is_file():
        if kind not in ("auto", "states"):
            raise TslrecError(f"{path} has states alone: preferences come from the head of a fine-tuned model (tslrec "
                              "embed --finetuned); take --vectors states")
        kind = "states"
    return of_kind(kind, lambda: _checked(artifact.path / _VECTORS, dataset), lambda: _checked(preferences, dataset),
                   n_known), artifact.hash


def _checked(path: Path, dataset: Dataset) -> np.ndarray:
    """Read an array of an embed artifact, a row for every item of the catalogue below one of zeros."""
    vectors = load_array(path)
    if vectors.dtype != np.float32 or vectors.ndim != 2 or len(vectors) != dataset.n_items + 1:
        raise TslrecError(f"{path}: the array is {vectors.dtype} {list(vectors.shape)}; expected float32 with "
                          f"{dataset.n_items + 1} rows")
    if not np.isfinite(vectors).all() or vectors[0].any():
        raise TslrecError(f"{path}: a number is not finite, or the padding row 0 is not zero; run tslrec embed again")
    return vectors


def of_kind(kind: str, states: Callable[[], np.ndarray], preferences: Callable[[], np.ndarray], n_known: int
            ) -> np.ndarray:
    """Return item vectors of a kind where there are states and preferences.

    Args:
        kind: one of `configs.VECTORS`; ``auto`` is both.
        states: returns them, if they are wanted; see `combined`.
        preferences: likewise.
        n_known: I, see `combined`.
    """
    if kind == "states":
        return states()
    return preferences() if kind == "preferences" else combined(states(), preferences(), n_known)


def combined(states: np.ndarray, preferences: np.ndarray, n_known: int) -> np.ndarray:
    """Put item vectors of two kinds side by side, each centred and with a mean squared norm of 1.

    Mean and norm are those of the items that may be learned from; cold ones follow them.

    Args:
        states: float32 [I+C+1, D] with a zero row 0.
        preferences: float32 [I+C+1, K] with a zero row 0.
        n_known: I.

    Returns:
        float32 [I+C+1, D+K] with a zero row 0.
    """
    blocks = []
    for vectors in (states, preferences):
        rows = vectors[1:].astype(np.float64)
        rows -= rows[:n_known].mean(axis=0)
        blocks.append(rows / max(np.sqrt(np.square(rows[:n_known]).sum(axis=1).mean()), 1e-12))
    found = np.concatenate(blocks, axis=1, dtype=np.float32, casting="same_kind")
    return np.concatenate([np.zeros_like(found[:1]), found])


def _difference(ids: list[str], wanted: Sequence[str]) -> str:
    missing, extra = sorted(set(wanted) - set(ids)), sorted(set(ids) - set(wanted))
    if not missing and not extra:
        return "the same ids in another order"
    parts = []
    for name, differing in (("without", missing), ("with unknown", extra)):
        if differing:
            parts.append(f"{name} {some_of(differing)}")
    return f"{len(ids)} items, expected {len(wanted)}; " + ", ".join(parts)
