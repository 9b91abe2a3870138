"""LoRA against its formula and against PEFT."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import LlamaForCausalLM

from tslrec_min.errors import TslrecError
from tslrec_min.llm.lora import (
    BERT_TARGETS,
    TARGETS,
    LoraLinear,
    add_lora,
    load_adapter,
    lora_layers,
    merge_lora,
    save_adapter,
)
from tslrec_min.llm.model import load_encoder, load_language_model
from tslrec_min.storage.artifacts import read_json

from ..tiny_encoder import make_tiny_encoder
from ..tiny_llm import make_tiny_llm

TOKENS = torch.tensor([[5, 6, 7, 8, 9]])


def load(folder: Path) -> LlamaForCausalLM:
    return LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def with_lora(folder: Path, seed: int = 0) -> LlamaForCausalLM:
    network = load(folder)
    torch.manual_seed(seed)
    add_lora(network, rank=3, alpha=6.0)
    for layer in lora_layers(network).values():
        nn.init.normal_(layer.lora_B, std=0.1)
    return network.eval()


def states(network: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return network(TOKENS, output_hidden_states=True).hidden_states[-1]


def test_forward_is_the_formula() -> None:
    torch.manual_seed(0)
    base = nn.Linear(5, 4)
    layer = LoraLinear(base, rank=2, alpha=3.0, dropout=0.0)
    nn.init.normal_(layer.lora_B)
    inputs = torch.randn(7, 5)
    delta = 3.0 / 2 * layer.lora_B @ layer.lora_A
    torch.testing.assert_close(layer.delta(), delta)
    torch.testing.assert_close(layer(inputs), inputs @ (base.weight + delta).T + base.bias)


def test_starts_unchanged_and_trains_only_lora(folder: Path) -> None:
    network = load(folder)
    before = states(network)
    add_lora(network, rank=3, alpha=6.0)
    torch.testing.assert_close(states(network), before)
    assert {name.rpartition(".")[2] for name, parameter in network.named_parameters() if parameter.requires_grad} == {
        "lora_A", "lora_B"}
    assert len(lora_layers(network)) == len(TARGETS) * network.config.num_hidden_layers
    with pytest.raises(TslrecError, match="none of the linear layers"):
        add_lora(nn.Sequential(nn.Linear(2, 2)), rank=1, alpha=1.0)


def test_merge_keeps_the_states_and_merging_again_changes_nothing(folder: Path) -> None:
    network = with_lora(folder)
    before = states(network)
    assert not torch.allclose(before, states(load(folder)), atol=1e-2)
    merge_lora(network)
    after = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    torch.testing.assert_close(states(network), before, atol=1e-4, rtol=1e-4)
    merge_lora(network)
    assert after.keys() == load(folder).state_dict().keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in network.state_dict().items())


def test_merge_of_broken_weights_is_refused_and_changes_nothing(folder: Path) -> None:
    network = with_lora(folder)
    name, layer = next(iter(lora_layers(network).items()))
    layer.lora_B.data[0, 0] = float("inf")
    with pytest.raises(TslrecError, match=f"{name}.*not finite"):
        merge_lora(network)
    assert len(lora_layers(network)) == len(TARGETS) * network.config.num_hidden_layers


def test_peft_reads_our_adapter(folder: Path, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    ours = with_lora(folder)
    save_adapter(ours, tmp_path, alpha=6.0, dropout=0.0, base_model=str(folder))
    theirs = peft.PeftModel.from_pretrained(load(folder), tmp_path).eval()
    torch.testing.assert_close(states(theirs), states(ours), atol=1e-5, rtol=1e-4)
    merge_lora(ours)
    torch.testing.assert_close(states(theirs.merge_and_unload()), states(ours), atol=1e-5, rtol=1e-4)


def test_we_read_an_adapter_of_peft(folder: Path, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=3, lora_alpha=6, target_modules=list(TARGETS), init_lora_weights=False)
    theirs = peft.get_peft_model(load(folder), config).eval()
    theirs.save_pretrained(tmp_path)
    ours = load(folder)
    load_adapter(ours, tmp_path)
    torch.testing.assert_close(states(ours.eval()), states(theirs), atol=1e-5, rtol=1e-4)


def test_adapters_of_other_models_and_broken_ones_are_refused(folder: Path, tmp_path: Path) -> None:
    save_adapter(with_lora(folder), tmp_path / "good", alpha=6.0, dropout=0.0, base_model="x")
    wider = load(make_tiny_llm(tmp_path / "wider", intermediate_size=128))
    with pytest.raises(TslrecError, match=r"for another model: .*; expected"):
        load_adapter(wider, tmp_path / "good")
    deeper = load(make_tiny_llm(tmp_path / "deeper", num_hidden_layers=3))
    with pytest.raises(TslrecError, match="14 tensors differ"):
        load_adapter(deeper, tmp_path / "good")
    weights = tmp_path / "good" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:200])
    with pytest.raises(TslrecError, match="can't be read as a LoRA adapter"):
        load_adapter(load(folder), tmp_path / "good")
    with pytest.raises(TslrecError, match="does not exist"):
        load_adapter(load(folder), tmp_path / "nothing")


@pytest.mark.parametrize(("change", "message"), [
    ({"r": 10**9}, "of rank 1000000000"), ({"r": -1}, "whole number from 1"), ({"lora_dropout": 2.0}, "0 to 1"),
    ({"lora_alpha": "16"}, "lora_alpha is '16'"), ({"lora_alpha": 10**400}, "too large to convert"),
    ({"lora_alpha": float("nan")}, "lora_alpha is nan")])
def test_an_adapter_can_not_ask_for_memory(llm: Path, tmp_path: Path, change: dict[str, object], message: str) -> None:
    network = load_language_model(llm).network
    add_lora(network, rank=2, alpha=4)
    save_adapter(network, tmp_path, alpha=4, dropout=0.0, base_model="tiny")
    config = read_json(tmp_path / "adapter_config.json")
    (tmp_path / "adapter_config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(TslrecError, match=message):
        load_adapter(load_language_model(llm).network, tmp_path)


def encoder_with_lora(folder: Path, layers: list[int] | None = None) -> nn.Module:
    network = load_encoder(folder)
    torch.manual_seed(0)
    add_lora(network, rank=3, alpha=6.0, layers=layers)
    for layer in lora_layers(network).values():
        nn.init.normal_(layer.lora_B, std=0.1)
    return network.eval()


def encoder_states(network: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return network(TOKENS).last_hidden_state


@pytest.mark.parametrize("layers", [None, [1]])
def test_bert_has_lora_on_all_linear_layers_but_the_pooler(tmp_path: Path, layers: list[int] | None) -> None:
    folder = make_tiny_encoder(tmp_path / "bert")
    network = encoder_with_lora(folder, layers)
    assert sorted(lora_layers(network)) == sorted(
        f"encoder.layer.{layer}.{name}" for layer in layers or (0, 1) for name in (
            "attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",
            "intermediate.dense", "output.dense"))
    before = encoder_states(network)
    assert not torch.allclose(before, encoder_states(load_encoder(folder)), atol=1e-2)
    save_adapter(network, tmp_path / "adapter", alpha=6.0, dropout=0.0, base_model=str(folder))
    config = read_json(tmp_path / "adapter" / "adapter_config.json")
    assert (config["task_type"], config["layers_to_transform"]) == ("FEATURE_EXTRACTION", layers)
    again = load_encoder(folder)
    load_adapter(again, tmp_path / "adapter")
    assert torch.equal(encoder_states(again.eval()), before)
    merge_lora(again)
    torch.testing.assert_close(encoder_states(again), before, atol=1e-4, rtol=1e-4)
    assert again.state_dict().keys() == load_encoder(folder).state_dict().keys()


@pytest.mark.parametrize("layers", [None, [1]])
def test_peft_reads_our_adapter_of_an_encoder(tmp_path: Path, layers: list[int] | None) -> None:
    peft = pytest.importorskip("peft")
    folder = make_tiny_encoder(tmp_path / "bert")
    ours = encoder_with_lora(folder, layers)
    save_adapter(ours, tmp_path / "adapter", alpha=6.0, dropout=0.0, base_model=str(folder))
    theirs = peft.PeftModel.from_pretrained(load_encoder(folder), tmp_path / "adapter").eval()
    assert type(theirs).__name__ == "PeftModelForFeatureExtraction"
    adapted = [name for name, _ in theirs.named_modules() if name.endswith(".lora_A.default")]
    assert len(adapted) == len(lora_layers(ours)) and not any("pooler" in name for name in adapted)
    torch.testing.assert_close(encoder_states(theirs), encoder_states(ours), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("targets", [list(BERT_TARGETS), ["query", "value"],
                                     r"encoder\.layer\.1\..*(query|output\.dense)"])
def test_we_read_an_adapter_of_peft_for_an_encoder(tmp_path: Path, targets: list[str] | str) -> None:
    peft = pytest.importorskip("peft")
    folder = make_tiny_encoder(tmp_path / "bert")
    config = peft.LoraConfig(r=3, lora_alpha=6, target_modules=targets, init_lora_weights=False)
    theirs = peft.get_peft_model(load_encoder(folder), config).eval()
    theirs.save_pretrained(tmp_path / "adapter")
    ours = load_encoder(folder)
    load_adapter(ours, tmp_path / "adapter")
    torch.testing.assert_close(encoder_states(ours.eval()), encoder_states(theirs), atol=1e-5, rtol=1e-4)


def test_an_adapter_of_the_pooler_is_refused(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    folder = make_tiny_encoder(tmp_path / "bert")
    config = peft.LoraConfig(r=3, target_modules=["query", "dense"])
    peft.get_peft_model(load_encoder(folder), config).save_pretrained(tmp_path / "adapter")
    with pytest.raises(TslrecError, match="adapts other layers .*, of BERT query, .*pooler.dense"):
        load_adapter(load_encoder(folder), tmp_path / "adapter")
