"""LoRA in plain torch (Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", arXiv 2106.09685).

A frozen weight W [out, in] becomes W + (alpha / r) B A with A [r, in] and B [out, r]. As in the reference
implementation (loralib) A starts Kaiming-uniform and B at zero, so that the first forward pass is unchanged.
Adapters are stored as PEFT stores them (``adapter_config.json``, ``adapter_model.safetensors``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import TslrecError
from ..storage.artifacts import read_json, write_json
from ..storage.tensors import load_tensors, save_tensors

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""Names of a decoder's adapted linear layers. Embeddings and norms are never adapted: GGUF adapters and merges lose
them."""
BERT_TARGETS = ("query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense")
"""Ends of the names of BERT's adapted linear layers. The pooler, which no vector reads, is not among them."""
_UNSUPPORTED = ("use_rslora", "use_dora", "alpha_pattern", "rank_pattern", "fan_in_fan_out", "modules_to_save")
"""Options of PEFT that change the update or what is adapted; an adapter that uses one is refused."""
_PEFT_PREFIX = "base_model.model."
_PEFT_TENSOR = re.compile(re.escape(_PEFT_PREFIX) + r"(.+)\.lora_[AB]\.weight")
_LAYER = re.compile(r"\.layers?\.(\d+)\.")  # as PEFT finds the layers of ``layers_to_transform``


class LoraLinear(nn.Module):
    """A frozen linear layer with a trainable low-rank update."""

    def __init__(self, base: nn.Linear, rank: int, alpha: float, dropout: float) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scaling = alpha / rank
        self.dropout = nn.Dropout(dropout)
        device = base.weight.device
        self.lora_A = nn.Parameter(torch.empty(rank, base.in_features, device=device))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, rank, device=device))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Apply the layer to float [..., in]; returns float [..., out] in the dtype of `inputs`."""
        read = self.dropout(inputs) if torch.is_grad_enabled() else inputs
        low = read @ self.lora_A.to(inputs.dtype).T  # [..., r]
        return self.base(inputs) + low @ (self.scaling * self.lora_B).to(inputs.dtype).T

    def delta(self) -> torch.Tensor:
        """Return the update of the weight, (alpha / r) B A, float32 [out, in]."""
        return self.scaling * (self.lora_B.float() @ self.lora_A.float())


def add_lora(network: nn.Module, *, rank: int, alpha: float, dropout: float = 0.0,
             layers: Collection[int] | None = None) -> None:
    """Freeze a transformers model and wrap its target layers, in place.

    Args:
        rank: r.
        alpha: the update is scaled by alpha / r.
        dropout: rate, before A.
        layers: numbers of the layers to adapt, from 0; None: all.

    Raises:
        TslrecError: it has no target layer.
    """
    chosen = [name for name in _targets(network) if layers is None or _layer_of(name) in layers]
    if not chosen:
        raise TslrecError(f"the model has none of the linear layers {', '.join((*TARGETS, *BERT_TARGETS))}")
    _wrap(network, chosen, rank, alpha, dropout)


def lora_layers(network: nn.Module) -> dict[str, LoraLinear]:
    """Return the layers with LoRA by their name in the network."""
    return {name: layer for name, layer in network.named_modules() if isinstance(layer, LoraLinear)}


def merge_lora(network: nn.Module) -> None:
    """Add every update to its weight, in float32, and put the plain layers back, in place.

    Raises:
        TslrecError: a merged weight is not finite; the network keeps its LoRA layers.
    """
    layers, merged = lora_layers(network), {}
    for name, layer in layers.items():
        merged[name] = layer.base.weight.detach().float() + layer.delta().detach()
        if not torch.isfinite(merged[name]).all():
            raise TslrecError(f"merging LoRA into {name} gives numbers that are not finite; "
                              "fine-tune again with a lower --learning-rate")
    for name, weight in merged.items():
        base = layers[name].base
        base.weight = nn.Parameter(weight, requires_grad=False)
        _replace(network, name, base)


def save_adapter(network: nn.Module, folder: Path, *, alpha: float, dropout: float, base_model: str) -> None:
    """Write the LoRA matrices of `network` into `folder` in PEFT's format."""
    folder.mkdir(parents=True, exist_ok=True)
    layers = lora_layers(network)
    tensors = {}
    for name, layer in layers.items():
        tensors[f"{_PEFT_PREFIX}{name}.lora_A.weight"] = layer.lora_A.float()
        tensors[f"{_PEFT_PREFIX}{name}.lora_B.weight"] = layer.lora_B.float()
    save_tensors(folder / "adapter_model.safetensors", tensors, {"format": "pt"})
    rank = next(iter(layers.values())).lora_A.shape[0]
    numbers = {_layer_of(name) for name in layers}
    some = None if numbers == {_layer_of(name) for name in _targets(network)} else sorted(numbers)
    task, targets, pattern = (("FEATURE_EXTRACTION", BERT_TARGETS, "layer")
                              if any(_is_one_of(name, BERT_TARGETS) for name in layers) else
                              ("CAUSAL_LM", TARGETS, "layers"))
    write_json(folder / "adapter_config.json", {
        "peft_type": "LORA", "task_type": task, "base_model_name_or_path": base_model, "r": rank,
        "lora_alpha": alpha, "lora_dropout": dropout, "bias": "none",
        "target_modules": list(targets), "layers_to_transform": some, "layers_pattern": some and pattern,
        "fan_in_fan_out": False, "inference_mode": True, "use_rslora": False, "use_dora": False,
    })


