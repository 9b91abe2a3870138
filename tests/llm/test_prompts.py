"""The prompt template: one template for users and items, pooled tokens are the titles' own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tslrec_min.errors import TslrecError
from tslrec_min.llm.gguf.tokenizer import TextTokenizer
from tslrec_min.llm.prompts import UNTITLED, PromptTemplate, clean

from ..tiny_llm import make_tokenizer

BPE = TextTokenizer(make_tokenizer())


class Letters:
    """A tokenizer with one token per character."""

    def encode_all_with_offsets(self, texts: Sequence[str]) -> Iterator[tuple[list[int], list[tuple[int, int]]]]:
        for text in texts:
            yield [ord(mark) for mark in text], [(place, place + 1) for place in range(len(text))]


def text_of(token_ids: tuple[int, ...]) -> str:
    return "".join(map(chr, token_ids))


def test_mean_pooling_covers_the_titles_and_last_the_last_token() -> None:
    template = PromptTemplate("Liked:", " <{title}>", " So", "mean")
    prompt, = template.tokenize_all([["Heat", "Amélie"]], Letters())
    assert text_of(prompt.token_ids) == "Liked: <Heat> <Amélie> So"
    assert text_of(prompt.token_ids[prompt.pool_start:prompt.pool_stop]) == " <Heat> <Amélie>"
    last, = PromptTemplate("Liked:", " <{title}>", " So", "last").tokenize_all([["Heat"]], Letters())
    assert text_of(last.token_ids[last.pool_start:last.pool_stop]) == "o" and last.pool_stop == len(last.token_ids)


def test_titles_are_cut_blank_ones_named_and_braces_harmless() -> None:
    template = PromptTemplate("", "[{title}]", "", max_title_tokens=12)
    prompt, = template.tokenize_all([["abcdefghijklmnop", "", "{title} {x}"]], Letters())
    assert text_of(prompt.token_ids) == (
        f"[abcdefghijkl][{UNTITLED}][{{title}} {{x}}]")


def test_an_item_is_a_user_with_one_item() -> None:
    template = PromptTemplate()
    one, two = (prompt.token_ids for prompt in template.tokenize_all([["Heat"], ["Heat", "Fargo"]], Letters()))
    shared = len(template.prefix) + len(template.item.replace("{title}", "Heat"))
    assert one[:shared] == two[:shared] and text_of(one).endswith(template.suffix)


def test_cut_titles_are_reported_with_what_is_shown() -> None:
    template = PromptTemplate(max_title_tokens=4)
    assert template.cut(["abcd", "abcdef", "ab  cd", "abcdeg", "abcdef", ""], Letters()) == {
        "abcdef": "abcd", "ab  cd": "ab c", "abcdeg": "abcd", "": UNTITLED[:4]}


@given(st.lists(st.lists(st.text(max_size=12), min_size=1, max_size=4), min_size=1, max_size=5))
def test_many_prompts_at_once_are_those_made_one_by_one(histories: list[list[str]]) -> None:
    template = PromptTemplate(max_title_tokens=3)
    prompts = template.tokenize_all(histories, BPE)
    assert prompts == [template.tokenize_all([titles], BPE)[0] for titles in histories]
    for titles, prompt in zip(histories, prompts, strict=True):
        shown = [template.cut([title], BPE).get(title) or " ".join(title.split()) or UNTITLED for title in titles]
        text = template.prefix + "".join(f"\n- {title}" for title in shown) + template.suffix
        assert list(prompt.token_ids) == next(BPE.encode_all_with_offsets([text]))[0]


def test_titles_end_at_their_last_tokens() -> None:
    template = PromptTemplate("Liked:", " <{title}>", " So", "mean")
    prompt, last = (template.tokenize_all([titles], Letters())[0] for titles in (["Heat", "Fargo", "Up"], ["Heat"]))
    ends = [text_of(prompt.token_ids[:stop]) for stop in prompt.title_stops]
    assert ends == ["Liked: <Heat>", "Liked: <Heat> <Fargo>", "Liked: <Heat> <Fargo> <Up>"]
    assert last.title_stops == (last.pool_stop,) == prompt.title_stops[:1]
    assert PromptTemplate(pooling="last").tokenize_all([["Heat"]], Letters())[0].title_stops == ()
    assert replace(prompt, title_stops=()) == prompt  # engines read both alike


class Pairs:
    """A tokenizer with one token for every two characters."""

    def encode_all_with_offsets(self, texts: Sequence[str]) -> Iterator[tuple[list[int], list[tuple[int, int]]]]:
        for text in texts:
            spans = [(place, min(place + 2, len(text))) for place in range(0, len(text), 2)]
            yield [ord(text[start]) for start, _ in spans], spans


@pytest.mark.parametrize(("item", "titles", "stops"), [
    ("{title}", ["abc", "de", "f"], (1, 2, 3)),  # "cd" and "ef" hold letters of two titles
    ("-{title}", ["ab", "c"], (2, 3)),  # "b-" holds no letter of the second title
    ("{title}", ["a", "b"], (0, 1)),  # the first title has no token of its own
])
def test_no_token_before_the_end_of_a_title_knows_the_next_one(item: str, titles: list[str], stops: tuple[int, ...]
                                                               ) -> None:
    prompt, = PromptTemplate("", item, "").tokenize_all([titles], Pairs())
    assert prompt.title_stops == stops


@given(st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=5), st.text(max_size=3), st.text(max_size=2))
def test_what_follows_a_title_does_not_change_the_tokens_up_to_its_end(titles: list[str], before: str, after: str
                                                                        ) -> None:
    template = PromptTemplate("Liked:", before + "{title}" + after, "")
    prompt, = template.tokenize_all([titles], BPE)
    assert len(prompt.title_stops) == len(titles) and prompt.title_stops[-1] == prompt.pool_stop
    assert sorted(prompt.title_stops) == list(prompt.title_stops) and prompt.title_stops[0] >= prompt.pool_start
    text, (_, offsets) = "", next(BPE.encode_all_with_offsets([
        "Liked:" + "".join(before + clean(title) + after for title in titles)]))
    for title, stop in zip(titles[:-1], prompt.title_stops, strict=False):
        text += before + clean(title) + after
        assert all(end <= len("Liked:" + text + before) for _, end in offsets[:stop])


def test_templates_of_older_models_show_titles(tmp_path: Path) -> None:
    (tmp_path / "prompt.json").write_text('{"prefix": "a", "item": "{title}", "suffix": "b", "pooling": "last", '
                                          '"max_title_tokens": 9}')
    assert PromptTemplate.load(tmp_path / "prompt.json") == PromptTemplate("a", "{title}", "b", "last", 9, "title")


def test_round_trip_and_bad_templates(tmp_path: Path) -> None:
    template = PromptTemplate("a", "{title}", "ü", "last", 7, "fields", ("year", "class"))
    template.save(tmp_path / "prompt.json")
    assert PromptTemplate.load(tmp_path / "prompt.json") == template
    (tmp_path / "prompt.json").write_text('{"colour": 1}')
    with pytest.raises(TslrecError, match="not a prompt template"):
        PromptTemplate.load(tmp_path / "prompt.json")
    (tmp_path / "prompt.json").write_text('{"suffix": "\\ud800"}')
    with pytest.raises(TslrecError, match="half of a surrogate pair"):
        PromptTemplate.load(tmp_path / "prompt.json")
    for stored, message in (('{"pooling": "max"}', "'max' is not one of last, mean"),
                            ('{"text": "picture"}', "'picture' is not one of title, fields, id"),
                            ('{"max_title_tokens": 0}', "0 is out of range; expected at least 1"),
                            ('{"prefix": 1}', "prompt_prefix: 1 is not a str"), ("[]", ""), ('{"fields": [1]}', "")):
        (tmp_path / "prompt.json").write_text(stored)
        with pytest.raises(TslrecError, match=f"prompt.json is not a prompt template: .*{message}"):
            PromptTemplate.load(tmp_path / "prompt.json")
    for text, fields in (("fields", ()), ("title", ("year",))):
        with pytest.raises(TslrecError, match="--text-fields"):
            PromptTemplate(text=text, fields=fields)
    with pytest.raises(TslrecError, match=r"lacks \{title\}"):
        PromptTemplate(item="title")
    with pytest.raises(TslrecError, match="at least one title"):
        template.tokenize_all([[]], Letters())
