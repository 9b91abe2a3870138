"""What a model's files say of it: encoder or decoder, pooling, normalisation, length."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from gguf import GGUFWriter

from tslrec_min.errors import TslrecError
from tslrec_min.llm.encoders import Encoder, encoder_of
from tslrec_min.llm.resolve import ResolvedModel, resolve_model

from ..tiny_encoder import make_tiny_encoder, write_modules
from ..tiny_llm import make_tiny_llm


def write_metadata(path: Path, architecture: str, **values: object) -> ResolvedModel:
    """Write a .gguf file without tensors."""
    writer = GGUFWriter(path, architecture)
    for key, value in values.items():
        add = writer.add_bool if isinstance(value, bool) else writer.add_uint32
        add(f"{architecture}.{key.replace('__', '.')}", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return resolve_model(path)


@pytest.mark.parametrize(("architecture", "values", "expected"), [
    ("bert", {"pooling_type": 1, "attention__causal": False, "context_length": 256}, ("mean", 256, False)),
    ("bert", {"pooling_type": 2}, ("cls", 512, False)),
    ("nomic-bert", {"pooling_type": 0, "context_length": 2048}, ("mean", 2048, False)),
    ("modern-bert", {}, ("mean", 512, False)),
    ("gemma-embedding", {"pooling_type": 1, "context_length": 2048}, ("mean", 2048, False)),
    ("llama", {"attention__causal": False, "context_length": 64}, ("mean", 64, False)),
    ("qwen3", {"pooling_type": 3, "context_length": 4096}, ("last", 4096, True)),
    ("qwen3", {"context_length": 4096}, None),
    ("llama", {"pooling_type": 0}, None),
])
def test_metadata_say_how_a_gguf_file_is_read(tmp_path: Path, architecture: str, values: dict[str, object],
                                              expected: tuple[str, int, bool] | None) -> None:
    found = encoder_of(write_metadata(tmp_path / "model.gguf", architecture, **values))
    if expected is None:
        assert found is None
    else:
        pooling, most, causal = expected
        assert found == Encoder(architecture, pooling, normalised=True, max_tokens=most, causal=causal)


def test_what_has_no_vector_of_a_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TslrecError, match="reranker .*give an embedding model"):
        encoder_of(write_metadata(tmp_path / "rank.gguf", "bert", pooling_type=4))
    with pytest.raises(TslrecError, match="has the pooling 9; expected one of 1 .mean., 2 .cls., 3 .last."):
        encoder_of(write_metadata(tmp_path / "nine.gguf", "bert", pooling_type=9))


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_folders_of_sentence_transformers_name_pooling_and_norm(tmp_path: Path, pooling: str) -> None:
    folder = make_tiny_encoder(tmp_path, pooling=pooling, normalised=pooling != "cls", max_tokens=40)
    assert encoder_of(resolve_model(folder)) == Encoder("bert", pooling, pooling != "cls", 40)
    newer = {"word_embedding_dimension": 64, "pooling_mode": {"last": "lasttoken"}.get(pooling, pooling)}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(newer))
    assert encoder_of(resolve_model(folder)) == Encoder("bert", pooling, pooling != "cls", 40)


def test_folders_of_transformers_are_pooled_by_the_mean(tmp_path: Path) -> None:
    found = {kind: encoder_of(resolve_model(make_tiny_encoder(tmp_path / kind, kind=kind, pooling=None)))
             for kind in ("bert", "roberta", "distilbert")}
    assert found == {kind: Encoder(kind, "mean", normalised=False, max_tokens=127 if kind == "roberta" else 128)
                     for kind in found}  # roberta's first position is not 0 but after that of the padding token
    (tmp_path / "bert" / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 77}))
    shorter = encoder_of(resolve_model(tmp_path / "bert"))
    assert shorter is not None and shorter.max_tokens == 77


def test_decoders_are_decoders_unless_sentence_transformers_wrote_them(tmp_path: Path) -> None:
    folder = make_tiny_llm(tmp_path / "llm", architecture="qwen3")
    assert encoder_of(resolve_model(folder)) is None
    write_modules(folder, "last")
    assert encoder_of(resolve_model(folder)) == Encoder("qwen3", "last", True, 256, causal=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "t5"}))
    (folder / "modules.json").unlink()
    assert encoder_of(resolve_model(folder)) is None


@pytest.mark.parametrize(("name", "contents", "message"), [
    ("modules.json", [{"type": "sentence_transformers.models.Dense", "path": "2_Dense"}], "has the modules Dense"),
    ("modules.json", {"type": "x"}, "is not what sentence-transformers"),
    ("1_Pooling/config.json", {"pooling_mode_max_tokens": True}, "pools by max_tokens; tslrec pools by one of mean"),
    ("1_Pooling/config.json", {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, "mean_tokens, cls_t"),
    ("1_Pooling/config.json", {"pooling_mode": "weightedmean"}, "pools by weightedmean"),
    ("sentence_bert_config.json", {"do_lower_case": True}, "sets do_lower_case, which tslrec does not do"),
    ("config.json", [], "is not the configuration of a model"),
])
def test_parts_that_cannot_be_computed_are_refused(tmp_path: Path, name: str, contents: object, message: str) -> None:
    folder = make_tiny_encoder(tmp_path)
    (folder / name).write_text(json.dumps(contents))
    with pytest.raises(TslrecError, match=message):
        encoder_of(resolve_model(folder))


def test_a_description_is_read_as_it_was_written(tmp_path: Path) -> None:
    encoder = Encoder("bert", "cls", normalised=False, max_tokens=40)
    encoder.save(tmp_path / "encoder.json")
    assert Encoder.load(tmp_path / "encoder.json") == encoder
    stored = json.loads((tmp_path / "encoder.json").read_text())
    for change in ({"pooling": "max"}, {"max_tokens": 0}, {"max_tokens": "40"}, {"normalised": 1}, {"colour": 1}):
        (tmp_path / "encoder.json").write_text(json.dumps(stored | change))
        with pytest.raises(TslrecError, match="encoder.json is not the description of an encoder"):
            Encoder.load(tmp_path / "encoder.json")
    (tmp_path / "encoder.json").write_text("[]")
    with pytest.raises(TslrecError, match="is not the description"):
        Encoder.load(tmp_path / "encoder.json")
