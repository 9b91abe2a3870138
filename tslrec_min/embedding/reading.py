"""What a model reads of an item: a decoder the prompt it was tuned with, an encoder the item's text alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..data.dataset import Dataset
from ..llm.encoders import Encoder
from ..llm.gguf.tokenizer import TextTokenizer, load_tokenizer
from ..llm.prompts import UNTITLED, Prompts, TokenPrompt, item_texts
from ..llm.resolve import ResolvedModel
from ..llm.title_list import text_prompts

if TYPE_CHECKING:
    from ..llm.engines.llama_tokenizer import LlamaTokenizer


class Reading(Protocol):
    """How items become prompts."""

    def described(self) -> dict[str, Any]:
        """Return what prompts depend on beside the items and the tokenizer, JSON-able, for records of the artifact."""

    def texts(self, dataset: Dataset) -> list[str]:
        """Return the text of every item, [I]."""

    def tokenize(self, texts: Sequence[str]) -> list[TokenPrompt]:
        """Return the prompts of texts."""

    def counts(self, texts: Sequence[str]) -> dict[str, int]:
        """Return how many of the texts are cut and otherwise changed, for embed.json."""


@dataclass(frozen=True)
class PromptReading:
    """Every item as a virtual user whose history is that item, for decoders and fine-tuned encoders."""

    template: Prompts
    model: Path | ResolvedModel
    """Whose tokenizer is used; it is loaded when it is needed."""

    @cached_property
    def _tokenizer(self) -> TextTokenizer:
        return load_tokenizer(self.model)

    def described(self) -> dict[str, Any]:
        """Return the template, or what an encoder reads."""
        return self.template.described()

    def texts(self, dataset: Dataset) -> list[str]:
        """Return what the template shows of every item.

        Raises:
            TslrecError: the data set lacks a column that the template shows.
        """
        return item_texts(dataset, self.template)

    def tokenize(self, texts: Sequence[str]) -> list[TokenPrompt]:
        """Return the prompts of texts.

        Raises:
            TslrecError: the template gives no token to pool.
        """
        return self.template.tokenize_all([[text] for text in texts], self._tokenizer)

    def counts(self, texts: Sequence[str]) -> dict[str, int]:
        """Return the number of texts that are cut."""
        return {"titles_cut": len(self.template.cut(texts, self._tokenizer))}


@dataclass(frozen=True)
class TitleReading:
    """Every item by its title, for encoders; a blank title becomes ``(untitled)``."""

    encoder: Encoder
    prefix: str
    """Text before every title, such as ``"query: "``: some encoders were trained with one."""
    model: ResolvedModel
    """Whose tokenizer is used, of a .gguf file by llama.cpp; it is loaded when it is needed."""

    @cached_property
    def _tokenizer(self) -> TextTokenizer | LlamaTokenizer:
        if self.model.kind == "hf":
            return load_tokenizer(self.model)
        from ..llm.engines.llama_tokenizer import LlamaTokenizer

        return LlamaTokenizer(self.model.path)

    def described(self) -> dict[str, Any]:
        """Return the encoder and the prefix."""
        return {"encoder": {**asdict(self.encoder), "prefix": self.prefix}}

    def texts(self, dataset: Dataset) -> list[str]:
        """Return the titles with the prefix."""
        return [self.prefix + (title.strip() or UNTITLED) for title in dataset.titles]

    def tokenize(self, texts: Sequence[str]) -> list[TokenPrompt]:
        """Return the prompts of texts; long ones are cut to the encoder's `max_tokens`, and keep their last tokens."""
        return text_prompts(texts, self.encoder, self._tokenizer)

    def counts(self, texts: Sequence[str]) -> dict[str, int]:
        """Return the number of texts that are cut, and of blank titles."""
        return {"titles_cut": sum(len(ids) > self.encoder.max_tokens for ids in self._tokenizer.encode_all(texts)),
                "untitled": sum(text == self.prefix + UNTITLED for text in texts)}
