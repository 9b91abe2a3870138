"""Fine-tuning by items, on tiny random language models."""

from __future__ import annotations

import contextlib
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.numpy import load_file

from tslrec_min.categories.pretrain import pretrain
from tslrec_min.cli import main
from tslrec_min.configs import EmbedConfig, PrepareConfig, PretrainConfig
from tslrec_min.data.dataset import load_dataset
from tslrec_min.data.prepare import prepare
from tslrec_min.embedding.embed import embed_tuned
from tslrec_min.errors import TslrecError
from tslrec_min.finetuning.artifact import open_tuned
from tslrec_min.finetuning.finetune import finetune
from tslrec_min.finetuning.projection import Projection
from tslrec_min.item_vectors.load import load_item_embeddings
from tslrec_min.llm.gguf.tokenizer import load_tokenizer
from tslrec_min.storage import checkpoints
from tslrec_min.storage.artifacts import open_artifact, read_json
from tslrec_min.storage.checkpoints import Checkpointing

from ..factories import Steps, config_for, write_cycle
from ..tiny_encoder import make_tiny_encoder
from ..tiny_llm import make_tiny_llm

CPU = torch.device("cpu")
ITEMS = {"objective": "residual", "offset": "none", "quant": "F16", "patience": 99, "parity_prompts": 8}


def test_projected_vectors_foretell_next_items(cycle: Path, pretrained: Path, llm: Path, tmp_path: Path) -> None:
    finetune(cycle, pretrained, tmp_path / "ft", config_for(llm, epochs=20, **ITEMS), device=CPU, threads=1)
    metrics = read_json(tmp_path / "ft" / "metrics.json")
    assert metrics["best"] == min(check["loss"] for check in metrics["checks"]) < 0.7 * metrics["untuned"]
    assert metrics["counts"] <= metrics["baseline"] + 1e-6  # both are popularity alone
    assert metrics["training_users"] == 54 and metrics["held_out_users"] == 6
    assert metrics["training_places"] == 54 * 11 and metrics["training_samples"] == 24
    assert read_json(tmp_path / "ft" / "parity.json")["passed"]
    embed_tuned(cycle, tmp_path / "ft", tmp_path / "e", EmbedConfig(engine="torch"), device=CPU, threads=1)
    dataset, _ = load_dataset(cycle)
    found = load_item_embeddings(tmp_path / "e", dataset, "auto")
    assert found.compared and np.linalg.norm(found.known[1:], axis=1) == pytest.approx(1, abs=1e-5)
    tuned = open_tuned(tmp_path / "ft")
    projection = Projection.load(tuned)
    assert projection is not None
    prompts = tuned.template.tokenize_all([[title] for title in dataset.titles], load_tokenizer(tuned.tokenizer_model))
    states = load_item_embeddings(tmp_path / "e", dataset, "states")
    assert not states.compared
    assert found.known[1:] == pytest.approx(projection.vectors(states.known[1:], prompts), abs=1e-6)
    # each item of the cycle is followed by the next one
    vectors, histories = found.known, dataset.training()
    nearest = [(vectors[before] @ vectors[1:].T).argsort()[::-1][:6] + 1 for before in range(1, 25)]
    followers = {(int(a), int(b)) for user in range(len(histories))
                 for a, b in zip(histories.of(user)[:-1], histories.of(user)[1:], strict=True)}
    assert np.mean([any((item, int(near)) in followers for near in nearest[item - 1]) for item in range(1, 25)]) > 0.8


def test_a_training_that_does_not_help_is_left_out(cycle: Path, pretrained: Path, llm: Path, tmp_path: Path) -> None:
    config = config_for(llm, epochs=1, **{**ITEMS, "learning_rate": 1e-9, "head_learning_rate": 1e-9})
    finetune(cycle, pretrained, tmp_path / "ft", config, device=CPU, threads=1)
    metrics = read_json(tmp_path / "ft" / "metrics.json")
    assert metrics["best"] == metrics["untuned"] == metrics["checks"][0]["loss"] < metrics["checks"][-1]["loss"]
    assert metrics["untuned"] <= metrics["counts"] + 0.05


