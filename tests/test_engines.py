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
from tslrec_min.llm.gguf import quantization
from tslrec_min.llm.gguf.quantization import quantize
from tslrec_min.llm.gguf.writer import write_gguf
from tslrec_min.llm.model import LanguageModel, last_hidden_states, load_language_model
from tslrec_min.llm.packed_decoder import PackedDecoder
from tslrec_min.llm.packing import PackedBatch, packed_batches, shared_prefix
from tslrec_min.llm.prompts import PromptTemplate, TokenPrompt

from .tiny_llm import ARCHITECTURES, GEMMA3, make_tiny_llm

TITLES = ["Toy Story (1995)", "The Matrix (1999)", "Amélie (2001)", "Star Wars", "千と千尋の神隠し", "Alien",
          "The Godfather", "Heat (1995)", "A", "Monty Python and the Holy Grail (1974)", "Fargo", "Brazil (1985)",
          "Das Boot", "Vertigo", "Psycho (1960)", "Rear Window", "Se7en", "12 Monkeys", "Casablanca", "Chinatown"]
SPANS = [PromptTemplate(pooling="mean"), PromptTemplate(pooling="last"), PromptTemplate(prefix="", pooling="mean")]


def save(model: LanguageModel, path: Path, quant: str = "F16") -> Path:
    """Write a model; llama.cpp makes files of other types of the f16 one, which has the weights exactly."""
    write_gguf(path, model.network, model.network.config.to_dict(), model.metadata)
    if quant == "F16":
        return path
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(quantization.QUANTS, "F32", llama_cpp.LLAMA_FTYPE_ALL_F32)
        quantize(path, path.with_name(f"{quant}.gguf"), quant, threads=1)
    return path.with_name(f"{quant}.gguf")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    return load_language_model(make_tiny_llm(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="module")
def tiny_gguf(tiny: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tiny, tmp_path_factory.mktemp("gguf") / "tiny.gguf", "F32")


@pytest.fixture(scope="module")
def engine(tiny_gguf: Path) -> LlamaEngine:
    return with_few_sequences(tiny_gguf, threads=1, batch_tokens=64)


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


@pytest.mark.parametrize("template", SPANS)
@pytest.mark.parametrize("batch_tokens", [1, 100, 4096])
def test_torch_engine_follows_the_definition(tiny: LanguageModel, template: PromptTemplate,
                                             batch_tokens: int) -> None:
    prompts = prompts_of(tiny, template)
    states = TorchEngine(tiny.network, batch_tokens=batch_tokens).embed(prompts)
    assert states.dtype == np.float32
    np.testing.assert_allclose(states, expected_states(tiny, prompts), rtol=1e-4, atol=1e-5)


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

    def decode(self: LlamaEngine, context: object, tokens: llama_engine._Tokens, log: object) -> np.ndarray:
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


def test_bfloat16_states_are_near_those_of_float32(tmp_path: Path) -> None:
    model = load_language_model(make_tiny_llm(tmp_path))
    prompts = prompts_of(model)
    expected = expected_states(model, prompts)
    engine = TorchEngine(model.network, dtype=torch.bfloat16)
    assert engine.describe()["precision"] == "bfloat16"
    states = engine.embed(prompts)
    assert states.dtype == np.float32
    assert compare_states(expected, states)["min_cosine"] > 0.999  # 8 bits of mantissa, two layers


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


def test_identical_prompts_get_identical_rows(tiny: LanguageModel, engine: LlamaEngine) -> None:
    prompts = prompts_of(tiny)
    states = engine.embed([prompts[3], prompts[0], prompts[3]])
    np.testing.assert_array_equal(states[0], states[2])
    assert not np.array_equal(states[0], states[1])


def test_prompts_longer_than_a_batch_are_decoded_in_parts(tiny: LanguageModel, engine: LlamaEngine) -> None:
    ids = tuple(np.random.default_rng(1).integers(3, 300, size=200).tolist())
    prompts = [TokenPrompt(ids, 10, 200), TokenPrompt(ids, 199, 200), *prompts_of(tiny)]
    report = compare_states(expected_states(tiny, prompts), engine.embed(prompts))
    assert report["min_cosine"] > 0.999


def test_prompt_longer_than_the_context_is_refused(tiny: LanguageModel, engine: LlamaEngine) -> None:
    prompt = TokenPrompt(tuple([5] * 257), 256, 257)
    for one in (engine, TorchEngine(tiny.network)):
        with pytest.raises(TslrecError, match="prompt 0 has 257 tokens, the model reads at most 256"):
            one.embed([prompt])


@pytest.mark.parametrize("span", [(0, 0), (2, 1), (-1, 2), (0, 4)])
def test_bad_spans_are_refused(engine: LlamaEngine, span: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="expected at least one token inside the prompt"):
        engine.embed([TokenPrompt((5, 6, 7), *span)])


def test_no_prompts_give_no_rows(tiny: LanguageModel, engine: LlamaEngine) -> None:
    assert engine.embed([]).shape == TorchEngine(tiny.network).embed([]).shape == (0, 64)


def test_shared_prefix_is_what_all_prompts_begin_with() -> None:
    one = TokenPrompt((1, 2, 3, 4), 3, 4)
    assert shared_prefix([one]) == 0
    assert shared_prefix([one, TokenPrompt((1, 2, 3, 5, 6), 4, 5)]) == 3
    assert shared_prefix([one, TokenPrompt((1, 2), 0, 2)]) == 2  # up to the end of a prompt
    assert shared_prefix([one, TokenPrompt((7, 2, 3), 2, 3)]) == 0


def packed(sequences: list[tuple[int, ...]], prefix: int, tokens: int = 99, prompts: int = 99) -> list[PackedBatch]:
    spans = [TokenPrompt(ids, 0, len(ids)) for ids in sequences]
    return list(packed_batches(spans, prefix, tokens, prompts))


def test_packed_batches_hold_shared_tokens_once() -> None:
    batch, = packed([(9, 1), (9, 1, 2, 3), (9, 1, 2, 4), (9, 5, 2)], prefix=1)
    assert batch.tokens.tolist() == [1, 2, 3, 4, 5, 2]
    assert batch.positions.tolist() == [1, 2, 3, 3, 1, 2]
    assert batch.first.tolist() == [0, 1, 1, 2, 3, 3]
    assert batch.stop.tolist() == [3, 3, 2, 3, 4, 4]
    assert [span.tolist() for span in batch.spans] == [[0, 1], [0, 1, 2, 3], [0, 1, 2, 4], [0, 5, 6]]
    parents = [(0,), (0, 1), (0, 1, 2), (0, 1, 3), (4,), (4, 5)]
    assert [tuple(np.flatnonzero(row)) for row in batch.paths()] == parents


def test_packed_batches_respect_both_limits() -> None:
    ids = [(1, 2), (1, 2, 3), (1, 4), (5, 6, 7)]
    assert [batch.rows for batch in packed(ids, 0)] == [slice(0, 4)]
    assert [batch.tokens.tolist() for batch in packed(ids, 0, tokens=4)] == [[1, 2, 3, 4], [5, 6, 7]]
    assert [batch.tokens.tolist() for batch in packed(ids, 0, prompts=2)] == [[1, 2, 3], [1, 4, 5, 6, 7]]
    assert [batch.tokens.tolist() for batch in packed(ids, 0, tokens=1)] == [[1, 2], [1, 2, 3], [1, 4], [5, 6, 7]]
    assert packed([], 0) == []


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


def test_states_that_are_not_finite_are_an_error(tmp_path: Path) -> None:
    network = load_language_model(make_tiny_llm(tmp_path)).network
    with torch.no_grad():
        network.model.embed_tokens.weight[7] = float("nan")
    prompts = [TokenPrompt((5, 6, 8, 9), 1, 2), TokenPrompt((5, 7), 1, 2)]
    with pytest.raises(TslrecError, match="not finite, first for prompt 1"):
        TorchEngine(network).embed(prompts)


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
