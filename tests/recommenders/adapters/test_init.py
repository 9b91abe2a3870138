from __future__ import annotations

import math

import numpy as np

from .factories import WIDTH, make_adapter, make_embeddings


def test_init_starts_from_whitened_components() -> None:
    vectors = make_embeddings()
    centred = vectors[1:].astype(np.float64) - vectors[1:].mean(axis=0, dtype=np.float64)
    left = np.linalg.svd(centred, full_matrices=False)[0][:, :WIDTH]  # of equal variance whatever the singular values
    expected = left / np.linalg.norm(left, axis=1, keepdims=True) * 0.1 * math.sqrt(WIDTH)
    table = make_adapter("init", vectors)()[1:].detach().numpy()
    signs = np.sign((table * expected).sum(axis=0))
    np.testing.assert_allclose(table, expected * signs, atol=1e-5)
    plain, smaller = (make_adapter("init", vectors, **options)()[1:].detach().numpy()
                      for options in ({"init_whitening": False}, {"table_std": 0.02}))
    assert not np.allclose(table, plain, atol=1e-2)
    np.testing.assert_allclose(smaller, table / 5, atol=1e-6)
