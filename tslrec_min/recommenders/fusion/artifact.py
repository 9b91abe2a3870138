"""The artifact of a sum: its weights, and its parts with all that they need.

It is a train artifact of the model ``fused``, so that whatever takes a recommender takes a sum.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import TslrecError
from ...storage.arrays import load_array
from ...storage.artifacts import Artifact, read_json, write_json
from .scorer import Weights

FUSED = "fused"
_WEIGHTS, _OCCURRENCES, _RECORD = "weights.json", "occurrences.npy", "part.json"
_KEPT = ("kind", "config", "inputs", "files", "hash")
"""Of a part's record: what doesn't depend on when it was made."""


@dataclass(frozen=True)
class Fusion:
    """What is stored of a sum."""

    parts: Sequence[Artifact]
    weights: Weights
    occurrences: np.ndarray
    """int64 [I+1], training interactions of every item."""


def save_part(folder: Path, number: int, part: Artifact) -> None:
    """Copy a train artifact, opened, into the folder of a sum."""
    target = folder / "parts" / str(number)
    for name in part.record["files"]:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(part.path / name, target / name)
    write_json(target / _RECORD, {key: part.record[key] for key in _KEPT})


def save_weights(folder: Path, names: Sequence[str], weights: Weights, occurrences: np.ndarray) -> None:
    """Write the weights, with the parts' names, and the items' training interactions, int64 [I+1]."""
    parts = [{"name": name, "constant": float(constant), "by_frequency": float(by_frequency)}
             for name, constant, by_frequency in zip(names, weights.constant, weights.by_frequency, strict=True)]
    write_json(folder / _WEIGHTS, {"parts": parts, "frequency": weights.frequency})
    np.save(folder / _OCCURRENCES, occurrences)


def load_fusion(artifact: Artifact) -> Fusion:
    """Read a sum; its parts' files were checked with those of the artifact.

    Raises:
        TslrecError: a file is damaged.
    """
    stored: dict[str, Any] = read_json(artifact.path / _WEIGHTS)
    try:
        numbers = [(float(part["constant"]), float(part["by_frequency"])) for part in stored["parts"]]
        constant, by_frequency = np.array(numbers).reshape(-1, 2).T
        weights = Weights(constant, by_frequency, float(stored["frequency"]))
        if not numbers or not np.isfinite([*np.ravel(numbers), weights.frequency]).all():
            raise ValueError("no finite numbers")
        folders = [artifact.path / "parts" / str(number) for number in range(len(numbers))]
        parts = [Artifact(folder, read_json(folder / _RECORD)) for folder in folders]
    except (KeyError, TypeError, ValueError) as error:
        raise TslrecError(f"{artifact.path / _WEIGHTS} is not what tslrec fuse writes ({type(error).__name__}: "
                          f"{error}); run it again") from None
    occurrences = load_array(artifact.path / _OCCURRENCES)
    if occurrences.ndim != 1 or occurrences.dtype != np.int64 or occurrences.min(initial=0) < 0:
        raise TslrecError(f"{artifact.path / _OCCURRENCES} is {occurrences.dtype} {list(occurrences.shape)}; expected "
                          "a number of interactions, int64, for each item; run tslrec fuse again")
    return Fusion(parts, weights, occurrences)
