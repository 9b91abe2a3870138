"""llama.cpp's vectors of texts against transformers' of each text alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import llama_cpp
import numpy as np
import pytest

from tslrec_min.errors import TslrecError
from tslrec_min.finetuning.parity import compare_states
from tslrec_min.llm.encoders import Encoder, encoder_of
from tslrec_min.llm.engines import llama_engine
from tslrec_min.llm.engines.llama_encoder import LlamaEncoder
from tslrec_min.llm.model import load_encoder
from tslrec_min.llm.prompts import TokenPrompt
from tslrec_min.llm.resolve import resolve_model

from ...tiny_encoder import encoder_prompts, expected_vectors, make_tiny_encoder, save_bert


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def gguf(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bert(folder, tmp_path_factory.mktemp("gguf") / "bert.gguf")


@pytest.fixture(scope="module")
def encoder(gguf: Path) -> Encoder:
    found = encoder_of(resolve_model(gguf))
    assert found is not None
    return found


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_every_pooling_agrees_with_transformers(folder: Path, gguf: Path, encoder: Encoder, pooling: str) -> None:
    prompts = encoder_prompts(folder)
    expected = expected_vectors(load_encoder(folder), prompts, pooling, True)
    with LlamaEncoder(gguf, replace(encoder, pooling=pooling), threads=1) as engine:
        vectors = engine.embed(prompts)
    assert vectors.dtype == np.float32 and vectors.shape == (len(prompts), 64)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert compare_states(expected, vectors)["min_cosine"] > 0.9995
    with LlamaEncoder(gguf, replace(encoder, pooling=pooling, normalised=False), threads=1) as engine:
        plain = expected_vectors(load_encoder(folder), prompts, pooling, False)
        np.testing.assert_allclose(engine.embed(prompts), plain, atol=0.05 * np.abs(plain).max())


@pytest.mark.parametrize(("threads", "batch_tokens", "sequences"), [(1, 1, 64), (2, 40, 64), (3, 0, 2)])
def test_batches_and_threads_change_nothing_beyond_rounding(
        folder: Path, gguf: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch, threads: int, batch_tokens: int,
        sequences: int) -> None:
    prompts = encoder_prompts(folder)
    with LlamaEncoder(gguf, encoder, threads=1) as engine:
        alone = np.concatenate([engine.embed([prompt]) for prompt in prompts])
        np.testing.assert_array_equal(engine.embed(prompts)[::-1], engine.embed(prompts[::-1]))
    monkeypatch.setattr(llama_engine, "_MAX_SEQUENCES", sequences)
    with LlamaEncoder(gguf, encoder, threads=threads, batch_tokens=batch_tokens) as engine:
        np.testing.assert_allclose(engine.embed(prompts), alone, atol=2e-3)
        assert engine.describe()["attention"] == "not causal"


def test_a_text_longer_than_a_batch_and_then_a_longer_one(folder: Path, gguf: Path, encoder: Encoder) -> None:
    ids = np.random.default_rng(0).integers(5, 100, 120).tolist()
    prompts = [TokenPrompt((2, *ids[:length], 3), 0, length + 2) for length in (3, 70, 120)]
    expected = expected_vectors(load_encoder(folder), prompts, "mean", True)
    with LlamaEncoder(gguf, encoder, threads=2, batch_tokens=66) as engine:
        for count in (1, 2, 3):  # contexts grow
            assert compare_states(expected[:2], np.concatenate(
                [engine.embed(prompts[:count])[:1], engine.embed(prompts)[1:2]]))["min_cosine"] > 0.9995
        assert (engine.embed(prompts) * expected).sum(axis=1).min() > 0.9995
        with pytest.raises(TslrecError, match="prompt 0 has 129 tokens, the model reads at most 128"):
            engine.embed([TokenPrompt((2,) * 129, 0, 129)])


def test_autotuning_takes_a_size_that_it_timed(folder: Path, gguf: Path, encoder: Encoder) -> None:
    prompts = encoder_prompts(folder)
    with LlamaEncoder(gguf, encoder, threads=1, batch_tokens=100) as engine:
        before = engine.embed(prompts)
        rates = engine.autotune(prompts)
        assert set(rates) == {65, 100, 200, 400} and engine.describe()["batch_tokens"] in rates
        np.testing.assert_allclose(engine.embed(prompts), before, atol=2e-3)


def test_a_failed_batch_is_an_error_and_the_engine_goes_on(folder: Path, gguf: Path, encoder: Encoder,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = encoder_prompts(folder)
    with LlamaEncoder(gguf, encoder, threads=2, batch_tokens=66) as engine:
        before = engine.embed(prompts)
        bad = [*prompts, TokenPrompt((2, 10**6, 3), 0, 3)]  # no such token
        with pytest.raises(TslrecError, match="could not encode a batch .*invalid token"):
            engine.embed(bad)
        np.testing.assert_array_equal(engine.embed(prompts), before)
    with pytest.raises(ValueError, match="closed"):
        engine.embed(prompts)


@pytest.mark.skipif(llama_cpp.llama_supports_gpu_offload(), reason="this build can use a GPU")
def test_gpu_layers_without_gpu_support_warn(gguf: Path, encoder: Encoder, caplog: pytest.LogCaptureFixture) -> None:
    LlamaEncoder(gguf, encoder, threads=1, gpu_layers=-1).close()
    assert "no GPU support" in caplog.text
