from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg

from tslrec_min.configs import TrainConfig
from tslrec_min.data.dataset import Histories
from tslrec_min.errors import TslrecError
from tslrec_min.recommenders.adapters import build_adapter
from tslrec_min.recommenders.adapters.cca import canonical_components
from tslrec_min.recommenders.adapters.components import PrincipalComponents

from .factories import N_ITEMS, WIDTH, make_adapter, make_embeddings, random_histories


def test_cca_solves_its_equation() -> None:
    histories, fitted = random_histories(), PrincipalComponents.fit(make_embeddings())
    vectors, correlations = canonical_components(fitted.centred, WIDTH, histories, 3)
    # The pairs as two tables of as many rows, as textbooks have it.
    pairs = [(history[a] - 1, history[b] - 1) for history in map(histories.of, range(len(histories)))
             for a in range(6) for b in range(6) if history[a] != history[b] and abs(a - b) <= 3]
    one, other = (fitted.centred[np.array(side)] for side in zip(*pairs, strict=True))
    mean = one.mean(axis=0)
    within = (one - mean).T @ (one - mean)
    within += 0.01 * np.trace(within) / len(within) * np.eye(len(within))
    expected, directions = scipy.linalg.eigh((one - mean).T @ (other - mean), within)
    np.testing.assert_allclose(correlations, expected[::-1][:WIDTH], atol=1e-9)
    scores = (fitted.centred - mean) @ directions[:, ::-1][:, :WIDTH]
    np.testing.assert_allclose(np.abs(vectors), np.abs(scores), atol=1e-8)
    table = make_adapter("cca", cca_window=3, table_std=1.0)().detach().numpy()[1:]
    np.testing.assert_allclose(np.linalg.norm(table, axis=1), np.sqrt(WIDTH), rtol=1e-5)


def test_cca_finds_what_histories_share() -> None:
    """Of 20 components the histories are about the smallest one alone, which PCA puts last."""
    random = np.random.default_rng(0)
    embeddings = random.normal(size=(201, 20)) * np.geomspace(5, 0.1, 20)
    above = np.flatnonzero(embeddings[1:, -1] > 0) + 1
    below = np.setdiff1d(np.arange(1, 201), above)
    items = np.concatenate([random.choice(side, 10, replace=False) for side in (above, below) * 40]).astype(np.int32)
    histories = Histories(np.arange(0, len(items) + 1, 10), items)
    fitted = PrincipalComponents.fit(embeddings)
    whitened = fitted.centred @ fitted.directions / np.sqrt(fitted.variances)
    vectors, correlations = canonical_components(whitened, 2, histories, 10)
    assert abs(np.corrcoef(vectors[:, 0], embeddings[1:, -1])[0, 1]) > 0.9
    assert correlations[0] > 0.5 > 2 * correlations[1]
    lonely = Histories(np.arange(N_ITEMS + 1), np.arange(1, N_ITEMS + 1, dtype=np.int32))
    with pytest.raises(TslrecError, match="no training history has two different ones within 10 places"):
        build_adapter(TrainConfig(adapter="cca", width=WIDTH), N_ITEMS, make_embeddings(), lonely)
