"""The padded forward pass against transformers, text by text: states and the gradients of LoRA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tslrec_min.llm.encoders import Encoder
from tslrec_min.llm.lora import add_lora, lora_layers
from tslrec_min.llm.model import load_encoder
from tslrec_min.llm.padded_encoder import PaddedEncoder, similar_lengths
from tslrec_min.llm.prompts import TokenPrompt

from ..tiny_encoder import encoder_prompts, make_tiny_encoder

ENCODER = Encoder("bert", "mean", normalised=True, max_tokens=128)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_encoder(tmp_path_factory.mktemp("padded"))


@pytest.fixture(scope="module")
def prompts(folder: Path) -> list[TokenPrompt]:
    return encoder_prompts(folder)


def with_lora(network: Any, **options: Any) -> list[nn.Parameter]:
    torch.manual_seed(0)
    add_lora(network, rank=3, alpha=6.0, **options)
    for layer in lora_layers(network).values():
        nn.init.normal_(layer.lora_B, std=0.1)
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def expected_states(network: Any, prompts: list[TokenPrompt], pooling: str, normalised: bool) -> torch.Tensor:
    rows = []
    for prompt in prompts:
        hidden = network(input_ids=torch.tensor([prompt.token_ids])).last_hidden_state[0]
        row = {"mean": hidden.mean(0), "cls": hidden[0], "last": hidden[-1]}[pooling]
        rows.append(row / row.norm() if normalised else row)
    return torch.stack(rows)


def gradients(states: torch.Tensor, parameters: list[nn.Parameter]) -> list[torch.Tensor]:
    weights = torch.from_numpy(np.random.default_rng(1).normal(size=states.shape)).float()
    return list(torch.autograd.grad((states * weights).sum(), parameters))


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.detach().abs().max()))


@pytest.mark.parametrize(("pooling", "normalised"), [("mean", True), ("cls", False), ("last", True), ("mean", False)])
def test_states_and_gradients_are_those_of_each_text_alone(folder: Path, prompts: list[TokenPrompt], pooling: str,
                                                           normalised: bool) -> None:
    network = load_encoder(folder)
    parameters = with_lora(network)
    expected = expected_states(network, prompts, pooling, normalised)
    wanted = gradients(expected, parameters)
    for group_tokens in (1, 60, 0):
        padded = PaddedEncoder(network, Encoder("bert", pooling, normalised, 128), group_tokens=group_tokens)
        found = padded.pooled_states(prompts)
        assert found.dtype == torch.float32
        close(found, expected)
        for one, other in zip(gradients(found, parameters), wanted, strict=True):
            close(one, other)


def test_tokens_after_a_span_are_not_read(folder: Path, prompts: list[TokenPrompt]) -> None:
    padded = PaddedEncoder(load_encoder(folder), ENCODER)
    longer = [TokenPrompt((*prompt.token_ids, 7), 0, prompt.pool_stop) for prompt in prompts[:3]]
    assert torch.equal(padded.pooled_states(longer), padded.pooled_states(prompts[:3]))


def test_checkpointing_changes_nothing_but_the_memory(folder: Path, prompts: list[TokenPrompt]) -> None:
    found, kept = [], []
    for checkpointing in (False, True):
        network = load_encoder(folder)
        parameters = with_lora(network, dropout=0.3)
        padded = PaddedEncoder(network, ENCODER, checkpointing=checkpointing)
        sizes: list[int] = []
        torch.manual_seed(5)
        with torch.autograd.graph.saved_tensors_hooks(lambda x, sizes=sizes: sizes.append(x.numel()) or x, lambda x: x):
            states = padded.pooled_states(prompts)
        found.append([states, *gradients(states, parameters)])
        kept.append(sum(sizes))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)
    assert kept[1] < kept[0] / 4


def test_dropout_is_for_learning_alone(folder: Path, prompts: list[TokenPrompt]) -> None:
    network = load_encoder(folder)
    with_lora(network, dropout=0.5)
    padded = PaddedEncoder(network, ENCODER)
    with torch.no_grad():
        one, other = padded.pooled_states(prompts), padded.pooled_states(prompts)
    assert torch.equal(one, other) and not torch.equal(padded.pooled_states(prompts), one)


def test_layers_below_lora_have_no_graph(folder: Path, prompts: list[TokenPrompt]) -> None:
    network = load_encoder(folder)
    with_lora(network, layers=[1])
    outputs = []
    network.encoder.layer[0].register_forward_hook(lambda layer, inputs, output: outputs.append(output))
    states = PaddedEncoder(network, ENCODER).pooled_states(prompts)
    assert states.requires_grad and outputs and not any(output.requires_grad for output in outputs)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_states(folder: Path, prompts: list[TokenPrompt]) -> None:
    network = load_encoder(folder)
    with_lora(network)
    expected = PaddedEncoder(network, ENCODER).pooled_states(prompts)
    found = PaddedEncoder(network.cuda(), ENCODER).pooled_states(prompts)
    assert found.is_cuda
    torch.testing.assert_close(found.cpu(), expected.cpu(), rtol=1e-2, atol=1e-3)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=60), st.integers(1, 200), st.integers(1, 12))
def test_groups_hold_every_text_once_and_few_enough_tokens(lengths: list[int], max_tokens: int, max_texts: int) -> None:
    groups = list(similar_lengths(lengths, max_tokens, max_texts))
    assert sorted(np.concatenate(groups).tolist()) == list(range(len(lengths)))
    for rows in groups:
        longest = max(lengths[row] for row in rows)
        assert len(rows) == 1 or (len(rows) <= max_texts and len(rows) * longest <= max_tokens)
    assert all(max(lengths[row] for row in one) <= min(lengths[row] for row in other)
               for one, other in zip(groups, groups[1:], strict=False))
