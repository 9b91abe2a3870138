from __future__ import annotations

import numpy as np

from tslrec_min.finetuning.preference_head import PreferenceHead


def test_an_mse_head_gives_distributions_too() -> None:
    head = PreferenceHead(np.array([[1.0, 0], [0, 2], [-1, -1]]), np.array([0, 0.5, 0]), "mse")
    vectors = head.vectors(np.array([[0.3, 0.1], [-1, -1]], np.float32))
    np.testing.assert_allclose(np.square(vectors), [[0.3, 0.7, 0], [0, 0, 1]], atol=1e-6)
    np.testing.assert_allclose(np.square(head.vectors(np.zeros((1, 2), np.float32))), [[0, 1, 0]], atol=1e-6)
