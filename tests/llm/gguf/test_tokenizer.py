"""Tokenizers: the same ids and spans from a folder, from a GGUF file and from llama.cpp; text stays text."""

from __future__ import annotations

import functools
import html
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from tslrec_min.configs import PrepareConfig
from tslrec_min.data.raw.readers import open_rows
from tslrec_min.data.raw.text import RawFile
from tslrec_min.data.raw.titles import collect_items
from tslrec_min.errors import TslrecError
from tslrec_min.llm.gguf.reader import read_metadata
from tslrec_min.llm.gguf.tokenizer import load_tokenizer, tokenizer_from_metadata
from tslrec_min.llm.model import load_language_model
from tslrec_min.llm.prompts import PromptTemplate
from tslrec_min.llm.resolve import resolve_model

from ...tiny_llm import SMOLLM, SPECIAL, make_sentencepiece_tokenizer, make_tiny_llm, make_tokenizer, save_gguf
from .factories import TEXTS, ids_of, llama_tokenize, nfc, read, split_by, to_gguf, tokenizer_qwen2

NOT_LATIN = [
    "七人の侍", "もののけ姫", "ドライブ・マイ・カー", "千と千尋の神隠し（2001年）", "ｶﾀｶﾅ ﾊﾝｶｸ", "花樣年華",
    "臥虎藏龍", "霸王别姬", "大红灯笼高高挂", "기생충 (2019)",
    "올드보이", "살인의 추억", "Броненосец «Потёмкин»", "Иди и смотри", "Сталкер", "Ёлки-палки", "Тіні забутих предків",
    "Ο Μελισσοκόμος", "Ζ (1969)", "Αἰσχύλος: Ἀγαμέμνων", "فروشنده", "جدایی نادر از سیمین", "المومياء",
    "طعم گيلاس ۱۳۷۶", "ואלס עם באשיר", "הַמּוֹרֶה", "शोले", "पथेर पांचाली", "लगान: वन्स अपॉन अ टाइम", "পথের পাঁচালী",
    "நாயகன்", "బాహుబలి", "ಕಾಂತಾರ", "മണിച്ചിത്രത്താഴ്", "ਚਾਰ ਸਾਹਿਬਜ਼ਾਦੇ", "สุดเสน่หา", "ลุงบุญมีระลึกชาติ", "ກ່າວລາ",
    "ភូមិ", "မြန်မာ", "ბერიკაობა", "მონანიება", "Նռան գույնը", "ጤዛ", "བོད་ཀྱི་", "ᓄᓇᕗᑦ ᐊᑕᓈᕐᔪᐊᑦ", "Người tình",
    "Mùi đu đủ xanh", "Đời cát", "Kış Uykusu", "Sátántangó", "Żółty szalik", "Ostře sledované vlaky", "Þrestir",
    "🎬🍿 Movie Night 🏳️‍🌈", "👩🏽‍🚀 Hidden Figures", "①②③ ㍿ ﷽", "𝔐𝔢𝔱𝔯𝔬𝔭𝔬𝔩𝔦𝔰", "½ Ritter", "Dr. Strangelove™ ©®",
    "x² + y² = z²", "№ 5", "Ame\u0301lie", "Il e\u0301tait une fois", "Cha\u0302teau", "Mo\u0308tley", "가\u11a8",
    "か\u3099", "\u1100\u1161\u11a8", "q\u0307\u0323",
]


def tokenizer_llama3() -> Tokenizer:
    tokenizer = make_tokenizer(split_by(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
        r"|\s+(?!\S)|\s+"), bos=True)
    tokenizer.model.ignore_merges = True
    return tokenizer


TOKENIZERS: dict[str, Callable[[], Tokenizer]] = {
    "smollm": lambda: make_tokenizer(SMOLLM),
    "gpt-2": lambda: make_tokenizer(pre_tokenizers.ByteLevel(add_prefix_space=False), bos=True, eos=True),
    "llama-bpe": tokenizer_llama3,
    "qwen2": tokenizer_qwen2,
    "llama": lambda: make_sentencepiece_tokenizer(prefix=True),
    "gemma": lambda: make_sentencepiece_tokenizer(
        prefix=False, user_defined=("\n", "\n\n", "\n\n\n", "▁▁", "▁▁▁", "\t", "<b>", "</b>", "<table>")),
}


