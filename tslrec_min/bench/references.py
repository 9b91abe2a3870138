"""What kernels and stages are timed against: the same in plain NumPy, torch and transformers."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..llm.model import last_hidden_states
from ..llm.prompts import TokenPrompt


def padded_batch(items: np.ndarray, starts: np.ndarray, lengths: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Write slices of `items` as rows padded with 0 on the right, by one gather.

    Args:
        items: int32 [N].
        starts: int64 [B], where the rows begin.
        lengths: int64 [B], at most T.
        out: int64 [B, T]; it is returned.
    """
    columns = np.arange(out.shape[1])
    places = np.minimum(starts[:, None] + columns, len(items) - 1)  # [B, T]
    np.multiply(items[places], columns < lengths[:, None], out=out)
    return out


def rejected_negatives(seen: np.ndarray, users: np.ndarray, cumulative: np.ndarray | None, n_negatives: int,
                       random: np.random.Generator) -> np.ndarray:
    """Draw unseen items, int64 [N, n_negatives]: seen ones are drawn again until there are none.

    Args:
        seen: bool [U, I + 1].
        users: int64 [N].
        cumulative: float64 [I + 1], cumulative probabilities of the items, entry 0 is 0; None: uniform.
        n_negatives: number of items for each user.
        random: the source of random numbers.
    """
    def draw(count: int) -> np.ndarray:
        if cumulative is None:
            return random.integers(1, seen.shape[1], count)
        return np.searchsorted(cumulative, random.random(count), side="right")

    rows = np.repeat(users, n_negatives)
    drawn = draw(len(rows))
    bad = np.flatnonzero(seen[rows, drawn])
    while len(bad):
        drawn[bad] = draw(len(bad))
        bad = bad[seen[rows[bad], drawn[bad]]]
    return drawn.reshape(len(users), n_negatives)


def read_histories(path: Path) -> dict[str, list[str]]:
    """Read user_id, item_id, timestamp by Python's csv module; return each user's items in the order of time."""
    histories: dict[str, list[tuple[float, str]]] = {}
    with path.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            histories.setdefault(row["user_id"], []).append((float(row["timestamp"]), row["item_id"]))
    return {user: [item for _, item in sorted(rows, key=lambda row: row[0])] for user, rows in histories.items()}


def pooled_states(network: Any, prompts: Sequence[TokenPrompt], device: torch.device) -> torch.Tensor:
    """Return the pooled hidden states of prompts, float32 [B, D], by one padded batch through transformers.

    Tokens after a prompt's span are left out: in a causal model they change nothing in it.
    """
    longest = max(prompt.pool_stop for prompt in prompts)
    token_ids = torch.zeros(len(prompts), longest, dtype=torch.int64)  # [B, T]
    mask, spans = torch.zeros_like(token_ids), torch.zeros(token_ids.shape)
    for row, prompt in enumerate(prompts):
        token_ids[row, :prompt.pool_stop] = torch.tensor(prompt.token_ids[:prompt.pool_stop])
        mask[row, :prompt.pool_stop] = 1
        spans[row, prompt.pool_start:prompt.pool_stop] = 1 / (prompt.pool_stop - prompt.pool_start)
    hidden = last_hidden_states(network, token_ids.to(device), mask.to(device))
    return torch.einsum("btd,bt->bd", hidden.float(), spans.to(device))
