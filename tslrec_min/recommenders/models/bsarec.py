"""BSARec (Shin, Choi, Wi and Park, "An Attentive Inductive Bias for Sequential Recommendation beyond the
Self-Attention", AAAI 2024, arXiv 2312.10325).

A block mixes a frequency layer F and self-attention A, each with a residual connection and a LayerNorm after it, and
ends with a feed-forward layer of the same form (*post-norm*)::

    y = alpha LN(x + Dropout(F x)) + (1 - alpha) LN(x + Dropout(A x)),    F x = L x + beta^2 (x - L x)

L is a low-pass filter along the sequence. It keeps the c lowest Fourier coefficients (the authors' code keeps the real
frequencies 0..c // 2, which are c coefficients if c is odd); beta, a number per column, rescales the rest.

The authors pad a history on the left to N = `max_len` rows, transform the whole window and learn from its last position
alone; each prefix of a history is a training window of its own. Here every position of a window has a target, which a
transform of the window would show to the positions before it. But L is a circular convolution, so its result at the
last row is a fixed weighting of the rows by their distance from it. L is made *causal* by applying this weighting at
every position: the lower triangle of L's matrix [N, N]. So a position gets what the authors' L gives to the last row of
the window that ends there, for all positions in one matrix product.

Departures from the authors' code:

- Rows before a history's first item count as zeros in L. There each holds the LayerNorm of its position and the padding
  item's embedding, and later blocks change it.
- In later blocks L filters states that depend on their own past alone. There the transform in an earlier block has
  shown each state the rest of its window.
- Positions count from the end of a window, not of each prefix.
- Attention weights have no dropout, and the loss is an option (there: ``ce``).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ...configs import TrainConfig
from .backbone import Backbone
from .dropout import Dropout
from .sequences import Packed, Padded, Sequences
from .transformer import initialise_linear

_EPSILON = 1e-12
"""Added to the variance in a LayerNorm, as in the authors' code: rows of the initial item table are small."""


def causal_low_pass(max_len: int, cut: int) -> torch.Tensor:
    """Return the matrix of the causal low-pass filter, float32 [N, N], N = max_len, lower triangular.

    Row t weighs the positions 0..t. The last row is that of the filter of N rows that keeps the real frequencies
    0..cut // 2. A window of T < N positions needs the first T rows and columns.
    """
    spectrum = torch.fft.rfft(torch.eye(max_len, dtype=torch.float64), dim=0)
    spectrum[cut // 2 + 1:] = 0
    return torch.fft.irfft(spectrum, n=max_len, dim=0).tril().float()


class BSARecBlock(nn.Module):
    """A mixture of a frequency layer and self-attention, and a feed-forward layer."""

    def __init__(self, width: int, heads: int, dropout: float, alpha: float) -> None:
        super().__init__()
        self.heads, self.alpha = heads, alpha
        self.beta = nn.Parameter(torch.randn(width))
        self.filter_norm = nn.LayerNorm(width, _EPSILON)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attention_output = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width, _EPSILON)
        self.feed_forward = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.feed_forward_norm = nn.LayerNorm(width, _EPSILON)
        self.filter_dropout = Dropout(dropout)
        self.attention_dropout = Dropout(dropout)
        self.feed_forward_dropout = Dropout(dropout)

    def forward(self, states: torch.Tensor, sequences: Sequences, low_pass: torch.Tensor) -> torch.Tensor:
        """Return the next states, float [..., d].

        Args:
            states: float [..., d].
            sequences: how the states' tokens lie, which says the leading dimensions.
            low_pass: float [P, P], see `causal_low_pass`.
        """
        filtered = sequences.filter(states, low_pass, self.beta ** 2)
        filtered = sequences.add(states, filtered, self.filter_dropout, self.filter_norm)
        attended = sequences.attend(self.query_key_value(states), self.heads)
        attended = sequences.add_linear(states, self.attention_output, attended, self.attention_dropout,
                                        self.attention_norm)
        mixed = torch.lerp(attended, filtered, self.alpha)
        return sequences.add_feed_forward(mixed, self.feed_forward, self.feed_forward_dropout,
                                          after=self.feed_forward_norm)


class BSARec(Backbone):
    """Causal filters and self-attention over item histories: every state predicts the next item."""

    packable = True
    low_pass: torch.Tensor

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.empty(config.max_len, config.width))
        self.input_norm = nn.LayerNorm(config.width, _EPSILON)
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(BSARecBlock(config.width, config.heads, config.dropout, config.bsarec_alpha)
                                    for _ in range(config.blocks))
        self.register_buffer("low_pass", causal_low_pass(config.max_len, config.frequency_cut), persistent=False)
        nn.init.normal_(self.positions, std=0.02)
        initialise_linear(self.blocks)

    def forward(self, items: torch.Tensor, lengths: torch.Tensor, item_table: torch.Tensor) -> torch.Tensor:
        """Return the states of all positions; arguments as for `Backbone.forward`."""
        return self._states(items, Padded(lengths), item_table)

    def packed_states(self, items: torch.Tensor, lengths: np.ndarray, item_table: torch.Tensor) -> torch.Tensor:
        """Return the states of all items; arguments as for `Backbone.packed_states`."""
        return self._states(items, Packed(lengths, len(items)), item_table)

    def _states(self, items: torch.Tensor, sequences: Sequences, item_table: torch.Tensor) -> torch.Tensor:
        """Return the states of items, int64 [...]: float [..., d]."""
        vectors = sequences.add_positions(F.embedding(items, item_table, padding_idx=0), self.positions)
        states = sequences.drop(self.dropout, self.input_norm(vectors))
        for block in self.blocks:
            states = block(states, sequences, self.low_pass)
        return states
