from __future__ import annotations

import torch

from .factories import N_ITEMS, make_adapter


def test_an_item_uses_two_experts() -> None:
    adapter = make_adapter("moe", experts=5)
    features = adapter.features.items
    weights, chosen = adapter.routes(features)
    assert chosen.shape == (N_ITEMS, 2) and (chosen[:, 0] != chosen[:, 1]).all()
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(N_ITEMS))
    logits = adapter.gate(features)
    assert torch.equal(chosen.sort(dim=1)[0], logits.argsort(dim=1)[:, -2:].sort(dim=1)[0])
    outputs = torch.stack([expert(features) for expert in adapter.experts], dim=1)  # [I, experts, d]
    mix = torch.zeros(N_ITEMS, 5).scatter(1, chosen, weights)
    torch.testing.assert_close(adapter.vectors(features), torch.einsum("ne,ned->nd", mix, outputs))
    assert len(chosen.unique()) == 5  # none is out of work at the start
