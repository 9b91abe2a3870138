from __future__ import annotations

import os
import re
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from tslrec_min.configs import TrainConfig
from tslrec_min.recommenders.train import train
from tslrec_min.storage import checkpoints
from tslrec_min.storage.artifacts import open_artifact
from tslrec_min.storage.checkpoints import Checkpointing, load_checkpoint, save_checkpoint
from tslrec_min.storage.existing import Existing

from ..factories import LEARNING, Steps

CPU = torch.device("cpu")


def test_a_checkpoint_with_one_other_bit_is_not_taken_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = torch.nn.Linear(8, 8)
    optimiser = torch.optim.AdamW(model.parameters())
    save_checkpoint(tmp_path / "c", model, optimiser, {}, {"recipe": "r"})
    assert load_checkpoint(tmp_path / "c", "r", model, optimiser) is not None
    data = bytearray((tmp_path / "c").read_bytes())
    data[-1] ^= 1
    (tmp_path / "c").write_bytes(data)
    assert load_checkpoint(tmp_path / "c", "r", model, optimiser) is None
    assert re.search(rf"{re.escape(str(tmp_path / 'c'))}, is damaged \(.*SHA-256.*starts from the beginning",
                     capsys.readouterr().err)
    assert os.listdir(tmp_path) == ["c"]
    (tmp_path / "c").unlink()
    assert load_checkpoint(tmp_path / "c", "r", model, optimiser) is None
    assert capsys.readouterr().err == ""


def test_a_checkpoint_of_other_settings_or_a_damaged_one_is_not_taken_up(cycle: Path, tmp_path: Path, monkeypatch,
                                                                         capfd) -> None:
    config = TrainConfig(**LEARNING | {"epochs": 2})
    train(cycle, tmp_path / "whole", config, device=CPU, threads=1)
    wanted = open_artifact(tmp_path / "whole", "train").hash
    monkeypatch.setattr(checkpoints, "Checkpointing", partial(Checkpointing, seconds=0.0))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(torch.nn.utils, "clip_grad_norm_", Steps(3))
        train(cycle, tmp_path / "run", replace(config, seed=5), device=CPU, threads=1)
    checkpoint = tmp_path / ".run.checkpoint"
    capfd.readouterr()
    whole = checkpoint.read_bytes()
    for content, word in ((whole, "of other settings"), (whole[:1000], ""), (b"", "")):
        checkpoint.write_bytes(content)
        train(cycle, tmp_path / "run", config, device=CPU, threads=1, existing=Existing.REUSE)
        assert word in capfd.readouterr().err
        assert open_artifact(tmp_path / "run", "train").hash == wanted and not checkpoint.exists()
        shutil.rmtree(tmp_path / "run")
