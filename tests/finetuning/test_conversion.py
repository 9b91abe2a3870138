from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from tslrec_min import configs
from tslrec_min.errors import TslrecError
from tslrec_min.finetuning.conversion import merge, verify
from tslrec_min.finetuning.finetune import finetune
from tslrec_min.storage.artifacts import read_json

from ..factories import config_for

CPU = torch.device("cpu")


@pytest.mark.parametrize("kind", ["tuned", "tuned_encoder"])
def test_verify_again_agrees_with_the_stored_report(cycle: Path, kind: str, request: pytest.FixtureRequest) -> None:
    tuned = request.getfixturevalue(kind)
    stored, again = read_json(tuned / "parity.json"), verify(cycle, tuned, threads=1)
    assert again["passed"] and again["prompts"] == stored["prompts"]
    assert again["comparisons"]["Q8_0"]["mean_cosine"] == pytest.approx(
        stored["comparisons"]["Q8_0"]["mean_cosine"], abs=2e-3)


@pytest.mark.parametrize(("base", "kind"), [("llm", "tuned"), ("encoder", "tuned_encoder")])
def test_merging_the_adapter_again_writes_the_same_file(base: str, kind: str, tmp_path: Path,
                                                        request: pytest.FixtureRequest) -> None:
    tuned = request.getfixturevalue(kind)
    merge(str(request.getfixturevalue(base)), tuned / "adapter", tmp_path / "merged.gguf")
    assert (tmp_path / "merged.gguf").read_bytes() == (tuned / "model-f16.gguf").read_bytes()


def test_broken_conversion_fails_and_keeps_the_evidence(cycle: Path, pretrained: Path, llm: Path, tmp_path: Path,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(configs.QUANTS, "F16", 1.1)
    with pytest.raises(TslrecError, match=r"differ too much .*: F16 1\.0000 \(expected at least 1\.1\)"):
        finetune(cycle, pretrained, tmp_path / "ft", config_for(llm, epochs=1, users=8), device=CPU, threads=1)
    assert os.listdir(tmp_path) == ["ft.parity.json"] and not read_json(tmp_path / "ft.parity.json")["passed"]
