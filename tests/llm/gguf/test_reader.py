"""GGUF: exact round trips, refusals that say why."""

from __future__ import annotations

import os
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch

from tslrec_min.errors import TslrecError
from tslrec_min.llm.engines.llama_engine import LlamaEngine
from tslrec_min.llm.gguf.names import plain_config
from tslrec_min.llm.gguf.quantization import quantize
from tslrec_min.llm.gguf.reader import _Reader, check_gguf, read_gguf, read_metadata
from tslrec_min.llm.model import LanguageModel, load_language_model

from ...tiny_llm import ARCHITECTURES, make_tiny_llm, save_gguf


def rewrite(path: Path, target: Path, **changes: object) -> Path:
    """Copy a GGUF file with some keys of its architecture changed, added, or left out (None)."""
    reader = gguf.GGUFReader(path)
    name = reader.get_field("general.architecture").contents()
    writer = gguf.GGUFWriter(target, name)
    values = {key: (field.contents(), field.types[0], field.types[-1]) for key, field in reader.fields.items()}
    kinds = {str: gguf.GGUFValueType.STRING, int: gguf.GGUFValueType.UINT32, float: gguf.GGUFValueType.FLOAT32,
             list: gguf.GGUFValueType.ARRAY, type(None): None}
    values |= {f"{name}.{key}": (value, kinds[type(value)], gguf.GGUFValueType.BOOL) for key, value in changes.items()}
    for key, (value, kind, item_kind) in values.items():
        if not key.startswith("GGUF.") and key != "general.architecture" and value is not None:
            writer.add_key_value(key, value, kind, item_kind if kind == gguf.GGUFValueType.ARRAY else None)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, np.array(tensor.data), raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


@pytest.mark.parametrize(("architecture", "changes"), [
    *((name, {}) for name in ARCHITECTURES), ("llama", {"tied": False}), ("llama", {"head_dim": 24}),
    ("llama", {"rope_theta": 12345.0, "tied": False}), ("qwen2", {"tied": False, "num_key_value_heads": 4}),
    ("qwen3", {"tied": False}), ("gemma3", {"tied": False, "sliding_window": 7, "num_hidden_layers": 3}),
])
def test_round_trip_is_bit_exact(tmp_path: Path, architecture: str, changes: dict[str, object]) -> None:
    original = load_language_model(make_tiny_llm(tmp_path / "hf", architecture=architecture, **changes))
    again = load_language_model(save_gguf(original, tmp_path / "model.gguf"))
    before, after = original.network.state_dict(), again.network.state_dict()
    assert before.keys() == after.keys()
    for name in before:
        if architecture == "gemma3" and "norm" in name:  # what it computes with is exact, see `names`
            assert torch.equal(1 + before[name], 1 + after[name]), name
        else:
            assert torch.equal(before[name], after[name]), name
    configs = [plain_config(model.network.config.to_dict()) for model in (original, again)]
    for key in ("vocab_size", "hidden_size", "num_hidden_layers", "num_key_value_heads", "head_dim", "rope_theta",
                "rms_norm_eps", "tie_word_embeddings", "max_position_embeddings", "eos_token_id", "rope_scaling"):
        assert configs[0][key] == configs[1][key], key
    for key in ("sliding_window", "layer_types", "rope_local_base_freq", "query_pre_attn_scalar"):
        assert configs[0].get(key) == configs[1].get(key), key
    assert (configs[0]["rope_scaling"] is not None) == (architecture == "llama3")
    assert again.metadata == original.metadata  # carried over whole
    rewritten = save_gguf(again, tmp_path / "again.gguf")
    assert rewritten.read_bytes() == (tmp_path / "model.gguf").read_bytes()


@pytest.mark.parametrize(("architecture", "changes", "message"), [
    ("llama", {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}, "scales its rotary embedding .linear."),
    ("llama", {"rope.scaling.factor": 4.0}, "scales its rotary embedding"),  # llama.cpp's default is linear
    ("qwen2", {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0}, "scales its rotary embedding .yarn."),
    ("llama", {"attention.value_length": 8}, "attention.value_length = 8.*imply 16"),
    ("llama3", {"rope.freq_base": 77.0}, "rope_freqs.weight that does not follow Llama 3's rule"),
    ("qwen3", {"attention.head_count": None}, "lacks the keys attention.head_count"),
    ("gemma3", {"attention.sliding_window": None}, "lacks the keys attention.sliding_window of a gemma3"),
    ("gemma3", {"rope.freq_base_swa": 5000.0}, "rope.freq_base_swa = 5000.0"),
    ("gemma3", {"attention.sliding_window_pattern": 4}, "attention.sliding_window_pattern = 4"),
    ("gemma3", {"attention.sliding_window_pattern": [True, False] * 3 + [True]}, "sliding_window_pattern = .True"),
])
def test_files_that_transformers_could_not_follow_are_refused(
        tmp_path: Path, architecture: str, changes: dict[str, object], message: str) -> None:
    model = load_language_model(make_tiny_llm(tmp_path / "hf", architecture=architecture))
    path = save_gguf(model, tmp_path / "a.gguf")
    with pytest.raises(TslrecError, match=message):
        read_gguf(rewrite(path, tmp_path / "b.gguf", **changes))


