"""The forward pass that fine-tuning uses: decoder-only language models on prompts laid end to end, without padding.

    prompts -> pack -> token ids [T] -> states [T, D] -> layers -> final norm -> pooled states [B, D] or [N, D]
    layer:   x + out_proj(attention(qkv_proj(norm(x)))), then x + down_proj(gated(gate_up_proj(norm(x))))

transformers loads a network; this module runs its weights through a leaner forward pass of the same mathematics. The
embedding engine for torch runs transformers' own, so that embeddings and the checks of conversion have a reference that
shares no code with training.

- The prompts of a batch are one row of tokens; only attention outside the CPU kernel sees them side by side.
- The tokens that all prompts begin with are computed once per batch, with their gradient.
- Projections that read the same input are one product, LoRA included (`projections`).
- Outputs of norms and of the gated activation are not kept for the backward pass but computed again.
- A model that reads from left to right gives, in the same pass, the state of every beginning of a prompt.
- On a CPU only the embedding look-up and the matrix products have the dtype of the weights, as under autocast; the rest
  is float32 (`elementwise`, `attention`).

Here all prompts of a batch share one beginning, for which the attention kernel has a backward pass. The trie of
`packing` saves more, but needs an attention mask for each token, which only inference engines have.

Architectures: those of `gguf.names`. A test compares each of them with transformers.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from .attention import PromptLayout, attention, prompt_layout
from .packing import shared_prefix
from .projections import GEMMA, Gate, Norm, ProductBuffers, Projection
from .prompts import TokenPrompt

_ACTIVATIONS = {"silu": "silu", "gelu_pytorch_tanh": "gelu_tanh"}  # transformers' name -> `elementwise`'s
_WITH_HEAD_NORMS = ("qwen3", GEMMA)  # `model_type` of networks that normalise each head's query and key


@dataclass(frozen=True)
class PackedPrompts:
    """B prompts as one row of T tokens: P shared ones, then the rest of every prompt, up to the end of its span."""

    token_ids: torch.Tensor
    """int64 [T]"""
    positions: torch.Tensor
    """int64 [1, T]; position of each token in its prompt."""
    spans: torch.Tensor
    """float32 [N, T]: the weight of each token in a state, that of a prompt's pooled state, or of a beginning's."""
    layout: PromptLayout


def pack(prompts: Sequence[TokenPrompt], device: torch.device, stops: Sequence[Sequence[int]] | None = None
         ) -> PackedPrompts:
    """Lay at least one prompt end to end; tokens after a span change nothing in a causal model and are left out.

    Args:
        prompts: B prompts.
        device: of the result.
        stops: where the states of each prompt end, see `PackedDecoder.prefix_states`; None: at the ends of the spans.
    """
    if stops is None:
        stops = [(prompt.pool_stop,) for prompt in prompts]
    # Pooled tokens are not shared, so that spans lie in the prompts' own tokens.
    shared = min(shared_prefix(prompts), *(prompt.pool_start for prompt in prompts))
    layout = prompt_layout(shared, [prompt.pool_stop - shared for prompt in prompts], device)
    token_ids = list(prompts[0].token_ids[:shared])
    spans = torch.zeros(sum(map(len, stops)), len(layout.packed))
    row = 0
    for prompt, own_stops in zip(prompts, stops, strict=True):
        before = len(token_ids) - shared
        token_ids += prompt.token_ids[shared:prompt.pool_stop]
        for stop in own_stops:
            if not prompt.pool_start < stop <= prompt.pool_stop:
                raise ValueError(f"a state ends at token {stop}; expected {prompt.pool_start + 1} to "
                                 f"{prompt.pool_stop}, in the pooled span")
            spans[row, before + prompt.pool_start:before + stop] = 1 / (stop - prompt.pool_start)
            row += 1
    positions = layout.packed[None] % layout.shape[1]
    return PackedPrompts(torch.tensor(token_ids).to(device), positions, spans.to(device), layout)


class PackedDecoder:
    """The forward pass of a transformers decoder over packed prompts.

    Only the network's LoRA layers (`lora.LoraLinear`) are trainable. Weights of projections that read the same input
    are moved into one tensor, and the network's own become views of it. So move a network to its device and add its
    LoRA layers first.
    """

    def __init__(self, network: Any, *, checkpointing: bool = False) -> None:
        """Take a network.

        Args:
            network: `LanguageModel.network`, with or without LoRA layers.
            checkpointing: keep only each layer's input for the backward pass, and compute the rest again there.
        """
        self.network, base = network, network.model
        self._embedding, self._rotary = base.embed_tokens, base.rotary_emb
        self._norm = Norm(base.norm, network.config)
        buffers = ProductBuffers()
        self._layers = [_Layer(layer, buffers) for layer in base.layers]
        self._checkpointing = checkpointing
        trained = [index for index, layer in enumerate(self._layers) if layer.trained]
        self._first_trained = trained[0] if trained else len(self._layers)
        _give_back_freed_memory()

    def pooled_states(self, prompts: Sequence[TokenPrompt]) -> torch.Tensor:
        """Return the mean of each prompt's states over its span, after the final norm: float32 [B, D].

        Layers below the first one with LoRA are computed without a graph.
        """
        return self._states(pack(prompts, self._embedding.weight.device))

    def prefix_states(self, prompts: Sequence[TokenPrompt], stops: Sequence[Sequence[int]]) -> torch.Tensor:
        """Return means of each prompt's states from the start of its span to several stops, as `pooled_states` does.

        A token's state depends on no later one, so that each is the pooled state of a prompt that ends there.

        Args:
            prompts: B prompts.
            stops: of each prompt, ends within its span, exclusive, such as `TokenPrompt.title_stops`.

        Returns:
            float32 [N, D], those of the first prompt first.

        Raises:
            ValueError: a stop is not in the span.
        """
        return self._states(pack(prompts, self._embedding.weight.device, stops))

    def _states(self, batch: PackedPrompts) -> torch.Tensor:
        """Return the states of a batch's spans, float32 [N, D]."""
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
        """Return (cos, sin), each [T, head_dim], by kind of layer; the key is None for models with one kind."""
        rotations = {}
        for kind in {layer.kind for layer in self._layers}:
            cos, sin = self._rotary(states[None], positions, *([] if kind is None else [kind]))
            rotations[kind] = cos[0], sin[0]
        return rotations


