"""What item embeddings know before any recommender is trained on them.

Each set of vectors is scored as the model ``content`` (`recommenders.counting.content`): by the cosine to the user's
last items. It is scored alone, and in a sum with ``transitions``, which shows what the vectors add to counts of the
histories. Counts and maps come from training histories; a few constants and weights are chosen by validation targets.
Counts only find items that have followed one of the user's last. Users whose target has are *reachable*; for the others
only the vectors tell something.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..configs import EvaluateConfig, ProbeConfig
from ..data.dataset import Dataset, Evaluation, load_dataset
from ..errors import TslrecError
from ..item_vectors.artifact import PREFERENCES, PROJECTED
from ..item_vectors.formats import ids_beside
from ..item_vectors.load import ItemEmbeddings, load_item_embeddings
from ..ranking.metrics import metric_values
from ..ranking.ranks import Ranks
from ..recommenders.adapters.controls import controlled
from ..recommenders.counting.artifact import counted
from ..recommenders.counting.base import Knowledge, items_read
from ..recommenders.fuse import features_of
from ..recommenders.fusion.fit import as_weights, fitted
from ..recommenders.fusion.scorer import FusedScorer
from ..recommenders.fusion.standardised import values_at
from ..recommenders.scorer import Scorer, ranks_alone
from ..runtime.progress import progress, step
from ..storage.artifacts import Recipe, is_current, open_artifact, write_artifact, write_json
from ..storage.existing import Existing
from .arms import check_sets
from .evaluate import targets_of
from .summary import BoolArray, compared, corrected, user_groups

OPPONENT = "transitions"
_TESTED = "ndcg@10"


@dataclass(frozen=True)
class VectorSet:
    """Vectors to score, and what they are."""

    name: str
    path: Path
    """Embed artifact, or file of vectors."""
    kind: str
    """``states``, ``preferences``, ``both`` or ``projected``."""
    model: str = "content"
    """``content`` or ``content-cca``."""
    control: str = "none"
    """``none`` or ``shuffled``."""

    def read(self, dataset: Dataset, seed: int) -> ItemEmbeddings:
        """Read the vectors of a data set's items; `seed` is that of the shuffling.

        Raises:
            TslrecError: they can't be read, are of another data set, or are all the same.
        """
        beside = ids_beside(self.path) if self.path.suffix == ".npy" else None
        found = load_item_embeddings(self.path, dataset, self.kind, ids_path=beside)
        if (found.known[1:] == found.known[1]).all():
            raise TslrecError(f"{self.path}: all vectors are the same, so that they tell nothing of the items; prepare "
                              "the data with titles, and run tslrec embed again")
        return replace(found, rows=np.concatenate([controlled(found.known, self.control, seed), found.cold]))


def probe(dataset_path: Path, sets: Mapping[str, Path], config: ProbeConfig, *, threads: int) -> dict[str, Any]:
    """Score item embeddings without training, alone and beside counts of transitions.

    Args:
        dataset_path: data set artifact.
        sets: name -> embed artifact or file of vectors; the first one is the baseline of the tests. The ids of an .npy
            file are in the file beside it.
        config: what is scored, and the targets.
        threads: kernel threads.

    Returns:
        ``split``; ``data``; ``groups``: the share of head items, the number of a history's last items that
        transitions read (None: all), and group -> number of users, of which ``reachable`` have a target with evidence
        in transitions; ``resamples``; ``rows``: transitions, every set, and the sum of
        transitions and every set, with what they are, figures, and constants (None of a sum); ``comparisons`` of every
        set's NDCG@10 with the first one's, alone and in the sums, with p-values corrected together.

    Raises:
        TslrecError: an input is missing, damaged or of another data set, all vectors of a set are the same, two rows
            would have the same name, or there are no targets.
    """
    check_sets(sets)
    dataset, _ = load_dataset(dataset_path)
    asked = targets_of(dataset, config.split)
    chosen = list(vector_sets(sets, config))
    names = [OPPONENT, *(_row(given, beside)["name"] for given in chosen for beside in (False, True))]
    if len(set(names)) < len(names):
        raise TslrecError(f"two rows would have the same name: {', '.join(names)}; give other names: NAME=PATH")
    for given in chosen:  # what can't be read is found before the first is scored; not all are kept in memory
        if (given.model, given.control) == ("content", "none"):
            given.read(dataset, config.seed)
    transitions, metrics = counted(OPPONENT, Knowledge.of(dataset, None, threads))
    groups = {"tail": ~user_groups(dataset, asked, config.head_share).head,
              "reachable": reached(transitions, asked, threads)}
    groups["unreachable"] = ~groups["reachable"]
    ranks, = ranks_alone(transitions, asked, [asked.seen(dataset.n_items)], threads=threads)
    about = {"vectors": None, "model": OPPONENT, "control": None, "with_transitions": True}
    rows = [{"name": OPPONENT} | about | _figures(ranks, groups) | {"constants": metrics["constants"]}]
    comparisons = []
    for beside, runs in enumerate(_scored(dataset, asked, chosen, transitions, config.seed, threads)):
        rows += [_row(described, bool(beside)) | _figures(ranks, groups) | {"constants": constants}
                 for described, (ranks, constants) in zip(chosen, runs, strict=True)]
        comparisons += _comparisons([row["name"] for row in rows[-len(runs):]], [ranks for ranks, _ in runs], config)
    return {"split": config.split, "data": dataset.statistics() | {"evaluated_users": len(asked.users)},
            "groups": {"head_share": config.head_share, "items_read": items_read(metrics["constants"]["decay"]),
                       "users": {name: int(users.sum()) for name, users in groups.items()}},
            "resamples": config.resamples, "rows": rows, "comparisons": corrected(comparisons)}


def make_probe(dataset_path: Path, embeddings: Mapping[str, Path], config: ProbeConfig, out: Path, *, threads: int,
               existing: Existing = Existing.REFUSE) -> None:
    """Write the artifact ``probe``, whose metrics.json is the report of `probe`.

    Args:
        dataset_path, config, threads: as for `probe`.
        embeddings: name -> embed artifact; the first one is the baseline.
        out: folder to write.
        existing: what to do with an artifact at `out`.

    Raises:
        TslrecError: as `probe`.
    """
    inputs = {f"embeddings {name}": open_artifact(path, "embed").hash for name, path in embeddings.items()}
    recipe = Recipe("probe", asdict(config) | {"embeddings": list(embeddings)},
                    {"dataset": open_artifact(dataset_path, "dataset").hash} | inputs, config.seed)
    if existing.reuses and is_current(out, recipe):
        return
    with write_artifact(out, recipe, overwrite=existing.overwrites) as folder:
        write_json(folder / "metrics.json", probe(dataset_path, embeddings, config, threads=threads))


def vector_sets(sets: Mapping[str, Path], config: ProbeConfig) -> Iterator[VectorSet]:
    """Yield what is scored of every path, given with its name; first its vectors as they are."""
    there = {name: ["states", *["preferences", "both"] * (path / PREFERENCES).is_file(),
                    *["projected"] * (path / PROJECTED).is_file()] for name, path in sets.items()}
    asked = config.vectors
    nowhere = not any(asked in kinds for kinds in there.values())  # an error when they are read
    for name, path in sets.items():
        own = [asked if asked in there[name] or nowhere else "states"]
        for kind in there[name] if asked == "each" else own:
            plain = kind == asked or len(there[name]) == 1
            given = VectorSet(name if plain else f"{name}, {kind}", path, kind)
            for control in dict.fromkeys(("none", config.control)):
                label = given.name + f", {control}" * (control != "none")
                yield replace(given, name=label, control=control)
                if config.cca:
                    yield replace(given, name=f"{label}, CCA", control=control, model="content-cca")


def reached(transitions: Scorer, asked: Evaluation, threads: int) -> BoolArray:
    """Return whether each target has evidence: in training it has followed an item that transitions read, bool [E].

    They read a history's last items, as far as the decay of their weights lets them count.

    Args:
        transitions: the recommender, whose sparse scores are its evidence.
        asked: E targets.
        threads: threads of the kernels.
    """
    found = np.zeros(len(asked.users), np.bool_)
    for part, scores in transitions.blocks(asked.histories, asked.users, threads=threads):
        found[part] = values_at(replace(scores, bias=None), np.arange(len(scores)), asked.targets[part]) > 0
    return found


_Run = tuple[Ranks, dict[str, float] | None]
"""Ranks of the targets, and the constants of what ranked them."""


def _scored(dataset: Dataset, asked: Evaluation, sets: Sequence[VectorSet], transitions: Scorer, seed: int, threads: int
            ) -> tuple[list[_Run], list[_Run]]:
    """Rank the targets by every set alone, and by its sum with transitions."""
    alone: list[_Run] = []
    beside: list[_Run] = []
    seen = asked.seen(dataset.n_items)
    occurrences = np.bincount(dataset.training().items, minlength=dataset.n_items + 1)
    with progress(len(sets), "probe", "set") as bar:
        for given in sets:
            step(f"scoring {given.name}")
            content, metrics = counted(given.model, Knowledge.of(dataset, given.read(dataset, seed), threads))
            parts = [content, transitions]
            weights = as_weights(fitted(features_of(dataset, parts, occurrences, threads)))
            for runs, scorer, constants in ((alone, content, metrics["constants"]),
                                            (beside, FusedScorer(parts, weights, occurrences), None)):
                ranks, = ranks_alone(scorer, asked, [seen], threads=threads)
                runs.append((ranks, constants))
            bar.update()
    return alone, beside


def _row(given: VectorSet, beside: bool) -> dict[str, Any]:
    return {"name": f"{OPPONENT} + {given.name}" if beside else given.name, "vectors": given.kind,
            "model": given.model, "control": given.control, "with_transitions": beside}


def _figures(ranks: Ranks, groups: Mapping[str, BoolArray]) -> dict[str, float | None]:
    """Return the means over all users and over groups of them; None for those of no user."""
    ndcg, hits = (metric_values(ranks, name) for name in ("ndcg@10", "hr@10"))
    of_groups = {"tail_hr@10": hits[groups["tail"]], "reachable_ndcg@10": ndcg[groups["reachable"]],
                 "unreachable_ndcg@10": ndcg[groups["unreachable"]]}
    return {"ndcg@10": float(ndcg.mean()), "hr@10": float(hits.mean())} | {
        name: float(values.mean()) if len(values) else None for name, values in of_groups.items()}


def _comparisons(names: Sequence[str], runs: Sequence[Ranks], config: ProbeConfig) -> list[dict[str, Any]]:
    """Compare every set with the first one."""
    test = EvaluateConfig(split=config.split, resamples=config.resamples, seed=config.seed)
    baseline, *others = (metric_values(ranks, _TESTED) for ranks in runs)
    return [{"arm": name, "baseline": names[0], "metric": _TESTED, "group": "all"} | compared(values, baseline, test)
            for name, values in zip(names[1:], others, strict=True)]
