"""The fine-tuning loop: interrupted, resumed, spread over processes, restricted to some layers."""

from __future__ import annotations

import contextlib
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tslrec_min.categories.pretrain import pretrain
from tslrec_min.configs import FinetuneConfig, PretrainConfig
from tslrec_min.errors import TslrecError
from tslrec_min.finetuning.finetune import finetune
from tslrec_min.finetuning.head import parts_of
from tslrec_min.finetuning.samples import Samples
from tslrec_min.llm.prompts import TokenPrompt
from tslrec_min.runtime.device import resolve_precision
from tslrec_min.storage import checkpoints
from tslrec_min.storage.artifacts import open_artifact, read_json
from tslrec_min.storage.checkpoints import Checkpointing

from .test_distributed import tslrec
from .test_recommenders import Steps

CPU = torch.device("cpu")
SMALL = {"max_history": 6, "batch_size": 8, "parity_prompts": 8, "checks": 2, "epochs": 2, "patience": 9,
         "batch_tokens": 100, "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def pretrained(cycle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pre") / "pretrain"
    pretrain(cycle, out, PretrainConfig(categories=4, width=16, blocks=1, max_len=8, epochs=3), device=CPU, threads=1)
    return out


def test_parts_hold_every_sample_once_and_few_enough_tokens() -> None:
    random = np.random.default_rng(0)
    lengths = random.integers(1, 60, size=40)
    prompts = [TokenPrompt((1,) * int(length), 0, int(length)) for length in lengths]
    samples = Samples(prompts, torch.arange(40.0)[:, None])
    parts = parts_of(samples, 100)
    assert sorted(value for part in parts for value in part.preferences[:, 0].tolist()) == list(range(40))
    assert max(sum(prompt.pool_stop for prompt in part.prompts) for part in parts) <= 100
    for part in parts:
        assert [prompt.pool_stop for prompt in part.prompts] == [lengths[int(row)] for row in part.preferences[:, 0]]


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_a_resumed_fine_tuning_ends_as_an_uninterrupted_one(cycle: Path, pretrained: Path, llm: Path, tmp_path: Path,
                                                            monkeypatch: pytest.MonkeyPatch, dropout: float,
                                                            capfd: pytest.CaptureFixture[str]) -> None:
    torch.set_num_threads(1)
    config = FinetuneConfig(model=str(llm), lora_dropout=dropout, **SMALL)
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
    assert "going on after 1 epochs and 4 steps" in capfd.readouterr().err


@pytest.mark.parametrize(("capability", "expected"), [("amx_bf16", torch.bfloat16), ("avx512_bf16", torch.bfloat16),
                                                      ("avx512_f", torch.float32)])
def test_auto_is_bfloat16_where_there_are_instructions_for_it(capability: str, expected: torch.dtype,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {capability: True}, raising=False)
    assert resolve_precision("auto", CPU) == expected
    assert resolve_precision("fp32", CPU) == torch.float32 and resolve_precision("bf16", CPU) == torch.bfloat16


def test_several_processes_fine_tune_what_one_does(cycle: Path, pretrained: Path, llm: Path, tmp_path: Path) -> None:
    # 54 users in batches of 17: the last has three, in prompts that fill several parts
    options = ["--model", llm, "--max-history", "6", "--batch-size", "17", "--parity-prompts", "4", "--batch-tokens",
               "100", "--threads", "1", "--learning-rate", "0.001", "--precision", "fp32"]
    for count in (1, 3):
        tslrec(tmp_path, count, "finetune", cycle, pretrained, "-o", count, *options)
    logs = [read_json(tmp_path / str(count) / "metrics.json") for count in (1, 3)]
    assert logs[0]["training_losses"] == pytest.approx(logs[1]["training_losses"], rel=1e-4)
    assert logs[0]["best"] == pytest.approx(logs[1]["best"], rel=1e-4)
    one, three = (load_file(tmp_path / str(count) / "head.safetensors") for count in (1, 3))
    np.testing.assert_allclose(one["weight"], three["weight"], rtol=1e-2, atol=1e-4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "3"]


def test_lora_on_the_last_layers_alone(cycle: Path, pretrained: Path, llm: Path, tmp_path: Path) -> None:
    config = FinetuneConfig(model=str(llm), lora_layers=1, **SMALL)
    finetune(cycle, pretrained, tmp_path / "ft", config, device=CPU, threads=1)
    adapter = load_file(tmp_path / "ft" / "adapter" / "adapter_model.safetensors")
    assert len(adapter) == 14 and all(".layers.1." in name for name in adapter)
    assert read_json(tmp_path / "ft" / "adapter" / "adapter_config.json")["layers_to_transform"] == [1]
    metrics = read_json(tmp_path / "ft" / "metrics.json")
    assert metrics["best"] < metrics["baseline"]
    with pytest.raises(TslrecError, match="--lora-layers is 3, the model has 2 layers"):
        finetune(cycle, pretrained, tmp_path / "x", FinetuneConfig(model=str(llm), lora_layers=3), device=CPU,
                 threads=1)
    assert not (tmp_path / "x").exists()


def test_checkpointing_changes_nothing_but_the_memory(cycle: Path, pretrained: Path, llm: Path, tmp_path: Path
                                                      ) -> None:
    found = []
    for checkpointing in (False, True):
        out = tmp_path / str(checkpointing)
        finetune(cycle, pretrained, out, FinetuneConfig(model=str(llm), checkpointing=checkpointing, **SMALL),
                 device=CPU, threads=1)
        found.append(read_json(out / "metrics.json")["training_losses"])
    assert found[0] == pytest.approx(found[1], rel=1e-6)
