"""The suite of ``tslrec bench``: what is run in which size, and the report."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..configs import FinetuneConfig, TrainConfig
from ..llm.prompts import template_of
from ..runtime.progress import progress, step
from .chain import Chain, quality_figures
from .environment import environment
from .figures import Effort, Figure
from .gate import SCHEMA
from .kernels import KernelSizes, kernel_figures
from .stages import stage_figures
from .synthetic import ADJECTIVES, KINDS, write_interactions
from .tiny_model import write_tiny_model

SEED = 0
_N_FIGURES = 20  # of the progress bar


@dataclass(frozen=True)
class Suite:
    """One size of the benchmark; users and items are those of the synthetic data."""

    users: int
    items: int
    kernels: KernelSizes
    effort: Effort
    train: TrainConfig
    finetune: FinetuneConfig


SUITES = {
    "full": Suite(
        users=900, items=240, kernels=KernelSizes(users=2048, items=2400, history=150),
        effort=Effort(rounds=25, seconds=1.5),
        train=TrainConfig(width=32, blocks=1, epochs=12, patience=12, max_len=24, dropout=0.2, learning_rate=4e-3),
        finetune=FinetuneConfig(users=240, max_history=10, checks=1, parity_prompts=60, precision="fp32",
                                learning_rate=1e-3, head_learning_rate=5e-3)),
    "tiny": Suite(
        users=80, items=48, kernels=KernelSizes(users=256, items=300, history=20),
        effort=Effort(rounds=1, seconds=1.0, min_rounds=1),
        train=TrainConfig(width=16, blocks=1, epochs=2, max_len=24),
        finetune=FinetuneConfig(users=16, max_history=4, checks=1, parity_prompts=8, precision="fp32")),
}
"""``tiny`` only shows that the benchmark runs: its figures mean nothing."""
_CATEGORIES = 8


def run_suite(size: str, *, model: str | None, threads: int) -> dict[str, Any]:
    """Run the suite; torch's threads are set.

    Args:
        size: one of SUITES.
        model: language model, see `FinetuneConfig`; None: a small random one.
        threads: number of threads.

    Returns:
        The report, JSON-able: ``schema``, ``suite`` (what reports must agree in to be compared), ``environment``,
        ``seconds`` of each stage and in all, and ``figures`` by name, each with the fields of `Figure`.

    Raises:
        TslrecError: the model can't be used, or its conversion to GGUF changes it too much.
    """
    started, figures = time.perf_counter(), {}
    with tempfile.TemporaryDirectory(prefix="tslrec-bench-") as folder, progress(_N_FIGURES, "bench", "figure") as bar:
        chain = _chain(Path(folder), SUITES[size], model, threads)
        for name, figure in _figures(chain, Path(folder), SUITES[size]):
            step(f"bench: {name} {figure.value:.4f}")
            figures[name] = {key: value for key, value in asdict(figure).items() if value is not None}
            bar.update()
    return {"schema": SCHEMA, "suite": {"size": size, "seed": SEED, "model": model or "tiny", "threads": threads},
            "environment": environment(),
            "seconds": chain.seconds | {"all": round(time.perf_counter() - started, 2)}, "figures": figures}


def _chain(folder: Path, suite: Suite, model: str | None, threads: int) -> Chain:
    if model is None:
        texts = [template_of(suite.finetune).prefix, *(f"\n- {adjective} {kind}" for adjective in ADJECTIVES
                                                       for kind in KINDS)]
        model = str(write_tiny_model(folder / "tiny-model", texts, SEED))
    return Chain(folder, suite.train, _CATEGORIES, replace(suite.finetune, model=model), threads)


def _figures(chain: Chain, folder: Path, suite: Suite) -> Iterator[tuple[str, Figure]]:
    raw = folder / "raw"
    raw.mkdir()
    interactions = write_interactions(raw, users=suite.users, items=suite.items, seed=SEED)
    chain.run(interactions)
    yield from quality_figures(chain).items()
    yield from kernel_figures(suite.kernels, SEED, suite.effort, chain.threads)
    yield from stage_figures(chain, interactions, suite.effort)
