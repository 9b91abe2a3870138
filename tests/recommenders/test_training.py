from __future__ import annotations

import contextlib
import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tslrec_min.configs import TrainConfig
from tslrec_min.recommenders.models import BACKBONES
from tslrec_min.recommenders.train import train
from tslrec_min.recommenders.training import learning_rate
from tslrec_min.storage import checkpoints
from tslrec_min.storage.artifacts import open_artifact, read_json
from tslrec_min.storage.checkpoints import Checkpointing

from ..factories import LEARNING, Steps

CPU = torch.device("cpu")


def test_same_seed_same_weights_for_any_kernel_threads(cycle: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    states = []
    for name, seed, threads in (("a", 1, 1), ("b", 1, 2), ("c", 2, 1)):
        config = TrainConfig(seed=seed, **LEARNING | {"epochs": 2, "loss": "sampled", "negatives": 7})
        train(cycle, tmp_path / name, config, device=CPU, threads=threads)
        states.append(load_file(tmp_path / name / "model.safetensors"))
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not torch.equal(states[0]["adapter.weight"], states[2]["adapter.weight"])
    assert open_artifact(tmp_path / "a", "train").hash == open_artifact(tmp_path / "b", "train").hash


@pytest.mark.parametrize(("model", "block"), [("sasrec", "prenorm"), ("sasrec", "ligr"), ("gru4rec", "prenorm"),
                                              ("bert4rec", "prenorm"), ("bsarec", "prenorm")])
def test_a_resumed_training_ends_as_an_uninterrupted_one(cycle: Path, tmp_path: Path, monkeypatch, capfd, model: str,
                                                         block: str) -> None:
    torch.set_num_threads(1)
    config = TrainConfig(**LEARNING | {"model": model, "epochs": 4, "batch_size": 8, "loss": "sampled", "negatives": 4,
                                    "decay": "linear", "weight_decay": 0.1, "table_decay": 0.2, "units": 8,
                                    "block": block})
    monkeypatch.setattr(checkpoints, "Checkpointing", partial(Checkpointing, seconds=0.0))  # after every step
    taken = []
    for out, most in (("whole", math.inf), ("parts", 0), ("parts", 3), ("parts", 20), ("parts", math.inf)):
        steps = Steps(most)
        monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", steps)
        with contextlib.nullcontext() if most == math.inf else pytest.raises(KeyboardInterrupt):
            train(cycle, tmp_path / out, config, device=CPU, threads=1)
        taken.append(steps.taken)
    assert taken == [60, 0, 3, 20, 37]  # none is taken twice; 15 make an epoch
    whole, parts = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert open_artifact(tmp_path / "whole", "train").hash == open_artifact(tmp_path / "parts", "train").hash
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parts", "whole"]
    output = capfd.readouterr()
    assert not output.out and "resuming after 1 epochs and 8 steps" in output.err
    assert f"{tmp_path / 'parts'}: resuming after" in output.err


@pytest.mark.parametrize(("model", "block"), [("sasrec", "prenorm"), ("sasrec", "ligr"), ("bert4rec", "prenorm"),
                                              ("bsarec", "prenorm")])
def test_packed_and_padded_trainings_learn_the_same(cycle: Path, tmp_path: Path, monkeypatch, model: str,
                                                    block: str) -> None:
    torch.set_num_threads(1)
    config = TrainConfig(**LEARNING | {"epochs": 1, "dropout": 0.3, "model": model, "block": block, "loss": "ce"})
    losses = []
    for packs in (True, False):
        if not packs:
            monkeypatch.setattr(BACKBONES[model], "packable", False)
        train(cycle, tmp_path / str(packs), config, device=CPU, threads=1)
        losses.append(read_json(tmp_path / str(packs) / "metrics.json")["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_the_learning_rate_rises_and_falls() -> None:
    config = TrainConfig(learning_rate=1.0, warmup_steps=10, decay="linear")
    rates = [learning_rate(config, step, 100) for step in range(100)]
    assert rates[0] == 0.1 and np.argmax(rates) in (9, 10) and rates[50] == 0.5 and rates[99] == pytest.approx(0.01)
    cosine = [learning_rate(replace(config, decay="cosine"), step, 100) for step in range(100)]
    assert cosine[50] == pytest.approx(0.5) and cosine[99] < 0.001 and cosine[20] > rates[20]
    assert learning_rate(replace(config, decay="none"), 99, 100) == 1.0
