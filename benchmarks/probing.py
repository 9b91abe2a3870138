"""What item embeddings know before anything is trained on them: NDCG@10 of the nearest items to a user's last ten.

A user's state is the mean of the vectors of the last ten items of the history, each weighing 0.7 times as much as the
one after it; all items but those of the history are ranked by cosine for the validation target. Vectors are the
components that the adapters init (whitened) and cca start from, for every kind of vectors of each folder, beside the
same vectors shuffled among the items: what those reach is no knowledge of the items.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from tslrec_min.cli.tables import table
from tslrec_min.configs import TrainConfig
from tslrec_min.data.dataset import Dataset, Evaluation, load_dataset
from tslrec_min.errors import TslrecError
from tslrec_min.item_vectors.artifact import PREFERENCES
from tslrec_min.item_vectors.load import load_item_embeddings
from tslrec_min.ranking.metrics import metric_values
from tslrec_min.ranking.ranks import rank_targets
from tslrec_min.recommenders.adapters import build_adapter
from tslrec_min.recommenders.adapters.controls import controlled

LAST, FADING = 10, 0.7


def probed(dataset: Dataset, asked: Evaluation, embeddings: np.ndarray, config: TrainConfig) -> float:
    """Return the mean NDCG@10 of the table that an adapter starts from, float32 [I+1, D]."""
    rows = build_adapter(config, dataset.n_items, embeddings, dataset.training())().detach().numpy()
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    states = np.zeros((len(asked.users), rows.shape[1]), np.float32)
    for row, user in enumerate(asked.users):
        items = asked.histories.of(user)[:-LAST - 1:-1]
        states[row] = FADING ** np.arange(len(items)) @ rows[items]
    ranks = rank_targets(states, rows.astype(np.float32), asked.targets, asked.seen(dataset.n_items),
                         users=asked.users)
    return float(metric_values(ranks, "ndcg@10").mean())


def main() -> None:
    """Print a row for each kind of vectors of each folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path, help="folder of tslrec prepare")
    parser.add_argument("embeddings", type=Path, nargs="+", help="folders of tslrec embed")
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 128], help="components (default: 64 128)")
    arguments = parser.parse_args()
    dataset = load_dataset(arguments.dataset)[0]
    asked = dataset.evaluation("validation")
    rows = []
    for path in arguments.embeddings:
        for kind in ("states", "preferences", "both") if (path / PREFERENCES).is_file() else ("states",):
            vectors = load_item_embeddings(path, dataset, kind).known
            row = [path.name, kind]
            for width in arguments.widths:
                for adapter in ("init", "cca"):
                    config = TrainConfig(adapter=adapter, width=width, heads=1)
                    for control in ("none", "shuffled"):
                        try:
                            found = probed(dataset, asked, controlled(vectors, control, 0), config)
                            row.append(f"{found:.4f}")
                        except TslrecError:  # fewer components than that
                            row.append("")
            rows.append(row)
    header = [f"{adapter} {width}{note}" for width in arguments.widths for adapter in ("init", "cca")
              for note in ("", ", shuffled")]
    print(table(["", "vectors", *header], rows))


if __name__ == "__main__":
    main()
