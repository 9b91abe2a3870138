"""The configuration of every stage, as flat frozen dataclasses.

One field is one command-line flag (``max_len`` is ``--max-len``) and one key of a ``tslrec run`` file; its
help is written once, here. Importing this module is cheap: it loads none of the heavy libraries.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from .config_fields import SET, option
from .errors import TslrecError

FORMATS = ("auto", "recbole", "csv", "jsonl", "parquet", "movielens", "sequences", "amazon", "yelp", "steam")
PREPARED_SPLITS = ("leave-one-out", "temporal")
ADAPTERS = ("none", "linear", "mlp", "init", "recpca", "cca", "whiten", "alphafuse", "moe", "gate", "spectral")
_WITH_IDS = ("none", "init", "recpca", "cca", "alphafuse", "gate")
"""Adapters that learn something item by item."""
_WITH_COMPONENTS = ("linear", "mlp", "whiten", "moe", "gate", "spectral")
"""Adapters that read as many principal components as they are told."""
CONTROLS = ("none", "random", "shuffled")
MODELS = ("sasrec", "gru4rec", "bert4rec")
RECOMMENDER_LOSSES = ("ce", "sampled", "bce", "gbce")
_NEGATIVE_LOSSES = RECOMMENDER_LOSSES[1:]
SAMPLINGS = ("uniform", "popularity", "shared", "batch")
LOSSES = ("kl", "ce", "mse")
TEXTS = ("title", "fields", "id")
RECOMMENDATION_FORMATS = ("jsonl", "csv", "parquet")
VECTOR_FORMATS = ("npy", "parquet", "word2vec", "recbole")
VECTORS = ("auto", "states", "preferences", "both")
QUANTS = {"F16": 0.998, "BF16": 0.995, "Q8_0": 0.995, "Q6_K": 0.98, "Q5_K_M": 0.97, "Q4_K_M": 0.95, "Q4_0": 0.93}
"""Quantisations, and the minimum mean cosine between the states of a fine-tuned model and of its file in each;
docs/results.md has what a 135M model reaches."""
_RESAMPLED = ("permutation", "bootstrap")


@dataclass(frozen=True)
class PrepareConfig:
    """How raw interactions become a data set."""

    format: str = option("auto", "Format of the interactions.", choices=FORMATS)
    user_column: str = option("user_id", "Column, or JSON key, of the user id. This and the names below are for csv, "
                              "jsonl and parquet; formats with fixed names know theirs.")
    item_column: str = option("item_id", "Column of the item id, in items files too.")
    time_column: str = option("timestamp", "Column of the time: a number or an ISO date; empty if the rows are in time "
                              "order.")
    title_column: str = option("", "Column of the title in the items file; empty: title, movie_title, name, "
                               "item_name or product_title.")
    item_fields: str = option("", "Further columns of the items file to keep for prompts, separated by commas.")
    rating_column: str = option("rating", "Column of the rating.", only_for={"min_rating": SET})
    columns: str = option("", "Names of the columns of csv files without a header, separated by commas.")
    time_unit: str = option("s", "Unit of times that are numbers: ms are divided by 1000 (Amazon 2023 is known to be "
                            "in ms); others are left as they are.", choices=("s", "ms"))
    encoding: str = option("", "Text encoding; empty: UTF-8, or latin-1 where MovieLens' old files are.")
    on_bad_row: str = option("error", "A row that can't be read, or an item's second title: stop there, or leave it "
                             "out and count it.", choices=("error", "skip"))
    missing_titles: str = option("error", "Items without a row in the items file, or no such file at all: stop, or "
                                 "give them blank titles.", choices=("error", "blank"))
    duplicates: str = option("drop", "Rows of the same user, item and time: leave out and count all but the first, or "
                             "keep them. Rows without times are all kept.", choices=("drop", "keep"))
    min_rating: float | None = option(None, "Keep interactions rated at least so; not set: keep all.")
    from_time: str = option("", "Keep interactions from this time on: a number as in the data, in seconds if that is "
                            "in ms, or an ISO date (UTC).")
    until_time: str = option("", "Keep interactions before this time.")
    k_core: int = option(5, "Drop users and items with fewer interactions, again and again until none is left.",
                         low=0)
    cold_items: float = option(0.0, "Share of the items that are held out of training altogether: interactions with "
                               "them leave the histories and are targets of evaluate's cold-start table; 0: none.",
                               low=0, high=0.5)
    cold_seed: int = option(0, "Random seed of the draw of cold items.", low=0, high=2**63 - 1,
                            only_for={"cold_items": SET})
    split: str = option("leave-one-out", "leave-one-out: a user's last item is the test target, the one before it the "
                        "validation target. temporal: training ends for all users at one time.",
                        choices=PREPARED_SPLITS)
    validation_share: float = option(0.1, "Share of the interactions in the validation period.", low=0.001, high=0.5,
                                     only_for={"split": ("temporal",)})
    test_share: float = option(0.1, "Share of the interactions in the test period, the last one.", low=0.001, high=0.5,
                               only_for={"split": ("temporal",)})

    def __post_init__(self) -> None:
        """Check what no field can check alone."""
        if self.validation_share + self.test_share > 0.9:
            raise TslrecError(f"--validation-share {self.validation_share} and --test-share {self.test_share} leave "
                              "less than a tenth of the interactions for training; lower them")


@dataclass(frozen=True)
class RecommenderConfig:
    """What pretraining and training have in common: a sequential recommender and how it is trained."""

    model: str = option("sasrec", "Sequential recommender.", choices=MODELS)
    width: int = option(64, "Width of the item table and of the hidden states.", low=1)
    table_std: float | None = option(None, "Spread of the entries of the item table at the start. Adam moves every "
                                     "entry by about the same step, so what a larger table starts with is kept "
                                     "longer; not set: 0.1 for init and cca, 0.02 for all others.", low=1e-6, high=10)
    blocks: int = option(2, "Self-attention blocks, or recurrent layers of gru4rec.", low=1, high=256)
    heads: int = option(2, "Attention heads; must divide the width.", low=1, only_for={"model": ("sasrec", "bert4rec")})
    units: int = option(128, "Recurrent units.", low=1, only_for={"model": ("gru4rec",)})
    dropout: float = option(0.3, "Dropout rate.", low=0, high=0.95)
    mask_probability: float = option(0.2, "Share of the items that are hidden in training.", low=0, high=1,
                                     only_for={"model": ("bert4rec",)})
    mask_last: float = option(0.1, "Share of the training windows in which the last item alone is hidden.", low=0,
                              high=1, only_for={"model": ("bert4rec",)})
    max_len: int = option(50, "Longest history that the model reads, in items.", low=1)
    loss: str = option("ce", "Loss: ce (cross-entropy over all items), sampled (cross-entropy over negatives), bce or "
                       "gbce (binary cross-entropy, plain or calibrated).", choices=RECOMMENDER_LOSSES)
    negatives: int = option(256, "Negatives of a training target.", low=1, only_for={"loss": _NEGATIVE_LOSSES})
    sampling: str = option("uniform", "Where negatives come from: uniform or popularity (drawn for each target, never "
                           "an item of the user's history), shared (uniform, one set for the whole batch: much "
                           "faster) or batch (the batch's other targets).", choices=SAMPLINGS,
                           only_for={"loss": _NEGATIVE_LOSSES})
    popularity_exponent: float = option(0.75, "An item is drawn as often as its count to this power.", low=0, high=2,
                                        only_for={"loss": _NEGATIVE_LOSSES, "sampling": ("popularity",)})
    calibration: float = option(0.75, "Calibration t.", low=0, high=1, only_for={"loss": ("gbce",)})
    batch_size: int = option(64, "Training windows a step.", low=1)
    learning_rate: float = option(1.5e-3, "Peak learning rate of AdamW.", low=0)
    warmup_steps: int = option(50, "Steps over which the learning rate rises to its peak.", low=0)
    decay: str = option("none", "How the learning rate falls after that, down to 0 at the end of the last of "
                        "--epochs.", choices=("none", "linear", "cosine"))
    weight_decay: float = option(0.0, "Weight decay of AdamW for all other weights.", low=0)
    table_decay: float = option(0.0, "Weight decay of AdamW for the item table.", low=0)
    clip_norm: float = option(5.0, "Largest norm of a step's gradient; longer ones are scaled down.", low=0)
    precision: str = option("fp32", "Arithmetic of matrix products: fp32, or bf16 by autocast.",
                            choices=("fp32", "bf16"))
    epochs: int = option(100, "Most passes over the training targets.", low=1)
    patience: int = option(10, "Stop after so many epochs without a better validation NDCG@10.", low=1)
    seed: int = option(0, "Random seed.", low=0, high=2**63 - 1)

    def __post_init__(self) -> None:
        """Check what no field can check alone."""
        if self.model != "gru4rec" and self.width % self.heads:
            raise TslrecError(f"--width {self.width} is not a multiple of --heads {self.heads}")

    def shared(self) -> dict[str, Any]:
        """Return the fields that pretraining and training have in common."""
        return {item.name: getattr(self, item.name) for item in fields(RecommenderConfig)}


@dataclass(frozen=True)
class AdapterConfig:
    """How item embeddings become the item table."""

    adapter: str = option("none", "How item embeddings become the item table. none: ids only. init, recpca, cca: PCA, "
                          "plain or with regard to which items follow each other, or what items of the same history "
                          "have in common, as the start of a trainable table. linear, mlp, whiten (linear, of "
                          "whitened components), moe (mixture of experts), spectral (attention over components): a "
                          "trainable projection of frozen embeddings. alphafuse, gate: frozen whitened components, or "
                          "a projection, together with ids.", choices=ADAPTERS)
    vectors: str = option("auto", "What of an embed folder the adapter reads. states: the language model's hidden "
                          "states. preferences: what its head makes of them, the square roots of an item's shares of "
                          "the latent categories. both: one beside the other, with the same variance in all. auto: "
                          "both where a fine-tuned model has embedded the items, else states.", choices=VECTORS,
                          only_for={"adapter": SET})
    pca_width: int = option(0, "Number of principal components that a trainable projection reads; 0: all.", low=0,
                            only_for={"adapter": _WITH_COMPONENTS})
    id_width: int | None = option(None, "Columns that ids are added to, the last ones; not set: half of --width.",
                                  low=0, only_for={"adapter": ("alphafuse",)})
    recpca_lambda: float = option(0.5, "Weight of the penalty on differences between items that follow each other; 0: "
                                  "plain PCA.", low=0, only_for={"adapter": ("recpca",)})
    cca_window: int = option(10, "Largest distance in a history, in items, at which two items are a pair.", low=1,
                             only_for={"adapter": ("cca",)})
    init_whitening: bool = option(True, "Give the components that the table starts from the same variance, so that a "
                                  "few large ones are not most of every item's vector.",
                                  only_for={"adapter": ("init",)})
    experts: int = option(8, "Number of experts, of which each item uses 2.", low=2, only_for={"adapter": ("moe",)})
    control: str = option("none", "What stands in for the item embeddings, to see what a gain rests on: random vectors "
                          "of the same size, or the same ones shuffled among the items.", choices=CONTROLS,
                          only_for={"adapter": SET})


@dataclass(frozen=True)
class TrainConfig(RecommenderConfig, AdapterConfig):
    """How a sequential recommender is trained, with item embeddings through an adapter or without."""

    table_decay: float = option(0.0, "Weight decay of AdamW for what is learned item by item: ids towards 0, the "
                                "tables of init, recpca and cca towards where they started, so that items which are "
                                "seldom seen keep what their embedding says.", low=0, only_for={"adapter": _WITH_IDS})

    def __post_init__(self) -> None:
        """Check what no field can check alone."""
        super().__post_init__()
        if self.adapter == "alphafuse" and (self.id_width or 0) > self.width:
            raise TslrecError(f"--id-width {self.id_width} is more than --width {self.width}; lower it")

    @property
    def table_spread(self) -> float:
        """Spread of the entries of the item table at the start: `table_std`, or the adapter's own."""
        if self.table_std is not None:
            return self.table_std
        return 0.1 if self.adapter in ("init", "cca") else 0.02