@pytest.mark.parametrize("name", TOKENIZERS)
def test_folder_gguf_and_llama_cpp_agree(tmp_path: Path, name: str) -> None:
    original = TOKENIZERS[name]()
    tokenizer, metadata = read(original, tmp_path)
    path = to_gguf(metadata, tmp_path / "model.gguf")
    assert read_metadata(path).items() >= metadata.items()
    rebuilt = tokenizer_from_metadata(read_metadata(path))
    texts = TEXTS + NOT_LATIN
    assert list(rebuilt.encode_all_with_offsets(texts)) == list(tokenizer.encode_all_with_offsets(texts))
    # llama.cpp applies no Unicode normalisation, so there qwen2 is compared on normalised text
    compared = nfc(texts) if name == "qwen2" else texts
    assert llama_tokenize(path, compared) == ids_of(tokenizer, compared)
    # the file's own: it takes a run of spaces longer than any token apart in another way, and finds a written ▁▁
    original.encode_special_tokens = True
    texts = [text for text in texts if "    " not in text and "▁" not in text]
    assert [original.encode(text).ids for text in texts] == ids_of(tokenizer, texts)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_spans_cover_the_text_in_its_order(tmp_path: Path, name: str) -> None:
    tokenizer, _ = read(TOKENIZERS[name](), tmp_path)
    texts = TEXTS + NOT_LATIN
    for text, (ids, spans) in zip(texts, tokenizer.encode_all_with_offsets(texts), strict=True):
        assert len(ids) == len(spans)
        inside = spans[len(tokenizer.bos):len(spans) - len(tokenizer.eos)]
        assert inside == sorted(inside)
        assert {place for start, stop in inside for place in range(start, stop)} == set(range(len(text)))
        assert all(0 <= start < stop <= len(text) for start, stop in inside)
    (ids, spans), = tokenizer.encode_all_with_offsets(["千と"])
    of_first = [ids[index] for index, span in enumerate(spans) if span == (0, 1)]
    assert tokenizer.tokenizer.decode(of_first).strip() == "千"  # all its bytes have its span


@pytest.mark.parametrize("name", TOKENIZERS)
def test_pooled_tokens_are_the_titles(tmp_path: Path, name: str) -> None:
    tokenizer, _ = read(TOKENIZERS[name](), tmp_path)
    for title in ("Toy Story", "千と千尋の神隠し", "Amélie 🎬", "<b>Heat</b> </s> <|im_end|>", "▁", "Ame\u0301lie"):
        prompt, = PromptTemplate().tokenize_all([[title, "Heat"]], tokenizer)
        pooled = tokenizer.tokenizer.decode(list(prompt.token_ids[prompt.pool_start:prompt.pool_stop]),
                                            skip_special_tokens=False)
        written = title if name in ("smollm", "gpt-2", "llama-bpe", "qwen2") else title.replace("▁", " ")
        assert pooled == "\n- {}\n- Heat".format(nfc([written])[0] if name == "qwen2" else written)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_bos_and_eos_come_once_and_never_from_a_title(tmp_path: Path, name: str) -> None:
    original = TOKENIZERS[name]()
    tokenizer, metadata = read(original, tmp_path)
    special = {index for index, token in original.get_added_tokens_decoder().items() if token.special}
    title = " ".join([*SPECIAL, "<s>", "</s>", "<unk>", "[PAD0]"])
    for found in (tokenizer, tokenizer_from_metadata(metadata)):
        prompt, = PromptTemplate().tokenize_all([[title]], found)
        assert [index for index in prompt.token_ids if index in special] == [*found.bos, *found.eos]


@pytest.mark.parametrize("name", TOKENIZERS)
def test_without_flags_the_file_means_what_llama_cpp_assumes(tmp_path: Path, name: str) -> None:
    metadata = read(TOKENIZERS[name](), tmp_path)[1]
    bare = {key: entry for key, entry in metadata.items()
            if not key.endswith(("add_bos_token", "add_eos_token", "add_space_prefix"))}
    texts = ["Toy Story", " two", ""]
    assert llama_tokenize(to_gguf(bare, tmp_path / "bare.gguf"), texts) == ids_of(tokenizer_from_metadata(bare), texts)


