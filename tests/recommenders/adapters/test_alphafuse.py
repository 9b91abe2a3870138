from __future__ import annotations

import torch

from .factories import N_ITEMS, WIDTH, make_adapter, make_embeddings


def test_alphafuse_is_its_formula() -> None:
    adapter = make_adapter("alphafuse", id_width=3)
    ids = torch.randn(N_ITEMS, 3)
    torch.testing.assert_close(adapter.ids.detach(), torch.zeros(N_ITEMS, 3))
    adapter.ids.data.copy_(ids)
    text = torch.from_numpy(make_embeddings()[1:]).double()
    centred = text - text.mean(0)
    u, s, _ = torch.linalg.svd(torch.cov(centred.T, correction=0))
    frozen = 0.02 * centred @ u[:, :WIDTH] / s[:WIDTH].sqrt()
    table = adapter()[1:].double()
    signs = torch.sign((table[:, :5] * frozen[:, :5]).sum(0))  # svd's signs are arbitrary
    torch.testing.assert_close(table[:, :5], frozen[:, :5] * signs, atol=1e-6, rtol=1e-5)
    rest = table[:, 5:] - ids
    torch.testing.assert_close(rest, frozen[:, 5:] * torch.sign((rest * frozen[:, 5:]).sum(0)), atol=1e-6, rtol=1e-5)
    assert make_adapter("alphafuse").ids.shape == (N_ITEMS, WIDTH // 2)
