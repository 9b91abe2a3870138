"""Which engine opens which model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tslrec_min.configs import EmbedConfig
from tslrec_min.embedding.engines import encoder_engine
from tslrec_min.errors import TslrecError
from tslrec_min.llm.encoders import encoder_of
from tslrec_min.llm.resolve import resolve_model

from ..tiny_encoder import make_tiny_encoder


def test_torch_reads_no_gguf_file_of_an_encoder(tmp_path: Path) -> None:
    model = resolve_model(make_tiny_encoder(tmp_path))
    encoder = encoder_of(model)
    assert encoder is not None
    gguf = replace(model, kind="gguf", path=tmp_path / "model.gguf")
    with pytest.raises(TslrecError, match="model.gguf is the .gguf file of an encoder, which only llama.cpp reads"):
        encoder_engine(gguf, encoder, EmbedConfig(engine="torch"), "cpu", 1)
