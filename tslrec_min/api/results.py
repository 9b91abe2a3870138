"""What the functions of `api` return: a folder, metrics, and rows that pandas reads directly."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Result:
    """The result of a stage."""

    path: Path | None
    """Its folder; None: nothing was written."""
    metrics: dict[str, Any] = field(repr=False)
    """The output of the command with --json."""
    _rows: Callable[[], Rows] = field(repr=False, compare=False)

    @functools.cached_property
    def rows(self) -> Rows:
        """Details, a dict per row, read on first use: ``pandas.DataFrame(result.rows)``."""
        return self._rows()


@dataclass(frozen=True)
class Embeddings(Result):
    """Item embeddings: ``pandas.DataFrame(result.vectors, index=result.item_ids)``."""

    @functools.cached_property
    def item_ids(self) -> list[str]:
        """External ids, [I]; cold items come last."""
        from ..data.item_table import load_lines

        return load_lines(Path(str(self.path)) / "items.txt")

    @functools.cached_property
    def vectors(self) -> np.ndarray:
        """float32 [I, D], in the order of the ids; there is no row for padding."""
        import numpy as np

        vectors: np.ndarray = np.load(Path(str(self.path)) / "item_embeddings.npy", allow_pickle=False)[1:]
        return vectors


def training_rows(metrics: Mapping[str, Any]) -> Rows:
    """Return the epochs of a training; one row, its constants and figure, if there was nothing to train."""
    if "constants" in metrics:
        return [{**metrics["constants"], "validation_ndcg@10": metrics["validation_ndcg@10"]}]
    epochs: Rows = metrics["epochs"]
    return epochs


def item_rows(dataset: Path) -> Rows:
    """Return the id, the title and the further columns of every item of a data set; cold items come last."""
    from ..data.dataset import load_dataset

    items = load_dataset(dataset)[0].with_cold_items()
    columns = {"item_id": items.item_ids, "title": items.titles, **items.fields}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def category_rows(dataset: Path, pretrained: Path) -> Rows:
    """Return the id, the title and the latent category of every item of a pretrain artifact."""
    from ..categories.artifact import load_categories
    from ..data.dataset import load_dataset

    labels = load_categories(pretrained, *load_dataset(dataset))[0].labels[1:].tolist()
    return [{"item_id": row["item_id"], "title": row["title"], "category": label}
            for row, label in zip(item_rows(dataset), labels, strict=False)]  # cold items, the last ones, have none
