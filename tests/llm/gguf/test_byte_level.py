from __future__ import annotations

from pathlib import Path

from tokenizers import AddedToken, Tokenizer, models, normalizers
from transformers.convert_slow_tokenizer import generate_merges

from tslrec_min.llm.gguf.tokenizer import tokenizer_from_metadata

from .factories import ids_of, nfc, read, tokenizer_qwen2


def test_merges_that_spell_a_special_token_are_left_out(tmp_path: Path) -> None:
    vocabulary = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "<s", "</", "</s", "<", "/",
                  "s", ">"]
    ids = {token: index for index, token in enumerate(vocabulary)}
    pieces = {token: -float(index) for token, index in ids.items()}
    merges = generate_merges(ids, pieces)
    original = Tokenizer(models.BPE(ids, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    original.normalizer = normalizers.Replace(" ", "▁")
    original.add_special_tokens([AddedToken(token, normalized=False) for token in vocabulary[:3]])
    original.encode_special_tokens = True
    assert original.encode("<s></s>").ids == [1, 2]  # what it would do
    tokenizer, metadata = read(original, tmp_path)
    for found in (tokenizer, tokenizer_from_metadata(metadata)):
        assert [vocabulary[index] for index in ids_of(found, ["<s></s>"])[0]] == ["<s", ">", "</s", ">"]


def test_decomposed_text_is_read_as_qwen_reads_it(tmp_path: Path) -> None:
    tokenizer, _ = read(tokenizer_qwen2(), tmp_path)
    for text in ("Ame\u0301lie", "か\u3099", "\u1100\u1161\u11a8 Story"):
        assert nfc([text]) != [text]
        assert ids_of(tokenizer, [text]) == ids_of(tokenizer, nfc([text]))
