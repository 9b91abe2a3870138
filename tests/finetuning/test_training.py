"""The fine-tuning loop: interrupted, resumed, spread over processes, restricted to some layers."""

from __future__ import annotations

import contextlib
import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tslrec_min.categories.artifact import load_categories
from tslrec_min.configs import FinetuneConfig
from tslrec_min.data.dataset import load_dataset
from tslrec_min.errors import TslrecError
from tslrec_min.finetuning.finetune import finetune
from tslrec_min.finetuning.head import PreferenceModel
from tslrec_min.finetuning.samples import Samples, make_samples
from tslrec_min.finetuning.training import fine_tune
from tslrec_min.llm.lora import add_lora
from tslrec_min.llm.model import load_language_model
from tslrec_min.llm.packed_decoder import PackedDecoder
from tslrec_min.llm.prompts import template_of
from tslrec_min.storage import checkpoints
from tslrec_min.storage.artifacts import open_artifact, read_json
from tslrec_min.storage.checkpoints import Checkpointing

from ..factories import Steps, config_for

SMALL = {"max_history": 6, "batch_size": 8, "parity_prompts": 8, "checks": 2, "epochs": 2, "patience": 9,
         "batch_tokens": 100, "learning_rate": 1e-3}
CPU = torch.device("cpu")


@pytest.mark.parametrize(("kind", "dropout"), [("llm", 0.0), ("llm", 0.2), ("encoder", 0.2)])
def test_a_resumed_fine_tuning_ends_as_an_uninterrupted_one(cycle: Path, pretrained: Path, tmp_path: Path, kind: str,
                                                            monkeypatch: pytest.MonkeyPatch, dropout: float,
                                                            capfd: pytest.CaptureFixture[str],
                                                            request: pytest.FixtureRequest) -> None:
    torch.set_num_threads(1)
    config = FinetuneConfig(model=str(request.getfixturevalue(kind)), lora_dropout=dropout, **SMALL)
    monkeypatch.setattr(checkpoints, "Checkpointing", partial(Checkpointing, seconds=0.0))  # after every step
    taken = []
    for out, most in (("whole", math.inf), ("parts", 2), ("parts", 9), ("parts", math.inf)):
        steps = Steps(most)
        monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", steps)
        with contextlib.nullcontext() if most == math.inf else pytest.raises(KeyboardInterrupt):
            finetune(cycle, pretrained, tmp_path / out, config, device=CPU, threads=1)
        taken.append(steps.taken)
    assert taken == [14, 2, 9, 3]  # none is taken twice; 54 users are 7 steps
    hashes = [open_artifact(tmp_path / name, "finetune").hash for name in ("whole", "parts")]
    assert hashes[0] == hashes[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parts", "whole"]
    assert "resuming after 1 epochs and 4 steps" in capfd.readouterr().err


@pytest.mark.parametrize(("kind", "matrices", "layer"), [("llm", 14, ".layers.1."), ("encoder", 12, ".layer.1.")])
def test_lora_on_the_last_layers_alone(cycle: Path, pretrained: Path, tmp_path: Path, kind: str, matrices: int,
                                       layer: str, request: pytest.FixtureRequest) -> None:
    llm = request.getfixturevalue(kind)
    config = FinetuneConfig(model=str(llm), lora_layers=1, **SMALL)
    finetune(cycle, pretrained, tmp_path / "ft", config, device=CPU, threads=1)
    adapter = load_file(tmp_path / "ft" / "adapter" / "adapter_model.safetensors")
    assert len(adapter) == matrices and all(layer in name for name in adapter)
    assert read_json(tmp_path / "ft" / "adapter" / "adapter_config.json")["layers_to_transform"] == [1]
    metrics = read_json(tmp_path / "ft" / "metrics.json")
    assert metrics["best"] < metrics["baseline"]
    with pytest.raises(TslrecError, match="--lora-layers is 3, the model has 2 layers"):
        finetune(cycle, pretrained, tmp_path / "x", FinetuneConfig(model=str(llm), lora_layers=3), device=CPU,
                 threads=1)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("kind", ["llm", "encoder"])
def test_checkpointing_changes_nothing_but_the_memory(cycle: Path, pretrained: Path, tmp_path: Path, kind: str,
                                                      request: pytest.FixtureRequest) -> None:
    llm, found = request.getfixturevalue(kind), []
    for checkpointing in (False, True):
        out = tmp_path / str(checkpointing)
        finetune(cycle, pretrained, out, FinetuneConfig(model=str(llm), checkpointing=checkpointing, **SMALL),
                 device=CPU, threads=1)
        found.append(read_json(out / "metrics.json")["training_losses"])
    assert found[0] == pytest.approx(found[1], rel=1e-6)


def test_windows_are_drawn_once_an_epoch(cycle: Path, pretrained: Path, llm: Path) -> None:
    dataset, dataset_hash = load_dataset(cycle)
    categories, _ = load_categories(pretrained, dataset, dataset_hash)
    base, config = load_language_model(llm), config_for(llm, window="random", users=16, epochs=3, patience=9)
    samples = make_samples(dataset, categories, base.tokenizer, template_of(config), config, context_length=1024)
    drawn: list[int] = []

    def redraw(epoch: int) -> Samples:
        drawn.append(epoch)
        return samples.training.epoch(epoch)

    add_lora(base.network, rank=2, alpha=4.0)
    model = PreferenceModel(PackedDecoder(base.network), 4)
    fine_tune(model, replace(samples.training, redraw=redraw), samples.held_out, config)
    assert drawn == [1, 2]


def test_bfloat16_keeps_the_rotary_frequencies(cycle: Path, pretrained: Path, llm: Path, tmp_path: Path) -> None:
    network = load_language_model(llm, dtype=torch.bfloat16).network
    assert network.model.embed_tokens.weight.dtype == torch.bfloat16
    assert network.model.rotary_emb.inv_freq.dtype == torch.float32
    finetune(cycle, pretrained, tmp_path / "ft", config_for(llm, precision="bf16"), device=CPU, threads=1)
    metrics = read_json(tmp_path / "ft" / "metrics.json")
    assert metrics["best"] < metrics["baseline"]
