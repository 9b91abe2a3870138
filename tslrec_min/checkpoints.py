"""The state of a training on disk: one safetensors file, replaced as a whole, no pickle.

Tensors are the model's, the best weights and the optimiser's; everything else is JSON in the file's metadata.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from . import __version__, distributed
from .artifacts import Recipe, sha256_of_json, write_artifact
from .errors import TslrecError
from .progress import note

_MODEL, _BEST, _OPTIMISER = "model.", "best.", "optimiser."


@dataclass(frozen=True)
class Checkpointing:
    """Where and how often a training's state is saved."""

    path: Path
    """A file; a state of the same recipe in it is taken up."""
    recipe: str
    """Hash of everything that decides the outcome."""
    seconds: float = 60.0
    """Least time between two checkpoints; the end of a recommender's epoch is one always."""


@dataclass(frozen=True)
class Checkpoint:
    """What of a state isn't in the model and the optimiser."""

    best: dict[str, torch.Tensor]
    """Best weights so far; empty before the first validation."""
    progress: dict[str, Any]
    """What was given to `save_checkpoint`."""


def save_checkpoint(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, best: dict[str, torch.Tensor],
                    progress: dict[str, Any]) -> None:
    """Write the state to `path`, all or nothing.

    Args:
        path: the file; one that is there is replaced.
        model: weights of the moment.
        optimiser: of these weights.
        best: best weights so far.
        progress: JSON-able; ``recipe`` says what is trained.
    """
    states = {f"{_OPTIMISER}{index}.{name}": tensor for index, state in optimiser.state_dict()["state"].items()
              for name, tensor in state.items()}
    states |= {f"{_MODEL}{name}": tensor for name, tensor in model.state_dict().items()}
    states |= {f"{_BEST}{name}": tensor for name, tensor in best.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.new")
    try:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in states.items()}, temporary,
                  {"progress": json.dumps(progress)})
        with open(temporary, "rb") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load_checkpoint(path: Path, recipe: str, model: nn.Module, optimiser: torch.optim.Optimizer) -> Checkpoint | None:
    """Put a saved state into `model` and `optimiser` and return the rest; None without one of this recipe."""
    try:
        with safe_open(path, framework="pt") as file:
            progress = json.loads(file.metadata()["progress"])
            if progress["recipe"] != recipe:
                return None
            parts = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None  # damaged: training starts again
    model.load_state_dict(_below(parts, _MODEL))
    state = optimiser.state_dict()
    for name, tensor in _below(parts, _OPTIMISER).items():
        index, _, key = name.partition(".")
        state["state"].setdefault(int(index), {})[key] = tensor
    optimiser.load_state_dict(state)
    device = next(model.parameters()).device
    return Checkpoint({name: tensor.to(device) for name, tensor in _below(parts, _BEST).items()}, progress)


def _below(parts: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in parts.items() if name.startswith(prefix)}


def say_taken_up(checkpointing: Checkpointing, found: Checkpoint | None, epochs: int, steps: int,
                 device: torch.device) -> None:
    """Make sure that all processes go on from the same state, and say so.

    Raises:
        TslrecError: they don't.
    """
    place = [float(epochs), float(steps)]
    if distributed.of_first_process(place, device) != place:
        raise TslrecError(f"process {distributed.rank()} does not find the checkpoint of the first one, "
                          f"{checkpointing.path}; use a folder that all machines share, or remove the file")
    if found:
        note(f"going on after {epochs} epochs and {steps} steps of an interrupted training")


@contextlib.contextmanager
def training_artifact(out: Path, recipe: Recipe, existing: str) -> Iterator[tuple[Path, Checkpointing]]:
    """Give the folder to write into, and a checkpoint beside it that is there until the artifact is.

    An interrupted training of the same recipe is taken up. Of the processes of a run the first one writes.
    """
    checkpoint = out.parent / f".{out.name}.checkpoint"
    first = distributed.rank() == 0
    with write_artifact(out, recipe, overwrite=existing != "refuse", keep=first) as folder:
        distributed.wait_for_all()  # nobody looks at `out` after it is made
        yield folder, Checkpointing(checkpoint, sha256_of_json([asdict(recipe), __version__]))
    if first:
        checkpoint.unlink(missing_ok=True)
    distributed.wait_for_all()
