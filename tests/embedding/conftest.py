"""Fixtures that the test files of this folder share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tslrec_min.llm.engines.llama_engine import LlamaEngine
from tslrec_min.llm.gguf.writer import write_gguf
from tslrec_min.llm.model import load_language_model

from ..tiny_llm import make_tiny_llm
from .factories import embed


@pytest.fixture(scope="session")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store-llm")
    model = load_language_model(make_tiny_llm(folder / "hf"))
    write_gguf(folder / "tiny.gguf", model.network, model.network.config.to_dict(), model.metadata)
    return folder / "tiny.gguf"


@pytest.fixture(scope="session")
def whole(cycle: Path, gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Embeddings by one undisturbed process."""
    out = tmp_path_factory.mktemp("whole") / "embed"
    assert embed(cycle, gguf, out) == 0
    return out


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of prompts in each call of the engine from now on."""
    calls: list[int] = []
    original = LlamaEngine.embed

    def counted(self: LlamaEngine, prompts: list) -> np.ndarray:
        calls.append(len(prompts))
        return original(self, prompts)

    monkeypatch.setattr(LlamaEngine, "embed", counted)
    return calls
