"""The packed forward pass against transformers, prompt by prompt: states and the gradients of LoRA."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import nn

from tslrec_min.llm.lora import add_lora, lora_layers
from tslrec_min.llm.packed_decoder import PackedDecoder, pack
from tslrec_min.llm.prompts import TokenPrompt

pytestmark = pytest.mark.kernel
SIZES = {"vocab_size": 101, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3,
         "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 128,
         "initializer_range": 0.2, "pad_token_id": 0}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 1e4, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 32}
KINDS = {
    "llama": ("LlamaForCausalLM", {}),
    "llama, scaled rope": ("LlamaForCausalLM", {"rope_parameters": LLAMA3}),
    "llama, as many key heads": ("LlamaForCausalLM", {"num_key_value_heads": 4}),
    "qwen2": ("Qwen2ForCausalLM", {}),
    "qwen3": ("Qwen3ForCausalLM", {}),
    "gemma3": ("Gemma3ForCausalLM", {"sliding_window": 6, "num_hidden_layers": 7, "query_pre_attn_scalar": 20,
                                     "layer_types": ["sliding_attention"] * 5 + ["full_attention",
                                                                                 "sliding_attention"]}),
}
PREFIX = (7, 8, 9)


def network_of(kind: str) -> Any:
    name, changes = KINDS[kind]
    network_class = getattr(transformers, name)
    torch.manual_seed(0)
    network = network_class(network_class.config_class(**{**SIZES, **changes})).eval()
    with torch.no_grad():
        for parameter_name, parameter in network.named_parameters():
            if "norm" in parameter_name or "bias" in parameter_name:
                parameter.uniform_(-0.5, 0.5)
            if "norm" in parameter_name and "Gemma" not in name:
                parameter.add_(1)
    return network


def prompts_of(seed: int = 0, prefix: tuple[int, ...] = PREFIX) -> list[TokenPrompt]:
    random = np.random.default_rng(seed)
    prompts = []
    for length in (1, 12, 5, 12, 8):
        ids = prefix + tuple(random.integers(10, 100, size=length).tolist())
        start = len(prefix) + int(random.integers(0, length))
        prompts.append(TokenPrompt((*ids, 3, 4), start, int(random.integers(start + 1, len(ids) + 1))))
    return prompts


def expected_states(network: Any, prompts: list[TokenPrompt]) -> torch.Tensor:
    rows = []
    for prompt in prompts:
        states = network.model(input_ids=torch.tensor([prompt.token_ids]), use_cache=False).last_hidden_state[0]
        rows.append(states[prompt.pool_start:prompt.pool_stop].mean(dim=0))
    return torch.stack(rows)


def with_lora(network: Any, **options: Any) -> list[nn.Parameter]:
    add_lora(network, rank=3, alpha=6.0, **options)
    for layer in lora_layers(network).values():
        nn.init.normal_(layer.lora_B, std=0.1)
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def gradients(states: torch.Tensor, parameters: list[nn.Parameter]) -> list[torch.Tensor]:
    weights = torch.from_numpy(np.random.default_rng(1).normal(size=states.shape)).float()
    return list(torch.autograd.grad((states * weights).sum(), parameters))


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.detach().abs().max()))


@pytest.mark.parametrize("prefix", [PREFIX, ()])
@pytest.mark.parametrize("kind", KINDS)
def test_states_and_gradients_are_those_of_transformers(kind: str, prefix: tuple[int, ...]) -> None:
    network, prompts = network_of(kind), prompts_of(prefix=prefix)
    parameters = with_lora(network)
    expected = expected_states(network, prompts)
    wanted = gradients(expected, parameters)
    decoder = PackedDecoder(network)
    found = decoder.pooled_states(prompts)
    close(found, expected)
    for one, other in zip(gradients(found, parameters), wanted, strict=True):
        close(one, other)
    close(expected_states(network, prompts), expected)  # the network still computes what it did


def test_one_prompt_alone() -> None:
    network, prompts = network_of("llama"), prompts_of()[:1]
    close(PackedDecoder(network).pooled_states(prompts), expected_states(network, prompts))


@pytest.mark.parametrize("prefix", [PREFIX, ()])
@pytest.mark.parametrize("kind", KINDS)
def test_states_of_beginnings_are_pooled_states_of_prompts_that_end_there(kind: str, prefix: tuple[int, ...]) -> None:
    network, prompts = network_of(kind), prompts_of(prefix=prefix)
    parameters = with_lora(network)
    random = np.random.default_rng(2)
    stops = [tuple(sorted(random.integers(prompt.pool_start + 1, prompt.pool_stop + 1, size=count).tolist()))
             for prompt, count in zip(prompts, (1, 3, 0, 2, 4), strict=True)]
    beginnings = [TokenPrompt(prompt.token_ids[:stop], prompt.pool_start, stop)
                  for prompt, own in zip(prompts, stops, strict=True) for stop in own]
    expected = expected_states(network, beginnings)
    wanted = gradients(expected, parameters)
    decoder = PackedDecoder(network)
    found = decoder.prefix_states(prompts, stops)
    close(found, expected)
    for one, other in zip(gradients(found, parameters), wanted, strict=True):
        close(one, other)
    whole = decoder.prefix_states(prompts, [(prompt.pool_stop,) for prompt in prompts])
    assert torch.equal(whole, decoder.pooled_states(prompts))


def test_what_follows_changes_no_state_of_a_beginning() -> None:
    decoder, prompt = PackedDecoder(network_of("qwen2")), TokenPrompt((7, 8, 20, 21, 22, 23, 24), 2, 7)
    other = TokenPrompt((7, 8, 20, 21, 30, 31, 32), 2, 7)
    with torch.no_grad():
        one, two = (decoder.prefix_states([text], [(3, 4, 7)]) for text in (prompt, other))
    assert torch.equal(one[:2], two[:2]) and not torch.equal(one[2], two[2])


@pytest.mark.parametrize("stop", [2, 8])
def test_states_end_in_the_span(stop: int) -> None:
    with pytest.raises(ValueError, match=f"a state ends at token {stop}; expected 3 to 7"):
        pack([TokenPrompt((1,) * 9, 2, 7)], torch.device("cpu"), [(stop,)])


def test_packing_has_every_token_once_and_the_shared_ones_once_for_all() -> None:
    prompts = prompts_of()
    batch = pack(prompts, torch.device("cpu"))
    assert batch.layout.shared == len(PREFIX)
    assert len(batch.token_ids) == sum(prompt.pool_stop for prompt in prompts) - 4 * len(PREFIX)
    rows, length = batch.layout.shape
    side_by_side = batch.token_ids[batch.layout.side_by_side].view(rows, length)
    for row, prompt in enumerate(prompts):
        assert tuple(side_by_side[row, :prompt.pool_stop].tolist()) == prompt.token_ids[:prompt.pool_stop]
    torch.testing.assert_close(batch.spans.sum(dim=1), torch.ones(rows))


def test_checkpointing_changes_nothing_but_the_memory() -> None:
    found = []
    for checkpointing in (False, True):
        network = network_of("gemma3")
        parameters = with_lora(network, dropout=0.3)
        torch.manual_seed(5)
        states = PackedDecoder(network, checkpointing=checkpointing).pooled_states(prompts_of())
        found.append([states.detach(), *gradients(states, parameters)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_what_a_layer_keeps_for_the_backward_pass() -> None:
    """Two inputs of norms, the product of queries, keys and values, heads' outputs, gate and up: nothing twice."""
    network, prompts = network_of("llama"), prompts_of()
    with_lora(network)
    tokens = len(pack(prompts, torch.device("cpu")).token_ids)
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if len(tensor) == tokens and tensor.dim() > 1 and tensor.shape[1:].numel() >= 24:  # LoRA's have 9 at most
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes() // (4 * tokens)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        states = PackedDecoder(network).pooled_states(prompts)
    a_layer = 2 * 48 + (4 + 2 + 2) * 16 + 4 * 16 + 2 * 80
    assert sum(kept.values()) == 3 * a_layer + 48, sorted(kept.values())  # and the last norm's input
    assert states.requires_grad


