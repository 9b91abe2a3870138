"""The state of a training on disk: one safetensors file, replaced as a whole, no pickle.

Tensors are the model's, the best weights and the optimiser's; everything else is JSON in the file's metadata.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

_MODEL, _BEST, _OPTIMISER = "model.", "best.", "optimiser."


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
    except (OSError, SafetensorError, KeyError, ValueError):
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
