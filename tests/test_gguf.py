"""GGUF: exact round trips, refusals that say why."""

from __future__ import annotations

import ctypes
import dataclasses
import os
from pathlib import Path

import gguf
import llama_cpp
import numpy as np
import pytest
import torch

from tslrec_min.errors import TslrecError
from tslrec_min.finetuning.parity import check_parity, compare_states
from tslrec_min.llm.engines.llama_engine import LlamaEngine
from tslrec_min.llm.gguf import quantization
from tslrec_min.llm.gguf.names import plain_config, to_gguf_rows, to_hf_rows
from tslrec_min.llm.gguf.quantization import QUANTS, quant_for_speed, quantize
from tslrec_min.llm.gguf.reader import _Reader, check_gguf, read_gguf, read_metadata
from tslrec_min.llm.gguf.rope import LLAMA3_KEYS, frequency_factors, scaling_of_factors
from tslrec_min.llm.gguf.writer import write_gguf
from tslrec_min.llm.llama_log import captured_llama_log
from tslrec_min.llm.model import LanguageModel, load_language_model

from .tiny_llm import ARCHITECTURES, LLAMA3_ROPE, make_tiny_llm


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    return load_language_model(make_tiny_llm(tmp_path_factory.mktemp("tiny")))


def write(model: LanguageModel, path: Path, **changes: object) -> Path:
    write_gguf(path, model.network, {**model.network.config.to_dict(), **changes}, model.metadata)
    return path


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
    again = load_language_model(write(original, tmp_path / "model.gguf"))
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
    rewritten = write(again, tmp_path / "again.gguf")
    assert rewritten.read_bytes() == (tmp_path / "model.gguf").read_bytes()


def test_gemma_norms_that_are_a_sum_are_exact() -> None:
    """What `names` says of 1 + weight, over all exponents: no rounding from 0.5 on, else at most 2^-25."""
    random = np.random.default_rng(0)
    weights = (random.choice([-1, 1], 50_000) * 2.0 ** random.uniform(-40, 23, 50_000)).astype(np.float32)
    one = np.float32(1)
    stored = weights + one
    np.testing.assert_array_equal((stored - one) + one, stored)
    any_bits = np.abs(weights)
    error = np.abs(((any_bits - one) + one).astype(np.float64) - any_bits)
    assert not error[any_bits >= 0.5].any() and 0 < error.max() <= 2.0**-25


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
    with pytest.raises(TslrecError, match="does not follow Llama 3's rule"):
        scaling_of_factors(factors.astype(np.float32), 10000.0, 16)


@pytest.mark.parametrize(("architecture", "changes", "message"), [
    ("llama", {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}, "scales its rotary embedding .linear."),
    ("llama", {"rope.scaling.factor": 4.0}, "scales its rotary embedding"),  # llama.cpp's default is linear
    ("qwen2", {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0}, "scales its rotary embedding .yarn."),
    ("llama", {"attention.value_length": 8}, "attention.value_length = 8.*imply 16"),
    ("qwen3", {"attention.head_count": None}, "lacks the keys attention.head_count"),
    ("gemma3", {"attention.sliding_window": None}, "lacks the keys attention.sliding_window of a gemma3"),
    ("gemma3", {"rope.freq_base_swa": 5000.0}, "rope.freq_base_swa = 5000.0"),
    ("gemma3", {"attention.sliding_window_pattern": 4}, "attention.sliding_window_pattern = 4"),
    ("gemma3", {"attention.sliding_window_pattern": [True, False] * 3 + [True]}, "sliding_window_pattern = .True"),
])
def test_files_that_transformers_could_not_follow_are_refused(
        tmp_path: Path, architecture: str, changes: dict[str, object], message: str) -> None:
    path = write(load_language_model(make_tiny_llm(tmp_path / "hf", architecture=architecture)), tmp_path / "a.gguf")
    with pytest.raises(TslrecError, match=message):
        read_gguf(rewrite(path, tmp_path / "b.gguf", **changes))


def test_what_a_file_may_leave_out_is_implied(tmp_path: Path) -> None:
    path = write(load_language_model(make_tiny_llm(tmp_path / "hf", architecture="gemma3")), tmp_path / "a.gguf")
    sparse = read_gguf(rewrite(path, tmp_path / "b.gguf", **{
        "vocab_size": None, "rope.dimension_count": None, "rope.freq_base_swa": None, "rope.scaling.type": "none"}))
    patterned = read_gguf(rewrite(path, tmp_path / "c.gguf", **{
        "attention.sliding_window_pattern": [True] * 5 + [False, True]}))
    assert sparse.config == patterned.config == read_gguf(path).config


