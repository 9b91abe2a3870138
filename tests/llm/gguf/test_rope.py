from __future__ import annotations

import numpy as np
import pytest

from tslrec_min.llm.gguf.rope import LLAMA3_KEYS, frequency_factors, scaling_of_factors

from ...tiny_llm import ARCHITECTURES, LLAMA3_ROPE


@pytest.mark.parametrize(("scaling", "head_dim"), [
    ({"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}, 128),
    ({"factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}, 64),
    ({key: LLAMA3_ROPE[key] for key in LLAMA3_KEYS}, 16),
])
def test_rope_scaling_is_told_from_its_factors(scaling: dict[str, float], head_dim: int) -> None:
    base = 10000.0 if head_dim == 16 else 500000.0
    factors = frequency_factors(scaling, base, head_dim)
    assert factors.shape == (head_dim // 2,) and factors[0] == 1 and factors[-1] == scaling["factor"]
    assert scaling_of_factors(factors, base, head_dim) == scaling
    config = ARCHITECTURES["llama"][0].config_class(
        hidden_size=4 * head_dim, num_attention_heads=4, rope_parameters={
            "rope_type": "llama3", "rope_theta": base, **scaling})
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    plain = base ** (-np.arange(0, head_dim, 2) / head_dim)
    np.testing.assert_allclose(plain / factors, ROPE_INIT_FUNCTIONS["llama3"](config)[0], rtol=1e-5)
    doubled = {key: value if key == "factor" else 2 * value for key, value in scaling.items()}
    assert scaling_of_factors(frequency_factors(doubled, base, head_dim), base, head_dim) == scaling  # the same model


@pytest.mark.parametrize("factors", [np.ones(7), np.linspace(1, 8, 8), np.array([1] * 7 + [8]), np.zeros(8),
                                     np.full(8, np.nan)])
def test_other_rope_scaling_is_refused(factors: np.ndarray) -> None:
    assert scaling_of_factors(factors.astype(np.float32), 10000.0, 16) is None
