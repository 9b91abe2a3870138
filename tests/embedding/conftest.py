"""Fixtures that the test files of this folder share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tslrec_min.llm.engines.llama_engine import LlamaEngine
from tslrec_min.llm.model import load_language_model

from ..tiny_llm import save_gguf
from .factories import embed


@pytest.fixture(scope="session")
def gguf(llm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_gguf(load_language_model(llm), tmp_path_factory.mktemp("store-llm") / "tiny.gguf")


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