@dataclass(frozen=True)
class PretrainConfig(RecommenderConfig):
    """How the latent categories are made: an ID-only recommender, and k-means on its item table."""

    categories: int = option(32, "Latent categories K.", low=2)
    kmeans_restarts: int = option(8, "k-means++ starts; the best is kept.", low=1)

    @property
    def training(self) -> TrainConfig:
        """How the recommender is trained: on ids alone."""
        return TrainConfig(**self.shared())


@dataclass(frozen=True)
class FinetuneConfig:
    """How the language model learns the users' preference distributions."""

    model: str = option("smollm2-135m", "Base model: an alias, a .gguf file, a Hugging Face folder or hub id. ALIAS:N "
                        "or FILE.gguf:N is its first N layers, which take less time.")
    loss: str = option("kl", "Loss between the head's output and the preference distribution.", choices=LOSSES)
    target: str = option("shown", "Count the latent categories of the titles shown, or of the whole training "
                         "history.", choices=("shown", "history"))
    pooling: str = option("mean", "Hidden state for the head and the embeddings: of the last token, or the mean "
                          "over the tokens of the titles.", choices=("last", "mean"))
    prompt_prefix: str = option("A person liked these items, oldest first:", "Text before the titles.")
    prompt_item: str = option("\n- {title}", "Text of one title.")
    prompt_suffix: str = option("\nIn short, the items this person prefers are:", "Text after the titles.",
                               only_for={"pooling": ("last",)})
    text: str = option("title", "What stands for an item in prompts: its title, title and further fields, or its id "
                       "alone.", choices=TEXTS)
    text_fields: str = option("", "Columns to show, separated by commas; prepare keeps them by --item-fields.",
                              only_for={"text": ("fields",)})
    max_title_tokens: int = option(48, "Longer texts of an item are cut to so many tokens.", low=1)
    max_history: int = option(16, "Most titles of a user in the prompt.", low=1)
    window: str = option("recent", "Which titles of a longer history: the most recent ones, or a random window, drawn "
                         "anew in every epoch (held-out users always show the most recent ones).",
                         choices=("recent", "random"), only_for={"level": ("user",)})
    virtual_users: float = option(0.0, "Learn from items as well, as embed shows them: each is a virtual user whose "
                                  "history is that item alone. So many an epoch, drawn anew, as a share of the items.",
                                  low=0, high=1, only_for={"level": ("user",)})
    virtual_target: str = option("users", "What a virtual user stands for: the mean preference distribution of the "
                                 "training users who have the item, or of the parts of their histories, of "
                                 "--max-history items, that show it, or the item's own latent category.",
                                 choices=("users", "windows", "category"),
                                 only_for={"level": ("user",), "virtual_users": SET})
    level: str = option("user", "A training sample is a user, or an instance: the items before an interaction and the "
                        "category of its item (what other methods learn from; for comparing costs).",
                        choices=("user", "instance"))
    users: int = option(0, "Train on so many users; 0: on all.", low=0)
    select: str = option("random", "Which users: drawn at random, or for coverage of all items and latent categories.",
                         choices=("random", "coverage"), only_for={"users": SET})
    holdout: float = option(0.1, "Share of the users held out to measure the loss.", low=0.01, high=0.5)
    epochs: int = option(1, "Most passes over the training users.", low=1)
    patience: int = option(2, "Stop after so many checks on held-out users without a better loss.", low=1)
    checks: int = option(2, "Checks on the held-out users in an epoch.", low=1)
    batch_size: int = option(16, "Users in an optimiser step.", low=1)
    batch_tokens: int = option(1024, "Most tokens in one forward and backward pass; gradients are accumulated up to "
                               "the batch size. Fewer need less memory.", low=1)
    checkpointing: bool = option(False, "Keep each layer's input alone for the backward pass and compute the rest "
                                 "again: less memory, a third more time.")
    learning_rate: float = option(5e-4, "Peak learning rate of AdamW for the LoRA weights.", low=0)
    head_learning_rate: float = option(1.5e-3, "Peak learning rate of the linear head.", low=0)
    lora_layers: int = option(0, "Give LoRA to so many layers alone, the last ones; 0: to all. Nothing is computed "
                              "backwards below them.", low=0)
    lora_rank: int = option(8, "LoRA rank r.", low=1)
    lora_alpha: float = option(16.0, "LoRA alpha; the update is scaled by alpha / r.", low=0)
    lora_dropout: float = option(0.0, "Dropout before the LoRA matrices.", low=0, high=0.95)
    precision: str = option("auto", "Arithmetic of the frozen weights: auto takes bf16 where the processor has "
                            "instructions for it (most GPUs, CPUs with AMX or AVX512-BF16).",
                            choices=("auto", "bf16", "fp32"))
    quant: str = option("Q8_0", "Quantisation of the GGUF file for embedding.", choices=tuple(QUANTS))
    parity_prompts: int = option(200, "Real prompts in the parity check, half users and half items.", low=2)
    seed: int = option(0, "Random seed.", low=0, high=2**63 - 1)


