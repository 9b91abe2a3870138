"""Where prompts lie that are computed end to end: `attention` and `packed_decoder` read it.

Three prompts that share P = 2 tokens and have 3, 1 and 2 of their own, T = 8 (s: shared):

    row         0  1 | 2  3  4 | 5 | 6  7
                s  s   a  a  a   b   c  c
    starts                [2, 5, 6]     lengths [3, 1, 2]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..runtime.validation import as_int64


@dataclass(frozen=True)
class PromptLayout:
    """Where B prompts lie in a row of T tokens: P shared ones, which all begin with, then the rest of each."""

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

    def __post_init__(self) -> None:
        """Check what the kernel relies on."""
        for field in ("starts", "lengths"):
            object.__setattr__(self, field, as_int64(field, getattr(self, field)))
        ends = self.shared + np.cumsum(self.lengths)
        if self.shared < 0 or not len(self.lengths) or self.lengths.min() < 1 or (
                self.lengths.max() > len(self.packed)) or ends[-1] != len(self.packed) or (
                not np.array_equal(self.starts, ends - self.lengths)):
            raise ValueError(f"{self.shared} shared tokens and {self.lengths} own ones of {len(self.packed)} don't lie "
                             "end to end, at least one a prompt; use prompt_layout")

    @property
    def shape(self) -> tuple[int, int]:
        """B and L."""
        return len(self.lengths), len(self.side_by_side) // len(self.lengths)


def prompt_layout(shared: int, lengths: Sequence[int], device: torch.device) -> PromptLayout:
    """Return the layout of prompts that share their first tokens and have `lengths`, at least one, of their own.

    The device is that of the tensors that attention will be asked for.
    """
    own = np.asarray(lengths, dtype=np.int64)
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
