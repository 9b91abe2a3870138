"""The configurations of recommenders: how they are trained, pretrained and tuned."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar

from ..config_fields import MAX_SEED, SET, option
from ..errors import TslrecError

ADAPTERS = ("none", "linear", "mlp", "init", "recpca", "cca", "whiten", "alphafuse", "moe", "gate", "spectral")
_WITH_IDS = ("none", "init", "recpca", "cca", "alphafuse", "gate")
"""Adapters with trainable weights for each item."""
_WITH_COMPONENTS = ("linear", "mlp", "whiten", "moe", "gate", "spectral")
"""Adapters that use a given number of principal components."""
CONTROLS = ("none", "random", "shuffled")
MODELS = ("sasrec", "gru4rec", "bert4rec", "bsarec")
CONTENT_MODELS = ("content", "content-cca")
"""Recommenders without training that compare item embeddings."""
COUNTING_MODELS = ("popularity", "itemknn", "transitions", *CONTENT_MODELS)
"""Recommenders without training."""
BLOCKS = ("prenorm", "ligr")
RECOMMENDER_LOSSES = ("ce", "sampled", "bce", "gbce")
_NEGATIVE_LOSSES = RECOMMENDER_LOSSES[1:]
REFITS = ("none", "validation", "all")
SAMPLINGS = ("uniform", "popularity", "shared", "batch")
VECTORS = ("auto", "states", "preferences", "both", "projected")


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
    frequency_cut: int = option(5, "Number of the lowest Fourier coefficients that the frequency layer's low-pass "
                                "filter keeps; an even number counts as the next odd one.", low=1,
                                only_for={"model": ("bsarec",)})
    units: int = option(128, "Number of recurrent units.", low=1, only_for={"model": ("gru4rec",)})
    dropout: float = option(0.3, "Dropout rate.", low=0, high=0.95)
    mask_probability: float = option(0.2, "Fraction of the items that are masked in training.", low=0, high=1,
                                     only_for={"model": ("bert4rec",)})
    mask_last: float = option(0.1, "Fraction of the training windows in which only the last item is masked.", low=0,
                              high=1, only_for={"model": ("bert4rec",)})
    max_len: int = option(50, "Maximum history length, in items. 0: 50, or 100 or 200 if more than a tenth of the "
                          "training histories are longer.", low=0)
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
        if self.model == "bsarec" and self.max_len and self.frequency_cut // 2 >= self.max_len // 2:
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
                          "both: the two concatenated, with equal variance. projected: vectors tuned on next items. "
                          "auto: projected if there are any, else both for a fine-tuned model, else states.",
                          choices=VECTORS, only_for={"adapter": SET}, also_for={"model": CONTENT_MODELS})
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

    model: str = option("sasrec", "Recommender. sasrec, gru4rec, bert4rec and bsarec are trained networks. The others "
                        "need no training, and choose their few constants on validation targets. popularity: the most "
                        "frequent items. itemknn: items that many users of the history's items have too. transitions: "
                        "items that followed those of the history. content: items whose embeddings are near those of "
                        "the history. content-cca: the same, in the directions that items of one history share.",
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

    model: str = option("sasrec", "Recommender.", choices=MODELS)
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