@dataclass(frozen=True)
class EmbedConfig:
    """How items become vectors."""

    engine: str = option("llama", "llama: llama.cpp on the GGUF file; torch: the reference.",
                         choices=("llama", "torch"))
    quant: str = option("auto", "What llama.cpp reads: auto is a fine-tuned model's own quantisation, or a base "
                        "model's file as it is, but Q8_0 in place of Q4_1 and Q5_1, which it is slow with. Any other "
                        "is written first, to a temporary file; weights don't become better than they are stored.",
                        choices=("auto", *QUANTS), only_for={"engine": ("llama",)})
    batch_tokens: int = option(0, "Most tokens computed at once; 0: the engine's own choice, smaller on a CPU.", low=0)
    autotune: bool = option(False, "Time batch sizes on some of the prompts first, and take the fastest.")
    torch_precision: str = option("fp32", "Arithmetic of torch; auto takes bf16 where the processor has "
                                  "instructions for it (most GPUs, CPUs with AMX or AVX512-BF16).",
                                  choices=("auto", "bf16", "fp32"), only_for={"engine": ("torch",)})
    gpu_layers: int = option(0, "Layers that llama.cpp puts on a GPU; -1: all.", low=-1,
                             only_for={"engine": ("llama",)})
    shard_size: int = option(512, "Different prompts in a shard. A shard is stored when it is done: what an "
                             "interruption can cost, and what processes share out.", low=1)


@dataclass(frozen=True)
class EvaluateConfig:
    """What is evaluated and how arms are compared."""

    split: str = option("test", "Targets to rank.", choices=("validation", "test"))
    head_share: float = option(0.2, "Share of the items that are head items, the most popular ones by training "
                               "interactions; the rest is the tail.", low=0, high=1)
    test: str = option("permutation", "Paired test, user by user, of every arm against the first one.",
                       choices=("permutation", "bootstrap", "none"))
    resamples: int = option(10000, "Resamples of the paired test.", low=1, only_for={"test": _RESAMPLED})
    seed: int = option(0, "Random seed of the paired test.", low=0, high=2**63 - 1,
                       only_for={"test": _RESAMPLED})
