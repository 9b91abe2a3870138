"""Prompts: the text that the language model reads for a user, or for an item as a virtual user.

The same template serves user-level fine-tuning (many titles) and item embedding (one title), as in TSLRec
(arXiv 2406.00333); it is saved with the fine-tuned model. The paper does not give its wording: this template is ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ..config_fields import from_mapping
from ..configs import FinetuneConfig
from ..data.dataset import Dataset
from ..data.raw.values import is_text
from ..errors import TslrecError
from ..storage.artifacts import read_json, write_json

UNTITLED = "(untitled)"
_DEFAULT = FinetuneConfig()


class Tokenizer(Protocol):
    """The part of a tokenizer that prompts use."""

    def encode_all_with_offsets(self, texts: Sequence[str]) -> Iterator[tuple[list[int], list[tuple[int, int]]]]:
        """Yield the token ids of every text, with the model's BOS and EOS, and the tokens' character spans."""


@dataclass(frozen=True)
class TokenPrompt:
    """A tokenised prompt; its pooled state is the mean of the hidden states in a token span."""

    token_ids: tuple[int, ...]
    pool_start: int
    """First token of the span."""
    pool_stop: int
    """End of the span, exclusive."""
    title_stops: tuple[int, ...] = field(default=(), compare=False, repr=False)
    """End of each title's tokens, exclusive; the last one is `pool_stop`. Tokens that lie in the next title are not
    before it, so that the states there know nothing of what follows; a title without a token of its own ends where the
    one before it does. Empty if not the titles are pooled. Models read prompts that differ in it alike."""


class Prompts(Protocol):
    """How a model reads histories: a decoder by a `PromptTemplate`, an encoder by a `title_list.TitleList`."""

    @property
    def text(self) -> str:
        """What is shown of an item; see `item_texts`."""

    @property
    def fields(self) -> tuple[str, ...]:
        """Item columns shown if text is ``fields``."""

    def described(self) -> dict[str, Any]:
        """Return what prompts depend on beside items and tokenizer, JSON-able, by a name."""

    def tokenize_all(self, histories: Sequence[Sequence[str]], tokenizer: Any) -> list[TokenPrompt]:
        """Make the prompts of histories: texts of items, oldest first, at least one in each."""

    def cut(self, titles: Iterable[str], tokenizer: Any) -> dict[str, str]:
        """Return the texts of items that have too many tokens, each with its shortened text."""


@dataclass(frozen=True)
class PromptTemplate:
    """The text around the titles, and which tokens are pooled."""

    prefix: str = _DEFAULT.prompt_prefix
    """Text before the titles; engines decode it once for all prompts."""
    item: str = _DEFAULT.prompt_item
    """Text of one item; ``{title}`` stands for its title."""
    suffix: str = _DEFAULT.prompt_suffix
    """Text after the titles."""
    pooling: str = _DEFAULT.pooling
    """``last``: the state of the last token; ``mean``: the mean over the tokens of the items."""
    max_title_tokens: int = _DEFAULT.max_title_tokens
    """Maximum number of tokens for the text of an item; longer ones are cut."""
    text: str = _DEFAULT.text
    """The text of an item: its ``title``, the title and further ``fields``, or its ``id`` (`item_texts`)."""
    fields: tuple[str, ...] = ()
    """Item columns shown if text is ``fields``."""

    def __post_init__(self) -> None:
        if not is_text(texts := self.prefix + self.item + self.suffix):  # a command line in another encoding
            raise TslrecError(f"the prompt's text {texts!r} is not UTF-8, or has half of a surrogate pair")
        if "{title}" not in self.item:
            raise TslrecError(f"the item text {self.item!r} lacks {{title}}")
        check_fields(self.text, self.fields)

    def described(self) -> dict[str, Any]:
        """Return all of it by the name ``template``, JSON-able."""
        return {"template": asdict(self)}

    def tokenize_all(self, histories: Sequence[Sequence[str]], tokenizer: Tokenizer) -> list[TokenPrompt]:
        """Make the prompts of histories.

        Args:
            histories: texts of items, oldest first, at least one in each; blank ones become ``(untitled)``.
            tokenizer: the model's.

        Raises:
            TslrecError: there is no title, or the text gives no token to pool.
        """
        if not all(histories):
            raise TslrecError("a prompt needs at least one title; got none")
        titles = dict.fromkeys(title for history in histories for title in history)
        cut = self.cut(titles, tokenizer)
        pieces = {title: self.item.replace("{title}", cut.get(title) or clean(title)) for title in titles}
        items = ["".join(pieces[title] for title in history) for history in histories]
        encoded = tokenizer.encode_all_with_offsets([self.prefix + text + self.suffix for text in items])
        # Whole texts are encoded: the tokens of a text differ from those of its parts.
        return [self._prompt(token_ids, offsets, [len(pieces[title]) for title in history])
                for history, (token_ids, offsets) in zip(histories, encoded, strict=True)]

    def cut(self, titles: Iterable[str], tokenizer: Tokenizer) -> dict[str, str]:
        """Return the titles that have too many tokens, each with its shortened text."""
        return cut_titles(titles, self.max_title_tokens, tokenizer)

    def _prompt(self, token_ids: list[int], offsets: list[tuple[int, int]], lengths: list[int]) -> TokenPrompt:
        """Return a prompt whose items have so many characters each, after the prefix."""
        if not token_ids:
            raise TslrecError("the prompt has no tokens; give the template some text")
        if self.pooling == "last":
            return TokenPrompt(tuple(token_ids), len(token_ids) - 1, len(token_ids))
        begin, end = len(self.prefix), len(self.prefix) + sum(lengths)
        inside = [index for index, (start, stop) in enumerate(offsets) if stop > begin and start < end]
        if not inside:
            raise TslrecError("the titles give no tokens to pool; check the item text of the template")
        return TokenPrompt(tuple(token_ids), inside[0], inside[-1] + 1, self._title_stops(inside, offsets, lengths))

    def _title_stops(self, inside: list[int], offsets: list[tuple[int, int]], lengths: list[int]) -> tuple[int, ...]:
        """Return `TokenPrompt.title_stops`, given the tokens of the items."""
        stops, place, end = [], 0, len(self.prefix)
        common = self.item.index("{title}")  # characters with which every item begins
        for length in lengths[:-1]:
            end += length
            # a token may hold the last letter of a title and a line break, but nothing of the next title
            while (place < len(inside) and offsets[inside[place]][0] < end
                   and offsets[inside[place]][1] <= end + common):
                place += 1
            stops.append(inside[place - 1] + 1 if place else inside[0])
        return (*stops, inside[-1] + 1)

    def save(self, path: Path) -> None:
        """Write the template as JSON."""
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> PromptTemplate:
        """Read a template that `save` wrote.

        Raises:
            TslrecError: the file is missing, or has fields or values that a configuration can't have.
        """
        stored = read_json(path)
        try:
            options = {_OPTIONS.get(name, name): value for name, value in stored.items()}
            options["text_fields"] = ",".join(stored.get("fields", ()))
        except (AttributeError, TypeError) as error:
            raise TslrecError(f"{path} is not a prompt template: {error}") from None
        return template_of(from_mapping(FinetuneConfig, options, f"{path} is not a prompt template",
                                        refuse_unread=False))


_OPTIONS = {"prefix": "prompt_prefix", "item": "prompt_item", "suffix": "prompt_suffix", "fields": "text_fields"}
"""Fields of `PromptTemplate` that `FinetuneConfig` has under other names."""


def clean(title: str) -> str:
    """Return a title on one line, without blanks around it; a blank one is ``(untitled)``."""
    return " ".join(title.split()) or UNTITLED


def cut_titles(titles: Iterable[str], most: int, tokenizer: Tokenizer) -> dict[str, str]:
    """Return the titles that have more than `most` tokens, each with its first `most` ones as a text."""
    # A token has at least one byte, so most titles need not be encoded.
    long = {title: text for title in titles if len((text := clean(title)).encode()) > most}
    shown: dict[str, str] = {}
    encoded = tokenizer.encode_all_with_offsets(list(long.values()))
    for (title, text), (_, offsets) in zip(long.items(), encoded, strict=True):
        ends = [stop for start, stop in offsets if stop > start]
        if len(ends) > most:
            shown[title] = text[: ends[most - 1]].rstrip()
    return shown


def check_fields(text: str, fields: tuple[str, ...]) -> None:
    """Raise TslrecError unless columns are given for the text ``fields``, and for that alone."""
    if (text == "fields") != bool(fields):
        raise TslrecError(f"--text {text} with the columns {', '.join(fields) or '(none)'}; name columns by "
                          "--text-fields for --text fields, and for that alone")


def template_of(config: FinetuneConfig) -> PromptTemplate:
    """Return the prompt template that a configuration describes."""
    return PromptTemplate(config.prompt_prefix, config.prompt_item, config.prompt_suffix, config.pooling,
                          config.max_title_tokens, config.text, fields_of(config))


def fields_of(config: FinetuneConfig) -> tuple[str, ...]:
    """Return the item columns that a configuration names."""
    return tuple(name.strip() for name in config.text_fields.split(",") if name.strip())


def item_texts(dataset: Dataset, template: Prompts) -> list[str]:
    """Return the text of every item in prompts, [I].

    By ``template.text``: ``title``; ``fields``: the title and, in brackets, the columns ``template.fields`` that are
    not blank; ``id``: the external id alone, for data without usable text.

    Raises:
        TslrecError: the data set lacks such a column.
    """
    if template.text == "title":
        return list(dataset.titles)
    if template.text == "id":
        return [f"item {item_id}" for item_id in dataset.item_ids]
    fields = template.fields
    missing = [name for name in fields if name not in dataset.fields]
    if missing:
        raise TslrecError(f"the data set has no item column {', '.join(missing)} (it has: "
                          f"{', '.join(dataset.fields) or 'none'}); prepare it with --item-fields {','.join(fields)}")
    texts = []
    for title, *values in zip(dataset.titles, *(dataset.fields[name] for name in fields), strict=True):
        known = "; ".join(f"{name}: {value}" for name, value in zip(fields, values, strict=True) if value)
        texts.append(f"{title or UNTITLED} ({known})" if known else title)
    return texts
