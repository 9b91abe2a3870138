"""Fine-tuning by items, on a tiny random language model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file

from tslrec_min.finetuning.finetune import finetune
from tslrec_min.storage.artifacts import read_json

from ..factories import config_for

CPU = torch.device("cpu")


def test_projected_vectors_foretell_next_items(cycle: Path, pretrained: Path, llm: Path, tmp_path: Path) -> None:
    config = config_for(llm, objective="residual", offset="none", epochs=20, quant="F16", patience=99)
    finetune(cycle, pretrained, tmp_path / "ft", config, device=CPU, threads=1)
    metrics = read_json(tmp_path / "ft" / "metrics.json")
    assert metrics["best"] < 0.8 * metrics["untuned"] and metrics["counts"] <= metrics["baseline"] + 1e-6
    weight = load_file(tmp_path / "ft" / "projection.safetensors")["weight"]
    assert np.isfinite(weight).all()
    print(metrics)