def test_arrays_are_read_as_by_the_reference(tiny: LanguageModel, tmp_path: Path) -> None:
    path = write(tiny, tmp_path / "model.gguf")
    fields, expected = _Reader(path).fields, gguf.GGUFReader(path).fields
    assert fields.keys() == expected.keys()
    for key, field in expected.items():
        assert (fields[key].contents(), fields[key].types) == (field.contents(), field.types), key
    assert read_metadata(path)["tokenizer.ggml.token_type"].value == expected["tokenizer.ggml.token_type"].contents()


def test_gguf_of_a_gguf_is_the_same_file(tiny: LanguageModel, tmp_path: Path) -> None:
    first = write(tiny, tmp_path / "first.gguf")
    second = write(load_language_model(first), tmp_path / "second.gguf")
    assert first.read_bytes() == second.read_bytes()


def test_f16_keeps_norms_in_float32(tiny: LanguageModel, tmp_path: Path) -> None:
    reader = gguf.GGUFReader(write(tiny, tmp_path / "model.gguf"))
    for tensor in reader.tensors:
        assert tensor.tensor_type.name == ("F32" if "norm" in tensor.name else "F16"), tensor.name
    state = read_gguf(tmp_path / "model.gguf").state
    norm = tiny.network.state_dict()["model.norm.weight"].numpy()
    np.testing.assert_array_equal(state["model.norm.weight"], norm)


def test_f16_rounds_to_nearest_and_keeps_vectors(tmp_path: Path) -> None:
    model = load_language_model(make_tiny_llm(tmp_path / "hf", architecture="qwen2"))
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=1e-3)
    path = write(model, tmp_path / "model.gguf")
    for tensor in gguf.GGUFReader(path).tensors:
        expected = "F32" if "norm" in tensor.name or tensor.name.endswith("bias") else "F16"
        assert tensor.tensor_type.name == expected, tensor.name
    state = read_gguf(path).state
    for name, weight in model.network.state_dict().items():
        if name in state:
            rounded = weight if weight.ndim == 1 else weight.half().float()
            np.testing.assert_array_equal(state[name], rounded.numpy())


