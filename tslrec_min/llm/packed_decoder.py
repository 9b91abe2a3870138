"""Decoder-only language models on prompts laid end to end: no padding, the common beginning computed once.

transformers loads a network and defines what it computes; this module runs its weights through a leaner forward pass
of the same mathematics, for fine-tuning and for embedding with torch:

- The prompts of a batch are one row of tokens, also in attention on a CPU; elsewhere it sees them side by side.
- The tokens that all prompts begin with are computed once per batch, with their gradient.
- Projections that read the same input (query, key and value; gate and up) are one product, LoRA included.
- Outputs of norms and of the gated activation aren't kept for the backward pass but worked out again from their
  inputs, which are kept anyway.
- On a CPU the look-up of tokens and the matrix products alone have the type of the weights, as under autocast; what is
  between them stays float32, which the kernels of `fused` are for.

Architectures: those of `gguf.names`. A test compares every one of them with transformers.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from .kernels import attention, gated_gradient, gated_values, rms_norm, rms_norm_gradient, rms_norm_values
from .lora import LoraLinear
from .packing import shared_prefix
from .prompt_layout import PromptLayout, prompt_layout
from .prompts import TokenPrompt

_ROWS = 32  # the number of rows of a bfloat16 product on a CPU is a multiple of it
_ACTIVATIONS = {"silu": "silu", "gelu_pytorch_tanh": "gelu_tanh"}  # transformers' name -> `fused`'s


@dataclass(frozen=True)
class PackedPrompts:
    """B prompts as one row of T tokens: P shared ones, then the rest of every prompt, up to the end of its span."""

    token_ids: torch.Tensor
    """int64 [T]"""
    positions: torch.Tensor
    """int64 [1, T], of each token in its prompt."""
    spans: torch.Tensor
    """float32 [B, T]: the weight of each token in a prompt's pooled state."""
    layout: PromptLayout


def pack(prompts: Sequence[TokenPrompt], device: torch.device) -> PackedPrompts:
    """Lay prompts end to end.

    Args:
        prompts: at least one; tokens after a prompt's span change nothing in a causal model and are left out.
        device: of the tensors.
    """
    # Not what a prompt pools, so that spans lie in the prompts' own tokens.
    shared = min(shared_prefix(prompts), *(prompt.pool_start for prompt in prompts))
    lengths = [prompt.pool_stop for prompt in prompts]
    layout = prompt_layout(shared, [length - shared for length in lengths], device)
    total = len(layout.packed)
    token_ids, positions = torch.empty(total, dtype=torch.int64), torch.empty(1, total, dtype=torch.int64)
    token_ids[:shared] = torch.tensor(prompts[0].token_ids[:shared], dtype=torch.int64)
    positions[0, :shared] = torch.arange(shared)
    spans = torch.zeros(len(prompts), total)
    for row, (prompt, length, begin) in enumerate(zip(prompts, lengths, layout.starts.tolist(), strict=True)):
        end = begin + length - shared
        token_ids[begin:end] = torch.tensor(prompt.token_ids[shared:length], dtype=torch.int64)
        positions[0, begin:end] = torch.arange(shared, length)
        spans[row, begin + prompt.pool_start - shared:end] = 1 / (length - prompt.pool_start)
    return PackedPrompts(token_ids.to(device), positions.to(device), spans.to(device), layout)


