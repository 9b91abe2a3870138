"""How the tokens of a batch of histories lie in memory: padded to one length, or packed end to end.

A block is written once, for both: most of its layers see one token at a time, and ask `Sequences` for what depends on
the order of tokens (attention) or on their places (dropout), and for what one pass over memory does faster.

`Padded` is torch's own operations, for every device and dtype. `Packed` is the kernels, for float32 on a CPU: no
padding is computed, and all layers but attention run on all tokens of a batch at once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import cast

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ...data.csr import owners
from ...llm.attention import packed_self_attention
from ...runtime.validation import as_int64, check_range
from .dropout import Dropout
from .packed import add_feed_forward, add_linear, draws_of, drop, norm_linear


class Sequences(ABC):
    """States are float [..., d], a row for each token: [B, T, d] if padded, [N, d] if packed."""

    @abstractmethod
    def add_positions(self, vectors: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Return vectors plus positions, float [..., d].

        Args:
            vectors: float [..., d] of the items.
            positions: float [P, d], as many as the longest sequence has items, or more. They count from the end of a
                sequence, so that its last item always has the last one.
        """

    @abstractmethod
    def attend(self, query_key_value: torch.Tensor, heads: int) -> torch.Tensor:
        """Return the heads' weighted means of the values side by side, float [..., d].

        Args:
            query_key_value: float [..., 3 d], queries, keys and values.
            heads: number of attention heads, a divisor of d.
        """

    @abstractmethod
    def drop(self, dropout: Dropout, values: torch.Tensor) -> torch.Tensor:
        """Return dropout(values), float [..., n], of values of the same shape."""

    @abstractmethod
    def norm_linear(self, states: torch.Tensor, norm: nn.LayerNorm, linear: nn.Linear) -> torch.Tensor:
        """Return linear(norm(states)), float [..., n], of states, float [..., d]."""

    @abstractmethod
    def add_linear(self, states: torch.Tensor, linear: nn.Linear, inputs: torch.Tensor, dropout: Dropout
                   ) -> torch.Tensor:
        """Return states + dropout(linear(inputs)), float [..., d].

        Args:
            states: float [..., d].
            linear: from n to d features.
            inputs: float [..., n].
            dropout: the layer.
        """

    @abstractmethod
    def add_feed_forward(self, states: torch.Tensor, norm: nn.LayerNorm, layers: nn.Sequential, dropout: Dropout
                         ) -> torch.Tensor:
        """Return states + dropout(layers(norm(states))), float [..., d].

        Args:
            states: float [..., d].
            norm: the layer before.
            layers: linear, GELU, linear.
            dropout: the layer.
        """


class Padded(Sequences):
    """States [B, T, d]; what is at padding is finite, but meaningless."""

    def __init__(self, lengths: torch.Tensor, mask: torch.Tensor | None = None) -> None:
        """Take the lengths of the sequences, and the mask of attention.

        Args:
            lengths: int64 [B].
            mask: bool [B, 1, 1, T], true where a position may be attended to; None: causal attention.
        """
        self.lengths, self.mask = lengths, mask

    def add_positions(self, vectors: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Return vectors plus positions; arguments as for `Sequences.add_positions`."""
        columns = torch.arange(vectors.shape[1], device=vectors.device)
        places = (columns + (len(positions) - self.lengths[:, None])).clamp_max(len(positions) - 1)  # [B, T]
        return vectors + F.embedding(places, positions)

    def attend(self, query_key_value: torch.Tensor, heads: int) -> torch.Tensor:
        """Return the heads' weighted means; arguments as for `Sequences.attend`."""
        batch, length, width = query_key_value.shape
        query, key, value = query_key_value.view(batch, length, 3, heads, -1).permute(2, 0, 3, 1, 4)  # [B, H, T, d/H]
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=self.mask, is_causal=self.mask is None)
        return attended.transpose(1, 2).reshape(batch, length, width // 3)

    def drop(self, dropout: Dropout, values: torch.Tensor) -> torch.Tensor:
        """Return dropout(values); arguments as for `Sequences.drop`."""
        dropped: torch.Tensor = dropout(values)
        return dropped

    def norm_linear(self, states: torch.Tensor, norm: nn.LayerNorm, linear: nn.Linear) -> torch.Tensor:
        """Return linear(norm(states)); arguments as for `Sequences.norm_linear`."""
        out: torch.Tensor = linear(norm(states))
        return out

    def add_linear(self, states: torch.Tensor, linear: nn.Linear, inputs: torch.Tensor, dropout: Dropout
                   ) -> torch.Tensor:
        """Return states + dropout(linear(inputs)); arguments as for `Sequences.add_linear`."""
        return states + dropout(linear(inputs))

    def add_feed_forward(self, states: torch.Tensor, norm: nn.LayerNorm, layers: nn.Sequential, dropout: Dropout
                         ) -> torch.Tensor:
        """Return states + dropout(layers(norm(states))); arguments as for `Sequences.add_feed_forward`."""
        return states + dropout(layers(norm(states)))


class Packed(Sequences):
    """States [N, d] of float32 on a CPU, one sequence after the other; attention is causal."""

    def __init__(self, lengths: np.ndarray) -> None:
        """Take the lengths of the sequences, int64 [B], at least 1."""
        self.lengths = as_int64("lengths", lengths)
        check_range("lengths", self.lengths, 1, 2**31 - 1)
        self.owners = owners(lengths)
        """int64 [N], the sequence of each token."""
        self.positions = np.arange(len(self.owners)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        """int64 [N], its position in the sequence, from 0."""

    def add_positions(self, vectors: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Return vectors plus positions; arguments as for `Sequences.add_positions`."""
        places = self.positions + (len(positions) - self.lengths)[self.owners]
        return vectors + F.embedding(torch.from_numpy(places), positions)

    def attend(self, query_key_value: torch.Tensor, heads: int) -> torch.Tensor:
        """Return the heads' weighted means; arguments as for `Sequences.attend`."""
        return packed_self_attention(query_key_value.unflatten(1, (3, heads, -1)), self.lengths)

    def drop(self, dropout: Dropout, values: torch.Tensor) -> torch.Tensor:
        """Return dropout(values); arguments as for `Sequences.drop`."""
        if not dropout.training or not dropout.rate:
            return values
        return drop(values, draws_of(dropout, self.owners, self.positions))

    def norm_linear(self, states: torch.Tensor, norm: nn.LayerNorm, linear: nn.Linear) -> torch.Tensor:
        """Return linear(norm(states)); arguments as for `Sequences.norm_linear`."""
        return norm_linear(states, norm, linear)

    def add_linear(self, states: torch.Tensor, linear: nn.Linear, inputs: torch.Tensor, dropout: Dropout
                   ) -> torch.Tensor:
        """Return states + dropout(linear(inputs)); arguments as for `Sequences.add_linear`."""
        return add_linear(states, linear, inputs, draws_of(dropout, self.owners, self.positions))

    def add_feed_forward(self, states: torch.Tensor, norm: nn.LayerNorm, layers: nn.Sequential, dropout: Dropout
                         ) -> torch.Tensor:
        """Return states + dropout(layers(norm(states))); arguments as for `Sequences.add_feed_forward`."""
        first, second = cast(nn.Linear, layers[0]), cast(nn.Linear, layers[2])
        return add_feed_forward(states, norm, first, second, draws_of(dropout, self.owners, self.positions))
