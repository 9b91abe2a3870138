"""The configuration of every stage, as flat frozen dataclasses.

A field is a command-line flag (``max_len`` is ``--max-len``), a key of a ``tslrec run`` file and a keyword of the API;
its help is written once, here. Importing this module is cheap: it loads none of the heavy libraries.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar

from .config_fields import SET, option
from .errors import TslrecError

FORMATS = ("auto", "recbole", "csv", "jsonl", "parquet", "movielens", "sequences", "amazon", "yelp", "steam")
PREPARED_SPLITS = ("leave-one-out", "temporal")
ADAPTERS = ("none", "linear", "mlp", "init", "recpca", "cca", "whiten", "alphafuse", "moe", "gate", "spectral")
_WITH_IDS = ("none", "init", "recpca", "cca", "alphafuse", "gate")
"""Adapters with trainable weights for each item."""
_WITH_COMPONENTS = ("linear", "mlp", "whiten", "moe", "gate", "spectral")
"""Adapters that use a given number of principal components."""
CONTROLS = ("none", "random", "shuffled")
MODELS = ("sasrec", "gru4rec", "bert4rec", "bsarec")
COUNTING_MODELS = ("popularity", "itemknn", "transitions", "content")
"""Recommenders without training."""
BLOCKS = ("prenorm", "ligr")
RECOMMENDER_LOSSES = ("ce", "sampled", "bce", "gbce")
_NEGATIVE_LOSSES = RECOMMENDER_LOSSES[1:]
REFITS = ("none", "validation", "all")
SAMPLINGS = ("uniform", "popularity", "shared", "batch")
LOSSES = ("kl", "ce", "mse")
TEXTS = ("title", "fields", "id")
RECOMMENDATION_FORMATS = ("jsonl", "csv", "parquet")
VECTOR_FORMATS = ("npy", "parquet", "word2vec", "recbole")
VECTORS = ("auto", "states", "preferences", "both")
QUANTS = {"F16": 0.998, "BF16": 0.995, "Q8_0": 0.995, "Q6_K": 0.98, "Q5_K_M": 0.97, "Q4_K_M": 0.95, "Q4_0": 0.93}
"""Quantisation -> minimum mean cosine between the states of a fine-tuned model and of its GGUF file;
docs/results.md has what a 135M model reaches."""
_RESAMPLED = ("permutation", "bootstrap")
_PRECISIONS = ("auto", "bf16", "fp32")
_AUTO = "auto: bf16 on processors with instructions for it (most GPUs, CPUs with AMX or AVX512-BF16), else fp32."
MAX_SEED = 2**63 - 1


@dataclass(frozen=True)
class PrepareConfig:
    """How raw interactions become a data set."""

    format: str = option("auto", "Format of the interactions.", choices=FORMATS)
    user_column: str = option("user_id", "Column, or JSON key, of the user id. The column options are for csv, jsonl "
                              "and parquet; the other formats have fixed names.")
    item_column: str = option("item_id", "Column of the item id, also in the items file.")
    time_column: str = option("timestamp", "Column of the timestamp, a number or an ISO date; empty: the rows are in "
                              "time order.")
    title_column: str = option("", "Column of the title in the items file; empty: the first of title, movie_title, "
                               "name, item_name and product_title.")
    item_fields: str = option("", "Further columns of the items file to keep for prompts, separated by commas.")
    rating_column: str = option("rating", "Column of the rating.", only_for={"min_rating": SET})
    columns: str = option("", "Column names for csv files without a header, separated by commas.")
    time_unit: str = option("s", "Unit of numeric timestamps; ms are divided by 1000. Amazon 2023 is always read as "
                            "ms.", choices=("s", "ms"))
    encoding: str = option("", "Text encoding; empty: UTF-8, or latin-1 for the old MovieLens files.")
    on_bad_row: str = option("error", "What to do with an unreadable row or a second title of an item: stop, or skip "
                             "and count it.", choices=("error", "skip"))
    missing_titles: str = option("error", "What to do if items have no row in the items file or there is no items "
                                 "file: stop, or use blank titles.", choices=("error", "blank"))
    duplicates: str = option("drop", "Interactions with the same user, item and time: keep only the first, or keep "
                             "all. Rows without a time are all kept.", choices=("drop", "keep"))
    min_rating: float | None = option(None, "Minimum rating. Default: no minimum.")
    from_time: str = option("", "Keep interactions from this time on: an ISO date (UTC), or a number as in the data "
                            "(in seconds if the data are in ms).")
    until_time: str = option("", "Keep interactions before this time.")
    k_core: int = option(5, "Minimum number of interactions of a user and of an item (k-core). The filter is repeated "
                         "until every user and item has them.", low=0)
    cold_items: float = option(0.0, "Fraction of the items held out of training (0 = none). Interactions with them are "
                               "removed from the histories and become targets of evaluate's cold-start table.",
                               low=0, high=0.5)
    cold_seed: int = option(0, "Random seed for choosing the cold items.", low=0, high=MAX_SEED,
                            only_for={"cold_items": SET})
    split: str = option("leave-one-out", "leave-one-out: a user's last item is the test target, the one before it the "
                        "validation target. temporal: training ends at the same time for all users.",
                        choices=PREPARED_SPLITS)
    validation_share: float = option(0.1, "Fraction of the interactions in the validation period.", low=0.001, high=0.5,
                                     only_for={"split": ("temporal",)})
    test_share: float = option(0.1, "Fraction of the interactions in the test period, the last one.", low=0.001,
                               high=0.5, only_for={"split": ("temporal",)})

    def __post_init__(self) -> None:
        """Check what no field can check alone."""
        if self.validation_share + self.test_share > 0.9:
            raise TslrecError(f"--validation-share {self.validation_share} and --test-share {self.test_share} leave "
                              "less than a tenth of the interactions for training; lower them")


@dataclass(frozen=True)
class RecommenderConfig:
    """What pretraining and training have in common: a sequential recommender and how it is trained."""

    model: str = option("sasrec", "Sequential recommender.", choices=MODELS)
    width: int = option(64, "Embedding dimension of items and hidden states.", low=1)
    table_std: float | None = option(None, "Standard deviation of the initial item table. Adam moves every entry by "
                                     "about the same step, so a larger initial table is kept longer. Default: 0.1 for "
                                     "init and cca, 0.02 for the others.", low=1e-6, high=10)
    blocks: int = option(2, "Number of self-attention blocks, or of gru4rec's recurrent layers.", low=1, high=256)
    block: str = option("prenorm", "Self-attention block. prenorm: as in GPT-2, with GELU. ligr: gated residual "
                        "connections and SwiGLU, as in eSASRec.", choices=BLOCKS, only_for={"model": ("sasrec",)})
    heads: int = option(2, "Number of attention heads; must divide the width.", low=1,
                        only_for={"model": ("sasrec", "bert4rec", "bsarec")})
    bsarec_alpha: float = option(0.7, "Weight of the frequency layer; self-attention has the rest.", low=0, high=1,
                                 only_for={"model": ("bsarec",)})
    frequency_cut: int = option(5, "Number of Fourier coefficients that the frequency layer's low-pass filter keeps, "
                                "the lowest; an even number counts as the next odd one.", low=1,
                                only_for={"model": ("bsarec",)})
    units: int = option(128, "Number of recurrent units.", low=1, only_for={"model": ("gru4rec",)})
    dropout: float = option(0.3, "Dropout rate.", low=0, high=0.95)
    mask_probability: float = option(0.2, "Fraction of the items that are masked in training.", low=0, high=1,
                                     only_for={"model": ("bert4rec",)})
    mask_last: float = option(0.1, "Fraction of the training windows in which only the last item is masked.", low=0,
                              high=1, only_for={"model": ("bert4rec",)})
    max_len: int = option(50, "Maximum history length, in items.", low=1)
    loss: str = option("ce", "ce: cross-entropy over all items. sampled: cross-entropy over negatives. bce, gbce: "
                       "binary cross-entropy, plain or calibrated.", choices=RECOMMENDER_LOSSES)
    negatives: int = option(256, "Number of negatives per training target.", low=1,
                            only_for={"loss": _NEGATIVE_LOSSES})
    sampling: str = option("uniform", "How negatives are sampled. uniform, popularity: for each target, never from the "
                           "user's history. shared: uniformly, one set per batch (much faster). batch: the other "
                           "targets of the batch.", choices=SAMPLINGS, only_for={"loss": _NEGATIVE_LOSSES})
    popularity_exponent: float = option(0.75, "Items are sampled in proportion to their count to this power.", low=0,
                                        high=2, only_for={"loss": _NEGATIVE_LOSSES, "sampling": ("popularity",)})
    calibration: float = option(0.75, "Calibration parameter t.", low=0, high=1, only_for={"loss": ("gbce",)})
    batch_size: int = option(64, "Number of training windows per step.", low=1)
    learning_rate: float = option(1.5e-3, "Peak learning rate of AdamW.", low=0)
    warmup_steps: int = option(50, "Number of steps over which the learning rate rises to its peak.", low=0)
    decay: str = option("none", "Decay of the learning rate after warm-up; it reaches 0 after --epochs.",
                        choices=("none", "linear", "cosine"))
    weight_decay: float = option(0.0, "Weight decay of AdamW for all weights except the item table.", low=0)
    table_decay: float = option(0.0, "Weight decay of AdamW for the item table.", low=0)
    clip_norm: float = option(5.0, "Maximum norm of a step's gradient.", low=0)
    precision: str = option("fp32", "Precision of matrix products; bf16 uses autocast.", choices=("fp32", "bf16"))
    epochs: int = option(100, "Maximum number of epochs.", low=1)
    patience: int = option(10, "Stop after this many epochs without a better validation NDCG@10.", low=1)
    seed: int = option(0, "Random seed.", low=0, high=MAX_SEED)

    def __post_init__(self) -> None:
        """Check what no field can check alone."""
        if self.model != "gru4rec" and self.width % self.heads:
            raise TslrecError(f"--width {self.width} is not a multiple of --heads {self.heads}")
        if self.model == "bsarec" and self.frequency_cut // 2 >= self.max_len // 2:
            raise TslrecError(f"--frequency-cut {self.frequency_cut} keeps all frequencies of --max-len {self.max_len} "
                              "and leaves none to rescale; lower it")

    def shared(self) -> dict[str, Any]:
        """Return the fields that pretraining and training have in common."""
        return {item.name: getattr(self, item.name) for item in fields(RecommenderConfig)}


@dataclass(frozen=True)
class AdapterConfig:
    """How item embeddings become the item table."""

    adapter: str = option("none", "How item embeddings become the item table. none: item ids only. A trainable table "
                          "that starts from PCA (init), from PCA that keeps consecutive items close (recpca), or from "
                          "CCA of items in the same history (cca). A trainable projection of frozen embeddings: "
                          "linear, mlp, whiten (linear, of whitened components), moe (mixture of experts), spectral "
                          "(attention over components). Item ids combined with frozen whitened components (alphafuse) "
                          "or with a projection (gate).", choices=ADAPTERS)
    vectors: str = option("auto", "Which embeddings the adapter uses. states: the language model's hidden states. "
                          "preferences: square roots of the latent-category probabilities that its head predicts. "
                          "both: the two concatenated, with equal variance. auto: both for a fine-tuned model, else "
                          "states. --model content reads them too.", choices=VECTORS, only_for={"adapter": SET})
    pca_width: int = option(0, "Number of principal components that the projection uses (0 = all).", low=0,
                            only_for={"adapter": _WITH_COMPONENTS})
    id_width: int | None = option(None, "Number of columns, the last ones, that item ids are added to. Default: half "
                                  "of --width.", low=0, only_for={"adapter": ("alphafuse",)})
    recpca_lambda: float = option(0.5, "Weight of the penalty on differences between consecutive items (0 = plain "
                                  "PCA).", low=0, only_for={"adapter": ("recpca",)})
    cca_window: int = option(10, "Maximum distance, in items, between the two items of a pair in a history.", low=1,
                             only_for={"adapter": ("cca",)})
    init_whitening: bool = option(True, "Scale the components of the initial table to equal variance, so that a few "
                                  "large ones do not dominate.", only_for={"adapter": ("init",)})
    experts: int = option(8, "Number of experts, of which each item uses 2.", low=2, only_for={"adapter": ("moe",)})
    control: str = option("none", "Replace the item embeddings to see where a gain comes from: by random vectors of "
                          "the same size, or by the same embeddings shuffled among the items.", choices=CONTROLS,
                          only_for={"adapter": SET})


@dataclass(frozen=True)
class TrainConfig(RecommenderConfig, AdapterConfig):
    """How a sequential recommender is trained, with item embeddings through an adapter or without."""

    SHARED_CONDITIONS: ClassVar = {item.name: {"model": MODELS} for item in (*fields(RecommenderConfig), *fields(
        AdapterConfig)) if item.name not in ("model", "seed", "vectors")}
    ALSO_FOR: ClassVar = {"vectors": {"model": ("content",)}}

    model: str = option("sasrec", "Recommender. sasrec, gru4rec, bert4rec and bsarec are trained networks. The others "
                        "need no training, and choose their few constants on validation targets. popularity: the most "
                        "frequent items. itemknn: items that many users of the history's items have too. transitions: "
                        "items that followed those of the history. content: items whose embeddings are near those of "
                        "the history.",
                        choices=(*MODELS, *COUNTING_MODELS))
    table_decay: float = option(0.0, "Weight decay of AdamW for the weights of single items: item ids decay towards 0, "
                                "the tables of init, recpca and cca towards their initial values, so that rare items "
                                "stay close to their embeddings.", low=0, only_for={"adapter": _WITH_IDS})
    refit: str = option("none", "After training with early stopping, train once more from scratch, for the best number "
                        "of epochs, on more items. validation: the training and validation items, for test figures. "
                        "all: all items, for recommendations; no figure can be computed then.", choices=REFITS)

    def __post_init__(self) -> None:
        """Check what no field can check alone."""
        super().__post_init__()
        if self.adapter == "alphafuse" and (self.id_width or 0) > self.width:
            raise TslrecError(f"--id-width {self.id_width} is more than --width {self.width}; lower it")

    @property
    def table_spread(self) -> float:
        """Standard deviation of the initial item table: `table_std`, or the adapter's default."""
        if self.table_std is not None:
            return self.table_std
        return 0.1 if self.adapter in ("init", "cca") else 0.02