def test_row_order_of_rotated_heads() -> None:
    weight = np.arange(8, dtype=np.float32)[:, None] * np.ones(3, dtype=np.float32)
    stored = to_gguf_rows(weight, heads=2)  # heads of 4 rows: halves (0 1)(2 3) become pairs (0 2)(1 3)
    assert stored[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
    np.testing.assert_array_equal(to_hf_rows(stored, heads=2), weight)


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
        write(tiny, tmp_path / "model.gguf", **changes)
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
        write(model, tmp_path / "model.gguf", **changes)


@pytest.mark.parametrize("kept", [0, 3, 20, 200, 5000, 0.3, 0.7, 0.999])
def test_cut_off_file_is_an_error(tiny: LanguageModel, tmp_path: Path, kept: float) -> None:
    path = write(tiny, tmp_path / "model.gguf")
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
    path = write(tiny, tmp_path / "model.gguf")
    content, key = path.read_bytes(), b"general.name"
    start = content.index(len(key).to_bytes(8, "little") + key)
    path.write_bytes(content[:start] + len(damaged).to_bytes(8, "little") + damaged + content[start + 8 + len(key):])
    with pytest.raises(TslrecError, match="a key is empty or has a NUL"):
        quantize(path, tmp_path / "small.gguf", threads=1)
    with pytest.raises(TslrecError, match="a key is empty or has a NUL"):
        LlamaEngine(path, threads=1)


def test_no_layers_are_refused_before_llama_cpp_ends_the_process(tiny: LanguageModel, tmp_path: Path) -> None:
    path = write(tiny, tmp_path / "model.gguf")
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


@pytest.mark.parametrize("quant", QUANTS)
def test_every_quantisation_stays_close(tmp_path: Path, quant: str) -> None:
    model = load_language_model(make_tiny_llm(tmp_path / "hf", hidden_size=256, intermediate_size=256))
    source = write(model, tmp_path / "f16.gguf")
    quantize(source, tmp_path / "small.gguf", quant, threads=1)
    state, original = read_gguf(tmp_path / "small.gguf").state, read_gguf(source).state
    name = "model.layers.0.mlp.gate_proj.weight"
    error = np.linalg.norm(state[name] - original[name]) / np.linalg.norm(original[name])
    assert (error == 0) == (quant == "F16") and error < (0.01 if quant in ("BF16", "Q8_0") else 0.12)
    smaller = (tmp_path / "small.gguf").stat().st_size < source.stat().st_size
    assert smaller == (quant not in ("F16", "BF16"))


def test_what_is_quantised_can_be_quantised_again_if_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Most of it is the vocabulary, which is stored in another type, and only looked up.
    model = load_language_model(make_tiny_llm(tmp_path / "hf", hidden_size=256, intermediate_size=256,
                                              num_hidden_layers=1, vocab_size=6000))
    source = write(model, tmp_path / "f16.gguf")
    monkeypatch.setitem(quantization.QUANTS, "Q4_1", llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_1)
    slow, again = tmp_path / "q4_1.gguf", tmp_path / "q8_0.gguf"
    quantize(source, slow, "Q4_1", threads=1)
    assert quant_for_speed(slow) == "Q8_0"
    with pytest.raises(TslrecError, match="could not quantise .*requantiz.*model again as f16"):
        quantize(slow, again, "Q8_0", threads=1)
    quantize(slow, again, "Q8_0", threads=1, again=True)
    assert quant_for_speed(again) is None and quant_for_speed(source) is None
    before, after = read_gguf(slow).state, read_gguf(again).state
    name = "model.layers.0.mlp.gate_proj.weight"
    assert np.linalg.norm(after[name] - before[name]) < 0.01 * np.linalg.norm(before[name])


def test_quantising_a_damaged_file_is_an_error(tiny: LanguageModel, tmp_path: Path) -> None:
    path = write(tiny, tmp_path / "model.gguf")
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(TslrecError, match="damaged or cut off"):
        quantize(path, tmp_path / "small.gguf", threads=1)
    assert [file.name for file in tmp_path.iterdir()] == ["model.gguf"]
    with pytest.raises(TslrecError, match="expected one of F16"):
        quantize(path, tmp_path / "small.gguf", "Q9", threads=1)


def test_parity_report_of_known_states() -> None:
    reference = np.eye(4, dtype=np.float32) + 0.1 * np.arange(16, dtype=np.float32).reshape(4, 4)
    assert compare_states(reference, 3 * reference) == pytest.approx(
        {"mean_cosine": 1, "min_cosine": 1, "neighbour_overlap_10": 1})
    other = reference.copy()
    other[2] = -other[2]
    report = compare_states(reference, other)
    assert (report["mean_cosine"], report["min_cosine"]) == pytest.approx((0.5, -1))
    check_parity(report, {"mean_cosine": 0.4})
    with pytest.raises(TslrecError, match="min_cosine is -1.0000, expected at least 0.9"):
        check_parity(report, {"mean_cosine": 0.4, "min_cosine": 0.9})


def test_neighbour_overlap_against_hand_count() -> None:
    angles = np.linspace(0, 1, 12)
    reference = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    # each of 12 has 11 others; in `swapped` the first and last change places, so lists of 10 lose at most one
    swapped = reference[[11, *range(1, 11), 0]]
    left, right = (np.argsort(-(x @ x.T) + 9 * np.eye(12), axis=1)[:, :10] for x in (reference, swapped))
    expected = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(left, right, strict=True)])
    assert compare_states(reference, swapped)["neighbour_overlap_10"] == pytest.approx(expected)
    assert expected < 1


def test_parity_refuses_broken_states() -> None:
    states = np.ones((3, 2), dtype=np.float32)
    for value in (0, np.nan, np.inf):
        broken = states.copy()
        broken[1] = value
        with pytest.raises(TslrecError, match="zero or not finite"):
            compare_states(states, broken)
    with pytest.raises(ValueError, match="expected the same"):
        compare_states(states, states[:2])


def test_log_is_captured_and_given_back(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before, data = llama_cpp.llama_log_callback(), ctypes.c_void_p()
    llama_cpp.llama_log_get(ctypes.byref(before), ctypes.byref(data))
    with captured_llama_log() as log:
        assert not llama_cpp.llama_model_load_from_file(b"/absent.gguf", llama_cpp.llama_model_default_params())
    assert "/absent.gguf" in str(log)
    assert capfd.readouterr() == ("", "")
    after = llama_cpp.llama_log_callback()
    llama_cpp.llama_log_get(ctypes.byref(after), ctypes.byref(data))
    assert ctypes.cast(before, ctypes.c_void_p).value == ctypes.cast(after, ctypes.c_void_p).value


def test_metadata_follows_the_model_that_was_read(tiny: LanguageModel, tmp_path: Path) -> None:
    described = dataclasses.replace(tiny, metadata={
        **tiny.metadata, "general.license": tiny.metadata["general.name"]._replace(value="apache-2.0")})
    metadata = read_metadata(write(described, tmp_path / "model.gguf"))
    assert metadata["general.license"].value == "apache-2.0"
    assert not metadata.keys() & {"general.file_type", "general.quantization_version", "general.architecture"}
