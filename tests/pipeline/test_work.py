"""The times that stages are expected to take: what they grow with, not this machine's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tslrec_min.configs import FinetuneConfig, TrainConfig
from tslrec_min.llm.model import load_language_model
from tslrec_min.llm.resolve import resolve_model
from tslrec_min.pipeline.config import load_run_config
from tslrec_min.pipeline.trainings import Trainings
from tslrec_min.pipeline.work import Work, embedding, finetuning, product_speed, training, weights_of

from ..factories import write_run

CPU = torch.device("cpu")
KNOWN = Work(users=100, items=1000, interactions=5000, title_characters=20.0, speed=1e9)


def test_training_grows_with_its_epochs_targets_and_items() -> None:
    config = TrainConfig(epochs=10, patience=10)
    once = training(config, KNOWN)
    assert training(replace(config, epochs=20, patience=20), KNOWN) == 2 * once
    assert training(replace(config, epochs=15), KNOWN) == pytest.approx(once), "a training that may stop early"
    assert training(config, replace(KNOWN, interactions=9700)) == pytest.approx(2 * once)
    assert training(config, replace(KNOWN, items=10_000)) > 2 * once
    assert training(TrainConfig(model="transitions"), KNOWN) == 0


def test_fine_tuning_grows_with_users_titles_and_the_model() -> None:
    config = FinetuneConfig(epochs=2, max_history=10)
    once = finetuning(config, 1e6, KNOWN)
    assert finetuning(config, 3e6, KNOWN) == pytest.approx(3 * once)
    assert finetuning(replace(config, users=50), 1e6, KNOWN) == pytest.approx(once / 2)
    assert finetuning(replace(config, users=500), 1e6, KNOWN) == once, "no more than there are"
    assert finetuning(replace(config, virtual_users=1.0), 1e6, KNOWN) > once
    assert finetuning(config, 1e6, replace(KNOWN, title_characters=2000)) < 10 * once, "long titles are cut"
    by_items = replace(config, objective="residual")
    frozen = finetuning(replace(by_items, learning_rate=0.0), 1e6, KNOWN)
    read = finetuning(by_items, 1e6, KNOWN) - frozen
    assert frozen > 0 and finetuning(by_items, 3e6, KNOWN) == pytest.approx(frozen + 3 * read)
    in_two_levels = finetuning(replace(config, objective="two-level"), 1e6, KNOWN)
    assert in_two_levels > once and finetuning(replace(config, objective="two-level"), 3e6, KNOWN) == pytest.approx(
        3 * in_two_levels)
    assert embedding(config, 1e6, KNOWN) < once


def test_weights_are_those_in_the_blocks(llm: Path) -> None:
    network = load_language_model(llm).network
    blocks = sum(weight.numel() for weight in network.model.layers.parameters() if weight.dim() == 2)
    assert blocks <= weights_of(resolve_model(str(llm))) <= 1.7 * blocks  # grouped heads share keys and values


def test_every_stage_of_a_run_has_a_time(cycle_raw: Path, cycle: Path, llm: Path, tmp_path: Path) -> None:
    config = load_run_config(write_run(tmp_path, cycle_raw, llm))
    plan, work = Trainings(config, tmp_path), Work.of(cycle, CPU)
    assert work.title_characters > 0 and work.speed > 1e6
    stages = ["pretrain", "finetune", "embed", "embed-untuned", "evaluate"]
    found = work.of_stages(stages, config) | work.of_recommenders(plan)
    assert found.keys() == {*stages, *plan.alone, *plan.trained, *plan.sums} and min(found.values()) > 0
    assert found["finetune"] > found["evaluate"]


def test_the_speed_is_that_of_a_product() -> None:
    assert 1e7 < product_speed(CPU) < 1e15
