"""What several test files build or ask alike."""

from __future__ import annotations

from pathlib import Path

import llama_cpp
import numpy as np
import pytest
import torch

from tslrec_min.llm.engines import llama_engine
from tslrec_min.llm.engines.llama_engine import LlamaEngine
from tslrec_min.llm.gguf import quantization
from tslrec_min.llm.gguf.quantization import quantize
from tslrec_min.llm.model import LanguageModel, last_hidden_states
from tslrec_min.llm.prompts import PromptTemplate, TokenPrompt

from ...tiny_llm import save_gguf

TITLES = ["Toy Story (1995)", "The Matrix (1999)", "Amélie (2001)", "Star Wars", "千と千尋の神隠し", "Alien",
          "The Godfather", "Heat (1995)", "A", "Monty Python and the Holy Grail (1974)", "Fargo", "Brazil (1985)",
          "Das Boot", "Vertigo", "Psycho (1960)", "Rear Window", "Se7en", "12 Monkeys", "Casablanca", "Chinatown"]
SPANS = [PromptTemplate(pooling="mean"), PromptTemplate(pooling="last"), PromptTemplate(prefix="", pooling="mean")]


def save(model: LanguageModel, path: Path, quant: str = "F16") -> Path:
    """Write a model; llama.cpp makes files of other types of the f16 one, which has the weights exactly."""
    save_gguf(model, path)
    if quant == "F16":
        return path
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(quantization.LLAMA_TYPES, "F32", llama_cpp.LLAMA_FTYPE_ALL_F32)
        quantize(path, path.with_name(f"{quant}.gguf"), quant, threads=1)
    return path.with_name(f"{quant}.gguf")


def with_few_sequences(path: Path, **options: int) -> LlamaEngine:
    """Open an engine that computes few prompts at once, and so many batches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(llama_engine, "_MAX_SEQUENCES", 5)
        return LlamaEngine(path, **options)


def prompts_of(model: LanguageModel, template: PromptTemplate = SPANS[0]) -> list[TokenPrompt]:
    return template.tokenize_all([*([title] for title in TITLES), TITLES[:3]], model.tokenizer)


def expected_states(model: LanguageModel, prompts: list[TokenPrompt]) -> np.ndarray:
    """The definition: one whole prompt at a time, no batch, no padding."""
    rows = []
    with torch.no_grad():
        for prompt in prompts:
            tokens = torch.tensor([prompt.token_ids])
            states = last_hidden_states(model.network, tokens, torch.ones_like(tokens))[0]
            rows.append(states[prompt.pool_start: prompt.pool_stop].mean(dim=0).numpy())
    return np.stack(rows)
