from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tslrec_min.errors import TslrecError
from tslrec_min.llm.engines.llama_engine import LlamaEngine
from tslrec_min.llm.engines.torch_engine import TorchEngine
from tslrec_min.llm.model import LanguageModel
from tslrec_min.llm.prompts import TokenPrompt

from .factories import expected_states, prompts_of


def test_titles_that_begin_alike_or_hold_each_other(tiny: LanguageModel, tiny_gguf: Path) -> None:
    ids = prompts_of(tiny)[0].token_ids
    sequences = [ids[:6], ids[:6] + (7,), ids[:6] + (7, 8), ids[:6] + (9,), ids[:6] + (9, 10, 11), ids]
    prompts = [TokenPrompt(tokens, start, len(tokens)) for tokens in sequences for start in (1, 5)]
    expected = expected_states(tiny, prompts)
    with LlamaEngine(tiny_gguf, threads=1) as engine:
        np.testing.assert_allclose(engine.embed(prompts), expected, atol=0.02)
    for batch_tokens in (1, 4, 256):
        states = TorchEngine(tiny.network, batch_tokens=batch_tokens).embed(prompts)
        np.testing.assert_allclose(states, expected, rtol=1e-4, atol=1e-5)


def test_identical_prompts_get_identical_rows(tiny: LanguageModel, engine: LlamaEngine) -> None:
    prompts = prompts_of(tiny)
    states = engine.embed([prompts[3], prompts[0], prompts[3]])
    np.testing.assert_array_equal(states[0], states[2])
    assert not np.array_equal(states[0], states[1])


def test_prompt_longer_than_the_context_is_refused(tiny: LanguageModel, engine: LlamaEngine) -> None:
    prompt = TokenPrompt(tuple([5] * 1025), 1024, 1025)
    for one in (engine, TorchEngine(tiny.network)):
        with pytest.raises(TslrecError, match="prompt 0 has 1025 tokens, the model reads at most 1024"):
            one.embed([prompt])


def test_no_prompts_give_no_rows(tiny: LanguageModel, engine: LlamaEngine) -> None:
    assert engine.embed([]).shape == TorchEngine(tiny.network).embed([]).shape == (0, 64)
