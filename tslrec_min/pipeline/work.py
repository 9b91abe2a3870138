"""How long the stages of a run will take, roughly: their matrix products, at the speed that this machine has.

Counted are the terms that grow with the data. Each kind of stage reaches a share of the speed of a large product; the
shares were measured with the quickstart, MovieLens-1M and Amazon Beauty, on two cores with AVX2. A training that may
stop early is taken to need two thirds of its epochs.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from ..configs import COUNTING_MODELS, FinetuneConfig, RecommenderConfig
from ..data.item_table import load_item_table
from ..errors import TslrecError
from ..finetuning.item_training import PLACES
from ..llm.gguf.reader import read_gguf
from ..llm.resolve import ResolvedModel, resolve_model
from ..storage.artifacts import read_json
from .config import RunConfig
from .trainings import Recommenders

_OTHER_SECONDS, _OTHER_SECONDS_A_MILLION = 2.0, 20.0
"""Of a stage without matrix products to speak of, such as a count or a sum, and more for a million interactions."""
_PROBE_SECONDS_A_MILLION = 0.08
"""More to probe a set of item embeddings, for a million scores of a user and an item."""
_LOSS_SHARE, _BLOCK_SHARE, _FINETUNING_SHARE, _ITEMS_SHARE, _EMBEDDING_SHARE = 0.8, 0.35, 0.75, 0.4, 0.9
_PROMPT_TOKENS, _CHARACTERS_A_TOKEN = 6, 4
"""Tokens of a prompt beside its titles, and characters of a title in a token."""
_ENCODER_WEIGHTS = 11e6
"""In the blocks of all-MiniLM-L6-v2; other encoders are taken for as large."""


@dataclass(frozen=True)
class Work:
    """What the time of stages follows from."""

    users: int
    items: int
    interactions: int
    title_characters: float
    """Mean length of a title."""
    speed: float
    """Operations a second of a large product."""

    @classmethod
    def of(cls, dataset: Path, device: torch.device) -> Work:
        """Read a data set artifact, and measure the speed of torch's threads on a device."""
        known, titles = read_json(dataset / "dataset.json"), load_item_table(dataset / "items.tsv")[1]
        return cls(known["users"], known["items"], known["interactions"], sum(map(len, titles)) / max(1, len(titles)),
                   product_speed(device))

    def of_stages(self, stages: Iterable[str], config: RunConfig) -> dict[str, float]:
        """Return the seconds of the stages beside those of recommenders."""
        tuning, found = config.stages["finetune"], dict.fromkeys(stages, self._other())
        try:
            weights = weights_of(resolve_model(tuning.model)) if found.keys() & {"embed-untuned", "finetune"} else 0.0
        except (TslrecError, KeyError):  # the stage that needs the model says what is wrong
            weights = 0.0
        operations = {"pretrain": training(config.stages["pretrain"], self),
                      "finetune": finetuning(tuning, weights, self),
                      "embed-encoder": embedding(tuning, _ENCODER_WEIGHTS, self)}
        operations |= dict.fromkeys(("embed", "embed-untuned"), embedding(tuning, weights, self))
        return {name: seconds + operations.get(name, 0.0) / self.speed for name, seconds in found.items()}

    def of_recommenders(self, recommenders: Recommenders) -> dict[str, float]:
        """Return the seconds of each."""
        trained = {name: training(arguments["config"], self) / self.speed
                   for name, arguments in recommenders.trained.items()}
        return {**dict.fromkeys((*recommenders.alone, *recommenders.sums), self._other()), **trained}

    def of_probe(self, sets: int) -> float:
        """Return the seconds of probing some sets of item embeddings; that of a fine-tuned model counts as four."""
        return (sets + 3) * (_OTHER_SECONDS + _PROBE_SECONDS_A_MILLION * self.users * self.items / 1e6)

    def _other(self) -> float:
        return _OTHER_SECONDS + _OTHER_SECONDS_A_MILLION * self.interactions / 1e6


def product_speed(device: torch.device) -> float:
    """Return the operations a second of a product of two float32 matrices [512, 512], with torch's threads."""
    matrix = torch.ones(512, 512, device=device)
    float((matrix @ matrix)[0, 0])  # the first one is slow
    done, started = 0, time.perf_counter()
    while not done or time.perf_counter() - started < 0.1:
        float((matrix @ matrix)[0, 0])  # waits for a GPU
        done += 1
    return done * 2 * 512**3 / (time.perf_counter() - started)


def training(config: RecommenderConfig, work: Work) -> float:
    """Return the operations of a training, at a large product's speed: item scores and blocks, forward and backward."""
    if config.model in COUNTING_MODELS:
        return 0.0
    recurrent = config.model == "gru4rec"
    layer = 3 * config.units * (config.width + config.units) if recurrent else 12 * config.width**2
    targets = max(0, work.interactions - 3 * work.users)
    epochs = config.epochs if config.patience >= config.epochs else config.epochs * 2 / 3
    return epochs * targets * 6 * (work.items * config.width / _LOSS_SHARE + config.blocks * layer / _BLOCK_SHARE)


def finetuning(config: FinetuneConfig, weights: float, work: Work) -> float:
    """Return the operations of fine-tuning a model with so many weights in its blocks, at a large product's speed.

    By items, a step scores all items at some places of histories too; in two levels, an epoch reads them first, and
    the last check once more.
    """
    title, shown = _title_tokens(config, work), min(config.max_history, work.interactions / max(1, work.users))
    if config.objective == "residual":
        read = work.items * (_PROMPT_TOKENS + title) * 4 * weights * bool(config.learning_rate)
        steps = work.items / max(1, min(config.items_per_step, work.items / 8))
        return config.epochs * (read + steps * PLACES * work.items * config.projection * 6) / _ITEMS_SHARE
    users = min(config.users or work.users, work.users) * (_PROMPT_TOKENS + shown * title)
    items = config.virtual_users * work.items * (_PROMPT_TOKENS + title)
    candidates = work.items * (_PROMPT_TOKENS + title) * (config.epochs + 1) * (config.objective == "two-level")
    return (config.epochs * (users + items) * 4 + candidates * 2) * weights / _FINETUNING_SHARE


def embedding(config: FinetuneConfig, weights: float, work: Work) -> float:
    """Return the operations of embedding the catalogue with a model; arguments as for `finetuning`."""
    return work.items * (_PROMPT_TOKENS + _title_tokens(config, work)) * 2 * weights / _EMBEDDING_SHARE


def weights_of(model: ResolvedModel) -> float:
    """Return the number of weights in a model's blocks, from the sizes in its description."""
    described = read_gguf(model.path).config if model.kind == "gguf" else read_json(model.path / "config.json")
    width, layers, inner = (described[name] for name in ("hidden_size", "num_hidden_layers", "intermediate_size"))
    products = 2 if described.get("model_type") == "bert" else 3  # of the inner layer; a decoder's is gated
    return float(layers * width * (4 * width + products * inner))


def _title_tokens(config: FinetuneConfig, work: Work) -> float:
    return min(config.max_title_tokens, 2 + work.title_characters / _CHARACTERS_A_TOKEN)
