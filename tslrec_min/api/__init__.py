r"""The stages as functions: what the commands of ``tslrec`` do, from Python. Each is ``tslrec_min.NAME`` too.

Keyword options are the flags of the command of that name; `help` of a function lists them. Functions read and write
the same folders as the commands, so the two can be mixed; only the commands support torchrun. `set_verbosity` sets what
is logged to standard error. The examples share a folder, in which ``tiny-llm`` is a model:

>>> from pathlib import Path
>>> import tslrec_min
>>> rows = [f"u{user},i{(user + day) % 12},{day}" for user in range(40) for day in range(8)]
>>> _ = Path("ratings.csv").write_text("user_id,item_id,timestamp\n" + "\n".join(rows))
>>> titles = [f"i{item},Amélie {item}" for item in range(12)]
>>> _ = Path("items.csv").write_text("item_id,title\n" + "\n".join(titles), encoding="utf-8")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import configs
from ..config_fields import from_mapping
from ..storage.artifacts import read_json
from ..storage.existing import Existing
from . import arguments as arguments
from .arguments import StrPath
from .fusing import fuse as fuse
from .probing import probe as probe
from .results import Embeddings, Result, category_rows, item_rows, training_rows
from .serving import recommend as recommend
from .serving import similar as similar
from .signatures import with_options
from .tuning import tune as tune


@with_options(configs.PrepareConfig)
def prepare(source: StrPath | Any, out: StrPath, *, items: StrPath | Any | None = None, existing: str = "refuse",
            **options: Any) -> Result:
    """Read interactions and titles, filter, order and split them.

    >>> dataset = tslrec_min.prepare("ratings.csv", "dataset", k_core=2)
    >>> dataset
    Result(path=PosixPath('dataset'))
    >>> dataset.metrics["users"], dataset.metrics["items"]
    (40, 12)
    >>> dataset.rows[0]
    {'item_id': 'i0', 'title': 'Amélie 0'}

    Args:
        source: a file of interactions, a folder that contains one, ``ml-100k``, or a pandas or polars data frame.
        out: folder of the data set.
        items: file with the titles; None: the one beside the interactions. With a data frame, another data frame.
        existing: what to do with a data set at `out`: ``refuse``, ``overwrite``, or ``reuse`` it if it was made from
            the same inputs with the same options.

    Returns:
        The statistics of the data set; a row is an item.

    Raises:
        TslrecError: the data can't be read, or nothing is left after filtering.
    """
    from ..data.builtin import resolve_dataset
    from ..data.prepare import prepare as prepare_dataset
    from ..data.prepare import prepare_frames

    config, there = from_mapping(configs.PrepareConfig, options, "prepare"), Existing(existing)
    if arguments.are_frames(source, items):
        metrics = prepare_frames(source, items, Path(out), config, existing=there)
    else:
        interactions, known = resolve_dataset(Path(source))
        metrics = prepare_dataset(interactions, Path(out), config, items=arguments.path(items) or known, existing=there)
    return Result(Path(out), metrics, lambda: item_rows(Path(out)))


@with_options(configs.PretrainConfig)
def pretrain(dataset: StrPath, out: StrPath, *, device: str = "cpu", threads: int | None = None,
             existing: str = "refuse", **options: Any) -> Result:
    """Train a recommender on item ids and cluster its items into latent categories.

    >>> sorted(tslrec_min.pretrain("dataset", "pretrain", categories=3, width=8, epochs=2).rows[0])
    ['category', 'item_id', 'title']

    Args:
        dataset: folder of `prepare`.
        out: folder of the recommender and the categories.
        device: torch device, such as ``cuda``.
        threads: number of threads; None: all processors.
        existing: as for `prepare`.

    Returns:
        The metrics of training; a row is an item with its latent category, 0..K-1.

    Raises:
        TslrecError: the data set is damaged or too small, or an option has a bad value.
    """
    from ..categories.pretrain import pretrain as pretrain_recommender

    config, folder = from_mapping(configs.PretrainConfig, options, "pretrain"), Path(out)
    pretrain_recommender(Path(dataset), folder, config, **arguments.settings(device, threads, existing))
    return Result(folder, read_json(folder / "metrics.json"), lambda: category_rows(Path(dataset), folder))


@with_options(configs.FinetuneConfig)
def finetune(dataset: StrPath, pretrained: StrPath, out: StrPath, *, device: str = "cpu", threads: int | None = None,
             existing: str = "refuse", **options: Any) -> Result:
    """Teach a language model the users' preferences, and write it as a verified, quantised GGUF file.

    >>> tuned = tslrec_min.finetune("dataset", "pretrain", "finetune", model="tiny-llm", users=16, parity_prompts=8)
    >>> tuned.metrics["parity"]["passed"], tuned.metrics["best"] <= tuned.rows[0]["loss"]
    (True, True)

    Args:
        dataset: folder of `prepare`.
        pretrained: folder of `pretrain`.
        out: folder of the fine-tuned model.
        device, threads, existing: as for `pretrain`.

    Returns:
        The metrics of fine-tuning and the parity check; a row is a check on held-out users.

    Raises:
        TslrecError: an input is missing or damaged, or the GGUF file's states differ too much from the model's.
    """
    from ..finetuning.finetune import finetune as finetune_model

    config, folder = from_mapping(configs.FinetuneConfig, options, "finetune"), Path(out)
    finetune_model(Path(dataset), Path(pretrained), folder, config, **arguments.settings(device, threads, existing))
    metrics = read_json(folder / "metrics.json") | {"parity": read_json(folder / "parity.json")}
    return Result(folder, metrics, lambda: metrics["checks"])


@with_options(configs.EmbedConfig)
def embed(dataset: StrPath, out: StrPath, *, finetuned: StrPath | None = None, model: str | None = None,
          tfidf_width: int | None = None, append_to: StrPath | None = None, device: str = "cpu",
          threads: int | None = None, existing: str = "refuse", **options: Any) -> Embeddings:
    """Embed every item with a language model or a sentence encoder, or by the words of its title.

    >>> embeddings = tslrec_min.embed("dataset", "embed", finetuned="finetune")
    >>> embeddings.vectors.shape, embeddings.item_ids[:2]
    ((12, 64), ['i0', 'i1'])

    Args:
        dataset: folder of `prepare`.
        out: folder of the embeddings.
        finetuned: folder of `finetune`. Give this or `model`.
        model: a model without fine-tuning: an alias, a .gguf file, a folder or hub id. A decoder gets the
            default prompt, an encoder the title alone. ``tfidf``: no model, but the words of the titles.
        tfidf_width: dimensions of the vectors with ``tfidf``; None: 192.
        append_to: older embeddings of the same model; items whose prompt they contain keep their vector.
        device, threads, existing: as for `pretrain`; the device is that of the torch engine.

    Returns:
        The embeddings and their metadata; a row is an item.

    Raises:
        TslrecError: an input is missing or damaged, or `append_to` does not fit.
        ValueError: both or neither of `finetuned` and `model` are given, or `tfidf_width` with another model.
    """
    from ..embedding.embed import embed_base, embed_tuned
    from ..embedding.tfidf import TFIDF, embed_tfidf
    from ..llm.prompts import template_of

    if (finetuned is None) == (model is None):
        raise ValueError(f"finetuned is {finetuned!r} and model {model!r}; give one of them")
    if tfidf_width is not None and model != TFIDF:
        raise ValueError(f"tfidf_width is {tfidf_width!r}, but the model is {model!r}; expected {TFIDF!r}")
    config, folder = from_mapping(configs.EmbedConfig, options, "embed"), Path(out)
    settings = arguments.settings(device, threads, existing, with_torch=config.engine == "torch")
    settings["append_to"] = arguments.path(append_to)
    if finetuned is not None:
        embed_tuned(Path(dataset), Path(finetuned), folder, config, **settings)
    elif model == TFIDF:
        embed_tfidf(Path(dataset), folder, config, tfidf_width, **settings)
    else:
        embed_base(Path(dataset), str(model), template_of(configs.FinetuneConfig()), folder, config, **settings)
    return Embeddings(folder, read_json(folder / "embed.json"), lambda: item_rows(Path(dataset)))


@with_options(configs.TrainConfig)
def train(dataset: StrPath, out: StrPath, *, embeddings: StrPath | None = None, embedding_ids: StrPath | None = None,
          ignore_unknown_items: bool = False, refit_from: StrPath | None = None, device: str = "cpu",
          threads: int | None = None, existing: str = "refuse", **options: Any) -> Result:
    """Train a network on item ids or, through an adapter, item embeddings; or make a recommender without training.

    >>> ids = tslrec_min.train("dataset", "ids", epochs=2, width=8)
    >>> sasrec = tslrec_min.train("dataset", "sasrec", embeddings="embed", adapter="init", epochs=2, width=8)
    >>> list(sasrec.rows[0])
    ['loss', 'validation_ndcg@10', 'validation_hr@10']

    Args:
        dataset: folder of `prepare`.
        out: folder of the recommender.
        embeddings: folder of `embed`, or a file of item vectors (npy, Parquet, word2vec text); None: item ids only.
        embedding_ids: text file with the ids of an .npy file's rows, one per line.
        ignore_unknown_items: skip items of a vector file that are not in the data set.
        refit_from: recommender of the same data and options but for `refit`, whose best number of epochs is used.
        device, threads, existing: as for `pretrain`.

    Returns:
        The metrics of training; a row is an epoch. Of a recommender without training, the only row has its constants.

    Raises:
        TslrecError: an input is missing, damaged or of another data set, or an option has a bad value.
    """
    from ..recommenders.train import train as train_recommender

    config, folder = from_mapping(configs.TrainConfig, options, "train"), Path(out)
    train_recommender(Path(dataset), folder, config, embeddings_path=arguments.path(embeddings),
                      embedding_ids=arguments.path(embedding_ids), ignore_unknown=ignore_unknown_items,
                      refit_from=arguments.path(refit_from), **arguments.settings(device, threads, existing))
    metrics = read_json(folder / "metrics.json")
    return Result(folder, metrics, lambda: training_rows(metrics))


@with_options(configs.EvaluateConfig)
def evaluate(dataset: StrPath, runs: StrPath | Sequence[StrPath] | Mapping[str, StrPath | Sequence[StrPath]], *,
             out: StrPath | None = None, list_vectors: StrPath | None = None, device: str = "cpu",
             threads: int | None = None, existing: str = "refuse", **options: Any) -> Result:
    """Rank every user's target among all items: HR@k, NDCG@k and MRR, and paired tests.

    >>> report = tslrec_min.evaluate("dataset", {"ids": "ids", "tslrec": ["sasrec"]}, resamples=100)
    >>> 0 <= report.metrics["arms"]["tslrec"]["filtered"]["hr@10"]["mean"] <= 1
    True
    >>> list(report.rows[0])[:6]
    ['arm', 'metric', 'protocol', 'group', 'users', 'mean']

    Args:
        dataset: folder of `prepare`.
        runs: name of an arm -> its folders of `train` or `fuse`, one per seed; or folders or strings ``NAME=PATH``, as
            for the command. The other arms are compared with the first one.
        out: folder for the metrics and every user's rank; None: nothing is stored.
        list_vectors: folder of `embed` or file of item vectors, to report the distance of the items of a list.
        device, threads, existing: as for `pretrain`.

    Returns:
        The report; a row is a metric of an arm for a group of users under a protocol (``filtered``: without the items
        of the history).

    Raises:
        TslrecError: an artifact is missing, damaged or of another data set.
    """
    from ..evaluation.evaluate import evaluate as evaluate_runs
    from ..evaluation.summary import report_rows

    config = from_mapping(configs.EvaluateConfig, options, "evaluate")
    report = evaluate_runs(Path(dataset), arguments.arms(runs), config, out=arguments.path(out),
                           list_vectors=arguments.path(list_vectors), **arguments.settings(device, threads, existing))
    return Result(arguments.path(out), report, lambda: report_rows(report))
