from __future__ import annotations

import random
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers.convert_slow_tokenizer import generate_merges

from tslrec_min.llm.gguf.sentencepiece import merges_of

from ...tiny_llm import make_sentencepiece_tokenizer
from .factories import TEXTS, ids_of, llama_tokenize, read, to_gguf


def test_a_space_before_the_text_is_llama_cpps(tmp_path: Path) -> None:
    """Metaspace, as transformers saves Llama's tokenizer today, puts none before a space; it is read as if it did."""
    original = make_sentencepiece_tokenizer(prefix=True)
    expected = ids_of(read(original, tmp_path)[0], TEXTS)
    original.normalizer = None
    for scheme, prefix in (("first", True), ("always", True), ("never", False)):
        original.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme=scheme, split=False)
        tokenizer, metadata = read(original, tmp_path / scheme)
        assert metadata["tokenizer.ggml.add_space_prefix"].value is prefix
        assert (ids_of(tokenizer, TEXTS) == expected) is prefix
        assert llama_tokenize(to_gguf(metadata, tmp_path / f"{scheme}.gguf"), TEXTS) == ids_of(tokenizer, TEXTS)


@pytest.mark.parametrize("tied", [False, True])
def test_merges_are_those_of_transformers_converter(tied: bool) -> None:
    draw = random.Random(0)
    pieces = dict.fromkeys("".join(draw.choices("ab▁", k=draw.randint(1, 6))) for _ in range(400))
    ids = {piece: index for index, piece in enumerate(pieces)}
    scores = {piece: -float(index // 7 if tied else index) for piece, index in ids.items()}
    merges = merges_of(scores)
    assert len(merges) > 300
    assert merges == generate_merges(ids, scores)


def test_pieces_with_one_score_survive(tmp_path: Path) -> None:
    """Llama 2's runs of spaces share a score, and their merges are mixed."""
    pieces = ["▁a", "aa", "▁▁", "▁▁▁", "▁▁▁▁", "▁▁▁▁▁", "▁", "a"]
    ids = {token: index for index, token in enumerate(
        ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *pieces])}
    scores = {piece: -float(min(rank, 2)) for rank, piece in enumerate(pieces)}
    original = Tokenizer(models.BPE(ids, generate_merges(ids, scores), unk_token="<unk>", byte_fallback=True))
    original.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer, metadata = read(original, tmp_path)
    texts = [" " * count + "aaa" for count in range(12)]
    assert ids_of(tokenizer, texts) == [original.encode(text).ids for text in texts]
    assert llama_tokenize(to_gguf(metadata, tmp_path / "model.gguf"), texts) == [
        [metadata["tokenizer.ggml.bos_token_id"].value, *ids] if tokenizer.bos else ids
        for ids in ids_of(tokenizer, texts)]
