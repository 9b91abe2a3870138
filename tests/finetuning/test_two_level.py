"""Fine-tuning by users and next titles, on a tiny random language model: interrupted, resumed, refused."""

from __future__ import annotations

import contextlib
import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from tslrec_min.categories.artifact import load_categories
from tslrec_min.cli.tables import print_finetuning
from tslrec_min.configs import EmbedConfig, FinetuneConfig
from tslrec_min.data.dataset import load_dataset
from tslrec_min.embedding.embed import embed_tuned
from tslrec_min.errors import TslrecError
from tslrec_min.finetuning.finetune import finetune
from tslrec_min.finetuning.head import PreferenceModel
from tslrec_min.finetuning.item_samples import item_prompts
from tslrec_min.finetuning.item_tokens import ItemTokens
from tslrec_min.finetuning.next_titles import ItemGroups
from tslrec_min.finetuning.samples import make_samples
from tslrec_min.finetuning.two_level import TwoLevelModel, TwoLevelRun
from tslrec_min.llm.lora import add_lora
from tslrec_min.llm.model import load_language_model
from tslrec_min.llm.packed_decoder import PackedDecoder
from tslrec_min.llm.prompts import template_of
from tslrec_min.storage import checkpoints
from tslrec_min.storage.artifacts import open_artifact, read_json
from tslrec_min.storage.checkpoints import Checkpointing

from ..factories import Steps, config_for

CPU = torch.device("cpu")
SMALL = {"objective": "two-level", "max_history": 6, "batch_size": 8, "parity_prompts": 8, "checks": 2, "epochs": 2,
         "patience": 9, "batch_tokens": 100, "learning_rate": 1e-3, "quant": "F16"}


