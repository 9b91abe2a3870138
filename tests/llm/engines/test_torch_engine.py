from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tslrec_min.errors import TslrecError
from tslrec_min.finetuning.parity import compare_states
from tslrec_min.llm.engines.torch_engine import TorchEngine
from tslrec_min.llm.model import LanguageModel, load_language_model
from tslrec_min.llm.prompts import PromptTemplate, TokenPrompt

from ...tiny_llm import make_tiny_llm
from .factories import SPANS, expected_states, prompts_of


@pytest.mark.parametrize("template", SPANS)
@pytest.mark.parametrize("batch_tokens", [1, 100, 4096])
def test_torch_engine_follows_the_definition(tiny: LanguageModel, template: PromptTemplate,
                                             batch_tokens: int) -> None:
    prompts = prompts_of(tiny, template)
    states = TorchEngine(tiny.network, batch_tokens=batch_tokens).embed(prompts)
    assert states.dtype == np.float32
    np.testing.assert_allclose(states, expected_states(tiny, prompts), rtol=1e-4, atol=1e-5)


def test_bfloat16_states_are_near_those_of_float32(tmp_path: Path) -> None:
    model = load_language_model(make_tiny_llm(tmp_path))
    prompts = prompts_of(model)
    expected = expected_states(model, prompts)
    engine = TorchEngine(model.network, dtype=torch.bfloat16)
    assert engine.describe()["precision"] == "bfloat16"
    states = engine.embed(prompts)
    assert states.dtype == np.float32
    assert compare_states(expected, states)["min_cosine"] > 0.999  # 8 bits of mantissa, two layers


def test_states_that_are_not_finite_are_an_error(tmp_path: Path) -> None:
    network = load_language_model(make_tiny_llm(tmp_path)).network
    with torch.no_grad():
        network.model.embed_tokens.weight[7] = float("nan")
    prompts = [TokenPrompt((5, 6, 8, 9), 1, 2), TokenPrompt((5, 7), 1, 2)]
    with pytest.raises(TslrecError, match="not finite, first for prompt 1"):
        TorchEngine(network).embed(prompts)
