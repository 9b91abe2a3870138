r"""The stages as functions: what the commands of ``tslrec`` do, from Python. Each is ``tslrec_min.NAME`` too.

Keyword options are the flags of the command of that name; `help` of a function lists them. Everything is read from and
written into folders, as on the command line, and the two can be mixed; the processes of torchrun share the work of the
commands alone. How much is said on standard error is up to `progress.set_verbosity`. The examples go on from each
other in one folder, where ``tiny-llm`` is a language model:

>>> from pathlib import Path
>>> import tslrec_min
>>> rows = [f"u{user},i{(user + day) % 12},{day}" for user in range(40) for day in range(8)]
>>> _ = Path("ratings.csv").write_text("user_id,item_id,timestamp\n" + "\n".join(rows))
>>> titles = [f"i{item},Amélie {item}" for item in range(12)]
>>> _ = Path("items.csv").write_text("item_id,title\n" + "\n".join(titles), encoding="utf-8")
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .compute import start_torch, usable_processors
from .configs import (
    ADAPTER_OPTIONS,
    EmbedConfig,
    EvaluateConfig,
    FinetuneConfig,
    PrepareConfig,
    PretrainConfig,
    TrainConfig,
    from_mapping,
)
from .keyword_options import with_options
from .stage_results import Embeddings, Result, category_rows, item_rows

StrPath = str | os.PathLike[str]
_EXISTING = ("refuse", "overwrite", "reuse")


@with_options(PrepareConfig)
def prepare(source: StrPath, out: StrPath, *, items: StrPath | None = None, existing: str = "refuse", **options: Any
            ) -> Result:
    """Read interactions and titles, filter, order and split them.

    >>> dataset = tslrec_min.prepare("ratings.csv", "dataset", k_core=2)
    >>> dataset
    Result(path=PosixPath('dataset'))
    >>> dataset.metrics["users"], dataset.metrics["items"]
    (40, 12)
    >>> dataset.rows[0]
    {'item_id': 'i0', 'title': 'Amélie 0'}

    Args:
        source: a file of interactions, a folder that holds one, or ``ml-100k``.
        out: folder of the data set.
        items: file with the titles; None: the one beside the interactions.
        existing: what to do with a data set at `out`: ``refuse`` it, ``overwrite`` it, or ``reuse`` it if it was made
            from the same inputs with the same options.
        options: see below.

    Returns:
        The statistics of the data set; a row is an item.

    Raises:
        TslrecError: something can't be read, or nothing is left after the filters.
    """
    from .data.preparation import prepare as prepare_dataset
    from .sources import resolve_dataset

    config = from_mapping(PrepareConfig, options, "prepare")
    interactions, known_items = resolve_dataset(Path(source))
    metrics = prepare_dataset(interactions, Path(out), config, items=_path(items) or known_items,
                              existing=_checked(existing))
    return Result(Path(out), metrics, lambda: item_rows(Path(out)))


@with_options(PretrainConfig, without=ADAPTER_OPTIONS)
def pretrain(dataset: StrPath, out: StrPath, *, device: str = "cpu", threads: int | None = None,
             existing: str = "refuse", **options: Any) -> Result:
    """Train a recommender on item ids and cluster its items into latent categories.

    >>> found = tslrec_min.pretrain("dataset", "pretrain", categories=3, width=8, epochs=2)
    >>> sorted(found.rows[0])
    ['category', 'item_id', 'title']

    Args:
        dataset: folder of `prepare`.
        out: folder of the recommender and the categories.
        device: of torch, such as ``cuda``.
        threads: to compute with; None: all processors.
        existing: as for `prepare`.
        options: see below.

    Returns:
        What training reached; a row is an item with its latent category, 0..K-1.

    Raises:
        TslrecError: the data set is damaged or too small, or an option has a bad value.
    """
    from .recommenders import pretrain as pretrain_recommender

    config, folder = from_mapping(PretrainConfig, options, "pretrain"), Path(out)
    pretrain_recommender(Path(dataset), folder, config, **_computing(device, threads, existing))
    return Result(folder, _read(folder, "metrics.json"), lambda: category_rows(Path(dataset), folder))


@with_options(FinetuneConfig)
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
        device: of torch, such as ``cuda``.
        threads: to compute with; None: all processors.
        existing: as for `prepare`.
        options: see below.

    Returns:
        What fine-tuning reached, and the parity check; a row is a check on held-out users.

    Raises:
        TslrecError: an input is missing or damaged, or the GGUF file's states differ too much from the model's.
    """
    from .adaptation import finetune as finetune_model

    config, folder = from_mapping(FinetuneConfig, options, "finetune"), Path(out)
    finetune_model(Path(dataset), Path(pretrained), folder, config, **_computing(device, threads, existing))
    metrics = _read(folder, "metrics.json") | {"parity": _read(folder, "parity.json")}
    return Result(folder, metrics, lambda: metrics["checks"])


