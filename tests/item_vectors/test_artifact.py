from __future__ import annotations

import numpy as np

from tslrec_min.item_vectors.load import combined


def test_cold_items_are_scaled_by_what_is_known() -> None:
    random = np.random.default_rng(0)
    states, preferences = (np.concatenate([np.zeros((1, 5)), random.normal(3, 2, (9, 5))]).astype(np.float32)
                           for _ in range(2))
    both = combined(states, preferences, 6)
    assert both.shape == (10, 10) and not both[0].any()
    known = combined(states[:7], preferences[:7], 6)
    np.testing.assert_allclose(both[:7], known, atol=1e-6)
    ratio = both[1:, :5].std(axis=0) / states[1:].std(axis=0)
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)
