"""``recpca``: a starting table of components that vary between items, but little between items consumed together.

The idea is Rec-PCA's of TF-LLMER (Zhang and Zhu, arXiv 2604.20490): keep variance while penalising total variation over
the graph of items that follow each other in training histories, then normalise the rows. The closed form is ours. With
X the centred embeddings, A the symmetric counts of adjacent items and L = diag(A 1) - A,

    C = X^T X / I,    T = X^T L X, scaled to tr T = tr C,    W = top-d eigenvectors of C - lambda T

At lambda = 0 that is PCA, and the adapter is ``init``. The scaling gives lambda the same meaning for all data: at 1 the
penalty is as large as the variance. The table starts at X W with normalised rows and is then trained, as in ``init``.
"""

from __future__ import annotations

from typing import Self

import numpy as np

from ...configs import TrainConfig
from ...data.dataset import Histories
from ...errors import TslrecError
from ...runtime.progress import warn
from .components import PrincipalComponents, oriented
from .cooccurrence import neighbour_sums
from .none import TrainableTable


class RecPCATable(TrainableTable):
    """A trainable table that starts at the row-normalised Rec-PCA of the embeddings."""

    @classmethod
    def build(cls, config: TrainConfig, embeddings: np.ndarray, training: Histories) -> Self:
        """Start from the first d of float [I+1, D]; see `Adapter.build`."""
        fitted = PrincipalComponents.fit(embeddings, config.width, "--width")
        directions = smooth_directions(fitted.centred, config.width, config.recpca_lambda, training)
        return cls.normalised(fitted.centred @ directions, config)


def smooth_directions(centred: np.ndarray, width: int, weight: float, training: Histories) -> np.ndarray:
    """Return W, float64 [D, d], for float64 [I, D]: orthonormal columns, largest eigenvalue first.

    Warns if an eigenvalue is negative, that is, the penalty exceeds the variance.
    """
    covariance = centred.T @ centred / len(centred)
    penalty = total_variation(centred, training)
    if not penalty.any():
        raise TslrecError("the adapter recpca needs items that follow each other, but no training history has two "
                          "different ones in a row; choose init")
    penalty *= np.trace(covariance) / np.trace(penalty)
    values, directions = np.linalg.eigh(covariance - weight * penalty)
    chosen = oriented(directions[:, ::-1][:, :width])
    if values[-width] < 0:
        kept = np.trace(chosen.T @ covariance @ chosen) / np.trace(covariance)
        warn(f"recpca: {int((values[-width:] < 0).sum())} of {width} components differ more between items that follow "
             f"each other than between all items; {kept:.0%} of the variance is kept; lower --recpca-lambda or --width")
    return chosen


def total_variation(centred: np.ndarray, training: Histories) -> np.ndarray:
    """Return X^T L X, float64 [D, D], for float64 [I, D]: the sum of (x_i - x_j)(x_i - x_j)^T over adjacent items."""
    neighbours, degrees = neighbour_sums(centred, training, 1)
    variation = centred.T @ (degrees[:, None] * centred - neighbours)
    return (variation + variation.T) / 2
