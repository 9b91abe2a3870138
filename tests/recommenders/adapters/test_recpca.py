from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from tslrec_min.configs import TrainConfig
from tslrec_min.data.dataset import Histories
from tslrec_min.errors import TslrecError
from tslrec_min.recommenders.adapters import build_adapter
from tslrec_min.recommenders.adapters.components import PrincipalComponents
from tslrec_min.recommenders.adapters.recpca import smooth_directions, total_variation

from .factories import N_ITEMS, WIDTH, make_adapter, make_embeddings, random_histories


def test_recpca_is_pca_without_the_penalty_and_smoother_with_it() -> None:
    histories = random_histories()
    fitted = PrincipalComponents.fit(make_embeddings())
    plain = smooth_directions(fitted.centred, WIDTH, 0.0, histories)
    np.testing.assert_allclose(plain @ plain.T, fitted.directions[:, :WIDTH] @ fitted.directions[:, :WIDTH].T,
                               atol=1e-9)
    torch.testing.assert_close(make_adapter("recpca", recpca_lambda=0.0)(),
                               make_adapter("init", init_whitening=False, table_std=0.02)())
    variation = total_variation(fitted.centred, histories)
    ratios = []
    for weight in (0.0, 0.2, 0.5, 0.8):
        chosen = smooth_directions(fitted.centred, WIDTH, weight, histories)
        np.testing.assert_allclose(chosen.T @ chosen, np.eye(WIDTH), atol=1e-9)
        ratios.append(np.trace(chosen.T @ variation @ chosen)
                      / np.trace(chosen.T @ fitted.centred.T @ fitted.centred @ chosen))
    assert (np.diff(ratios) < 0).all()


def test_total_variation_sums_over_neighbours_in_histories() -> None:
    rows = PrincipalComponents.fit(make_embeddings()).centred
    # The second user's history is empty, the fourth's repeats an item; 5 and 9 are of different users.
    histories = Histories(np.array([0, 3, 3, 5, 8]), np.array([1, 30, 5, 9, 1, 4, 4, 1], dtype=np.int32))
    expected = sum(np.outer(rows[i - 1] - rows[j - 1], rows[i - 1] - rows[j - 1])
                   for i, j in ((1, 30), (30, 5), (9, 1), (4, 1)))
    np.testing.assert_allclose(total_variation(rows, histories), expected, atol=1e-9)


def test_recpca_warns_where_the_penalty_outweighs_the_variance(caplog: pytest.LogCaptureFixture) -> None:
    make_adapter("recpca", recpca_lambda=3.0)
    assert re.search("of 8 components differ more.*of the variance is kept; lower --rec", caplog.text)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    lonely = Histories(np.arange(N_ITEMS + 1), np.arange(1, N_ITEMS + 1, dtype=np.int32))
    with pytest.raises(TslrecError, match="no training history has two different ones in a row; choose init"):
        build_adapter(TrainConfig(adapter="recpca", width=WIDTH), N_ITEMS, make_embeddings(), lonely)
