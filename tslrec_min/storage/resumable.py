"""What all trainings have in common: the end of a step, the best weights, and resuming after an interruption.

A step's random draws follow from the seed and the step, so a checkpoint needs no generator's state. Under torchrun each
process has a part of every batch; the gradient is the sum.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import torch
from torch import nn

from ..errors import TslrecError
from ..runtime import distributed
from ..runtime.progress import note
from .checkpoints import Checkpointing, load_checkpoint, save_checkpoint


class ResumableTraining:
    """The state of a training; a subclass says what a step learns from, and which weights are best."""

    name: ClassVar[str] = "training"
    """Its name in messages."""

    def __init__(self, model: nn.Module, parameters: Sequence[nn.Parameter], groups: list[dict[str, Any]], seed: int,
                 device: torch.device, **settings: Any) -> None:
        """Create the optimiser: AdamW over `groups` of the `parameters`, with further `settings`."""
        self.model, self.parameters, self.seed, self.device = model, parameters, seed, device
        self.optimiser = torch.optim.AdamW(groups, lr=0.0, fused=True, **settings)
        self.losses: list[float] = []
        self.best: dict[str, torch.Tensor] = {}
        self._saved = time.monotonic()

    def place(self) -> tuple[int, int]:
        """Return the number of finished epochs, and of steps since."""
        raise NotImplementedError

    def progress(self) -> dict[str, Any]:
        """Return what to save besides model, optimiser and best weights; JSON-able."""
        raise NotImplementedError

    def restore(self, progress: dict[str, Any]) -> None:
        """Restore what `progress` returned."""
        raise NotImplementedError

    def seed_step(self, step: int, *, shared: bool = False) -> None:
        """Seed torch for a step, counted from 0, in this process, or with `shared` alike in all."""
        own = step * distributed.world_size() + (0 if shared else distributed.rank())
        torch.manual_seed((self.seed * 0x9E3779B97F4A7C15 + own) % 2**63)

    def update(self, loss: torch.Tensor, clip_norm: float, rates: Sequence[float]) -> None:
        """End a step after its backward passes: add up the processes' parts, clip the gradient and move the weights.

        Args:
            loss: float [1], this process's part.
            clip_norm: maximum norm of the gradient.
            rates: learning rate of each of the optimiser's groups.

        Raises:
            TslrecError: the loss is not finite.
        """
        distributed.sum_over_processes([loss, *distributed.gradients(self.parameters)])
        if not torch.isfinite(loss):
            raise TslrecError(f"the {self.name} loss became {loss.item()}; lower --learning-rate")
        torch.nn.utils.clip_grad_norm_(self.parameters, clip_norm)
        for group, rate in zip(self.optimiser.param_groups, rates, strict=True):
            group["lr"] = rate
        self.optimiser.step()
        self.losses.append(loss.item())

    def keep(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Copy the best weights so far."""
        for name, tensor in weights:
            if name not in self.best:
                self.best[name] = torch.empty_like(tensor)
            self.best[name].copy_(tensor.detach())

    def save(self, checkpointing: Checkpointing | None, *, always: bool = False) -> None:
        """Write the state to disk if the last time was long enough ago, or always."""
        if checkpointing and (always or time.monotonic() - self._saved > checkpointing.seconds):
            if distributed.rank() == 0:
                save_checkpoint(checkpointing.path, self.model, self.optimiser, self.best,
                                {"recipe": checkpointing.recipe, **self.progress()})
            self._saved = time.monotonic()

    def resume(self, checkpointing: Checkpointing | None) -> None:
        """Resume an interrupted training of the same recipe, if there is one.

        Raises:
            TslrecError: the processes don't find the same state.
        """
        if not checkpointing:
            return
        saved = load_checkpoint(checkpointing.path, checkpointing.recipe, self.model, self.optimiser)
        if saved:
            self.best, progress = saved
            self.restore(progress)
        place = list(map(float, self.place()))
        if distributed.of_first_process(place, self.device) != place:
            raise TslrecError(f"process {distributed.rank()} does not find the checkpoint of the first one, "
                              f"{checkpointing.path}; use a folder that all machines share, or remove the file")
        if saved and not checkpointing.quiet:
            note(f"{checkpointing.out}: resuming after {place[0]:.0f} epochs and {place[1]:.0f} steps")
