"""Embedding engines: llama.cpp against torch, and neither against the order or company of prompts."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

import llama_cpp
import numpy as np
import pytest
import torch

from tslrec_min.errors import TslrecError
from tslrec_min.finetuning.parity import compare_states
from tslrec_min.llm.engines import llama_engine
from tslrec_min.llm.engines.llama_engine import LlamaEngine
from tslrec_min.llm.engines.torch_engine import TorchEngine
from tslrec_min.llm.gguf.quantization import quantize
from tslrec_min.llm.model import LanguageModel, load_language_model
from tslrec_min.llm.packed_decoder import PackedDecoder
from tslrec_min.llm.packing import shared_prefix
from tslrec_min.llm.prompts import PromptTemplate, TokenPrompt

from ...tiny_llm import ARCHITECTURES, GEMMA3, make_tiny_llm
from .factories import SPANS, expected_states, prompts_of, save, with_few_sequences


@pytest.mark.parametrize("template", SPANS)
@pytest.mark.parametrize("dtype", ["F32", "F16"])
def test_llama_engine_agrees_with_torch(tiny: LanguageModel, tmp_path: Path, template: PromptTemplate,
                                        dtype: str) -> None:
    prompts = prompts_of(tiny, template)
    with LlamaEngine(save(tiny, tmp_path / "model.gguf", dtype), threads=1) as engine:
        report = compare_states(expected_states(tiny, prompts), engine.embed(prompts))
    assert report["min_cosine"] > 0.999
    assert report["neighbour_overlap_10"] > 0.9


@pytest.mark.parametrize("changes", [{"tied": False}, {"head_dim": 32}, {"num_key_value_heads": 4}])
def test_other_shapes_agree_with_torch(tmp_path: Path, changes: dict[str, object]) -> None:
    model = load_language_model(make_tiny_llm(tmp_path / "hf", **changes))
    prompts = prompts_of(model)
    with LlamaEngine(save(model, tmp_path / "model.gguf"), threads=1) as engine:
        assert compare_states(expected_states(model, prompts), engine.embed(prompts))["min_cosine"] > 0.999


def test_states_have_the_models_scale(tiny: LanguageModel, engine: LlamaEngine) -> None:
    prompts = prompts_of(tiny)
    np.testing.assert_allclose(engine.embed(prompts), expected_states(tiny, prompts), atol=0.02)


@pytest.fixture
def in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let llama.cpp compute in float32: its flash attention rounds, and differently by batch size."""
    def parameters_of(self: LlamaEngine, cells: int, threads: int) -> object:
        parameters = original(self, cells, threads)
        parameters.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
        parameters.type_k = parameters.type_v = llama_cpp.GGML_TYPE_F32
        return parameters

    original = LlamaEngine._context_parameters
    monkeypatch.setattr(LlamaEngine, "_context_parameters", parameters_of)


@functools.cache
def long_prompts() -> list[TokenPrompt]:
    """Two or more times as long as gemma3's window here, pooled at the last token and over a span."""
    random = np.random.default_rng(0)
    prefix = random.integers(3, 300, size=40).tolist()
    prompts = []
    for length in (20, 50, 90, 35):
        ids = (*prefix, *random.integers(3, 300, size=length).tolist())
        prompts += [TokenPrompt(ids, len(ids) - 1, len(ids)), TokenPrompt(ids, 45, len(ids) - 3)]
    assert min(len(prompt.token_ids) for prompt in prompts) > 2 * GEMMA3["sliding_window"] and shared_prefix(prompts)
    return prompts


