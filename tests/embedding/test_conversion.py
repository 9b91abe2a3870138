"""Encoders as .gguf files in the cache: made once, and checked against the model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tslrec_min.configs import QUANTS
from tslrec_min.embedding.conversion import gguf_of_encoder
from tslrec_min.errors import TslrecError
from tslrec_min.llm.encoders import Encoder, encoder_of
from tslrec_min.llm.resolve import ResolvedModel, resolve_model

from ..tiny_encoder import make_tiny_encoder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TSLREC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def described(folder: Path) -> tuple[ResolvedModel, Encoder]:
    model = resolve_model(folder)
    encoder = encoder_of(model)
    assert encoder is not None
    return model, encoder


def test_a_file_is_made_once_and_again_if_it_is_damaged(cache: Path, tmp_path: Path) -> None:
    model, encoder = described(make_tiny_encoder(tmp_path / "encoder", hidden_size=128, intermediate_size=128))
    path = gguf_of_encoder(model, encoder, "Q8_0", threads=1)
    assert path.parent == cache and path.name.endswith("-encoder-Q8_0.gguf")
    assert len(list(cache.glob("*.gguf"))) == 2  # made of the F16 file
    contents, made = path.read_bytes(), path.stat().st_mtime_ns
    assert gguf_of_encoder(model, encoder, "Q8_0", threads=1) == path and path.stat().st_mtime_ns == made
    path.write_bytes(contents[:-100])
    assert gguf_of_encoder(model, encoder, "Q8_0", threads=1).read_bytes() == contents


def test_files_of_other_weights_and_poolings_are_others(cache: Path, tmp_path: Path) -> None:
    model, encoder = described(make_tiny_encoder(tmp_path / "encoder"))
    named = replace(model, name="owner/encoder")
    paths = {gguf_of_encoder(named, encoder, "F16", threads=1)}
    (model.path / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": "cls"}))
    paths.add(gguf_of_encoder(*described(model.path), "F16", threads=1))
    paths.add(gguf_of_encoder(*described(make_tiny_encoder(tmp_path / "other" / "encoder", seed=1)), "F16", threads=1))
    assert len(paths) == 3 and all(path.parent == cache for path in paths)
    assert [encoder_of(resolve_model(path)).pooling for path in sorted(paths)].count("cls") == 1


def test_a_file_with_other_vectors_is_an_error_and_not_kept(cache: Path, tmp_path: Path,
                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    model, encoder = described(make_tiny_encoder(tmp_path / "encoder", hidden_size=128, intermediate_size=128))
    monkeypatch.setitem(QUANTS, "Q4_0", 0.99999)
    for _ in range(2):
        with pytest.raises(TslrecError, match="encoder as Q4_0 differs too much .* 0.9.*, expected at least 0.99999"):
            gguf_of_encoder(model, encoder, "Q4_0", threads=1)
    assert [path.name.rpartition("-")[2] for path in cache.glob("*.gguf")] == ["F16.gguf"]


def test_a_cache_that_cannot_be_written_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TSLREC_CACHE", str(tmp_path / "file"))
    with pytest.raises(TslrecError, match="can't be written: .*set TSLREC_CACHE"):
        gguf_of_encoder(*described(make_tiny_encoder(tmp_path / "encoder")), "F16", threads=1)