def test_special_tokens_in_text_are_plain_text(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    text = "x <|im_end|> and y"
    (ids, offsets), = tokenizer.encode_all_with_offsets([text])
    assert not set(ids) & {0, 1, 2}
    assert "".join(text[start:stop] for start, stop in offsets) == text  # spaces too


@pytest.mark.parametrize(("bos", "eos"), [(False, False), (True, False), (False, True), (True, True)])
def test_bos_and_eos_are_the_models_own(tmp_path: Path, bos: bool, eos: bool) -> None:
    folder = make_tiny_llm(tmp_path / "tiny", tokenizer=make_tokenizer(bos=bos, eos=eos))
    model = load_language_model(folder)
    path = save_gguf(model, tmp_path / "model.gguf")
    for tokenizer in (model.tokenizer, load_tokenizer(folder), load_tokenizer(path)):
        (ids, offsets), = tokenizer.encode_all_with_offsets(["Toy Story"])
        assert ([1] if ids[0] == 1 else []) == [1] * bos
        assert ([2] if ids[-1] == 2 else []) == [2] * eos
        assert offsets[0] == ((0, 0) if bos else offsets[0]) and len(ids) == len(offsets)
        prompt, = PromptTemplate().tokenize_all([["Toy Story"]], tokenizer)
        pooled = prompt.token_ids[prompt.pool_start: prompt.pool_stop]
        assert tokenizer.tokenizer.decode(list(pooled)).strip() == "- Toy Story"


def without_some_merges() -> Tokenizer:
    description = json.loads(make_sentencepiece_tokenizer(prefix=True).to_str())
    del description["model"]["merges"][::3]
    return Tokenizer.from_str(json.dumps(description))


def without_a_byte() -> Tokenizer:
    description = json.loads(make_sentencepiece_tokenizer(prefix=True).to_str())
    description["model"]["vocab"]["<0xXX>"] = description["model"]["vocab"].pop("<0x41>")
    return Tokenizer.from_str(json.dumps(description))


def lower_case() -> Tokenizer:
    tokenizer = make_sentencepiece_tokenizer(prefix=False)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace(" ", "▁")])
    return tokenizer


@pytest.mark.parametrize(("make", "message"), [
    (lambda: Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1}, unk_token="[UNK]")), "type WordPiece.*as a .gguf"),
    (lambda: Tokenizer(models.BPE({"a": 0}, [], byte_fallback=True)), "treats spaces .*as a .gguf"),
    (lambda: make_tokenizer(pre_tokenizers.Sequence([pre_tokenizers.Punctuation(),
                                                     pre_tokenizers.ByteLevel(add_prefix_space=False)])),
     "pre-tokenizer is .*Punctuation.*; expected one of smollm.*as a .gguf"),
    (lower_case, "treats spaces .*Lowercase.*as a .gguf"),
    (without_some_merges, "not those of a SentencePiece vocabulary.*as a .gguf"),
    (without_a_byte, "no token for 1 bytes, <0x41>"),
])
def test_tokenizer_that_gguf_cannot_hold_is_refused(tmp_path: Path, make: Callable[[], Tokenizer],
                                                    message: str) -> None:
    with pytest.raises(TslrecError, match=message):
        read(make(), tmp_path)


@pytest.mark.parametrize(("change", "message"), [
    ({"model": "t5"}, "'t5'.*expected 'llama', or 'gpt2' with one of smollm"),
    ({"model": "gpt2", "pre": "tekken"}, "'gpt2' / 'tekken'"),
    ({"scores": [0.0]}, "damaged"), ({"scores": None}, "damaged"),
])
def test_metadata_that_gives_no_tokenizer_is_an_error(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    metadata = read(make_sentencepiece_tokenizer(prefix=True), tmp_path)[1]
    for key, value in change.items():
        entry = metadata.pop("tokenizer.ggml." + key)
        if value is not None:
            metadata["tokenizer.ggml." + key] = entry._replace(value=value)
    with pytest.raises(TslrecError, match=message):
        tokenizer_from_metadata(metadata)


@functools.cache
def real_titles(folder: Path) -> list[str]:
    """1,000 titles: those with accents or HTML entities, the longest, and some of the rest."""
    config = PrepareConfig()
    tables = [open_rows(RawFile(folder / name), config, items=True)
              for name in ("ml-1m/movies.dat", "amazon-beauty/items.tsv")]
    titles = [title for table in tables for title in dict.fromkeys(collect_items(table, config).titles.values())]
    odd = [title for title in titles if not title.isascii() or html.unescape(title) != title]
    longest = sorted(titles, key=len)[-200:]
    rest = random.Random(0).sample(titles, 1000)
    return list(dict.fromkeys([*odd, *longest, *rest]))[:1000]


@pytest.mark.llm
@pytest.mark.parametrize("name", ["smollm2-135m", "gemma3-270m"])
def test_real_tokenizer_equals_llama_cpp_on_real_titles(real_data: Path, name: str) -> None:
    path = resolve_model(name).path
    tokenizer = tokenizer_from_metadata(read_metadata(path))
    titles = real_titles(real_data)
    assert len(titles) == 1000 and sum(not title.isascii() for title in titles) >= 40
    template = PromptTemplate()
    prompts = [template.prefix + template.item.format(title=title) + template.suffix for title in titles + NOT_LATIN]
    texts = [*TEXTS, *titles, *NOT_LATIN, *prompts, *(" " * count for count in range(40)), "\n" * 40, "\t" * 40]
    assert llama_tokenize(path, texts) == ids_of(tokenizer, texts)
    prompt, = template.tokenize_all([titles[:5]], tokenizer)
    assert [index for index in prompt.token_ids if index in tokenizer.bos] == list(tokenizer.bos)
