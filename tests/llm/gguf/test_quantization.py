from __future__ import annotations

import os
from pathlib import Path

import llama_cpp
import numpy as np
import pytest

from tslrec_min.errors import TslrecError
from tslrec_min.llm.gguf import quantization
from tslrec_min.llm.gguf.quantization import LLAMA_TYPES, quant_for_speed, quantize
from tslrec_min.llm.gguf.reader import read_gguf
from tslrec_min.llm.model import LanguageModel, load_language_model

from ...tiny_llm import make_tiny_llm, save_gguf


@pytest.mark.parametrize("quant", LLAMA_TYPES)
def test_every_quantisation_stays_close(tmp_path: Path, quant: str) -> None:
    model = load_language_model(make_tiny_llm(tmp_path / "hf", hidden_size=256, intermediate_size=256))
    source = save_gguf(model, tmp_path / "f16.gguf")
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
    source = save_gguf(model, tmp_path / "f16.gguf")
    monkeypatch.setitem(quantization.LLAMA_TYPES, "Q4_1", llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_1)
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
    path = save_gguf(tiny, tmp_path / "model.gguf")
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(TslrecError, match="damaged or cut off"):
        quantize(path, tmp_path / "small.gguf", threads=1)
    assert [file.name for file in tmp_path.iterdir()] == ["model.gguf"]
    with pytest.raises(TslrecError, match="expected one of F16"):
        quantize(path, tmp_path / "small.gguf", "Q9", threads=1)
