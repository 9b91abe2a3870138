"""Where prompts lie that are computed end to end: `attention` and `packed_decoder` read it.

Three prompts that share P = 2 tokens and have 3, 1 and 2 of their own, T = 8 (s: shared):

    row         0  1 | 2  3  4 | 5 | 6  7
                s  s   a  a  a   b   c  c
    starts                [2, 5, 6]     lengths [3, 1, 2]
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike

from ..runtime.validation import as_int64


@dataclass(frozen=True)
class PromptLayout:
    """Where B prompts lie in a row of T tokens: P shared ones, which all begin with, then the rest of each.

    Made by `prompt_layout` alone: the kernel relies on it.
    """

    shared: int
    """P"""
    starts: np.ndarray
    """int64 [B], always on the CPU: the first row of each prompt's own tokens."""
    lengths: np.ndarray
    """int64 [B], always on the CPU: how many own tokens it has."""
    side_by_side: torch.Tensor
    """int64 [B * L]: the token at each place of the padded batch [B, L], L the longest prompt; padding repeats 0."""
    packed: torch.Tensor
    """int64 [T]: the place of each token in that batch; shared tokens are taken from the first prompt."""

    @property
    def shape(self) -> tuple[int, int]:
        """B and L."""
        return len(self.lengths), len(self.side_by_side) // len(self.lengths)


def prompt_layout(shared: int, lengths: ArrayLike, device: torch.device) -> PromptLayout:
    """Return the layout of prompts that share their first tokens and have `lengths`, at least one, of their own.

    The device is that of the tensors that attention will be asked for.
    """
    own = as_int64("lengths", lengths)
    if shared < 0 or not len(own) or own.min() < 1:
        raise ValueError(f"{shared} shared tokens and {own.tolist()} own ones; expected at least 0, and at least 1 of "
                         "each prompt")
    starts = shared + np.cumsum(own) - own
    longest = shared + int(own.max())
    side_by_side = np.zeros((len(own), longest), dtype=np.int64)
    side_by_side[:, :shared] = np.arange(shared)
    packed = np.arange(shared + int(own.sum()))
    for row, (start, length) in enumerate(zip(starts, own, strict=True)):
        side_by_side[row, shared:shared + length] = np.arange(start, start + length)
        packed[start:start + length] = row * longest + shared + np.arange(length)
    return PromptLayout(shared, starts, own, torch.from_numpy(side_by_side.ravel()).to(device),
                        torch.from_numpy(packed).to(device))
