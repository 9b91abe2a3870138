"""Fixtures that the test files of this folder share."""

from __future__ import annotations

import pytest

from tslrec_min.llm.model import LanguageModel, load_language_model

from ...tiny_llm import make_tiny_llm


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    return load_language_model(make_tiny_llm(tmp_path_factory.mktemp("tiny")))
