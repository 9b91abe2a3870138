"""bfloat16 against float32 for the frozen weights under LoRA: one forward and backward pass on this CPU.

They go through `packed_decoder.PackedDecoder`, as fine-tuning does: only matrix products are in bfloat16. The layers
have the sizes of SmolLM2-135M, random weights and LoRA as fine-tuning adds it; there are 6 layers in place of 30, which
changes the times and hardly their ratio. The two dtypes take turns, so that a change in the machine's load meets both.
It supports the choice that `runtime.device.resolve_precision` makes for ``auto``.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tslrec_min.bench.environment import cpu_name
from tslrec_min.cli.tables import table
from tslrec_min.llm.lora import add_lora
from tslrec_min.llm.packed_decoder import PackedDecoder
from tslrec_min.llm.prompts import TokenPrompt
from tslrec_min.runtime.device import resolve_precision

LAYERS = 6
BATCH = (4, 120)
"""Prompts and tokens of each: a micro-batch of fine-tuning."""
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
_VOCABULARY = 1024  # rows are only looked up, so their number costs no time


def small_llama(dtype: torch.dtype = torch.float32) -> Any:
    """Return a random network with SmolLM2-135M's layer sizes (its published config.json), the same every time."""
    torch.manual_seed(0)
    network: Any = LlamaForCausalLM(LlamaConfig(
        vocab_size=_VOCABULARY, hidden_size=576, intermediate_size=1536, num_hidden_layers=LAYERS,
        num_attention_heads=9, num_key_value_heads=3, rms_norm_eps=1e-5, tie_word_embeddings=True))
    return network.to(dtype)


def random_tokens() -> torch.Tensor:
    """Return token ids, int64 [B, T], the same every time."""
    return torch.randint(_VOCABULARY, BATCH, generator=torch.Generator().manual_seed(0))


def seconds_of_a_step(network: Any, decoder: PackedDecoder, prompts: list[TokenPrompt]) -> float:
    """Time one forward and backward pass; the gradients of the LoRA weights are dropped before."""
    network.zero_grad(set_to_none=True)
    started = time.perf_counter()
    decoder.pooled_states(prompts).square().mean().backward()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15, help="timed passes of each dtype (default: 15)")
    repeats = parser.parse_args().repeats
    prompts = [TokenPrompt(tuple(row), 0, len(row)) for row in random_tokens().tolist()]
    sides: dict[str, tuple[Any, PackedDecoder]] = {}
    for name, dtype in DTYPES.items():
        network = small_llama(dtype).train()
        add_lora(network, rank=8, alpha=16.0)
        sides[name] = network, PackedDecoder(network)
        seconds_of_a_step(*sides[name], prompts)  # the first pass allocates
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, side in sides.items():
            times[name].append(seconds_of_a_step(*side, prompts))
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(f"CPU: {cpu_name()}; torch {torch.__version__}, {torch.get_num_threads()} threads; "
          f"--precision auto takes {resolve_precision('auto', torch.device('cpu'))}")
    print(f"{LAYERS} layers, LoRA rank 8, {BATCH[0]} prompts of {BATCH[1]} tokens, forward and backward, "
          f"median of {repeats}\n")
    print(table(("dtype", "ms", "least ms", "time / fp32"), [
        (name, f"{1e3 * median:.1f}", f"{1e3 * min(times[name]):.1f}", f"{median / medians['fp32']:.2f}")
        for name, median in medians.items()]))


if __name__ == "__main__":
    main()
