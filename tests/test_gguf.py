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
from tslrec_min.gguf.names import plain_config, to_gguf_rows, to_hf_rows
from tslrec_min.gguf.parity import check_parity, compare_states
from tslrec_min.gguf.quantization import QUANTS, quantize
from tslrec_min.gguf.reader import read_gguf, read_metadata
from tslrec_min.gguf.writer import write_gguf
from tslrec_min.llama_log import captured_llama_log
from tslrec_min.llm import LanguageModel, load_language_model

from .tiny_llm import make_tiny_llm


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    return load_language_model(make_tiny_llm(tmp_path_factory.mktemp("tiny")))


def write(model: LanguageModel, path: Path, *, dtype: str = "f16", **changes: object) -> Path:
    write_gguf(path, model.network, {**model.network.config.to_dict(), **changes}, model.metadata, dtype=dtype)
    return path


@pytest.mark.parametrize("changes", [{}, {"tied": False}, {"head_dim": 24}, {"rope_theta": 12345.0, "tied": False}])
def test_f32_round_trip_is_bit_exact(tmp_path: Path, changes: dict[str, object]) -> None:
    original = load_language_model(make_tiny_llm(tmp_path / "hf", **changes))
    again = load_language_model(write(original, tmp_path / "model.gguf", dtype="f32"))
    before, after = original.network.state_dict(), again.network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    configs = [plain_config(model.network.config.to_dict()) for model in (original, again)]
    for key in ("vocab_size", "hidden_size", "num_hidden_layers", "num_key_value_heads", "head_dim", "rope_theta",
                "rms_norm_eps", "tie_word_embeddings", "max_position_embeddings", "eos_token_id"):
        assert configs[0][key] == configs[1][key], key
    assert again.metadata == original.metadata  # carried over whole


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
    ({"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0}}, "rotary embedding .'llama3'"),
    ({"rope_parameters": None, "rope_scaling": {"type": "linear", "factor": 2.0}}, "rotary embedding .'linear'"),
    ({"attention_bias": True}, "attention_bias = True"), ({"hidden_act": "gelu"}, "hidden_act = 'gelu'"),
    ({"model_type": "mamba"}, "of type 'mamba'; expected one of llama"), ({"vocab_size": 7}, "tokens, the model 7"),
])
def test_configs_that_cannot_be_written_are_refused(tiny: LanguageModel, tmp_path: Path, changes: dict[str, object],
                                                    message: str) -> None:
    with pytest.raises(TslrecError, match=message):
        write(tiny, tmp_path / "model.gguf", **changes)
    assert list(tmp_path.iterdir()) == []


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


@pytest.mark.parametrize("quant", QUANTS)
def test_every_quantisation_stays_close(tmp_path: Path, quant: str) -> None:
    model = load_language_model(make_tiny_llm(tmp_path / "hf", hidden_size=256, intermediate_size=256))
    source = write(model, tmp_path / "f32.gguf", dtype="f32")
    quantize(source, tmp_path / "small.gguf", quant, threads=1)
    state, original = read_gguf(tmp_path / "small.gguf").state, read_gguf(source).state
    name = "model.layers.0.mlp.gate_proj.weight"
    error = np.linalg.norm(state[name] - original[name]) / np.linalg.norm(original[name])
    assert 0 < error < (0.01 if quant in ("F16", "BF16", "Q8_0") else 0.12)
    assert (tmp_path / "small.gguf").stat().st_size < source.stat().st_size


def test_quantising_a_damaged_file_is_an_error(tiny: LanguageModel, tmp_path: Path) -> None:
    path = write(tiny, tmp_path / "model.gguf")
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(TslrecError, match="could not quantise .*model again as f16") as caught:
        quantize(path, tmp_path / "small.gguf", threads=1)
    assert "corrupted or incomplete" in str(caught.value)  # what llama.cpp said
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
