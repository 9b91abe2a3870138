"""The first layers of a model: what they compute is what the whole model has computed up to there."""

from __future__ import annotations

import os
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch

from tslrec_min.errors import TslrecError
from tslrec_min.llm.engines.llama_engine import LlamaEngine
from tslrec_min.llm.engines.torch_engine import TorchEngine
from tslrec_min.llm.gguf.cut import cut_layers
from tslrec_min.llm.gguf.quantization import quantize
from tslrec_min.llm.gguf.tokenizer import load_tokenizer
from tslrec_min.llm.model import load_language_model
from tslrec_min.llm.prompts import PromptTemplate
from tslrec_min.llm.resolve import resolve_model
from tslrec_min.storage.artifacts import sha256_of_file

from ...tiny_llm import ARCHITECTURES, make_tiny_llm, save_gguf

TITLES = [["The Matrix (1999)"], ["Toy Story"], ["Amélie"]]


def whole_model(folder: Path, architecture: str = "llama", **changes: object) -> Path:
    """Write a tiny model as a GGUF."""
    model = load_language_model(make_tiny_llm(folder / "hf", architecture=architecture, **changes))
    save_gguf(model, folder / "whole.gguf")
    return folder / "whole.gguf"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_states_are_those_of_the_layer(tmp_path: Path, architecture: str) -> None:
    path = whole_model(tmp_path, architecture, num_hidden_layers=7)
    whole = load_language_model(path)
    prompt, = PromptTemplate().tokenize_all(TITLES[:1], whole.tokenizer)
    with torch.inference_mode():
        ids = torch.tensor([prompt.token_ids])
        states = whole.network.model(input_ids=ids, output_hidden_states=True).hidden_states[6]
        expected = whole.network.model.norm(states)[0, prompt.pool_start:prompt.pool_stop].mean(dim=0).numpy()
    cut_layers(path, tmp_path / "cut.gguf", 6)
    cut = load_language_model(tmp_path / "cut.gguf")
    assert cut.network.config.num_hidden_layers == 6
    np.testing.assert_allclose(TorchEngine(cut.network).embed([prompt])[0], expected, rtol=1e-4, atol=1e-5)
    with LlamaEngine(tmp_path / "cut.gguf", threads=1) as engine:
        difference = np.abs(engine.embed([prompt])[0] - expected).max()
    assert difference <= 5e-3 * np.abs(expected).max()  # llama.cpp keeps keys and values in f16


def test_tensors_and_metadata_are_copied_as_they_are(tmp_path: Path) -> None:
    quantize(whole_model(tmp_path, hidden_size=256, intermediate_size=256), tmp_path / "q.gguf", "Q4_K_M", threads=1)
    cut_layers(tmp_path / "q.gguf", tmp_path / "cut.gguf", 1)
    whole, cut = gguf.GGUFReader(tmp_path / "q.gguf"), gguf.GGUFReader(tmp_path / "cut.gguf")
    before = {tensor.name: tensor for tensor in whole.tensors}
    assert {tensor.name for tensor in cut.tensors} == {name for name in before if not name.startswith("blk.1.")}
    for tensor in cut.tensors:
        assert tensor.tensor_type == before[tensor.name].tensor_type
        np.testing.assert_array_equal(tensor.data, before[tensor.name].data)
    changed = {key for key, field in whole.fields.items() if not key.startswith("GGUF.")
               and field.contents() != cut.fields[key].contents()}
    assert changed == {"llama.block_count"}


def test_all_layers_are_the_whole_model(tmp_path: Path) -> None:
    path = whole_model(tmp_path)
    cut_layers(path, tmp_path / "cut.gguf", 2)
    prompts = PromptTemplate().tokenize_all(TITLES, load_tokenizer(path))
    whole, cut = (TorchEngine(load_language_model(file).network).embed(prompts)
                  for file in (path, tmp_path / "cut.gguf"))
    np.testing.assert_array_equal(whole, cut)


def test_a_number_of_layers_is_part_of_a_model_s_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TSLREC_CACHE", str(tmp_path / "cache"))
    path = whole_model(tmp_path)
    resolved = resolve_model(f"{path}:1")
    assert (resolved.kind, resolved.name) == ("gguf", "whole:1") and resolved.path.parent == tmp_path / "cache"
    assert resolved.hash == sha256_of_file(resolved.path) != resolve_model(path).hash
    kept = resolved.path.read_bytes()
    os.truncate(resolved.path, 1000)  # damaged in the cache: made again
    assert resolve_model(f"{path}:1").path.read_bytes() == kept
    assert load_language_model(f"{path}:1").network.config.num_hidden_layers == 1


@pytest.mark.parametrize("layers", [0, 3])
def test_layers_that_a_model_lacks_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layers: int) -> None:
    monkeypatch.setenv("TSLREC_CACHE", str(tmp_path / "cache"))
    path = whole_model(tmp_path)
    with pytest.raises(TslrecError, match=f"{layers} layers of whole.gguf are asked for, which has 2; give 1 to 2"):
        resolve_model(f"{path}:{layers}")
    assert not list((tmp_path / "cache").iterdir())


def test_models_that_are_no_gguf_are_refused(tmp_path: Path) -> None:
    folder = make_tiny_llm(tmp_path / "hf")
    with pytest.raises(TslrecError, match="in the format of transformers; write it as a .gguf first"):
        resolve_model(f"{folder}:1")
    (tmp_path / "damaged.gguf").write_bytes(b"GGUF" + bytes(10))
    with pytest.raises(TslrecError, match="damaged or cut off"):
        cut_layers(tmp_path / "damaged.gguf", tmp_path / "cut.gguf", 1)