@dataclass(frozen=True)
class TuneConfig(TrainConfig):
    """The first trial of a search for hyper-parameters, and how many others there are."""

    vary: str = option("", "Options to vary, separated by commas, such as width,dropout; the others stay as given. "
                       "Empty: every option of the search space that the recommender reads.")
    trials: int = option(16, "Number of configurations; the first is the one given, the others are random.", low=1)
    budget: int = option(5, "Number of epochs of every trial in the first rung. In each later rung the better half of "
                         "the trials goes on to twice as many.", low=1)
    refit: str = option("none", "Always none: give it to train, with the best configuration.", choices=REFITS[:1])

    @property
    def training(self) -> TrainConfig:
        """The configuration of the first trial."""
        return TrainConfig(**{item.name: getattr(self, item.name) for item in fields(TrainConfig)})


@dataclass(frozen=True)
class PretrainConfig(RecommenderConfig):
    """How the latent categories are made: an ID-only recommender, and k-means on its item table."""

    categories: int = option(32, "Number of latent categories K.", low=2)
    kmeans_restarts: int = option(8, "Number of k-means++ starts; the best is kept.", low=1)

    @property
    def training(self) -> TrainConfig:
        """How the recommender is trained: on item ids only."""
        return TrainConfig(**self.shared())


@dataclass(frozen=True)
class FinetuneConfig:
    """How the language model learns the users' preference distributions."""

    model: str = option("smollm2-135m", "Base model: an alias, a .gguf file, a Hugging Face folder or hub id. ALIAS:N "
                        "or FILE.gguf:N uses only its first N layers, which is faster.")
    loss: str = option("kl", "Loss between the head's output and the preference distribution.", choices=LOSSES)
    target: str = option("shown", "Compute the preference distribution from the titles shown in the prompt, or from "
                         "the whole training history.", choices=("shown", "history"))
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
    max_history: int = option(16, "Maximum number of titles in a prompt.", low=1)
    window: str = option("recent", "Titles shown of a longer history: the most recent ones, or a random window that is "
                         "redrawn every epoch. Held-out users always show the most recent ones.",
                         choices=("recent", "random"), only_for={"level": ("user",)})
    virtual_users: float = option(0.0, "Also train on virtual users, whose history is a single item, as in embed. "
                                  "Number per epoch, as a fraction of the items; redrawn every epoch.",
                                  low=0, high=1, only_for={"level": ("user",)})
    virtual_target: str = option("users", "Target of a virtual user. users: mean preference distribution of the "
                                 "training users who have the item. windows: the same over the parts of their "
                                 "histories, of --max-history items, that contain it. category: the item's own latent "
                                 "category.", choices=("users", "windows", "category"),
                                 only_for={"level": ("user",), "virtual_users": SET})
    level: str = option("user", "What a training sample is: a user, or an instance, which is the items before an "
                        "interaction and the category of its item (as in other methods; for comparing costs).",
                        choices=("user", "instance"))
    users: int = option(0, "Maximum number of training users (0 = all).", low=0)
    select: str = option("random", "How training users are selected: at random, or to cover all items and latent "
                         "categories.", choices=("random", "coverage"), only_for={"users": SET})
    holdout: float = option(0.1, "Fraction of the users held out to measure the loss.", low=0.01, high=0.5)
    epochs: int = option(1, "Maximum number of epochs.", low=1)
    patience: int = option(2, "Stop after this many checks on held-out users without a better loss.", low=1)
    checks: int = option(2, "Number of checks on held-out users per epoch.", low=1)
    batch_size: int = option(16, "Number of users per optimiser step.", low=1)
    batch_tokens: int = option(1024, "Maximum number of tokens in a forward and backward pass; gradients are "
                               "accumulated up to the batch size. Lower values need less memory.", low=1)
    checkpointing: bool = option(False, "Gradient checkpointing: keep only each layer's input for the backward pass "
                                 "and recompute the rest. Less memory, a third more time.")
    learning_rate: float = option(5e-4, "Peak learning rate of AdamW for the LoRA weights.", low=0)
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


@dataclass(frozen=True)
class EvaluateConfig:
    """What is evaluated and how arms are compared."""

    split: str = option("test", "Targets to rank.", choices=("validation", "test"))
    head_share: float = option(0.2, "Fraction of the items that are head items, the most popular in training; the rest "
                               "are tail items.", low=0, high=1)
    test: str = option("permutation", "Paired test over users of every arm against the first one.",
                       choices=("permutation", "bootstrap", "none"))
    resamples: int = option(10000, "Number of resamples of the paired test.", low=1, only_for={"test": _RESAMPLED})
    seed: int = option(0, "Random seed of the paired test.", low=0, high=MAX_SEED, only_for={"test": _RESAMPLED})
