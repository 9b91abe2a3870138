"""The reference engine of encoders against each text alone, pooled here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from tslrec_min.errors import TslrecError
from tslrec_min.llm.encoders import encoder_of
from tslrec_min.llm.engines.torch_encoder import TorchEncoder
from tslrec_min.llm.model import load_encoder
from tslrec_min.llm.prompts import TokenPrompt
from tslrec_min.llm.resolve import resolve_model

from ...tiny_encoder import ENCODERS, encoder_prompts, expected_vectors, make_tiny_encoder


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize(("pooling", "normalised"), [("mean", True), ("cls", False), ("last", True)])
def test_it_follows_the_definition(tmp_path: Path, kind: str, pooling: str, normalised: bool) -> None:
    folder = make_tiny_encoder(tmp_path, kind=kind, pooling=pooling, normalised=normalised)
    encoder = encoder_of(resolve_model(folder))
    assert encoder is not None
    prompts = encoder_prompts(folder)
    expected = expected_vectors(AutoModel.from_pretrained(folder).eval(), prompts, pooling, normalised)
    for batch_tokens in (1, 60, 0):
        with TorchEncoder(load_encoder(folder), encoder, batch_tokens=batch_tokens) as engine:
            vectors = engine.embed(prompts)
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(vectors, expected, rtol=1e-4, atol=1e-5)


def test_bfloat16_vectors_are_near_those_of_float32_and_pooled_in_float32(tmp_path: Path) -> None:
    folder = make_tiny_encoder(tmp_path)
    encoder = encoder_of(resolve_model(folder))
    assert encoder is not None
    prompts = encoder_prompts(folder)
    exact, half = (TorchEncoder(load_encoder(folder, dtype), encoder) for dtype in (torch.float32, torch.bfloat16))
    assert half.describe()["precision"] == "bfloat16"
    cosines = (exact.embed(prompts) * half.embed(prompts)).sum(axis=1)
    assert 0.995 < cosines.min() < 1 and np.abs(np.linalg.norm(half.embed(prompts), axis=1) - 1).max() < 1e-6


def test_damaged_folders_are_refused(tmp_path: Path) -> None:
    folder = make_tiny_encoder(tmp_path)
    encoder = encoder_of(resolve_model(folder))
    assert encoder is not None
    weights = folder / "model.safetensors"
    state = load_file(weights)
    save_file({name: tensor for name, tensor in state.items() if "layer.1.output" not in name}, weights)
    with pytest.raises(TslrecError, match="lacks the weights encoder.layer.1.output"):
        load_encoder(folder)
    save_file({name: tensor for name, tensor in state.items() if "pooler" not in name}, weights)
    engine = TorchEncoder(load_encoder(folder), encoder)
    assert engine.embed([TokenPrompt((2, 5, 3), 0, 3)]).shape == (1, 64)  # nothing reads the pooler
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(TslrecError, match="can't be loaded"):
        load_encoder(folder)
    weights.unlink()
    with pytest.raises(TslrecError, match="has no .*safetensors"):
        load_encoder(folder)
