"""Which engine opens which model."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tslrec_min.configs import EmbedConfig
from tslrec_min.embedding.engines import encoder_engine
from tslrec_min.embedding.store import Part
from tslrec_min.errors import TslrecError
from tslrec_min.finetuning.parity import compare_states
from tslrec_min.llm.encoders import POOLINGS, encoder_of
from tslrec_min.llm.engines.llama_encoder import fast_half
from tslrec_min.llm.gguf.metadata import number
from tslrec_min.llm.gguf.writer import write_gguf
from tslrec_min.llm.model import load_language_model
from tslrec_min.llm.resolve import resolve_model
from tslrec_min.storage.artifacts import read_json

from ..tiny_encoder import make_tiny_encoder, save_bert, write_modules
from ..tiny_llm import make_tiny_llm, make_tokenizer
from .factories import embed, files


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TSLREC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def vectors(path: Path) -> np.ndarray:
    return np.load(path / "item_embeddings.npy")[1:]


@pytest.mark.parametrize(("pooling", "normalised"), [("mean", True), ("cls", False)])
def test_both_engines_embed_alike_with_a_folder_and_its_file(cycle: Path, cache: Path, tmp_path: Path, pooling: str,
                                                             normalised: bool) -> None:
    folder = make_tiny_encoder(tmp_path / "encoder", pooling=pooling, normalised=normalised)
    embed(cycle, folder, tmp_path / "torch", EmbedConfig(engine="torch"))
    embed(cycle, folder, tmp_path / "llama", EmbedConfig(quant="F16"))
    embed(cycle, folder, tmp_path / "auto", EmbedConfig())
    chosen = read_json(tmp_path / "auto" / "embed.json")["engine_settings"]["precision"]
    assert chosen == fast_half(gpu=False) and fast_half(gpu=True) == "F16"
    assert compare_states(vectors(tmp_path / "torch"), vectors(tmp_path / "auto"))["min_cosine"] > 0.995
    file, = cache.glob("*-F16.gguf")
    embed(cycle, file, tmp_path / "file", EmbedConfig())
    assert compare_states(vectors(tmp_path / "torch"), vectors(tmp_path / "llama"))["min_cosine"] > 0.9995
    norms = {name: np.linalg.norm(vectors(tmp_path / name), axis=1) for name in ("torch", "llama", "file")}
    assert np.allclose(norms["file"], 1, atol=1e-6) and np.allclose(norms["torch"], norms["llama"], rtol=0.01)
    assert np.allclose(norms["torch"], 1, atol=1e-6) == normalised
    keys = [np.load(tmp_path / name / "prompts.npy") for name in ("torch", "llama", "file")]
    assert np.array_equal(keys[0], keys[1]) and np.array_equal(keys[0], keys[2])  # the same tokens
    about = read_json(tmp_path / "file" / "embed.json")
    assert about["encoder"]["pooling"] == pooling and about["engine_settings"]["attention"] == "not causal"


def test_shards_are_resumed_and_kept_with_llama_cpp_too(cycle: Path, cache: Path, tmp_path: Path) -> None:
    folder, config = make_tiny_encoder(tmp_path / "encoder"), EmbedConfig(shard_size=4)
    embed(cycle, folder, tmp_path / "whole", config)
    embed(cycle, folder, tmp_path / "parts", config, part=Part(1, 2))
    assert embed(cycle, folder, tmp_path / "parts", config, part=Part(0, 2)) == 0
    assert files(tmp_path / "parts") == files(tmp_path / "whole")
    embed(cycle, folder, tmp_path / "more", replace(config, autotune=True), append_to=tmp_path / "whole")
    assert read_json(tmp_path / "more" / "embed.json")["computed"] == 0


def test_a_gguf_file_of_an_encoder_is_embedded_without_torch(cycle: Path, tmp_path: Path) -> None:
    file = save_bert(make_tiny_encoder(tmp_path / "encoder"), tmp_path / "bert.gguf")
    words = ["embed", cycle, "--model", file, "-o", tmp_path / "e", "--prefix", "passage: ", "--threads", 1]
    code = (f"import sys\nfrom tslrec_min.cli import main\nmain({[*map(str, words)]}, standalone_mode=False)\n"
            "print(sorted({'torch', 'transformers'} & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    assert read_json(tmp_path / "e" / "embed.json")["encoder"]["prefix"] == "passage: "


def test_other_quantisations_are_made_and_kept(cycle: Path, cache: Path, tmp_path: Path) -> None:
    folder = make_tiny_encoder(tmp_path / "encoder", hidden_size=128, intermediate_size=256)
    for quant in ("F16", "Q8_0"):
        embed(cycle, folder, tmp_path / quant, EmbedConfig(quant=quant))
    half, = cache.glob("*-F16.gguf")
    embed(cycle, half, tmp_path / "again", EmbedConfig(quant="Q8_0"))
    assert np.array_equal(vectors(tmp_path / "again"), vectors(tmp_path / "Q8_0"))
    assert 0.99 < compare_states(vectors(tmp_path / "F16"), vectors(tmp_path / "Q8_0"))["min_cosine"] < 1 - 1e-7


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_causal_embedding_models_are_encoders(cycle: Path, tmp_path: Path, pooling: str) -> None:
    """As Qwen3-Embedding: a folder of sentence-transformers, and a .gguf file that names the pooling."""
    folder = make_tiny_llm(tmp_path / "llm", architecture="qwen3", tokenizer=make_tokenizer(eos=True))
    model = load_language_model(folder)
    metadata = {**model.metadata, "qwen3.pooling_type": number(POOLINGS[pooling])}
    write_gguf(tmp_path / "model.gguf", model.network, model.network.config.to_dict(), metadata)
    write_modules(folder, pooling)
    for name, path, engine in (("file", tmp_path / "model.gguf", "llama"), ("llama", folder, "llama"),
                               ("torch", folder, "torch")):
        embed(cycle, path, tmp_path / name, EmbedConfig(engine=engine))
    for name in ("file", "llama"):
        assert compare_states(vectors(tmp_path / "torch"), vectors(tmp_path / name))["min_cosine"] > 0.9995
        assert np.allclose(np.linalg.norm(vectors(tmp_path / name), axis=1), 1, atol=1e-6)
        assert read_json(tmp_path / name / "embed.json")["encoder"]["causal"] is True


def test_an_encoder_that_cannot_be_converted_is_refused(cycle: Path, cache: Path, tmp_path: Path) -> None:
    folder = make_tiny_encoder(tmp_path / "encoder", kind="distilbert")
    with pytest.raises(TslrecError, match="encoder of type 'distilbert'; tslrec converts only 'bert' .*--engine torch"):
        embed(cycle, folder, tmp_path / "e", EmbedConfig())
    assert not list(cache.glob("*.gguf"))


def test_torch_reads_no_gguf_file_of_an_encoder(tmp_path: Path) -> None:
    model = resolve_model(make_tiny_encoder(tmp_path))
    encoder = encoder_of(model)
    assert encoder is not None
    gguf = replace(model, kind="gguf", path=tmp_path / "model.gguf")
    with pytest.raises(TslrecError, match="model.gguf is the .gguf file of an encoder, which only llama.cpp reads"):
        encoder_engine(gguf, encoder, EmbedConfig(engine="torch"), "cpu", 1)