def test_layers_below_the_first_one_with_lora_have_no_graph() -> None:
    network, prompts = network_of("qwen3"), prompts_of()
    parameters = with_lora(network, layers=[2])
    assert len(parameters) == 14
    expected = expected_states(network, prompts)
    wanted = gradients(expected, parameters)
    decoder = PackedDecoder(network)
    seen: list[bool] = []
    for layer in decoder._layers:
        layer.attention_in.before.values = watched(layer.attention_in.before.values, seen)
    found = decoder.pooled_states(prompts)
    assert seen == [False, False, False]  # inputs of all three layers come without a graph
    close(found, expected)
    for one, other in zip(gradients(found, parameters), wanted, strict=True):
        close(one, other)


def watched(values: Any, seen: list[bool]) -> Any:
    def call(states: torch.Tensor, room: Any) -> Any:
        seen.append(states.requires_grad)
        return values(states, room)

    return call


def test_some_projections_alone_may_have_lora() -> None:
    network, prompts = network_of("qwen2"), prompts_of()
    parameters = with_lora(network)
    for layer in network.model.layers:  # as PEFT's default target_modules do
        for name in ("k_proj", "o_proj"):
            setattr(layer.self_attn, name, getattr(layer.self_attn, name).base)
        for name in ("gate_proj", "up_proj", "down_proj"):
            setattr(layer.mlp, name, getattr(layer.mlp, name).base)
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    expected = expected_states(network, prompts)
    wanted = gradients(expected, parameters)
    found = PackedDecoder(network).pooled_states(prompts)
    close(found, expected)
    for one, other in zip(gradients(found, parameters), wanted, strict=True):
        close(one, other)


