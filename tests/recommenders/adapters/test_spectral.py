from __future__ import annotations

import math

import torch

from .factories import WIDTH, make_adapter


def effective_rank(table: torch.Tensor) -> float:
    """Return the exponential of the entropy of the normalised singular values."""
    values = torch.linalg.svdvals(table.detach())
    shares = values / values.sum()
    return math.exp(-(shares * shares.clamp_min(1e-12).log()).sum())


def test_spectral_vectors_do_not_collapse() -> None:
    adapter = make_adapter("spectral")
    assert effective_rank(adapter()[1:]) > 0.6 * WIDTH
    weights = adapter.weights()
    assert (weights > 0).any(dim=1).all() and (weights < 0).any(dim=1).all()  # it adds and subtracts components
    adapter.queries.data[:] = adapter.queries.data[0]
    adapter.sign_queries.data[:] = adapter.sign_queries.data[0]
    assert effective_rank(adapter()[1:]) < 1.01  # every number attends to the same
