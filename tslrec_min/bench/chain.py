"""All stages on the synthetic data, from files to the table of results, and what they reach."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..categories.pretrain import pretrain
from ..configs import EmbedConfig, EvaluateConfig, FinetuneConfig, PrepareConfig, PretrainConfig, TrainConfig
from ..data.dataset import Dataset, load_dataset
from ..data.prepare import prepare
from ..embedding.embed import embed_tuned
from ..embedding.quality import category_neighbours
from ..evaluation.evaluate import evaluate
from ..finetuning.finetune import finetune
from ..ranking.metrics import metric_values
from ..ranking.ranks import rank_targets
from ..recommenders.train import train
from ..storage.artifacts import read_json
from .figures import Figure

CPU = torch.device("cpu")


@dataclass
class Chain:
    """The stages' folders, their options where they differ from the defaults, and the seconds that each took."""

    folder: Path
    train: TrainConfig
    categories: int
    finetune: FinetuneConfig
    threads: int
    seconds: dict[str, float] = field(default_factory=dict)

    def run(self, interactions: Path) -> None:
        """Run the stages one after the other."""
        settings: dict[str, Any] = {"device": CPU, "threads": self.threads}
        pretraining = PretrainConfig(**self.train.shared(), categories=self.categories)
        with self._timed("prepare"):
            prepare(interactions, self.dataset, PrepareConfig(k_core=2))
        with self._timed("pretrain"):
            pretrain(self.dataset, self.folder / "pretrain", pretraining, **settings)
        with self._timed("finetune"):
            finetune(self.dataset, self.folder / "pretrain", self.folder / "finetune", self.finetune, **settings)
        with self._timed("embed"):
            embed_tuned(self.dataset, self.folder / "finetune", self.folder / "embed", EmbedConfig(), **settings)
        with self._timed("train"):
            train(self.dataset, self.folder / "ids", self.train, **settings)
            train(self.dataset, self.folder / "tslrec", replace(self.train, adapter="init"),
                  embeddings_path=self.folder / "embed", **settings)
        with self._timed("evaluate"):
            arms = {name: [self.folder / name] for name in ("ids", "tslrec")}
            self.report = evaluate(self.dataset, arms, EvaluateConfig(resamples=1000), **settings)

    @property
    def dataset(self) -> Path:
        """Folder of the data set."""
        return self.folder / "dataset"

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[stage] = round(time.perf_counter() - started, 2)


def quality_figures(chain: Chain) -> dict[str, Figure]:
    """Return the figures of quality of a chain, by name."""
    arms = {name: chain.report["arms"][name]["filtered"]["ndcg@10"]["mean"] for name in ("ids", "tslrec")}
    popular = popularity_ndcg(load_dataset(chain.dataset)[0])
    tuned, parity = (read_json(chain.folder / "finetune" / f"{name}.json") for name in ("metrics", "parity"))
    neighbours = category_neighbours(chain.dataset, chain.folder / "pretrain", chain.folder / "embed")
    figures = {
        "sasrec_ndcg@10": Figure(arms["ids"], "higher", 0.05, "test NDCG@10 of SASRec on item ids"),
        "sasrec_init_ndcg@10": Figure(arms["tslrec"], "higher", 0.05, "the same, started from the embeddings"),
        "popularity_ndcg@10": Figure(popular, "higher", None, "the same of the most popular items"),
        "held_out_kl": Figure(tuned["best"], "lower", 0.2, "KL of held-out users after fine-tuning"),
        "constant_kl": Figure(tuned["baseline"], "lower", None, "the same of the constant predictor"),
        "category_neighbours": Figure(neighbours["share"], "higher", 0.15,
                                      "share of 10 nearest items by embedding that are of one's category"),
    }
    for name, values in parity["comparisons"].items():
        if name != "merged":
            figures[f"parity_{name.lower()}"] = Figure(values["mean_cosine"], "higher", 0.002,
                                                       f"mean cosine of states, GGUF {name} against HF + LoRA")
    return figures


def popularity_ndcg(dataset: Dataset) -> float:
    """Return the test NDCG@10 of ranking by the number of training interactions, seen items left out."""
    counts = np.bincount(dataset.training().items, minlength=dataset.n_items + 1).astype(np.float32)
    asked = dataset.evaluation("test")
    ranks = rank_targets(np.ones((len(asked.users), 1), np.float32), counts[:, None], asked.targets,
                         asked.seen(dataset.n_items), users=asked.users)
    return float(metric_values(ranks, "ndcg@10").mean())
