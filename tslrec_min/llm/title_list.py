"""What encoders read: titles alone, those of a user newest first.

An encoder was trained on texts without instructions, so it gets no prompt around the titles. It reads few tokens, and
what is too long is cut at the end: of a user these are the oldest titles. A user of one item reads as the item.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from ..configs import FinetuneConfig
from ..errors import TslrecError
from .encoders import Encoder
from .prompts import Tokenizer, TokenPrompt, check_fields, clean, cut_titles, fields_of

SEPARATOR = "; "
"""Between the titles of a user."""
_OF_DECODERS = ("prompt_prefix", "prompt_item", "prompt_suffix", "pooling")


class TitleTokenizer(Protocol):
    """The part of a tokenizer that titles need."""

    @property
    def eos(self) -> tuple[int, ...]:
        """Token ids after every text."""

    def encode_all(self, texts: Sequence[str]) -> Iterator[list[int]]:
        """Yield the token ids of every text, with those before and after it."""


class _WholeTokenizer(TitleTokenizer, Tokenizer, Protocol):
    """A tokenizer that also knows where tokens are in a text."""


@dataclass(frozen=True)
class TitleList:
    """How a fine-tuned encoder reads items and users."""

    encoder: Encoder
    max_title_tokens: int = FinetuneConfig.max_title_tokens
    """Maximum number of tokens for the text of an item; longer ones are cut."""
    text: str = FinetuneConfig.text
    """The text of an item, as in `prompts.PromptTemplate`."""
    fields: tuple[str, ...] = ()
    """Item columns shown if text is ``fields``."""

    def __post_init__(self) -> None:
        check_fields(self.text, self.fields)

    @classmethod
    def of(cls, config: FinetuneConfig, encoder: Encoder) -> TitleList:
        """Return what a configuration describes.

        Raises:
            TslrecError: it sets an option that only decoders have.
        """
        defaults = FinetuneConfig()
        given = [f"{name} = {getattr(config, name)!r}" for name in _OF_DECODERS
                 if getattr(config, name) != getattr(defaults, name)]
        if given:
            raise TslrecError(f"{config.model} is an encoder, which reads titles without a prompt and pools as it was "
                              f"trained to ({encoder.pooling}); leave out {', '.join(given)}")
        return cls(encoder, config.max_title_tokens, config.text, fields_of(config))

    def described(self) -> dict[str, Any]:
        """Return what texts depend on beside items and tokenizer, JSON-able, by the name ``encoder``."""
        own = {name: value for name, value in asdict(self).items() if name != "encoder"}
        return {"encoder": asdict(self.encoder) | own}

    def tokenize_all(self, histories: Sequence[Sequence[str]], tokenizer: _WholeTokenizer) -> list[TokenPrompt]:
        """Make the texts of histories.

        Args:
            histories: texts of items, oldest first, at least one in each; blank ones become ``(untitled)``.
            tokenizer: the encoder's.

        Raises:
            TslrecError: there is no title.
        """
        if not all(histories):
            raise TslrecError("a prompt needs at least one title; got none")
        titles = dict.fromkeys(title for history in histories for title in history)
        cut = self.cut(titles, tokenizer)
        shown = {title: cut.get(title) or clean(title) for title in titles}
        return text_prompts([SEPARATOR.join(shown[title] for title in reversed(history)) for history in histories],
                            self.encoder, tokenizer)

    def cut(self, titles: Iterable[str], tokenizer: Tokenizer) -> dict[str, str]:
        """Return the titles that have too many tokens, each with its shortened text."""
        return cut_titles(titles, self.max_title_tokens, tokenizer)


def text_prompts(texts: Sequence[str], encoder: Encoder, tokenizer: TitleTokenizer) -> list[TokenPrompt]:
    """Return texts as an encoder reads them; long ones are cut to its `max_tokens`, and keep their last tokens."""
    most, ends = encoder.max_tokens, tokenizer.eos
    cut = (tuple(ids) if len(ids) <= most else (*ids[:most - len(ends)], *ends) for ids in tokenizer.encode_all(texts))
    return [TokenPrompt(ids, *_span(encoder, len(ids))) for ids in cut]


def _span(encoder: Encoder, length: int) -> tuple[int, int]:
    """Return the tokens to pool: all, as engines of encoders pool, or those that are a causal model's pooling."""
    spans = {"last": (length - 1, length), "cls": (0, 1)}
    return spans.get(encoder.pooling, (0, length)) if encoder.causal else (0, length)
