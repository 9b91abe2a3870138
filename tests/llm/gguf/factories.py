"""What several test files build or ask alike."""

from __future__ import annotations

from pathlib import Path

import gguf
import llama_cpp
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers

from tslrec_min.llm.gguf.metadata import Metadata
from tslrec_min.llm.gguf.tokenizer import TextTokenizer, metadata_from_tokenizer, tokenizer_from_file

from ...tiny_llm import make_tokenizer

TEXTS = [
    "", " ", "a", "Toy Story (1995)", "\n- The Matrix (1999)", "  two  spaces  and\ttabs\n\nlines ",
    "Amélie, Déjà vu",
    "e\u0301 combining", "千と千尋の神隠し", "Седьмая печать",
    "\U0001f3ac film \U0001f468\u200d\U0001f469\u200d\U0001f467!",
    "1234567890 and 12.5%", "I'll don't WE'RE", "x" * 50, "<|im_end|> <|endoftext|>", "٣٤٥ ½ ²",
    "\u00a0nbsp\u3000wide",
    "C:\\dir\r\nnext", "___--==!!??...", "\u200bzero", "ﬁ ligature Å Å",
    " The Matrix", "The\n\n\nMatrix", "<b>The</b> Matrix <table>", "▁The ▁▁ Matrix", "<0x41><0x0A>",
    *("The" + " " * count + "Star" for count in range(2, 8)), "\n" * 9, "\U000e0001\U0010ffff",
]


def split_by(pattern: str) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)])


def tokenizer_qwen2() -> Tokenizer:
    tokenizer = make_tokenizer(split_by(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
        r"|\s+(?!\S)|\s+"), eos=True)
    tokenizer.normalizer = normalizers.NFC()
    return tokenizer


def read(tokenizer: Tokenizer, folder: Path) -> tuple[TextTokenizer, Metadata]:
    """Read a tokenizer from its file, and make the metadata of a GGUF file of it."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    found, description = tokenizer_from_file(str(folder / "tokenizer.json"))
    config = {"vocab_size": tokenizer.get_vocab_size() + 3, "bos_token_id": 1, "eos_token_id": 2}
    return found, metadata_from_tokenizer(found, description, config)


def to_gguf(metadata: Metadata, path: Path) -> Path:
    """Write a GGUF file that has no more than a vocabulary."""
    writer = gguf.GGUFWriter(path, "llama")
    for add in (writer.add_context_length, writer.add_embedding_length, writer.add_block_count,
                writer.add_feed_forward_length, writer.add_head_count):
        add(1)
    writer.add_layer_norm_rms_eps(1e-5)
    for key, entry in metadata.items():
        writer.add_key_value(key, entry.value, entry.kind, entry.item_kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def llama_tokenize(path: Path, texts: list[str]) -> list[list[int]]:
    """Tokenise with llama.cpp itself."""
    llama = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
    return [llama.tokenize(text.encode(), add_bos=True, special=False) for text in texts]


def ids_of(tokenizer: TextTokenizer, texts: list[str]) -> list[list[int]]:
    return [ids for ids, _ in tokenizer.encode_all_with_offsets(texts)]


def nfc(texts: list[str]) -> list[str]:
    return [normalizers.NFC().normalize_str(text) for text in texts]
