"""What there is to compute: the different prompts of a catalogue, in the order of their texts, without those an older
artifact has. Texts that begin alike are neighbours: engines compute what prompts share once.

A prompt is known by a hash of the tokens that its state depends on, never by its item's id: an item whose title has
changed is computed again, and items of one title share one state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ..item_vectors.artifact import KEY_WORDS
from ..llm.prompts import PromptTemplate, Tokenizer, TokenPrompt

_BLOCK = 4096
"""Texts that are tokenised at once."""


class ItemPrompts:
    """The prompts of all items of a catalogue.

    Kept are their keys and order; the prompts are made again when they are asked for, since the token ids of all
    items take far more memory than their titles.
    """

    keys: np.ndarray
    """uint64 [I, 2]: hash of the prompt's tokens up to the end of its span (what follows changes nothing in a causal
    model) and of the span."""
    rank: np.ndarray
    """int64 [I]: an item's place in the order of the texts."""
    n_tokens: int
    """Tokens of all prompts."""

    def __init__(self, titles: Sequence[str], template: PromptTemplate, tokenizer: Tokenizer) -> None:
        self._titles, self._template, self._tokenizer = titles, template, tokenizer
        self.keys = np.empty((len(titles), KEY_WORDS), np.uint64)
        self.rank = np.empty(len(titles), np.int64)
        self.rank[sorted(range(len(titles)), key=titles.__getitem__)] = np.arange(len(titles))
        self.n_tokens = 0
        for start in range(0, len(titles), _BLOCK):
            rows = range(start, min(start + _BLOCK, len(titles)))
            for row, prompt in zip(rows, self.of(rows), strict=True):
                self.keys[row] = _key(prompt)
                self.n_tokens += len(prompt.token_ids)

    def of(self, rows: Iterable[int]) -> list[TokenPrompt]:
        """Return the prompts of some items, by row from 0."""
        return self._template.tokenize_all([[self._titles[row]] for row in rows], self._tokenizer)


def _key(prompt: TokenPrompt) -> np.ndarray:
    """Return uint64 [2]."""
    numbers = np.array([prompt.pool_start, *prompt.token_ids[:prompt.pool_stop]], "<i4")
    return np.frombuffer(hashlib.blake2b(numbers.tobytes(), digest_size=8 * KEY_WORDS).digest(), "<u8")


@dataclass(frozen=True)
class Plan:
    """Which prompts are computed, in which shards, and where every item's vector comes from."""

    order: np.ndarray
    """int64 [P]: items, by row from 0, whose prompts are computed, in the order of their texts."""
    place: np.ndarray
    """int64 [I]: where in `order` an item's prompt is; -1 if its vector is kept."""
    kept: np.ndarray
    """int64 [I]: row, from 0, of the older artifact's item whose vector is kept; -1 if it is computed."""
    shard_size: int
    """Prompts in a shard; the last one may have fewer."""

    @property
    def n_shards(self) -> int:
        """Number of shards."""
        return -(-len(self.order) // self.shard_size)

    def shard(self, number: int) -> np.ndarray:
        """Return the part of `order` that a shard computes."""
        return self.order[number * self.shard_size: (number + 1) * self.shard_size]


def plan_of(prompts: ItemPrompts, known: np.ndarray, shard_size: int) -> Plan:
    """Find what is to be computed.

    Args:
        prompts: of the catalogue.
        known: uint64 [K, 2], keys of the older artifact's items; none without one.
        shard_size: prompts in a shard.

    Returns:
        The plan. It depends on nothing but the arguments, so every process that shares the work has the same one.
    """
    _, first, group = np.unique(np.concatenate([known, prompts.keys]), axis=0, return_index=True, return_inverse=True)
    source = first[group.reshape(-1)][len(known):]  # [I]; the first row with this prompt, known ones before all others
    is_kept = source < len(known)
    computed = np.unique(source[~is_kept]) - len(known)
    order = computed[np.argsort(prompts.rank[computed], kind="stable")]
    place = np.full(len(source), -1)
    place[order] = np.arange(len(order))
    place[~is_kept] = place[source[~is_kept] - len(known)]
    return Plan(order, place, np.where(is_kept, source, -1), shard_size)
