"""The configurations of fine-tuning and embedding."""

from __future__ import annotations

from dataclasses import dataclass

from ..config_fields import MAX_SEED, SET, option

OBJECTIVES = ("categories", "residual", "two-level")
_OF_USERS = ("categories", "two-level")
"""Objectives whose samples are users."""
LOSSES = ("kl", "ce", "mse")
TEXTS = ("title", "fields", "id")
QUANTS = {"F16": 0.998, "BF16": 0.995, "Q8_0": 0.995, "Q6_K": 0.98, "Q5_K_M": 0.97, "Q4_K_M": 0.95, "Q4_0": 0.93}
"""Quantisation -> minimum mean cosine between the states of a fine-tuned model and of its GGUF file;
docs/results.md has what a 135M model reaches."""
_PRECISIONS = ("auto", "bf16", "fp32")
_AUTO = "auto: bf16 on processors with instructions for it (most GPUs, CPUs with AMX or AVX512-BF16), else fp32."


@dataclass(frozen=True)
class FinetuneConfig:
    """How the language model learns the users' preference distributions."""

    model: str = option("smollm2-135m", "Base model: an alias, a .gguf file, a Hugging Face folder or hub id. ALIAS:N "
                        "or FILE.gguf:N uses only its first N layers, which is faster.")
    objective: str = option("categories", "What is learned. categories: the users' distributions over latent "
                            "categories. residual: by items, as virtual users, their categories and, of what counts of "
                            "transitions leave open, the next item of every history. two-level: by users, their "
                            "categories and, at the end of every title of a prompt, the category of the next one and "
                            "which item of it; of decoders only. After the last two, embed also writes projected "
                            "vectors.", choices=OBJECTIVES)
    offset: str = option("transitions", "What is known of the next item beside popularity: counts of transitions, "
                         "without the user's own, so that vectors learn what these leave open; or nothing.",
                         choices=("transitions", "none"), only_for={"objective": ("residual",)})
    projection: int = option(192, "Maximum number of dimensions of the projected vectors.", low=1,
                             only_for={"objective": ("residual", "two-level")})
    next_item_weight: float = option(1.0, "Weight of next titles beside the users' categories in the loss.", low=0,
                                     only_for={"objective": ("two-level",)})
    items_per_step: int = option(128, "Maximum number of items per optimiser step, at most an eighth of the items.",
                                 low=1, only_for={"objective": ("residual",)})
    loss: str = option("kl", "Loss between the head's output and the preference distribution.", choices=LOSSES)
    target: str = option("shown", "Compute the preference distribution from the titles shown in the prompt, or from "
                         "the whole training history.", choices=("shown", "history"),
                         only_for={"objective": _OF_USERS})
    pooling: str = option("mean", "Hidden state for the head and the embeddings: that of the last token, or the mean "
                          "over the tokens of the titles.", choices=("last", "mean"))
    prompt_prefix: str = option("A person liked these items, oldest first:", "Text before the titles.")
    prompt_item: str = option("\n- {title}", "Text of one title.")
    prompt_suffix: str = option("\nIn short, the items this person prefers are:", "Text after the titles.",
                               only_for={"pooling": ("last",)})
    text: str = option("title", "What represents an item in prompts: its title, its title and further fields, or only "
                       "its id.", choices=TEXTS)
    text_fields: str = option("", "Columns to show, separated by commas; prepare keeps them with --item-fields.",
                              only_for={"text": ("fields",)})
    max_title_tokens: int = option(48, "Maximum number of tokens per item; longer texts are truncated.", low=1)
    max_history: int = option(16, "Maximum number of titles in a prompt. Training by items (residual) shows one; then "
                              "it is that of the parity check, and of --virtual-target windows.", low=1)
    window: str = option("recent", "Titles shown of a longer history: the most recent ones, or a random window that is "
                         "redrawn every epoch. Held-out users always show the most recent ones.",
                         choices=("recent", "random"), only_for={"objective": _OF_USERS, "level": ("user",)})
    virtual_users: float = option(0.0, "Also train on virtual users, whose history is a single item, as in embed. "
                                  "Number per epoch, as a fraction of the items; redrawn every epoch.",
                                  low=0, high=1, only_for={"objective": _OF_USERS, "level": ("user",)})
    virtual_target: str = option("users", "Target of a virtual user. users: mean preference distribution of the "
                                 "training users who have the item. windows: the same over the parts of their "
                                 "histories, of --max-history items, that contain it. category: the item's own latent "
                                 "category.", choices=("users", "windows", "category"),
                                 only_for={"level": ("user",), "virtual_users": SET},
                                 also_for={"objective": ("residual",)})
    level: str = option("user", "What a training sample is: a user, or an instance, which is the items before an "
                        "interaction and the category of its item (as in other methods; for comparing costs).",
                        choices=("user", "instance"), only_for={"objective": ("categories",)})
    users: int = option(0, "Maximum number of training users (0 = all).", low=0,
                        only_for={"objective": _OF_USERS})
    select: str = option("random", "How training users are selected: at random, or to cover all items and latent "
                         "categories.", choices=("random", "coverage"), only_for={"users": SET})
    holdout: float = option(0.1, "Fraction of the users held out to measure the loss.", low=0.01, high=0.5)
    epochs: int = option(1, "Maximum number of epochs.", low=1)
    patience: int = option(2, "Stop after this many checks on held-out users without a better loss.", low=1)
    checks: int = option(2, "Number of checks on held-out users per epoch.", low=1)
    batch_size: int = option(16, "Number of users per optimiser step.", low=1,
                             only_for={"objective": _OF_USERS})
    batch_tokens: int = option(1024, "Maximum number of tokens in a forward and backward pass; gradients are "
                               "accumulated up to the batch size. Lower values need less memory.", low=1)
    checkpointing: bool = option(False, "Gradient checkpointing: keep only each layer's input for the backward pass "
                                 "and recompute the rest. Less memory, a third more time.")
    learning_rate: float = option(5e-4, "Peak learning rate of AdamW for the LoRA weights. 0 with --objective "
                                  "residual: the language model stays as it is, and only what reads its states is "
                                  "trained.", low=0)
    head_learning_rate: float = option(1.5e-3, "Peak learning rate of the linear head.", low=0)
    lora_layers: int = option(0, "Number of last layers that get LoRA (0 = all). Layers below them need no backward "
                              "pass.", low=0)
    lora_rank: int = option(8, "LoRA rank r.", low=1)
    lora_alpha: float = option(16.0, "LoRA alpha; the update is scaled by alpha / r.", low=0)
    lora_dropout: float = option(0.0, "Dropout before the LoRA matrices.", low=0, high=0.95)
    precision: str = option("auto", f"Precision of the frozen weights. {_AUTO}", choices=_PRECISIONS)
    quant: str = option("Q8_0", "Quantisation of the GGUF file for embedding.", choices=tuple(QUANTS))
    parity_prompts: int = option(200, "Number of prompts in the parity check, half users and half items.", low=2)
    seed: int = option(0, "Random seed.", low=0, high=MAX_SEED)