@with_options(EmbedConfig)
def embed(dataset: StrPath, out: StrPath, *, finetuned: StrPath | None = None, model: str | None = None,
          append_to: StrPath | None = None, device: str = "cpu", threads: int | None = None, existing: str = "refuse",
          **options: Any) -> Embeddings:
    """Embed every item with a language model.

    >>> embeddings = tslrec_min.embed("dataset", "embed", finetuned="finetune")
    >>> embeddings.vectors.shape, embeddings.item_ids[:2]
    ((12, 64), ['i0', 'i1'])

    Args:
        dataset: folder of `prepare`.
        out: folder of the embeddings.
        finetuned: folder of `finetune`; this or `model` has to be given.
        model: a model as it is: an alias, a .gguf file, a folder or hub id; reads the default prompt of `finetune`.
        append_to: older embeddings by the same model; items whose prompt is in them keep their vector.
        device: of the torch engine.
        threads: to compute with; None: all processors.
        existing: as for `prepare`.
        options: see below.

    Returns:
        The vectors, and how they were made; a row is an item.

    Raises:
        TslrecError: an input is missing or damaged, or `append_to` was made otherwise.
        ValueError: not one of `finetuned` and `model` is given.
    """
    from .embedding.stage import embed_base, embed_tuned
    from .model_files import template_of

    if (finetuned is None) == (model is None):
        raise ValueError(f"finetuned is {finetuned!r} and model {model!r}; give one of them")
    config, folder = from_mapping(EmbedConfig, options, "embed"), Path(out)
    settings = _computing(device, threads, existing, with_torch=config.engine == "torch")
    settings["append_to"] = _path(append_to)
    if finetuned is not None:
        embed_tuned(Path(dataset), Path(finetuned), folder, config, **settings)
    else:
        embed_base(Path(dataset), str(model), template_of(FinetuneConfig()), folder, config, **settings)
    return Embeddings(folder, _read(folder, "embed.json"), lambda: item_rows(Path(dataset)))


@with_options(TrainConfig)
def train(dataset: StrPath, out: StrPath, *, embeddings: StrPath | None = None, device: str = "cpu",
          threads: int | None = None, existing: str = "refuse", **options: Any) -> Result:
    """Train SASRec, GRU4Rec or BERT4Rec, with item embeddings through an adapter or without.

    >>> ids = tslrec_min.train("dataset", "ids", epochs=2, width=8)
    >>> sasrec = tslrec_min.train("dataset", "sasrec", embeddings="embed", adapter="init", epochs=2, width=8)
    >>> list(sasrec.rows[0])
    ['loss', 'validation_ndcg@10', 'validation_hr@10']

    Args:
        dataset: folder of `prepare`.
        out: folder of the recommender.
        embeddings: folder of `embed`; None: item ids only.
        device: of torch, such as ``cuda``.
        threads: to compute with; None: all processors.
        existing: as for `prepare`.
        options: see below.

    Returns:
        What training reached; a row is an epoch.

    Raises:
        TslrecError: an input is missing, damaged or of another catalogue, or an option has a bad value.
    """
    from .recommenders import train as train_recommender

    config, folder = from_mapping(TrainConfig, options, "train"), Path(out)
    train_recommender(Path(dataset), folder, config, embeddings_path=_path(embeddings),
                      **_computing(device, threads, existing))
    metrics = _read(folder, "metrics.json")
    return Result(folder, metrics, lambda: metrics["epochs"])


@with_options(EvaluateConfig)
def evaluate(dataset: StrPath, runs: StrPath | Sequence[StrPath] | Mapping[str, StrPath | Sequence[StrPath]], *,
             out: StrPath | None = None, device: str = "cpu", threads: int | None = None, existing: str = "refuse",
             **options: Any) -> Result:
    """Rank every user's target among all items: HR@k, NDCG@k and MRR, and paired tests.

    >>> report = tslrec_min.evaluate("dataset", {"ids": "ids", "tslrec": ["sasrec"]}, resamples=100)
    >>> 0 <= report.metrics["arms"]["tslrec"]["filtered"]["hr@10"]["mean"] <= 1
    True
    >>> list(report.rows[0])[:6]
    ['arm', 'metric', 'protocol', 'group', 'users', 'mean']

    Args:
        dataset: folder of `prepare`.
        runs: name of an arm -> its folders of `train`, one for each seed; or folders, or texts ``NAME=PATH``, as for
            the command. The other arms are compared with the first one.
        out: folder to store the metrics and every user's rank in; None: they are returned alone.
        device: of torch, such as ``cuda``.
        threads: to compute with; None: all processors.
        existing: as for `prepare`.
        options: see below.

    Returns:
        The report; a row is a metric of an arm under a protocol (``filtered``: items of the history are left out) for a
        group of users.

    Raises:
        TslrecError: an artifact is missing, damaged or of another data set.
    """
    from .comparison import report_rows
    from .evaluation import evaluate as evaluate_runs
    from .evaluation import parse_arms

    config = from_mapping(EvaluateConfig, options, "evaluate")
    if isinstance(runs, Mapping):
        arms = {name: [Path(path) for path in _several(paths)] for name, paths in runs.items()}
    else:
        arms = parse_arms([os.fspath(run) for run in _several(runs)])
    report = evaluate_runs(Path(dataset), arms, config, out=_path(out), **_computing(device, threads, existing))
    return Result(_path(out), report, lambda: report_rows(report))


def _computing(device: str, threads: int | None, existing: str, *, with_torch: bool = True) -> dict[str, Any]:
    """Return the settings that the stages share, torch's threads set."""
    count = threads or usable_processors()
    return {"device": start_torch(device, count) if with_torch else device, "threads": count,
            "existing": _checked(existing)}


def _checked(existing: str) -> str:
    if existing not in _EXISTING:
        raise ValueError(f"existing is {existing!r}; expected one of {', '.join(_EXISTING)}")
    return existing


def _path(given: StrPath | None) -> Path | None:
    return None if given is None else Path(given)


def _several(paths: Any) -> list[Any]:
    return [paths] if isinstance(paths, str | os.PathLike) else list(paths)


def _read(folder: Path, name: str) -> dict[str, Any]:
    from .artifacts import read_json

    return dict(read_json(folder / name))


