"""The state of a training on disk: one safetensors file, replaced as a whole, no pickle.

Tensors are the model's, the best weights and the optimiser's; everything else is JSON in the file's metadata, beside
a SHA-256 of it all: a damaged state is not used.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from .. import __version__
from ..runtime import distributed
from ..runtime.progress import note
from .artifacts import Recipe, is_current, sha256_of_json, write_artifact
from .atomic import sync
from .existing import Existing
from .tensors import save_tensors

_MODEL, _BEST, _OPTIMISER = "model.", "best.", "optimiser."


@dataclass(frozen=True)
class Checkpointing:
    """Where and how often a training's state is saved."""

    out: Path
    """Folder of the artifact that the training writes; the state is beside it."""
    recipe: str
    """Hash of everything that decides the outcome; only a state with the same hash is resumed."""
    seconds: float = 60.0
    """Minimum time between two checkpoints; the end of a recommender's epoch always saves one."""
    second: bool = False
    """Whether the training is the second of two that make the artifact; each has a state of its own."""
    quiet: bool = False
    """Whether no notes are made, as of a training that is always continued."""

    @property
    def path(self) -> Path:
        """The file of the state."""
        return _beside(self.out, second=self.second)

    def for_second(self, *decisive: object) -> Checkpointing:
        """Return where the state of a second training is saved, which also depends on what is `decisive`."""
        return replace(self, recipe=sha256_of_json([self.recipe, *decisive]), second=True)


def save_checkpoint(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, best: dict[str, torch.Tensor],
                    progress: dict[str, Any]) -> None:
    """Write the state to `path`, all or nothing.

    Args:
        path: the file, replaced if it exists.
        model, optimiser: their current state.
        best: best weights so far; empty before the first validation.
        progress: JSON-able; ``recipe`` is that of `Checkpointing`.
    """
    states = {f"{_OPTIMISER}{index}.{name}": tensor for index, state in optimiser.state_dict()["state"].items()
              for name, tensor in state.items()}
    states |= {f"{_MODEL}{name}": tensor for name, tensor in model.state_dict().items()}
    states |= {f"{_BEST}{name}": tensor for name, tensor in best.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    text, folder = json.dumps(progress), _unfinished(path)
    states = {name: tensor.detach().cpu().contiguous() for name, tensor in states.items()}
    shutil.rmtree(folder, ignore_errors=True)  # left by a killed process
    folder.mkdir()  # safetensors may write to a name of its own beside the one it is given
    try:
        save_tensors(folder / "state", states, {"progress": text, "sha256": _digest(states, text)})
        sync(folder / "state")
        os.replace(folder / "state", path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def load_checkpoint(path: Path, recipe: str, model: nn.Module, optimiser: torch.optim.Optimizer
                    ) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
    """Load a state of this recipe into `model` and `optimiser`, and return `best` and `progress`; None without one."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            text = file.metadata()["progress"]
            progress = json.loads(text)
            if progress["recipe"] != recipe:
                note("the interrupted training found here is of other settings or inputs: it is discarded, and this "
                     "one starts from the beginning")
                return None
            parts = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if file.metadata()["sha256"] != _digest(parts, text):
                raise ValueError("its contents do not match its SHA-256")
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError, MemoryError) as error:
        note(f"the state of an interrupted training, {path}, is damaged ({type(error).__name__}: {error}): it is "
             "discarded, and the training starts from the beginning")
        return None
    model.load_state_dict(_below(parts, _MODEL))
    state = optimiser.state_dict()
    for name, tensor in _below(parts, _OPTIMISER).items():
        index, _, key = name.partition(".")
        state["state"].setdefault(int(index), {})[key] = tensor
    optimiser.load_state_dict(state)
    device = next(model.parameters()).device
    return {name: tensor.to(device) for name, tensor in _below(parts, _BEST).items()}, progress


def remove_checkpoint(out: Path) -> None:
    """Remove the states beside a finished artifact, and the unfinished one of a killed process."""
    for second in (True, False):  # so that being killed in between leaves a state that is taken up
        path = _beside(out, second=second)
        path.unlink(missing_ok=True)
        shutil.rmtree(_unfinished(path), ignore_errors=True)


def _beside(out: Path, *, second: bool = False) -> Path:
    return out.parent / f".{out.name}.checkpoint{'-2' if second else ''}"


def _unfinished(checkpoint: Path) -> Path:
    return checkpoint.with_name(f"{checkpoint.name}.new")


def _digest(tensors: dict[str, torch.Tensor], progress: str) -> str:
    """Return the SHA-256 over names, dtypes, shapes and bytes of tensors on the CPU, and the progress."""
    digest = hashlib.sha256(progress.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _below(parts: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in parts.items() if name.startswith(prefix)}


def is_trained(out: Path, recipe: Recipe, existing: Existing) -> bool:
    """Return whether an artifact is kept; if so, remove the state of a process that was killed after its last step."""
    current = existing.reuses and is_current(out, recipe)
    if current and distributed.rank() == 0:
        remove_checkpoint(out)
    return current


@contextlib.contextmanager
def training_artifact(out: Path, recipe: Recipe, existing: Existing) -> Iterator[tuple[Path, Checkpointing]]:
    """Yield the folder to write into, and where the state is saved until the artifact is finished.

    Of the processes of a run only the first one writes.
    """
    first = distributed.rank() == 0
    with write_artifact(out, recipe, overwrite=existing.overwrites, keep=first) as folder:
        distributed.wait_for_all()  # until all processes have checked `out`
        yield folder, Checkpointing(out, sha256_of_json([asdict(recipe), __version__]))
    if first:
        remove_checkpoint(out)
    distributed.wait_for_all()