def test_what_a_file_may_leave_out_is_implied(tmp_path: Path) -> None:
    path = save_gguf(load_language_model(make_tiny_llm(tmp_path / "hf", architecture="gemma3")), tmp_path / "a.gguf")
    sparse = read_gguf(rewrite(path, tmp_path / "b.gguf", **{
        "vocab_size": None, "rope.dimension_count": None, "rope.freq_base_swa": None, "rope.scaling.type": "none"}))
    patterned = read_gguf(rewrite(path, tmp_path / "c.gguf", **{
        "attention.sliding_window_pattern": [True] * 5 + [False, True]}))
    assert sparse.config == patterned.config == read_gguf(path).config


def test_arrays_are_read_as_by_the_reference(tiny: LanguageModel, tmp_path: Path) -> None:
    path = save_gguf(tiny, tmp_path / "model.gguf")
    fields, expected = _Reader(path).fields, gguf.GGUFReader(path).fields
    assert fields.keys() == expected.keys()
    for key, field in expected.items():
        assert (fields[key].contents(), fields[key].types) == (field.contents(), field.types), key
    assert read_metadata(path)["tokenizer.ggml.token_type"].value == expected["tokenizer.ggml.token_type"].contents()


def test_f16_rounds_to_nearest_and_keeps_vectors(tmp_path: Path) -> None:
    model = load_language_model(make_tiny_llm(tmp_path / "hf", architecture="qwen2"))
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=1e-3)
    path = save_gguf(model, tmp_path / "model.gguf")
    for tensor in gguf.GGUFReader(path).tensors:
        expected = "F32" if "norm" in tensor.name or tensor.name.endswith("bias") else "F16"
        assert tensor.tensor_type.name == expected, tensor.name
    state = read_gguf(path).state
    for name, weight in model.network.state_dict().items():
        if name in state:
            rounded = weight if weight.ndim == 1 else weight.half().float()
            np.testing.assert_array_equal(state[name], rounded.numpy())


@pytest.mark.parametrize("kept", [0, 3, 20, 200, 5000, 0.3, 0.7, 0.999])
def test_cut_off_file_is_an_error(tiny: LanguageModel, tmp_path: Path, kept: float) -> None:
    path = save_gguf(tiny, tmp_path / "model.gguf")
    size = path.stat().st_size
    os.truncate(path, int(kept * size) if isinstance(kept, float) else kept)
    with pytest.raises(TslrecError, match="damaged or cut off"):
        read_gguf(path)


def test_other_files_are_errors(tmp_path: Path) -> None:
    (tmp_path / "text.gguf").write_text("not a model " * 100)
    with pytest.raises(TslrecError, match="not a GGUF file"):
        read_gguf(tmp_path / "text.gguf")
    writer = gguf.GGUFWriter(tmp_path / "other.gguf", "mamba")
    writer.add_tensor("token_embd.weight", np.zeros((4, 32), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(TslrecError, match="architecture 'mamba'; expected one of llama"):
        read_gguf(tmp_path / "other.gguf")


@pytest.mark.parametrize("damaged", [b"", b"\0eneral.name"])
def test_keys_that_llama_cpp_ends_the_process_for_are_refused(tiny: LanguageModel, tmp_path: Path, damaged: bytes
                                                              ) -> None:
    path = save_gguf(tiny, tmp_path / "model.gguf")
    content, key = path.read_bytes(), b"general.name"
    start = content.index(len(key).to_bytes(8, "little") + key)
    path.write_bytes(content[:start] + len(damaged).to_bytes(8, "little") + damaged + content[start + 8 + len(key):])
    with pytest.raises(TslrecError, match="a key is empty or has a NUL"):
        quantize(path, tmp_path / "small.gguf", threads=1)
    with pytest.raises(TslrecError, match="a key is empty or has a NUL"):
        LlamaEngine(path, threads=1)


def test_no_layers_are_refused_before_llama_cpp_ends_the_process(tiny: LanguageModel, tmp_path: Path) -> None:
    path = save_gguf(tiny, tmp_path / "model.gguf")
    content, key = path.read_bytes(), b"llama.block_count"
    place = content.index(key) + len(key) + 4  # behind the type, a uint32
    assert int.from_bytes(content[place:place + 4], "little") == 2
    path.write_bytes(content[:place] + bytes(4) + content[place + 4:])
    with pytest.raises(TslrecError, match="it has 0 layers; expected 1 to 512"):
        LlamaEngine(path, threads=1)


@pytest.mark.parametrize("name", [b"bc", b"b\0"])
def test_equal_tokens_are_refused_before_llama_cpp_ends_the_process(tmp_path: Path, name: bytes) -> None:
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    writer.add_block_count(1)
    writer.add_token_list([b"", b"", b"bc", b"b", b"cd"])  # empty ones are no matter
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    check_gguf(tmp_path / "m.gguf")
    content = (tmp_path / "m.gguf").read_bytes()
    (tmp_path / "m.gguf").write_bytes(content.replace(b"cd", name))
    with pytest.raises(TslrecError, match="two of its tokens are the same"):
        LlamaEngine(tmp_path / "m.gguf", threads=1)