@dataclass(frozen=True)
class EmbedConfig:
    """How items become vectors."""

    engine: str = option("llama", "llama: llama.cpp on the GGUF file. torch: the reference.",
                         choices=("llama", "torch"))
    quant: str = option("auto", "Quantisation that llama.cpp runs. auto: that of the fine-tuned model, or of the base "
                        "model's file, with Q8_0 in place of the slow Q4_1 and Q5_1. Any other is first written to a "
                        "temporary file; weights do not become more precise than they are stored.",
                        choices=("auto", *QUANTS), only_for={"engine": ("llama",)})
    prefix: str = option("", "Text before every title, for encoders that were trained with one, such as \"query: \".")
    batch_tokens: int = option(0, "Maximum number of tokens computed at once; 0: the engine's default, which is "
                               "smaller on a CPU.", low=0)
    autotune: bool = option(False, "Time several batch sizes on a sample of the prompts and use the fastest.")
    torch_precision: str = option("fp32", f"Precision of torch. {_AUTO}", choices=_PRECISIONS,
                                  only_for={"engine": ("torch",)})
    gpu_layers: int = option(0, "Number of layers that llama.cpp puts on a GPU (-1 = all).", low=-1,
                             only_for={"engine": ("llama",)})
    shard_size: int = option(512, "Number of distinct prompts per shard. A shard is stored when it is complete: an "
                             "interruption costs at most one, and processes share the shards.", low=1)
