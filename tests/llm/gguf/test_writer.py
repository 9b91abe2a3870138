from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch

from tslrec_min.errors import TslrecError
from tslrec_min.llm.gguf.reader import read_gguf
from tslrec_min.llm.gguf.writer import write_gguf
from tslrec_min.llm.model import LanguageModel, load_language_model

from ...tiny_llm import LLAMA3_ROPE, make_tiny_llm, save_gguf


def test_gguf_of_a_gguf_is_the_same_file(tiny: LanguageModel, tmp_path: Path) -> None:
    first = save_gguf(tiny, tmp_path / "first.gguf")
    second = save_gguf(load_language_model(first), tmp_path / "second.gguf")
    assert first.read_bytes() == second.read_bytes()


def test_f16_keeps_norms_in_float32(tiny: LanguageModel, tmp_path: Path) -> None:
    reader = gguf.GGUFReader(save_gguf(tiny, tmp_path / "model.gguf"))
    for tensor in reader.tensors:
        assert tensor.tensor_type.name == ("F32" if "norm" in tensor.name else "F16"), tensor.name
    state = read_gguf(tmp_path / "model.gguf").state
    norm = tiny.network.state_dict()["model.norm.weight"].numpy()
    np.testing.assert_array_equal(state["model.norm.weight"], norm)


def test_tensors_that_cannot_be_written_are_refused(tiny: LanguageModel, tmp_path: Path) -> None:
    name = "model.layers.1.mlp.up_proj.weight"
    config = tiny.network.config.to_dict()
    for value, message in ((1e5, "1e.05, too large for float16"), (float("nan"), "not finite")):
        state = {key: tensor.clone() for key, tensor in tiny.network.state_dict().items()}
        state[name][3, 4] = value
        with pytest.raises(TslrecError, match=message):
            write_gguf(tmp_path / "model.gguf", state, config, tiny.metadata)
    state = dict(tiny.network.state_dict())
    with pytest.raises(TslrecError, match="lacks 1 tensors.*up_proj"):
        write_gguf(tmp_path / "model.gguf", {k: v for k, v in state.items() if k != name}, config, tiny.metadata)
    with pytest.raises(TslrecError, match="1 unknown ones .*lora_a"):
        write_gguf(tmp_path / "model.gguf", {**state, "lora_a": torch.zeros(1)}, config, tiny.metadata)
    with pytest.raises(TslrecError, match="weights differ"):
        write_gguf(tmp_path / "model.gguf", {**state, "lm_head.weight": state["lm_head.weight"] + 1}, config,
                   tiny.metadata)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("changes", "message"), [
    ({"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0}},
     "lacks low_freq_factor, high_freq_factor, original_max"),
    ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 8.0}}, "rotary embedding .'yarn'"),
    ({"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}, "partial_rotary_factor = 0.5"),
    ({"rope_parameters": None, "rope_scaling": {"type": "linear", "factor": 2.0}}, "rotary embedding .'linear'"),
    ({"attention_bias": True}, "attention_bias = True"), ({"hidden_act": "gelu"}, "hidden_act = 'gelu'"),
    ({"model_type": "mamba"}, "of type 'mamba'; expected one of llama, qwen2, qwen3, gemma3_text"),
    ({"vocab_size": 7}, "tokens, the model 7"),
])
def test_configs_that_cannot_be_written_are_refused(tiny: LanguageModel, tmp_path: Path, changes: dict[str, object],
                                                    message: str) -> None:
    with pytest.raises(TslrecError, match=message):
        save_gguf(tiny, tmp_path / "model.gguf", **changes)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("architecture", "changes", "message"), [
    ("qwen2", {"layer_types": ["full_attention", "sliding_attention"]}, "layer_types = .'full_attention', 'sliding"),
    ("qwen2", {"use_sliding_window": True}, "use_sliding_window = True"),
    ("qwen3", {"attention_bias": True}, "attention_bias = True"),
    ("qwen3", {"rope_parameters": LLAMA3_ROPE}, "rotary embedding .'llama3'"),
    ("gemma3", {"layer_types": ["full_attention"] * 7}, "layer_types = "),
    ("gemma3", {"query_pre_attn_scalar": 16}, "query_pre_attn_scalar = 16.*only query_pre_attn_scalar = 32"),
    ("gemma3", {"final_logit_softcapping": 30.0}, "final_logit_softcapping = 30.0"),
    ("gemma3", {"rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                                    "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}}, "'linear'"),
    ("gemma3", {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1e6},
                                    "sliding_attention": {"rope_type": "default", "rope_theta": 5e3}}},
     "rope_local_base_freq = 5000.0"),
])
def test_configs_beyond_their_architecture_are_refused(tmp_path: Path, architecture: str, changes: dict[str, object],
                                                       message: str) -> None:
    model = load_language_model(make_tiny_llm(tmp_path / "hf", architecture=architecture))
    with pytest.raises(TslrecError, match=message):
        save_gguf(model, tmp_path / "model.gguf", **changes)
