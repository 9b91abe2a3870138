from __future__ import annotations

import dataclasses
from pathlib import Path

from tslrec_min.llm.gguf.reader import read_metadata
from tslrec_min.llm.model import LanguageModel

from ...tiny_llm import save_gguf


def test_metadata_follows_the_model_that_was_read(tiny: LanguageModel, tmp_path: Path) -> None:
    described = dataclasses.replace(tiny, metadata={
        **tiny.metadata, "general.license": tiny.metadata["general.name"]._replace(value="apache-2.0")})
    metadata = read_metadata(save_gguf(described, tmp_path / "model.gguf"))
    assert metadata["general.license"].value == "apache-2.0"
    assert not metadata.keys() & {"general.file_type", "general.quantization_version", "general.architecture"}
