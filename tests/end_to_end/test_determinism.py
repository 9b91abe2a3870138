"""Same seed, same bytes: in another process, and for another number of kernel threads (docs/determinism.md)."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tslrec_min.configs import MODELS, EvaluateConfig, FinetuneConfig, TrainConfig
from tslrec_min.evaluation.evaluate import evaluate
from tslrec_min.finetuning.finetune import finetune
from tslrec_min.recommenders.train import train
from tslrec_min.storage.artifacts import open_artifact, read_json

from ..factories import hashes, tslrec

SMALL = ["--width", "8", "--blocks", "1", "--max-len", "8", "--epochs", "2"]
CPU = torch.device("cpu")


def in_this_process(words: list[str]) -> None:
    done = tslrec(*words)
    assert done.exit_code == 0, done.output


def in_another_process(words: list[str]) -> None:
    subprocess.run([sys.executable, "-m", "tslrec_min.cli", *words], check=True, capture_output=True, timeout=300,
                   env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "1"})


def run_chain(raw: Path, llm: Path, folder: Path, run: Callable[[list[str]], None]) -> dict[str, str]:
    """Run the stages with one thread each; return the hash of each artifact."""
    stages = [
        ("prepare", raw, "-o", "dataset", "--k-core", "2"),
        ("pretrain", "dataset", "-o", "pretrain", "--categories", "4", *SMALL),
        ("finetune", "dataset", "pretrain", "-o", "finetune", "--model", llm, "--users", "12", "--max-history", "4",
         "--parity-prompts", "8", "--lora-dropout", "0.1"),
        ("embed", "dataset", "--finetuned", "finetune", "-o", "embed"),
        ("train", "dataset", "--embeddings", "embed", "--adapter", "init", "-o", "train", *SMALL),
        ("evaluate", "dataset", "train", "-o", "evaluate", "--resamples", "100")]
    folder.mkdir()
    with contextlib.chdir(folder):
        for name, *words in stages:
            run([name, *map(str, words), *([] if name == "prepare" else ["--threads", "1"])])
    return hashes(folder)


def test_all_stages_repeat_in_other_processes(cycle_raw: Path, llm: Path, tmp_path: Path) -> None:
    """Here, in a process that has done much before, and each in a process of its own with another seed of hashes."""
    here = run_chain(cycle_raw, llm, tmp_path / "here", in_this_process)
    assert here == run_chain(cycle_raw, llm, tmp_path / "there", in_another_process) and len(here) == 6


@pytest.mark.parametrize("model", MODELS)
def test_kernel_threads_change_no_training_and_no_evaluation(cycle: Path, tmp_path: Path, model: str) -> None:
    torch.set_num_threads(1)
    config = TrainConfig(model=model, width=8, blocks=1, units=8, max_len=8, epochs=2, loss="sampled", negatives=3)
    reports = []
    for threads in (1, 2):
        train(cycle, tmp_path / f"of-{threads}" / "run", config, device=CPU, threads=threads)
        reports.append(evaluate(cycle, {"run": [tmp_path / f"of-{threads}" / "run"]}, EvaluateConfig(test="none"),
                                device=CPU, threads=threads))
    hashes = {open_artifact(tmp_path / f"of-{threads}" / "run", "train").hash for threads in (1, 2)}
    assert len(hashes) == 1 and json.dumps(reports[0]) == json.dumps(reports[1])


def test_threads_of_torch_change_fine_tuning_by_rounding_alone(cycle: Path, llm: Path, tmp_path: Path) -> None:
    from tslrec_min.categories.pretrain import pretrain
    from tslrec_min.configs import PretrainConfig

    pretrain(cycle, tmp_path / "pretrain", PretrainConfig(categories=4, width=8, blocks=1, max_len=8, epochs=2),
             device=CPU, threads=1)
    config = FinetuneConfig(model=str(llm), users=16, max_history=4, checks=1, parity_prompts=8, precision="fp32")
    losses = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            finetune(cycle, tmp_path / "pretrain", tmp_path / f"of-{threads}", config, device=CPU, threads=threads)
            losses.append(read_json(tmp_path / f"of-{threads}" / "metrics.json")["training_losses"])
    finally:
        torch.set_num_threads(1)
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