@pytest.mark.parametrize(("changes", "message"), [
    ({"pooling": "last"}, "--objective residual reads the tokens of the titles; got --pooling last"),
    ({"max_title_tokens": 4, "max_history": 200}, "the longest prompt of a user has .* lower --max-history")])
def test_what_cannot_be_learned_or_checked_is_refused_before_training(
        cycle: Path, pretrained: Path, tmp_path: Path, changes: dict[str, object], message: str) -> None:
    short = make_tiny_llm(tmp_path / "llm", max_position_embeddings=64)
    with pytest.raises(TslrecError, match=message):
        finetune(cycle, pretrained, tmp_path / "ft", config_for(short, **{**ITEMS, **changes}), device=CPU, threads=1)


def test_held_out_users_without_a_next_item_are_refused(tmp_path: Path, llm: Path) -> None:
    raw = write_cycle(tmp_path / "raw", n_users=40, length=8)
    rows = [line.split() for line in (raw / "sequences.txt").read_text().splitlines()]
    rows = rows[:3] + [row[:4] for row in rows[3:]]  # most have one training item
    (raw / "sequences.txt").write_text("\n".join(map(" ".join, rows)) + "\n")
    prepare(raw, tmp_path / "dataset", PrepareConfig(k_core=0))
    pretrain(tmp_path / "dataset", tmp_path / "pretrain", PretrainConfig(categories=2, epochs=1, width=8), device=CPU,
             threads=1)
    with pytest.raises(TslrecError, match="none of the latter has two training items"):
        finetune(tmp_path / "dataset", tmp_path / "pretrain", tmp_path / "ft", config_for(llm, **ITEMS), device=CPU,
                 threads=1)


def test_counts_are_an_offset_that_leaves_less_to_learn(cycle: Path, pretrained: Path, llm: Path, tmp_path: Path
                                                        ) -> None:
    config = config_for(llm, epochs=1, **{**ITEMS, "offset": "transitions"})
    finetune(cycle, pretrained, tmp_path / "ft", config, device=CPU, threads=1)
    metrics = read_json(tmp_path / "ft" / "metrics.json")
    assert metrics["counts"] < 0.1 * metrics["baseline"] and metrics["weight_of_counts"] > 0


def test_without_a_learning_rate_the_language_model_stays_as_it_is(cycle: Path, pretrained: Path, llm: Path,
                                                                   tmp_path: Path) -> None:
    words = ["finetune", cycle, pretrained, "-o", tmp_path / "ft", "--model", llm, "--objective", "residual",
             "--epochs", 3, "--learning-rate", 0, "--quant", "F16", "--parity-prompts", 8, "--patience", 99]
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    assert "54 users with 594 next items; 24 items" in done.stdout and "popularity 2.8370" in done.stdout
    adapter = load_file(tmp_path / "ft" / "adapter" / "adapter_model.safetensors")
    assert not any(tensor.any() for name, tensor in adapter.items() if "lora_B" in name)
    metrics = read_json(tmp_path / "ft" / "metrics.json")
    assert metrics["best"] <= metrics["untuned"] <= metrics["counts"] + 0.01


def test_an_encoder_is_tuned_by_items_and_resumed(cycle: Path, pretrained: Path, tmp_path: Path,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    encoder = make_tiny_encoder(tmp_path / "encoder")
    config = config_for(encoder, epochs=6, checks=2, lora_dropout=0.1, **ITEMS)
    monkeypatch.setattr(checkpoints, "Checkpointing", partial(Checkpointing, seconds=0.0))  # after every step
    for out, most in (("whole", math.inf), ("parts", 3), ("parts", 8), ("parts", math.inf)):
        with monkeypatch.context() as patch, (
                contextlib.nullcontext() if most == math.inf else pytest.raises(KeyboardInterrupt)):
            patch.setattr(torch.nn.utils, "clip_grad_norm_", Steps(most))
            finetune(cycle, pretrained, tmp_path / out, config, device=CPU, threads=1)
    assert open_artifact(tmp_path / "whole", "finetune").hash == open_artifact(tmp_path / "parts", "finetune").hash
    metrics = read_json(tmp_path / "whole" / "metrics.json")
    assert metrics["best"] < metrics["untuned"] - 0.01
