"""``init``: PCA of the item embeddings, row-normalised, as the trainable starting table.

LLM2BERT4Rec (Harte et al., RecSys 2023, arXiv 2309.09261).
"""

from __future__ import annotations

import numpy as np

from .components import PrincipalComponents
from .none import TrainableTable


def initialised_table(embeddings: np.ndarray, width: int) -> TrainableTable:
    """Return a trainable table that starts at the row-normalised PCA of the embeddings.

    Args:
        embeddings: float [I+1, D].
        width: number of components d.

    Raises:
        TslrecError: there are fewer.
    """
    fitted = PrincipalComponents.fit(embeddings)
    fitted.check(width, "--width")
    return TrainableTable.normalised(fitted.centred @ fitted.directions[:, :width])