class PackedDecoder:
    """The forward pass of a transformers decoder over packed prompts.

    Trainable are the LoRA layers (`lora.LoraLinear`) that the network has, and nothing else. Weights of projections
    that read the same input are moved into one tensor, of which the network's own become views; so a network is
    moved to its device, and given its LoRA layers, before this is made.
    """

    def __init__(self, network: Any, *, checkpointing: bool = False) -> None:
        """Take a network.

        Args:
            network: `LanguageModel.network`, with or without LoRA layers.
            checkpointing: keep each layer's input alone for the backward pass, and compute the rest again there.
        """
        base = network.model
        self._config = network.config
        self._embedding, self._rotary = base.embed_tokens, base.rotary_emb
        self._norm = _Norm(base.norm)
        room = _Room()
        self._layers = [_Layer(layer, room) for layer in base.layers]
        self._checkpointing = checkpointing
        trained = [index for index, layer in enumerate(self._layers) if layer.trained]
        self._first_trained = trained[0] if trained else len(self._layers)
        _give_back_freed_memory()

    def pooled_states(self, prompts: Sequence[TokenPrompt]) -> torch.Tensor:
        """Return the mean of each prompt's states over its span, after the final norm: float32 [B, D].

        Layers below the first one with LoRA are computed without a graph.
        """
        batch = pack(prompts, self._embedding.weight.device)
        with torch.no_grad():
            states = self._embedding(batch.token_ids)  # [T, D]
            if states.device.type == "cpu":
                states = states.float()
            rotations = self._rotations(states, batch.positions)
            for layer in self._layers[:self._first_trained]:
                states = layer(states, batch, rotations)
        for layer in self._layers[self._first_trained:]:
            if self._checkpointing and torch.is_grad_enabled():
                states = checkpoint(layer, states, batch, rotations, use_reentrant=False)
            else:
                states = layer(states, batch, rotations)
        return batch.spans @ self._norm(states).float()

    def _rotations(self, states: torch.Tensor, positions: torch.Tensor) -> dict[Any, tuple[torch.Tensor, torch.Tensor]]:
        """Return (cos, sin), each [T, head_dim], by kind of layer; None stands for models with one kind."""
        kinds = {layer.kind for layer in self._layers}
        found = {}
        for kind in kinds:
            cos, sin = self._rotary(states[None], positions, *([] if kind is None else [kind]))
            found[kind] = cos[0], sin[0]
        return found


def _give_back_freed_memory() -> None:
    """Let glibc return what was freed; it keeps pages that lie between others, here a third of the weights'.

    The holes that the moved weights leave are too small for the states of a batch, so nothing would use them.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # other C libraries have no such function
        ctypes.CDLL(None).malloc_trim(0)


class _Room:
    """Memory for what lives during one product alone, the same for all of them.

    The forward pass keeps nearly all other tensors. Short-lived ones between them leave holes, which the C library
    can't give to the next aligned tensor of that size: a third more memory than the tensors have.
    """

    def __init__(self) -> None:
        self._memory: dict[tuple[str, torch.dtype, torch.device], torch.Tensor] = {}

    def take(self, use: str, like: torch.Tensor, width: int) -> torch.Tensor:
        """Return [T, width], of the type and on the device of `like` [T, any]; the next call for the same use may
        overwrite it."""
        return self._take(use, len(like), width, like.dtype, like.device)

    def _take(self, use: str, rows: int, width: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        size, key = rows * width, (use, dtype, device)
        memory = self._memory.get(key)
        if memory is None or memory.numel() < size:
            with torch.inference_mode(False):  # what it allocates, a training step may not write to
                memory = self._memory[key] = torch.empty(size, dtype=dtype, device=device)
        return memory[:size].view(rows, width)

    def cast(self, use: str, values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Return float [T, width] in another type, with rows of zeros after them; itself, if it has that type."""
        if values.dtype == dtype:
            return values
        memory = self._take(use, _padded(len(values)), values.shape[1], dtype, values.device)
        memory[:len(values)].copy_(values)
        memory[len(values):].zero_()
        return memory