def test_it_foretells_next_titles_and_embed_writes_projected_vectors(
        cycle: Path, pretrained: Path, llm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = config_for(llm, objective="two-level", window="random", virtual_users=0.5, epochs=6, patience=99,
                        quant="F16")
    finetune(cycle, pretrained, tmp_path / "ft", config, device=CPU, threads=1)
    metrics = read_json(tmp_path / "ft" / "metrics.json")
    assert metrics["loss"] == "kl + next title" and metrics["objective"] == "two-level"
    last = metrics["checks"][-1]
    assert metrics["checks"][0]["step"] == 0 and metrics["untuned"] == metrics["checks"][0]["loss"]
    assert last["loss"] == pytest.approx(last["preferences"] + last["next_category"] + last["next_item"])
    assert metrics["baseline"] == pytest.approx(sum(metrics["baselines"].values()))
    for part, constant in metrics["baselines"].items():  # every item has one successor
        assert last[part] < 0.8 * constant, part
    assert metrics["best"] < 0.6 * metrics["untuned"]
    print_finetuning(tmp_path / "ft", as_json=False)
    said = capsys.readouterr().out
    for part, constant in metrics["baselines"].items():
        assert f"{part.replace('_', ' ')} {last[part]:.4f}, constant predictor {constant:.4f}" in said
    embed_tuned(cycle, tmp_path / "ft", tmp_path / "e", EmbedConfig(), device=CPU, threads=1)
    projected = np.load(tmp_path / "e" / "item_projected.npy")
    width = load_file(tmp_path / "ft" / "projection.safetensors")["weight"].shape[0]
    assert projected.shape == (load_dataset(cycle)[0].n_items + 1, width)
    assert np.linalg.norm(projected[1:], axis=1) == pytest.approx(1, abs=1e-5) and not projected[0].any()


def test_a_resumed_fine_tuning_ends_as_an_uninterrupted_one(cycle: Path, pretrained: Path, llm: Path, tmp_path: Path,
                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    config = FinetuneConfig(model=str(llm), lora_dropout=0.2, virtual_users=0.5, **SMALL)
    monkeypatch.setattr(checkpoints, "Checkpointing", partial(Checkpointing, seconds=0.0))  # after every step
    taken = []
    for out, most in (("whole", math.inf), ("parts", 2), ("parts", 7), ("parts", math.inf)):
        steps = Steps(most)  # 54 users and 12 items are 9 steps an epoch: killed within one, and between two
        monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", steps)
        with contextlib.nullcontext() if most == math.inf else pytest.raises(KeyboardInterrupt):
            finetune(cycle, pretrained, tmp_path / out, config, device=CPU, threads=1)
        taken.append(steps.taken)
    assert taken == [18, 2, 7, 9]
    hashes = [open_artifact(tmp_path / name, "finetune").hash for name in ("whole", "parts")]
    assert hashes[0] == hashes[1]


def run_of(cycle: Path, pretrained: Path, llm: Path, config: FinetuneConfig) -> TwoLevelRun:
    dataset, dataset_hash = load_dataset(cycle)
    categories, _ = load_categories(pretrained, dataset, dataset_hash)
    base, template = load_language_model(llm), template_of(config)
    torch.manual_seed(0)
    add_lora(base.network, rank=2, alpha=4.0)
    samples = make_samples(dataset, categories, base.tokenizer, template, config, context_length=1024)
    items = item_prompts(dataset, base.tokenizer, template, 1024)
    model = TwoLevelModel(PreferenceModel(PackedDecoder(base.network), categories.n_categories), ItemTokens.of(items),
                          config.projection)
    groups = ItemGroups.of(categories.labels, categories.n_categories)
    return TwoLevelRun(model, samples, items, groups, np.ones(dataset.n_items + 1), config)


def test_the_gradient_does_not_depend_on_how_a_batch_is_split(cycle: Path, pretrained: Path, llm: Path) -> None:
    found = []
    for batch_tokens in (60, 10_000):
        run = run_of(cycle, pretrained, llm, FinetuneConfig(model=str(llm), **{**SMALL, "batch_tokens": batch_tokens}))
        run.learn()
        run.optimiser.zero_grad(set_to_none=True)
        loss = run.gradient(run.training.take(np.arange(8)), 8)
        found.append([loss, *(parameter.grad for parameter in run.parameters)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_the_gradient_is_that_of_the_loss(cycle: Path, pretrained: Path, llm: Path,
                                          monkeypatch: pytest.MonkeyPatch) -> None:
    """Along random directions of every kind of parameter, by finite differences."""
    monkeypatch.setattr("tslrec_min.finetuning.two_level.TOKEN_DROPOUT", 0.0)
    config = FinetuneConfig(model=str(llm), **{**SMALL, "next_item_weight": 0.7})
    run = run_of(cycle, pretrained, llm, config)
    run.learn()
    users = run.training.take(np.arange(8))
    run.optimiser.zero_grad(set_to_none=True)
    before = float(run.gradient(users, 8))
    gradients = [parameter.grad.clone() for parameter in run.parameters if parameter.grad is not None]
    assert len(gradients) == len(run.parameters) and all(part.abs().max() > 0 for part in gradients)
    with torch.no_grad():
        sums = run.model.losses(users, run.groups, run.model.table(run.model.bank), "kl") / 8
        assert float(sums[0] + 0.7 * (sums[1] + sums[2])) == pytest.approx(before, rel=1e-5)
        for parameter, gradient in zip(run.parameters, gradients, strict=True):
            old, move = parameter.clone(), 1e-2 * gradient / gradient.norm() ** 2  # changes the loss by 0.01
            values = []
            for sign in (1, -1):
                parameter.copy_(old + sign * 0.1 * move)
                sums = run.model.losses(users, run.groups, run.model.table(run.model.bank), "kl") / 8
                values.append(float(sums[0] + 0.7 * (sums[1] + sums[2])))
            parameter.copy_(old)
            assert values[0] - values[1] == pytest.approx(2e-3, rel=0.05)


def test_items_are_read_at_the_beginning_of_epochs_and_before_the_last_check(
        cycle: Path, pretrained: Path, llm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(cycle, pretrained, llm, FinetuneConfig(model=str(llm), **SMALL))
    read: list[tuple[int, int]] = []
    monkeypatch.setattr(run.model, "read", lambda *_: read.append((len(run.losses), len(run.checks))))
    monkeypatch.setattr(run, "check", lambda check=run.check: (check(), None)[1])
    run.finish(None)
    assert read == [(0, 0), (7, 3), (14, 4)]  # 7 steps an epoch; a check before the first one, and two in each epoch


def test_users_of_one_item_have_a_preference_loss_alone(cycle: Path, pretrained: Path, llm: Path) -> None:
    config = FinetuneConfig(model=str(llm), **{**SMALL, "max_history": 1})
    run = run_of(cycle, pretrained, llm, config)
    run.learn()
    found = run.held_out_losses()
    assert found["next_category"] == found["next_item"] == run.baselines["next_item"] == 0
    assert found["loss"] == found["preferences"] > 0


@pytest.mark.parametrize(("changes", "message"), [
    ({"pooling": "last"}, "mean state of the titles up to each; got --pooling last"),
    ({"loss": "mse"}, "needs logits of categories; got --loss mse")])
def test_settings_without_a_state_of_every_title_or_logits_are_refused(
        cycle: Path, pretrained: Path, llm: Path, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TslrecError, match=message):
        finetune(cycle, pretrained, tmp_path / "x", replace(config_for(llm, objective="two-level"), **changes),
                 device=CPU, threads=1)
    assert not (tmp_path / "x").exists()


def test_encoders_are_refused(cycle: Path, pretrained: Path, encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(TslrecError, match="is an encoder, whose states of a title depend on the titles after it"):
        finetune(cycle, pretrained, tmp_path / "x", config_for(encoder, objective="two-level"), device=CPU, threads=1)