def largest_error(expected: np.ndarray, states: np.ndarray) -> float:
    """Return the largest difference, in units of the largest state."""
    return float(np.abs(states - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.usefixtures("in_float32")
def test_architectures_are_llama_cpps_own(tmp_path: Path, architecture: str) -> None:
    model = load_language_model(make_tiny_llm(tmp_path / "hf", architecture=architecture))
    with LlamaEngine(save(model, tmp_path / "model.gguf", "F32"), threads=1) as engine:
        states = engine.embed(long_prompts())
    bound = 1e-3 if architecture == "gemma3" else 2e-5  # llama.cpp looks GELU up in a table of float16
    assert largest_error(expected_states(model, long_prompts()), states) < bound


@pytest.mark.usefixtures("in_float32")
def test_gemma3_without_the_rounding_of_gelu(tmp_path: Path) -> None:
    class Table(torch.nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.gelu(inputs.half().float(), approximate="tanh").half().float()

    model = load_language_model(make_tiny_llm(tmp_path / "hf", architecture="gemma3"))
    for layer in model.network.model.layers:
        layer.mlp.act_fn = Table()
    with LlamaEngine(save(model, tmp_path / "model.gguf", "F32"), threads=1) as engine:
        # Inputs on the edge between two float16 are rounded one way or the other: with such a table, embeddings that
        # differ by 1e-6 move these states by 1.1e-4 to 1.5e-4 in torch alone, without it by 3e-6. Here: 2.3e-4 (AVX2).
        assert largest_error(expected_states(model, long_prompts()), engine.embed(long_prompts())) < 3e-4


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_architectures_stay_close_in_half_precision(tmp_path: Path, architecture: str, dtype: str) -> None:
    model = load_language_model(make_tiny_llm(tmp_path / "hf", architecture=architecture))
    with LlamaEngine(save(model, tmp_path / "model.gguf", dtype), threads=1) as engine:
        report = compare_states(expected_states(model, long_prompts()), engine.embed(long_prompts()))
    assert report["min_cosine"] > (0.9999 if dtype == "F16" else 0.998)


@pytest.mark.parametrize("template", SPANS[:2])
@pytest.mark.usefixtures("in_float32")
def test_sharing_the_prefix_changes_nothing(tiny: LanguageModel, tiny_gguf: Path, template: PromptTemplate) -> None:
    prompts = prompts_of(tiny, template)
    stranger = TokenPrompt((299, *prompts[0].token_ids), 1, 2)  # with it, the prompts have no first token in common
    assert shared_prefix([*prompts, stranger]) == 0 < shared_prefix(prompts)
    with LlamaEngine(tiny_gguf, threads=1) as engine:
        unshared = engine.embed([*prompts, stranger])[:-1]
        alone = np.concatenate([engine.embed([prompt]) for prompt in prompts])
        shared = engine.embed(prompts)
    np.testing.assert_allclose(shared, unshared, rtol=0, atol=1e-4)
    np.testing.assert_allclose(shared, alone, rtol=0, atol=1e-4)


@pytest.mark.parametrize("threads", [2, 40])  # 40: more than batches, so that contexts have several threads each
def test_threads_change_nothing_beyond_rounding(tiny: LanguageModel, tiny_gguf: Path, threads: int) -> None:
    prompts = prompts_of(tiny)
    states = []
    for count in (1, threads):
        with with_few_sequences(tiny_gguf, threads=count, batch_tokens=64) as engine:
            states.append(engine.embed(prompts))
            threads_of = [llama_cpp.llama_n_threads(context) for context in engine._contexts]
    assert sum(threads_of) <= threads
    assert 1 < len(threads_of) <= 5  # 21 prompts, 5 at once
    np.testing.assert_allclose(states[0], states[1], rtol=0, atol=1e-5)


def test_a_failed_decode_is_an_error_and_the_engine_goes_on(tiny: LanguageModel, engine: LlamaEngine,
                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    prompts, failed = prompts_of(tiny), []
    before = engine.embed(prompts)
    original = LlamaEngine._decode

    def decode(self: LlamaEngine, context: object, tokens: llama_engine.Tokens, log: object) -> np.ndarray:
        states = original(self, context, tokens, log)
        if tokens.first.any():  # not the prefix
            failed.append(len(states))
            raise TslrecError("could not decode")
        return states

    with monkeypatch.context() as patch, pytest.raises(TslrecError, match="could not decode"):
        patch.setattr(LlamaEngine, "_decode", decode)
        engine.embed(prompts)  # one context, several batches
    assert failed
    np.testing.assert_array_equal(engine.embed(prompts), before)


def test_autotuning_takes_a_size_that_it_timed_and_keeps_the_states(tiny: LanguageModel, tiny_gguf: Path) -> None:
    prompts = prompts_of(tiny)
    with with_few_sequences(tiny_gguf, threads=1, batch_tokens=32) as llama:
        for engine in (llama, TorchEngine(tiny.network, batch_tokens=32)):
            before = engine.embed(prompts)
            rates = engine.autotune(prompts)
            assert set(rates) == {16, 32, 64, 128} and min(rates.values()) > 0
            chosen = engine.describe()["batch_tokens"]
            assert chosen == 32 or rates[chosen] > rates[32]
            assert compare_states(before, engine.embed(prompts))["min_cosine"] > 1 - 1e-4


def test_llama_engine_loads_neither_torch_nor_transformers() -> None:
    code = ("import sys, tslrec_min.llm.engines.llama_engine\n"
            "print(sorted({'torch', 'transformers'} & set(sys.modules)))")
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"


def test_company_changes_nothing_beyond_rounding(tiny: LanguageModel, engine: LlamaEngine) -> None:
    prompts = prompts_of(tiny)
    alone = np.concatenate([engine.embed([prompt]) for prompt in prompts])
    # llama.cpp's flash attention has another kernel for small batches, which sums in float16
    assert compare_states(alone, engine.embed(prompts))["min_cosine"] > 1 - 1e-4


def test_order_changes_nothing(tiny: LanguageModel, engine: LlamaEngine) -> None:
    prompts = prompts_of(tiny)
    order = np.random.default_rng(0).permutation(len(prompts))
    shuffled = engine.embed([prompts[index] for index in order])
    np.testing.assert_array_equal(shuffled, engine.embed(prompts)[order])  # the same batches, so the same bits


def test_prompts_longer_than_a_batch_are_decoded_in_parts(tiny: LanguageModel, engine: LlamaEngine) -> None:
    ids = tuple(np.random.default_rng(1).integers(3, 300, size=200).tolist())
    prompts = [TokenPrompt(ids, 10, 200), TokenPrompt(ids, 199, 200), *prompts_of(tiny)]
    report = compare_states(expected_states(tiny, prompts), engine.embed(prompts))
    assert report["min_cosine"] > 0.999


@pytest.mark.parametrize("span", [(0, 0), (2, 1), (-1, 2), (0, 4)])
def test_bad_spans_are_refused(engine: LlamaEngine, span: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="expected at least one token inside the prompt"):
        engine.embed([TokenPrompt((5, 6, 7), *span)])


def test_logits_are_not_computed(tiny: LanguageModel, tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paused = []

    @llama_cpp.ggml_backend_sched_eval_callback
    def recorder(tensor: int, ask: bool, data: int) -> bool:
        wanted = llama_engine._tensor_name(tensor) == llama_engine._RESULT
        paused.extend([ask] if wanted else [])
        return ask and wanted

    monkeypatch.setattr(llama_engine, "_stop_after_states", recorder)
    with LlamaEngine(tiny_gguf, threads=1) as one:
        one.embed(prompts_of(tiny)[:1])
    assert paused == [True, False]  # the tensor has the expected name and the rest was called off


def test_cut_off_file_is_an_error_without_noise(tiny_gguf: Path, tmp_path: Path,
                                                capfd: pytest.CaptureFixture[str]) -> None:
    data = tiny_gguf.read_bytes()
    for size in (0, 10, 1000, len(data) // 2, len(data) - 1000):
        (tmp_path / "cut.gguf").write_bytes(data[:size])
        with pytest.raises(TslrecError, match="cut.gguf .*get it again"):
            LlamaEngine(tmp_path / "cut.gguf", threads=1)
    with pytest.raises(TslrecError, match="does not exist"):
        LlamaEngine(tmp_path / "absent.gguf", threads=1)
    assert capfd.readouterr() == ("", "")


def test_engine_is_quiet_and_closes(tiny: LanguageModel, tiny_gguf: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with LlamaEngine(tiny_gguf, threads=1) as one:
        one.embed(prompts_of(tiny)[:2])
    assert capfd.readouterr() == ("", "")
    one.close()  # twice is fine
    with pytest.raises(ValueError, match="closed"):
        one.embed(prompts_of(tiny)[:2])


@pytest.mark.skipif(llama_cpp.llama_supports_gpu_offload(), reason="this build can use a GPU")
def test_gpu_layers_without_gpu_support_warn(tiny_gguf: Path, caplog: pytest.LogCaptureFixture) -> None:
    with LlamaEngine(tiny_gguf, threads=1, gpu_layers=-1) as one:
        assert one.describe()["gpu_offload"] is False
    assert "no GPU support" in caplog.text and [record.levelname for record in caplog.records] == ["WARNING"]
    caplog.clear()
    LlamaEngine(tiny_gguf, threads=1).close()
    assert not caplog.records


@pytest.mark.llm
@pytest.mark.parametrize("name", ["smollm2-135m", "gemma3-270m"])
def test_real_models_agree_with_torch(tmp_path: Path, name: str) -> None:
    model = load_language_model(name)
    prompts = prompts_of(model)[::3]
    reference = TorchEngine(model.network).embed(prompts)
    with torch.no_grad():
        packed = PackedDecoder(model.network).pooled_states(prompts).numpy()
    np.testing.assert_allclose(packed, reference, atol=1e-4 * np.abs(reference).max())
    half = save(model, tmp_path / "f16.gguf")
    quantize(half, tmp_path / "q8.gguf", "Q8_0", threads=2)
    for path, least in ((half, 0.998), (tmp_path / "q8.gguf", 0.995)):
        with LlamaEngine(path, threads=min(2, os.cpu_count() or 1)) as engine:
            assert compare_states(reference, engine.embed(prompts))["mean_cosine"] >= least
