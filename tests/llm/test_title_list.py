"""What fine-tuned encoders read."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from tslrec_min.configs import FinetuneConfig
from tslrec_min.errors import TslrecError
from tslrec_min.llm.encoders import Encoder
from tslrec_min.llm.gguf.tokenizer import TextTokenizer
from tslrec_min.llm.title_list import TitleList, text_prompts

from ..tiny_encoder import TITLES, make_wordpiece_tokenizer

ENCODER = Encoder("bert", "mean", normalised=True, max_tokens=64)
CLS, SEP = 2, 3


def tokenizers() -> tuple[TextTokenizer, Tokenizer]:
    """Return the tokenizer as it is used, and one to read ids with."""
    plain = make_wordpiece_tokenizer()
    return TextTokenizer(Tokenizer.from_str(plain.to_str()), (CLS,), (SEP,)), plain


def test_titles_are_joined_newest_first() -> None:
    tokenizer, plain = tokenizers()
    prompt, = TitleList(ENCODER).tokenize_all([["Gift set", "  ", "Lip gloss", "Shampoo"]], tokenizer)
    expected = plain.encode("Shampoo; Lip gloss; (untitled); Gift set").ids
    assert list(prompt.token_ids) == expected and (expected[0], expected[-1]) == (CLS, SEP)
    assert (prompt.pool_start, prompt.pool_stop) == (0, len(expected))


def test_the_oldest_titles_are_cut() -> None:
    tokenizer, _ = tokenizers()
    history = ["Gift set", "Lip gloss", "Shampoo"]
    whole, = TitleList(ENCODER).tokenize_all([history], tokenizer)
    short, = TitleList(replace(ENCODER, max_tokens=6)).tokenize_all([history], tokenizer)
    assert short.token_ids == (*whole.token_ids[:5], SEP)
    newest, = TitleList(ENCODER).tokenize_all([["Shampoo"]], tokenizer)
    assert short.token_ids[:len(newest.token_ids) - 1] == newest.token_ids[:-1]


@given(st.lists(st.sampled_from([title for title in TITLES if len(title) < 40]), min_size=1, max_size=4))
def test_a_user_of_one_item_reads_as_the_item(titles: list[str]) -> None:
    tokenizer, _ = tokenizers()
    prompts = TitleList(ENCODER).tokenize_all([[title] for title in titles], tokenizer)
    texts = [title.strip() or "(untitled)" for title in titles]
    assert prompts == text_prompts(texts, ENCODER, tokenizer)


def test_long_titles_are_cut_and_counted() -> None:
    tokenizer, plain = tokenizers()
    titles = TitleList(ENCODER, max_title_tokens=3)
    long = "the the the the the gift"
    assert titles.cut([long, "the gift"], tokenizer) == {long: "the the the"}
    prompt, = titles.tokenize_all([[long, "gift"]], tokenizer)
    assert list(prompt.token_ids) == plain.encode("gift; the the the").ids


def test_special_tokens_in_titles_are_text() -> None:
    tokenizer, _ = tokenizers()
    prompt, = TitleList(ENCODER).tokenize_all([["[SEP] and [CLS]"]], tokenizer)
    assert not {CLS, SEP} & set(prompt.token_ids[1:-1])


def test_a_history_without_items_is_refused() -> None:
    with pytest.raises(TslrecError, match="at least one title"):
        TitleList(ENCODER).tokenize_all([["a"], []], tokenizers()[0])


def test_options_of_decoders_are_refused_and_others_kept() -> None:
    config = FinetuneConfig(model="tiny", text="fields", text_fields="year, brand", max_title_tokens=9)
    titles = TitleList.of(config, ENCODER)
    assert titles == TitleList(ENCODER, 9, "fields", ("year", "brand"))
    assert titles.described() == {"encoder": {
        "architecture": "bert", "pooling": "mean", "normalised": True, "max_tokens": 64, "causal": False,
        "max_title_tokens": 9, "text": "fields", "fields": ("year", "brand")}}
    for name, value in (("prompt_prefix", ""), ("prompt_item", "{title}"), ("prompt_suffix", "So"),
                        ("pooling", "last")):
        with pytest.raises(TslrecError, match=f"tiny is an encoder, .* leave out {name} = '{value}'"):
            TitleList.of(replace(config, **{name: value}), ENCODER)
    with pytest.raises(TslrecError, match="--text fields with the columns"):
        TitleList(ENCODER, text="fields")