def _give_back_freed_memory() -> None:
    """Let glibc return freed pages to the system.

    The moved weights leave holes, a third of their size, that are too small for the states of a batch.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # other C libraries lack the function
        ctypes.CDLL(None).malloc_trim(0)


class _Layer:
    """One decoder layer."""

    def __init__(self, layer: Any, buffers: ProductBuffers) -> None:
        attention, mlp, config = layer.self_attn, layer.mlp, layer.self_attn.config
        gemma, head_norms = config.model_type == GEMMA, config.model_type in _WITH_HEAD_NORMS
        self.kind = attention.layer_type if gemma else None
        self.window = getattr(attention, "sliding_window", None)
        self.head_dim, self.scaling = attention.head_dim, attention.scaling
        self.query_norm = Norm(attention.q_norm, config) if head_norms else None
        self.key_norm = Norm(attention.k_norm, config) if head_norms else None
        self.attention_in = Projection([attention.q_proj, attention.k_proj, attention.v_proj],
                                       Norm(layer.input_layernorm, config), buffers)
        self.attention_out = Projection([attention.o_proj], None, buffers)
        self.after_attention = Norm(layer.post_attention_layernorm, config) if gemma else None
        before_mlp = layer.pre_feedforward_layernorm if gemma else layer.post_attention_layernorm
        self.mlp_in = Projection([mlp.gate_proj, mlp.up_proj], Norm(before_mlp, config), buffers)
        self.after_mlp = Norm(layer.post_feedforward_layernorm, config) if gemma else None
        activation = _ACTIVATIONS[config.hidden_activation if gemma else config.hidden_act]
        self.mlp_out = Projection([mlp.down_proj], Gate(activation), buffers)
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
