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
from .causal_filter import causal_filter
from .dropout import Dropout
from .packed import add, add_feed_forward, add_linear, drop, norm_linear
from .packed_rows import Draws, draws_of


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
    def filter(self, states: torch.Tensor, low_pass: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        """Return low + keep * (states - low), float [..., d], where low is low_pass @ states in each sequence.

        Args:
            states: float [..., d].
            low_pass: float [P, P], lower triangular, a function of the distance from the diagonal; no sequence is
                longer than P. It gets no gradient.
            keep: float [d].
        """

    @abstractmethod
    def add(self, states: torch.Tensor, values: torch.Tensor, dropout: Dropout, norm: nn.LayerNorm | None = None
            ) -> torch.Tensor:
        """Return norm(states + dropout(values)), float [..., d].

        Args:
            states, values: float [..., d].
            dropout: the layer.
            norm: the layer after the sum; None: none.
        """

    @abstractmethod
    def add_linear(self, states: torch.Tensor, linear: nn.Linear, inputs: torch.Tensor, dropout: Dropout,
                   norm: nn.LayerNorm | None = None) -> torch.Tensor:
        """Return norm(states + dropout(linear(inputs))), float [..., d].

        Args:
            states: float [..., d].
            linear: from n to d features.
            inputs: float [..., n].
            dropout: the layer.
            norm: the layer after the sum; None: none.
        """

    @abstractmethod
    def add_feed_forward(self, states: torch.Tensor, layers: nn.Sequential, dropout: Dropout, *,
                         before: nn.LayerNorm | None = None, after: nn.LayerNorm | None = None) -> torch.Tensor:
        """Return after(states + dropout(layers(before(states)))), float [..., d].

        Args:
            states: float [..., d].
            layers: linear, GELU, linear.
            dropout: the layer.
            before, after: LayerNorms; None: none.
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

    def filter(self, states: torch.Tensor, low_pass: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        """Return low + keep * (states - low); arguments as for `Sequences.filter`."""
        length = states.shape[1]
        low = low_pass[:length, :length] @ states  # padding is on the right, where it doesn't reach
        return low + keep * (states - low)

    def add(self, states: torch.Tensor, values: torch.Tensor, dropout: Dropout, norm: nn.LayerNorm | None = None
            ) -> torch.Tensor:
        """Return norm(states + dropout(values)); arguments as for `Sequences.add`."""
        total: torch.Tensor = states + dropout(values)
        return total if norm is None else norm(total)

    def add_linear(self, states: torch.Tensor, linear: nn.Linear, inputs: torch.Tensor, dropout: Dropout,
                   norm: nn.LayerNorm | None = None) -> torch.Tensor:
        """Return norm(states + dropout(linear(inputs))); arguments as for `Sequences.add_linear`."""
        return self.add(states, linear(inputs), dropout, norm)

    def add_feed_forward(self, states: torch.Tensor, layers: nn.Sequential, dropout: Dropout, *,
                         before: nn.LayerNorm | None = None, after: nn.LayerNorm | None = None) -> torch.Tensor:
        """Return after(states + dropout(layers(before(states)))); arguments as for `Sequences.add_feed_forward`."""
        return self.add(states, layers(states if before is None else before(states)), dropout, after)


class Packed(Sequences):
    """States [N, d] of float32 on a CPU, one sequence after the other."""

    def __init__(self, lengths: np.ndarray, n_tokens: int, *, causal: bool = True) -> None:
        """Take the lengths of the sequences.

        Args:
            lengths: int64 [B], at least 1.
            n_tokens: N, their sum.
            causal: whether attention sees only what comes before; else it sees the whole sequence.

        Raises:
            ValueError: the lengths are of other sequences.
        """
        self.causal = causal
        self.lengths = as_int64("lengths", lengths)
        check_range("lengths", self.lengths, 1, 2**31 - 1)
        self.owners = owners(lengths)
        """int64 [N], the sequence of each token."""
        if len(self.owners) != n_tokens:
            raise ValueError(f"lengths has the sum {len(self.owners)}; expected {n_tokens}, the number of items")
        self.positions = np.arange(len(self.owners)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        """int64 [N], its position in the sequence, from 0."""

    def add_positions(self, vectors: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Return vectors plus positions; arguments as for `Sequences.add_positions`."""
        places = self.positions + (len(positions) - self.lengths)[self.owners]
        return vectors + F.embedding(torch.from_numpy(places), positions)

    def attend(self, query_key_value: torch.Tensor, heads: int) -> torch.Tensor:
        """Return the heads' weighted means; arguments as for `Sequences.attend`."""
        return packed_self_attention(query_key_value.unflatten(1, (3, heads, -1)), self.lengths, self.causal)

    def drop(self, dropout: Dropout, values: torch.Tensor) -> torch.Tensor:
        """Return dropout(values); arguments as for `Sequences.drop`."""
        if not dropout.training or not dropout.rate:
            return values
        return drop(values, self._draws(dropout))

    def norm_linear(self, states: torch.Tensor, norm: nn.LayerNorm, linear: nn.Linear) -> torch.Tensor:
        """Return linear(norm(states)); arguments as for `Sequences.norm_linear`."""
        return norm_linear(states, norm, linear)

    def filter(self, states: torch.Tensor, low_pass: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        """Return low + keep * (states - low); arguments as for `Sequences.filter`."""
        return causal_filter(states, low_pass[:, 0], keep, self.lengths)

    def add(self, states: torch.Tensor, values: torch.Tensor, dropout: Dropout, norm: nn.LayerNorm | None = None
            ) -> torch.Tensor:
        """Return norm(states + dropout(values)); arguments as for `Sequences.add`."""
        return add(states, values, self._draws(dropout), norm)

    def add_linear(self, states: torch.Tensor, linear: nn.Linear, inputs: torch.Tensor, dropout: Dropout,
                   norm: nn.LayerNorm | None = None) -> torch.Tensor:
        """Return norm(states + dropout(linear(inputs))); arguments as for `Sequences.add_linear`."""
        return add_linear(states, linear, inputs, self._draws(dropout), norm)

    def add_feed_forward(self, states: torch.Tensor, layers: nn.Sequential, dropout: Dropout, *,
                         before: nn.LayerNorm | None = None, after: nn.LayerNorm | None = None) -> torch.Tensor:
        """Return after(states + dropout(layers(before(states)))); arguments as for `Sequences.add_feed_forward`."""
        first, second = cast(nn.Linear, layers[0]), cast(nn.Linear, layers[2])
        return add_feed_forward(states, first, second, self._draws(dropout), before, after)

    def _draws(self, dropout: Dropout) -> Draws:
        return draws_of(dropout, self.owners, self.positions)
