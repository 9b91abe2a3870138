from __future__ import annotations

import numpy as np

from tslrec_min.llm.gguf.names import to_gguf_rows, to_hf_rows


def test_gemma_norms_that_are_a_sum_are_exact() -> None:
    """What `names` says of 1 + weight, over all exponents: no rounding from 0.5 on, else at most 2^-25."""
    random = np.random.default_rng(0)
    weights = (random.choice([-1, 1], 50_000) * 2.0 ** random.uniform(-40, 23, 50_000)).astype(np.float32)
    one = np.float32(1)
    stored = weights + one
    np.testing.assert_array_equal((stored - one) + one, stored)
    any_bits = np.abs(weights)
    error = np.abs(((any_bits - one) + one).astype(np.float64) - any_bits)
    assert not error[any_bits >= 0.5].any() and 0 < error.max() <= 2.0**-25


def test_row_order_of_rotated_heads() -> None:
    weight = np.arange(8, dtype=np.float32)[:, None] * np.ones(3, dtype=np.float32)
    stored = to_gguf_rows(weight, heads=2)  # heads of 4 rows: halves (0 1)(2 3) become pairs (0 2)(1 3)
    assert stored[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
    np.testing.assert_array_equal(to_hf_rows(stored, heads=2), weight)