def load_adapter(network: nn.Module, folder: Path) -> None:
    """Give `network` the LoRA layers of an adapter in PEFT's format, in place.

    The adapter may adapt some of the target layers (`TARGETS`, `BERT_TARGETS`) only, as PEFT's ``target_modules`` and
    ``layers_to_transform`` allow.

    Raises:
        TslrecError: the files are missing or broken, or fit another network.
    """
    config = read_json(folder / "adapter_config.json")
    unsupported = [name for name in _UNSUPPORTED if isinstance(config, dict) and config.get(name)]
    if not isinstance(config, dict) or unsupported:
        raise TslrecError(f"the adapter {folder} uses {', '.join(unsupported) or 'another format'}, which is not "
                          "supported; give a plain LoRA adapter in PEFT's format")
    try:
        tensors = load_tensors(folder / "adapter_model.safetensors")
        rank, alpha, dropout = _numbers(config, tensors)
        adapted = _adapted(network, config, tensors)
    except (TslrecError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise TslrecError(f"{folder} can't be read as a LoRA adapter: {error}") from None
    _wrap(network, adapted, rank, alpha, dropout)
    parameters = {f"{_PEFT_PREFIX}{name}.lora_{which}.weight": getattr(layer, f"lora_{which}")
                  for name, layer in lora_layers(network).items() for which in "AB"}
    differing = sorted(parameters.keys() ^ tensors.keys())
    if differing or not tensors:
        raise TslrecError(f"the adapter {folder} is for another model, or adapts other layers than "
                          f"{', '.join(TARGETS)}, of BERT {', '.join(BERT_TARGETS)}: {len(differing)} tensors "
                          f"differ" + (f", the first is {differing[0]}" if differing else ""))
    for name, parameter in parameters.items():
        if parameter.shape != tensors[name].shape:
            raise TslrecError(f"the adapter {folder} is for another model: {name} is {list(tensors[name].shape)}; "
                              f"expected {list(parameter.shape)}")
        parameter.data.copy_(tensors[name])


def _numbers(config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> tuple[int, float, float]:
    """Return rank, alpha and dropout; raises KeyError or ValueError if they are wrong or don't fit the tensors.

    The rank is checked before layers are made: a wrong one could ask for any amount of memory.
    """
    rank, alpha, dropout = config["r"], config["lora_alpha"], config.get("lora_dropout", 0.0)
    if type(rank) is not int or rank < 1:
        raise ValueError(f"its rank r is {rank!r}; expected a whole number from 1")
    if type(alpha) not in (int, float) or not math.isfinite(alpha):
        raise ValueError(f"lora_alpha is {alpha!r}; expected a number")
    if type(dropout) not in (int, float) or not 0 <= dropout <= 1:
        raise ValueError(f"lora_dropout is {dropout!r}; expected 0 to 1")
    for name, tensor in tensors.items():
        if tensor.ndim != 2 or not tensor.is_floating_point() or tensor.shape[".lora_B." in name] != rank:
            raise ValueError(f"{name} is {tensor.dtype} {list(tensor.shape)}; expected floating-point numbers of rank "
                             f"{rank}")
    return rank, alpha, dropout


def _adapted(network: nn.Module, config: Mapping[str, Any], tensors: Iterable[str]) -> set[str]:
    """Return the names of the layers that an adapter's configuration selects."""
    targets, numbers = config["target_modules"], config.get("layers_to_transform")
    if isinstance(targets, str):  # a pattern; the names of the tensors say what it matches
        return {match[1] for match in map(_PEFT_TENSOR.fullmatch, tensors) if match} & set(_targets(network))
    numbers = [numbers] if isinstance(numbers, int) else numbers
    return {name for name in _targets(network) if _is_one_of(name, targets)
            and (numbers is None or _layer_of(name) in numbers)}


def _wrap(network: nn.Module, names: Collection[str], rank: int, alpha: float, dropout: float) -> None:
    network.requires_grad_(False)
    for name in _targets(network):  # in the network's order: the same seed gives the same matrices
        if name in names:
            layer = network.get_submodule(name)
            if not isinstance(layer, nn.Linear):
                raise ValueError(f"{name} already has LoRA; merge it first")
            _replace(network, name, LoraLinear(layer, rank, alpha, dropout))


def _layer_of(name: str) -> int:
    """Return the number of the layer that a module is in, or -1."""
    match = _LAYER.search(f".{name}")
    return int(match[1]) if match else -1


def _targets(network: nn.Module) -> list[str]:
    """Return the names of the layers that can have LoRA, whether they have it or not."""
    return [name for name, layer in network.named_modules()
            if isinstance(layer, nn.Linear | LoraLinear) and _is_one_of(name, (*TARGETS, *BERT_TARGETS))]


def _is_one_of(name: str, targets: Iterable[str]) -> bool:
    """Return whether a layer's name is one of `targets` or ends in one, as PEFT reads ``target_modules``."""
    return any(f".{name}".endswith(f".{target}") for target in targets)


def _replace(network: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, layer)