def _padded(rows: int) -> int:
    """Return a number of rows not much larger, one of four from a power of two to the next: oneDNN, torch's library for
    bfloat16 products, compiles and keeps a kernel, some 400 KB, for every number of rows and every product."""
    step = max(_ROWS, 1 << max(0, (rows - 1).bit_length() - 3))
    return -(-rows // step) * step


class _Norm:
    """RMS norm with a frozen weight."""

    def __init__(self, module: Any) -> None:
        if hasattr(module, "eps"):  # Gemma's weight is what is added to 1
            self.weight, self.eps = 1 + module.weight.detach().float(), module.eps
        else:
            self.weight, self.eps = module.weight.detach(), module.variance_epsilon
        if self.weight.device.type == "cpu":
            self.weight = self.weight.float()

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        return rms_norm(states, self.weight, self.eps)

    def values(self, states: torch.Tensor, room: _Room) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the output and what `gradient` needs."""
        return rms_norm_values(states, self.weight, self.eps, room.take("function", states, states.shape[1]))

    def gradient(self, d_out: torch.Tensor, states: torch.Tensor, inverse: torch.Tensor) -> torch.Tensor:
        """Return the gradient by `states`."""
        return rms_norm_gradient(d_out, states, self.weight, inverse)


class _Gate:
    """act(gate) * up."""

    def __init__(self, activation: str) -> None:
        self.activation = activation

    def values(self, gate_up: torch.Tensor, room: _Room) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the output and what `gradient` needs: nothing."""
        out = gated_values(gate_up, self.activation, room.take("function", gate_up, gate_up.shape[1] // 2))
        return out, gate_up.new_empty(0)

    def gradient(self, d_out: torch.Tensor, gate_up: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        """Return the gradient by `gate_up`."""
        return gated_gradient(d_out, gate_up, self.activation)


class _Identity:
    """Nothing before a product."""

    def values(self, states: torch.Tensor, _room: _Room) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the input."""
        return states, states.new_empty(0)

    def gradient(self, d_out: torch.Tensor, _states: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        """Return the gradient."""
        return d_out


class _Product(torch.autograd.Function):
    """f(x) W^T + bias + (f(x) A^T) B^T for a frozen W; f(x) is computed again in the backward pass, not kept.

    LoRA reads f(x) with `dropout`. Where x and W differ in type, the products have W's and their rows are padded.
    """

    @staticmethod
    def forward(ctx, before, room, states, weight, bias, down, up, dropout):  # type: ignore[no-untyped-def] # torch's
        mixed = states.dtype != weight.dtype
        inputs, cache = before.values(states, room)
        inputs = room.cast("inputs", inputs, weight.dtype)
        keep = F.dropout(torch.ones_like(inputs), dropout) if dropout else None  # a mask, scaled
        out = room.take("out", inputs, len(weight)) if mixed else None
        if bias is None:
            out = torch.mm(inputs, weight.T, out=out)
        else:
            out = torch.addmm(bias, inputs, weight.T, out=out)
        low = None
        if down is not None:
            low = (inputs if keep is None else inputs * keep) @ down.T  # [T, R]
            out.addmm_(low, up.T)
        ctx.before, ctx.room = before, room
        ctx.save_for_backward(states, cache, weight, down, up, low, keep)
        return out[:len(states)].to(states.dtype) if mixed else out

    @staticmethod
    def backward(ctx, d_out):  # type: ignore[no-untyped-def]
        states, cache, weight, down, up, low, keep = ctx.saved_tensors
        d_down = d_up = d_states = d_low = None
        d_out = ctx.room.cast("out", d_out, weight.dtype)
        if down is not None:
            inputs = ctx.room.cast("inputs", ctx.before.values(states, ctx.room)[0], weight.dtype)
            d_low = d_out @ up  # [T, R]
            d_up = (low.T @ d_out).T  # twice as fast as d_out.T @ low
            d_down = d_low.T @ (inputs if keep is None else inputs * keep)
            del inputs
        if ctx.needs_input_grad[2]:
            mixed = states.dtype != weight.dtype
            d_inputs = torch.mm(d_out, weight, out=ctx.room.take("inputs", d_out, weight.shape[1]) if mixed else None)
            if down is not None and keep is None:
                d_inputs.addmm_(d_low, down)
            elif down is not None:
                d_inputs += (d_low @ down) * keep
            d_states = ctx.before.gradient(d_inputs[:len(states)].to(states.dtype), states, cache)
        return None, None, d_states, None, None, d_down, d_up, None


class _Projection:
    """Linear layers that read the same input, as one product; LoRA's dropout draws one mask for all of them."""

    def __init__(self, layers: Sequence[Any], before: Any, room: _Room) -> None:
        self.before, self.room = before, room
        self.lora = [layer for layer in layers if isinstance(layer, LoraLinear)]
        self.dropout = max((layer.dropout.p for layer in self.lora), default=0.0)
        bases = [layer.base if isinstance(layer, LoraLinear) else layer for layer in layers]
        self.weight: torch.Tensor = bases[0].weight.detach()
        if len(bases) > 1:
            self.weight = torch.cat([base.weight.detach() for base in bases])  # [sum of outs, in]
            begin = 0
            for base in bases:
                base.weight.data = self.weight[begin:begin + base.out_features]
                begin += base.out_features
        self.bias = None
        if bases[0].bias is not None:
            self.bias = torch.cat([base.bias.detach() for base in bases])
        self._blocks = [layer.weight.new_zeros(layer.out_features, 0, dtype=torch.float32)
                           if layer is base else layer for layer, base in zip(layers, bases, strict=True)]

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        """Return [T, sum of outs]."""
        down = up = None
        if self.lora:
            down = torch.cat([layer.lora_A for layer in self.lora]).to(self.weight.dtype)  # [R, in]
            up = torch.block_diag(*(part.scaling * part.lora_B if isinstance(part, LoraLinear) else part
                                    for part in self._blocks)).to(self.weight.dtype)  # [sum of outs, R]
        dropout = self.dropout if torch.is_grad_enabled() else 0.0
        out: torch.Tensor = _Product.apply(self.before, self.room, states, self.weight, self.bias, down, up, dropout)
        return out


class _Layer:
    """One decoder layer."""

    def __init__(self, layer: Any, room: _Room) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.kind = attention.layer_type if hasattr(layer, "pre_feedforward_layernorm") else None  # Gemma's rotations
        self.window = getattr(attention, "sliding_window", None)
        self.head_dim, self.scaling = attention.head_dim, attention.scaling
        self.query_norm = _Norm(attention.q_norm) if hasattr(attention, "q_norm") else None
        self.key_norm = _Norm(attention.k_norm) if hasattr(attention, "k_norm") else None
        self.attention_in = _Projection([attention.q_proj, attention.k_proj, attention.v_proj],
                                        _Norm(layer.input_layernorm), room)
        self.attention_out = _Projection([attention.o_proj], _Identity(), room)
        gemma = hasattr(layer, "pre_feedforward_layernorm")
        self.after_attention = _Norm(layer.post_attention_layernorm) if gemma else None
        self.mlp_in = _Projection([mlp.gate_proj, mlp.up_proj], _Norm(
            layer.pre_feedforward_layernorm if gemma else layer.post_attention_layernorm), room)
        self.after_mlp = _Norm(layer.post_feedforward_layernorm) if gemma else None
        config = attention.config
        activation = config.hidden_activation if gemma else config.hidden_act
        self.mlp_out = _Projection([mlp.down_proj], _Gate(_ACTIVATIONS[activation]), room)
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.trained = any(part.lora for part in (self.attention_in, self.attention_out, self.mlp_in, self.mlp_out))

    def __call__(self, states: torch.Tensor, batch: PackedPrompts,
                 rotations: dict[Any, tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
        """Return the next layer's input, [T, D]."""
        out = self.attention_out(self._attend(self.attention_in(states), batch, rotations[self.kind]))
        states = (self.after_attention(out) if self.after_attention else out).add_(states)
        out = self.mlp_out(self.mlp_in(states))
        return (self.after_mlp(out) if self.after_mlp else out).add_(states)

    def _attend(self, product: torch.Tensor, batch: PackedPrompts, rotations: tuple[torch.Tensor, torch.Tensor]
                ) -> torch.Tensor:
        """Return the heads' outputs, [T, H * head_dim], from queries, keys and values in one row a token."""
        widths = [self.heads * self.head_dim, self.kv_heads * self.head_dim, self.kv_heads * self.head_dim]
        queries, keys, values = product.split(widths, dim=-1)
        queries, keys = (part.unflatten(-1, (-1, self.head_dim)) for part in (queries, keys))  # [T, heads, head_dim]
        if self.query_norm and self.key_norm:
            queries, keys = self.query_norm(queries.contiguous()), self.key_norm(keys.contiguous())
        return attention(queries, keys, values.unflatten(-1, (-1, self.head_dim)), batch.layout, self.scaling,
                         self.window, rotations)
