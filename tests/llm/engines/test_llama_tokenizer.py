"""llama.cpp's tokenizers against transformers' and our own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tslrec_min.errors import TslrecError
from tslrec_min.llm.engines.llama_tokenizer import LlamaTokenizer
from tslrec_min.llm.gguf.tokenizer import load_tokenizer
from tslrec_min.llm.model import load_language_model

from ...tiny_encoder import TITLES, make_tiny_encoder, make_wordpiece_tokenizer, save_bert
from ...tiny_llm import make_tiny_llm, make_tokenizer, save_gguf


@pytest.mark.parametrize("lowercase", [True, False])
def test_a_bert_file_gives_the_ids_of_transformers(tmp_path: Path, lowercase: bool) -> None:
    folder = make_tiny_encoder(tmp_path / "bert", tokenizer=make_wordpiece_tokenizer(lowercase=lowercase))
    expected, found = load_tokenizer(folder), LlamaTokenizer(save_bert(folder, tmp_path / "bert.gguf"))
    assert found.eos == expected.eos == (3,)
    texts = [title for title in TITLES if "b" * 150 not in title]  # transformers reads long words as unknown
    texts = [" ".join(text.split()) for text in texts]
    for text, theirs, ours in zip(texts, expected.encode_all(texts), found.encode_all(texts), strict=True):
        assert ours == theirs, text
    assert next(expected.encode_all(["b" * 150])) == [2, 1, 3] != next(found.encode_all(["b" * 150]))


def test_a_byte_level_file_gives_the_ids_that_decoders_get(tmp_path: Path) -> None:
    model = load_language_model(make_tiny_llm(tmp_path / "llm", tokenizer=make_tokenizer(bos=True, eos=True)))
    found = LlamaTokenizer(save_gguf(model, tmp_path / "llm.gguf"))
    assert found.eos == (2,)
    assert list(found.encode_all(["Star Wars", "The Thing 12"])) == list(
        model.tokenizer.encode_all(["Star Wars", "The Thing 12"]))


def test_long_texts_and_damaged_files(tmp_path: Path) -> None:
    path = save_bert(make_tiny_encoder(tmp_path / "bert"), tmp_path / "bert.gguf")
    assert len(next(LlamaTokenizer(path).encode_all(["the " * 3000]))) == 3002
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(TslrecError, match="bert.gguf .*get it again"):
        LlamaTokenizer(path)