@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, 0.5), (torch.bfloat16, 0.6)])
def test_dropout_is_drawn_for_training_alone_and_scaled(dtype: torch.dtype, most: float) -> None:
    network, prompts = network_of("llama"), prompts_of()
    with_lora(network, dropout=0.5)
    expected = expected_states(network.eval(), prompts)  # no dropout in it
    for layer in lora_layers(network).values():
        layer.base.to(dtype)
    decoder = PackedDecoder(network)
    if dtype == torch.float32:
        with torch.no_grad():
            close(decoder.pooled_states(prompts), expected.detach())
    torch.manual_seed(0)
    dropped = torch.stack([decoder.pooled_states(prompts).detach() for _ in range(200)])
    assert (dropped[0] - dropped[1]).abs().max() > 0.01
    close_enough = (dropped.mean(dim=0) - expected).norm() / (dropped[0] - expected).norm()
    assert close_enough < most  # right on average, up to the network's curvature


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "gemma3"])
def test_bfloat16_products_round_and_nothing_else_does(kind: str) -> None:
    """Against float32 everywhere with the same rounded weights, in states and in gradients."""
    network, prompts = network_of(kind), prompts_of()
    network.load_state_dict({name: values.bfloat16() for name, values in network.state_dict().items()})
    parameters = with_lora(network)
    expected = PackedDecoder(network).pooled_states(prompts)
    wanted = gradients(expected, parameters)
    for layer in lora_layers(network).values():
        layer.base.to(torch.bfloat16)
    found = PackedDecoder(network).pooled_states(prompts)
    assert found.dtype == torch.float32 and not torch.equal(found, expected)
    assert torch.cosine_similarity(found, expected).min() > 0.999
    for one, other in zip(gradients(found, parameters), wanted, strict=True):
        assert one.dtype == torch.float32
        assert torch.cosine_similarity(one.flatten(), other.flatten(), dim=0) > 0.995  # measured: .9985


def test_a_forward_pass_without_autograd_leaves_training_possible() -> None:
    network, prompts = network_of("llama").to(torch.bfloat16), prompts_of()
    parameters = with_lora(network)
    decoder = PackedDecoder(network)
    with torch.inference_mode():
        before = decoder.pooled_states(prompts)
    found = decoder.pooled_states(prompts)
    assert torch.equal(found, before)
    assert all(part.abs().max() > 0 for part in gradients(found, parameters))


def test_bfloat16_stays_close() -> None:
    prompts = prompts_of()
    exact = expected_states(network_of("llama"), prompts)
    network = network_of("llama").to(torch.bfloat16)
    with_lora(network)
    for layer in lora_layers(network).values():
        nn.init.zeros_(layer.lora_B)
    found = PackedDecoder(network).pooled_states(prompts)
    assert found.dtype == torch.float32
    assert torch.cosine_similarity(found, exact).min() > 0.999
