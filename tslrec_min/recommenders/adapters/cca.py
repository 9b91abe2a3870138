"""``cca``: a starting table of what the items of a history have in common.

PCA keeps what distinguishes items; in titles much of that does not matter to users: length, spelling, common words.
Canonical correlation analysis (Hotelling, Biometrika 1936) of pairs of items keeps what one predicts of the other.
Pairs are different items at most `cca_window` places apart in a training history, in both orders. With X the whitened
components of the embeddings, A the symmetric counts of pairs, D = diag(A 1), and X centred by the mean under D,

    X^T A X w = r (X^T D X + e I) w,    e = 0.01 tr(X^T D X) / rank(X)

W are the d eigenvectors with the largest canonical correlations r. The table starts at X W with normalised rows and is
then trained, as in ``init``. A map of D x d numbers cannot memorise pairs as an item table can: rare items get
directions found on all others. Unlike in `recpca`, components count the same, whatever their variance.
"""

from __future__ import annotations

from typing import Self

import numpy as np

from ...configs import TrainConfig
from ...data.dataset import Histories
from ...errors import TslrecError
from .components import PrincipalComponents, oriented
from .cooccurrence import neighbour_sums
from .none import TrainableTable

_SHRINKAGE = 0.01
"""Without it, directions in which hardly any paired item differs would look perfectly correlated."""


class CCATable(TrainableTable):
    """A trainable table that starts at the row-normalised canonical components of the embeddings."""

    @classmethod
    def build(cls, config: TrainConfig, embeddings: np.ndarray, training: Histories) -> Self:
        """Start from the first d of float [I+1, D]; see `Adapter.build`."""
        fitted = PrincipalComponents.fit(embeddings, config.width, "--width")
        vectors, _ = canonical_components(fitted.whitened(fitted.centred), config.width, training, config.cca_window)
        return cls.normalised(vectors, config)


def canonical_components(rows: np.ndarray, width: int, training: Histories, window: int
                         ) -> tuple[np.ndarray, np.ndarray]:
    """Return X W, float64 [I, d], and the canonical correlations r, float64 [d], largest first, for float64 [I, D].

    Raises:
        TslrecError: no history has two different items within the window.
    """
    mean, directions, correlations = canonical_map(rows, width, training, window, "the adapter cca")
    return (rows - mean) @ directions, correlations


def canonical_map(rows: np.ndarray, width: int, training: Histories, window: int, user: str
                  ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the mean under D, float64 [D], W, float64 [D, d], and r, float64 [d], of rows, float64 [I, D].

    Raises:
        TslrecError: no history has two different items within the window; `user` needs them.
    """
    sums, degrees = neighbour_sums(rows, training, window)
    if not degrees.any():
        raise TslrecError(f"{user} needs items of the same history, but no training history has two different ones "
                          f"within {window} places; choose another one")
    mean = degrees @ rows / degrees.sum()
    centred = rows - mean
    sums -= degrees[:, None] * mean  # A of the centred rows
    within = centred.T @ (degrees[:, None] * centred)
    within += _SHRINKAGE * np.trace(within) / len(within) * np.eye(len(within))
    across = centred.T @ sums
    # The generalised problem by Cholesky: NumPy has none of its own.
    factor = np.linalg.inv(np.linalg.cholesky(within))
    reduced = factor @ across @ factor.T
    correlations, directions = np.linalg.eigh((reduced + reduced.T) / 2)
    return mean, oriented((factor.T @ directions)[:, ::-1][:, :width]), correlations[::-1][:width]
