"""What the embedding engines share; loads neither llama.cpp nor torch.

An engine turns token ids into the mean of the final hidden states (after the last norm) over each prompt's span; one of
an encoder pools as the model does, and the span is the whole text.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np

from ...errors import TslrecError
from ..prompts import TokenPrompt

_SAMPLED_TOKENS = 1024
"""Tokens in the sample that `autotune` times: about two seconds of a 135M model on a CPU core."""
_LEAST_GAIN = 1.05
"""`autotune` replaces the default by a batch size that is at least this many times as fast; less is noise."""


class BatchedEngine(ABC):
    """The shared half of an engine: checks, identical prompts once, input order, finite results."""

    width: int
    """D, the length of a state."""
    context_length: int
    """Maximum number of tokens in a prompt: what the model was trained for."""
    normalised = False
    """Whether states are scaled to length 1."""
    _batch_tokens: int
    _parallel = 1
    """Batches computed at the same time."""

    def embed(self, prompts: Sequence[TokenPrompt]) -> np.ndarray:
        """Return the pooled states of prompts.

        Args:
            prompts: any number, in any order; identical ones are computed once.

        Returns:
            float32 [n, D]; row i belongs to prompt i.

        Raises:
            ValueError: a span is empty or outside its prompt.
            TslrecError: a prompt is longer than the model can read, or a state is not finite.
        """
        for index, prompt in enumerate(prompts):
            if not 0 <= prompt.pool_start < prompt.pool_stop <= len(prompt.token_ids):
                raise ValueError(f"prompt {index} pools the tokens {prompt.pool_start}:{prompt.pool_stop} of "
                                 f"{len(prompt.token_ids)}; expected at least one token inside the prompt")
            if len(prompt.token_ids) > self.context_length:
                raise TslrecError(f"prompt {index} has {len(prompt.token_ids)} tokens, the model reads at most "
                                  f"{self.context_length}; show fewer or shorter titles")
        if not prompts:
            return np.zeros((0, self.width), dtype=np.float32)
        # tokens after the span can't change it: the model is causal, or there are none
        needed = [TokenPrompt(p.token_ids[: p.pool_stop], p.pool_start, p.pool_stop) for p in prompts]
        # sorted, so that batches depend on the set of prompts alone, and prompts that begin alike are neighbours
        unique = sorted(set(needed), key=lambda p: (p.token_ids, p.pool_start))
        states = self._embed_sorted(unique)
        rows = {prompt: row for row, prompt in enumerate(unique)}
        order = np.array([rows[prompt] for prompt in needed])
        broken = np.flatnonzero(~np.isfinite(states).all(axis=1)[order])
        if len(broken):
            # one such prompt can spoil its batch, so each is computed alone
            alone = (index for index in broken if not np.isfinite(self._embed_sorted([needed[index]])).all())
            raise TslrecError(f"the model gives states that are not finite, first for prompt {next(alone, broken[0])}; "
                              "its weights are damaged or diverged: use another model")
        if self.normalised:
            states /= np.maximum(np.linalg.norm(states, axis=1, keepdims=True), 1e-12)
        return states[order]

    def autotune(self, prompts: Sequence[TokenPrompt]) -> dict[int, float]:
        """Choose the batch size by timing a half, twice and four times the present one on neighbouring prompts.

        Later states change by rounding only. Threads, attention and the layout of the cache keep their defaults, which
        were the fastest by more than a batch size can gain.

        Returns:
            Prompts per second for each batch size; `describe` has the one that is used.

        Raises:
            As `embed`.
        """
        prompts = sorted(set(prompts), key=lambda p: p.token_ids)
        total = np.cumsum([prompt.pool_stop for prompt in prompts])
        sample = prompts[: int(np.searchsorted(total, _SAMPLED_TOKENS * self._parallel)) + 1]
        default, rates = self._batch_tokens, {}
        for size in (default, default // 2, default * 2, default * 4):
            self._set_batch_tokens(size)
            self.embed(sample)  # llama.cpp makes its contexts, whose number and room depend on the prompts
            started = time.perf_counter()
            self.embed(sample)
            rates[self._batch_tokens] = len(sample) / (time.perf_counter() - started)
        best = max(rates, key=rates.__getitem__)
        self._set_batch_tokens(best if rates[best] > _LEAST_GAIN * rates[default] else default)
        return rates

    def _set_batch_tokens(self, batch_tokens: int) -> None:
        self._batch_tokens = batch_tokens

    @abstractmethod
    def _embed_sorted(self, prompts: list[TokenPrompt]) -> np.ndarray:
        """Return the states, float32 [n, D], of distinct prompts that are sorted by their token ids."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return the settings that `embed` computes with, for embed.json."""

    @abstractmethod
    def close(self) -> None:
        """Free the model; the engine can't be used after that."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.close()
