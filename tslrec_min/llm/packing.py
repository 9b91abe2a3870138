"""Packing: prompts as the branches of a trie, so that common beginnings are computed once.

In a causal model the state of a token depends only on the tokens before it. Prompts that begin alike have the same
states there: in the template's prefix, and in words that many titles begin with ("The ", a brand). Sorted prompts are
cut into batches; a batch holds each token of its trie once, in depth-first order, and an engine lets a token attend to
the tokens on its own path. There is no padding.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .prompts import TokenPrompt


@dataclass(frozen=True)
class PackedBatch:
    """Consecutive prompts as one row of T tokens, after a prefix of P tokens that all prompts share."""

    rows: slice
    """The prompts."""
    tokens: np.ndarray
    """int32 [T]; token ids."""
    positions: np.ndarray
    """int32 [T]; position of each token in its prompts, at least P."""
    first: np.ndarray
    """int32 [T]; a token belongs to the prompts first..stop of the batch."""
    stop: np.ndarray
    """int32 [T]; end of that range, exclusive."""
    spans: list[np.ndarray]
    """For each prompt the tokens to pool: int64, below P in the prefix, else P + an index of `tokens`."""

    def paths(self) -> np.ndarray:
        """Return the attention mask among the tokens of the batch, bool [T, T]: the path of each up to itself."""
        return ((self.first[None] <= self.first[:, None]) & (self.stop[:, None] <= self.stop[None])
                & (self.positions[None] <= self.positions[:, None]))


def shared_prefix(prompts: Sequence[TokenPrompt]) -> int:
    """Return the number of first tokens that all prompts share; 0 for a single prompt."""
    if len(prompts) < 2:
        return 0
    ids = [prompt.token_ids for prompt in prompts]
    return len(os.path.commonprefix([min(ids), max(ids)]))  # the extremes differ first


def packed_batches(prompts: Sequence[TokenPrompt], prefix: int, max_tokens: int,
                   max_prompts: int) -> Iterator[PackedBatch]:
    """Cut prompts into packed batches, in order.

    Args:
        prompts: sorted by their token ids.
        prefix: number of first tokens that all prompts share; batches leave them out.
        max_tokens: maximum number of tokens in a batch; a longer prompt gets its own batch.
        max_prompts: maximum number of prompts in a batch.
    """
    start = total = 0
    before: tuple[int, ...] = ()
    for stop, prompt in enumerate(prompts):
        ids = prompt.token_ids
        new = len(ids) - max(prefix, len(os.path.commonprefix([before, ids])))
        if stop > start and (total + new > max_tokens or stop - start == max_prompts):
            yield _packed(prompts, slice(start, stop), prefix)
            start, total, new = stop, 0, len(ids) - prefix
        total += new
        before = ids
    if len(prompts):
        yield _packed(prompts, slice(start, len(prompts)), prefix)


def _packed(prompts: Sequence[TokenPrompt], rows: slice, prefix: int) -> PackedBatch:
    columns: list[tuple[int, int, int]] = []  # id, position and first prompt of each token
    stop: list[int] = []
    spans = []
    path: list[int] = []  # the last prompt's own tokens, as indices of `columns`
    before: tuple[int, ...] = ()
    for row, prompt in enumerate(prompts[rows]):
        ids = prompt.token_ids
        common = max(prefix, len(os.path.commonprefix([before, ids])))
        path = path[: common - prefix]
        for node in path:
            stop[node] = row + 1
        path += range(len(columns), len(columns) + len(ids) - common)
        columns += [(ids[position], position, row) for position in range(common, len(ids))]
        stop += [row + 1] * (len(ids) - common)
        places = [*range(prefix), *(prefix + node for node in path)]
        spans.append(np.array(places[prompt.pool_start: prompt.pool_stop]))
        before = ids
    tokens, positions, first = np.array(columns, dtype=np.int32).reshape(-1, 3).T
    return PackedBatch(rows, tokens, positions, first, np.array(stop, dtype=np.int32), spans)
