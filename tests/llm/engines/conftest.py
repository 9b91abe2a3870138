"""Fixtures that the test files of this folder share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tslrec_min.llm.engines.llama_engine import LlamaEngine
from tslrec_min.llm.model import LanguageModel

from .factories import save, with_few_sequences


@pytest.fixture(scope="session")
def tiny_gguf(tiny: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tiny, tmp_path_factory.mktemp("gguf") / "tiny.gguf", "F32")


@pytest.fixture(scope="session")
def engine(tiny_gguf: Path) -> LlamaEngine:
    return with_few_sequences(tiny_gguf, threads=1, batch_tokens=64)
