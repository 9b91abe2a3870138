"""The prompts to compute: the different ones of a catalogue, without those an older artifact has, in the order of their
texts, so that prompts with a common beginning, which engines compute once, are neighbours.

A prompt is identified by a hash of the tokens that its state depends on, never by its item's id: an item whose title
has changed is computed again, and items with the same title share a state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ..item_vectors.artifact import KEY_WORDS
from ..llm.prompts import TokenPrompt
from .reading import Reading

_BLOCK = 4096
"""Texts tokenised at once."""


class ItemPrompts:
    """The prompts of all items of a catalogue.

    Only their keys and order are stored; prompts are made on request, since the token ids of all items take far
    more memory than their titles.
    """

    keys: np.ndarray
    """uint64 [I, 2]: hash of the prompt's pooled span and of its tokens up to the end of the span; in a causal model,
    later tokens have no influence, and an encoder's span is the whole prompt."""
    rank: np.ndarray
    """int64 [I]: an item's place in the order of the texts."""
    n_tokens: int
    """Number of tokens of all prompts."""

    def __init__(self, texts: Sequence[str], reading: Reading) -> None:
        self._texts, self._reading = texts, reading
        self.keys = np.empty((len(texts), KEY_WORDS), np.uint64)
        self.rank = np.empty(len(texts), np.int64)
        self.rank[sorted(range(len(texts)), key=texts.__getitem__)] = np.arange(len(texts))
        self.n_tokens = 0
        for start in range(0, len(texts), _BLOCK):
            rows = range(start, min(start + _BLOCK, len(texts)))
            for row, prompt in zip(rows, self.of(rows), strict=True):
                hashed = np.array([prompt.pool_start, *prompt.token_ids[:prompt.pool_stop]], "<i4").tobytes()
                self.keys[row] = np.frombuffer(hashlib.blake2b(hashed, digest_size=8 * KEY_WORDS).digest(), "<u8")
                self.n_tokens += len(prompt.token_ids)

    def of(self, rows: Iterable[int]) -> list[TokenPrompt]:
        """Return the prompts of items, given by row from 0."""
        return self._reading.tokenize([self._texts[row] for row in rows])


@dataclass(frozen=True)
class Plan:
    """Which prompts are computed, in which shards, and where every item's vector comes from."""

    order: np.ndarray
    """int64 [P]: rows, from 0, of the items whose prompts are computed, in the order of their texts."""
    place: np.ndarray
    """int64 [I]: where an item's prompt is in `order`; -1 if its vector is kept."""
    kept: np.ndarray
    """int64 [I]: row, from 0, of the older artifact's vector that is kept for an item; -1 if it is computed."""
    shard_size: int
    """Number of prompts in a shard; the last one may have fewer."""

    @property
    def n_shards(self) -> int:
        """Number of shards."""
        return -(-len(self.order) // self.shard_size)

    def shard(self, number: int) -> np.ndarray:
        """Return the part of `order` that a shard computes."""
        return self.order[number * self.shard_size: (number + 1) * self.shard_size]


def plan_of(prompts: ItemPrompts, known: np.ndarray, shard_size: int) -> Plan:
    """Return the plan, which depends only on the arguments, so that all processes that share the work have the same.

    Args:
        prompts: of the catalogue.
        known: uint64 [K, 2], keys of the older artifact's items; [0, 2] without one.
        shard_size: number of prompts in a shard.
    """
    _, first, group = np.unique(np.concatenate([known, prompts.keys]), axis=0, return_index=True, return_inverse=True)
    source = first[group.reshape(-1)][len(known):]  # [I]; the first row with this prompt, known ones first
    is_kept = source < len(known)
    computed = np.unique(source[~is_kept]) - len(known)
    order = computed[np.argsort(prompts.rank[computed], kind="stable")]
    place = np.full(len(source), -1)
    place[order] = np.arange(len(order))
    place[~is_kept] = place[source[~is_kept] - len(known)]
    return Plan(order, place, np.where(is_kept, source, -1), shard_size)
