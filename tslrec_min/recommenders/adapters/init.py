"""``init``: PCA of the item embeddings, row-normalised, as the trainable starting table.

LLM2BERT4Rec (Harte et al., RecSys 2023, arXiv 2309.09261), with two choices of our own. ``--init-whitening`` gives
every component the same variance before the rows are normalised; otherwise a few large components that all titles share
would dominate every row. ``--table-std`` sets the size of the rows: Adam moves every entry by about the learning rate
per step, also those of rare items, so rows as small as a random table's are soon forgotten.
"""

from __future__ import annotations

from typing import Self

import numpy as np

from ...configs import TrainConfig
from ...data.dataset import Histories
from .components import PrincipalComponents
from .none import TrainableTable


class InitialisedTable(TrainableTable):
    """A trainable table that starts at the row-normalised PCA of the embeddings."""

    @classmethod
    def build(cls, config: TrainConfig, embeddings: np.ndarray, training: Histories) -> Self:
        """Start from the first d of float [I+1, D], whitened or not; see `Adapter.build`."""
        fitted = PrincipalComponents.fit(embeddings, config.width, "--width")
        rows = fitted.centred @ fitted.directions[:, :config.width]
        if config.init_whitening:
            rows /= np.sqrt(fitted.variances[:config.width])
        return cls.normalised(rows, config)
