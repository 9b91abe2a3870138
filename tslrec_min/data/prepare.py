"""Raw interactions -> Dataset: k-core, order, numbering, the cuts of the temporal split, cold items."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..configs import PrepareConfig
from ..errors import TslrecError
from ..runtime.progress import step
from ..storage.artifacts import (
    Recipe,
    is_current,
    read_json,
    sha256_of_file,
    sha256_of_json,
    write_artifact,
    write_json,
)
from .dataset import Dataset
from .histories import Histories, offsets
from .hold_out import hold_out_items
from .raw.columnar import Frame
from .raw.inspect import find_files
from .raw.readers import Source, collect, read_interactions, read_items
from .raw.rows import RawInteractions
from .raw.text import RawFile
from .raw.titles import RawItems, collect_items, item_field_names


def prepare(source: Path, out: Path, config: PrepareConfig, *, items: Path | None = None,
            existing: str = "refuse") -> dict[str, Any]:
    """Read raw data and write the data set artifact.

    Args:
        source: a file of interactions, a folder that holds one, or a zip archive of MovieLens.
        out: folder of the artifact.
        config: format, columns, filters, split, cold items.
        items: file with the titles; None: the one beside the interactions.
        existing: what to do with an artifact at `out`: ``refuse`` it, ``overwrite`` it, or ``reuse`` it if it
            was made from the same inputs by the same configuration.

    Returns:
        The contents of dataset.json: statistics, what was left out, and the split's hash.

    Raises:
        TslrecError: something can't be read, or nothing is left after the filters.
    """
    return prepare_found(find_files(source, items, config), out, config, existing=existing)


def prepare_found(source: Source, out: Path, config: PrepareConfig, *, existing: str = "refuse") -> dict[str, Any]:
    """Do what `prepare` does, with files that `find_files` found.

    Raises:
        TslrecError: see `prepare`.
    """
    interactions, titles, format = source.interactions, source.items, source.format
    inputs = {name: sha256_of_file(file.path) for name, file in (("interactions", interactions), ("items", titles))
              if file}
    recipe = Recipe("dataset", asdict(config) | {"format": format}, inputs)
    if existing == "reuse" and is_current(out, recipe):
        return read_json(out / "dataset.json")
    with write_artifact(out, recipe, overwrite=existing != "refuse") as folder:
        step(f"reads {interactions} ({format})")
        raw = read_interactions(source, config)
        step(f"reads {titles}" if titles else "does without titles")
        texts = _texts(titles, config, raw)
        step(f"filters {len(raw.users):,} interactions: {config.k_core}-core")
        return _save(folder, *_prepared(raw, texts, config))


def examine(source: Path, config: PrepareConfig, *, items: Path | None = None) -> dict[str, Any]:
    """Do what `prepare` does, but write nothing: return what dataset.json would hold.

    Raises:
        TslrecError: see `prepare`.
    """
    found = find_files(source, items, config)
    raw = read_interactions(found, config)
    return _prepared(raw, _texts(found.items, config, raw), config)[1]


def prepare_frames(interactions: Any, items: Any, out: Path, config: PrepareConfig, *, existing: str = "refuse"
                   ) -> dict[str, Any]:
    """Write the data set artifact from data frames of pandas or polars; neither is imported.

    Args:
        interactions: a frame with the columns that `config` names: user, item, and time unless ``time_column`` is empty
            (numbers, texts or datetimes).
        items: a frame with the columns item, title and ``item_fields``.
        out, config, existing: see `prepare`; format and encoding are without effect.

    Returns:
        The contents of dataset.json.

    Raises:
        TslrecError: a column is missing, a row can't be used, or nothing is left after the filters.
    """
    raw = collect(Frame(interactions, "the frame of interactions", {}), "the frame of interactions", config)
    texts = collect_items(Frame(items, "the frame of items", {}), "the frame of items", config,
                          wanted=set(raw.item_ids))
    inputs = {"interactions": _hash_of(raw), "items": sha256_of_json([texts.titles, texts.fields])}
    recipe = Recipe("dataset", asdict(config) | {"format": "frames"}, inputs)
    if existing == "reuse" and is_current(out, recipe):
        return read_json(out / "dataset.json")
    with write_artifact(out, recipe, overwrite=existing != "refuse") as folder:
        return _save(folder, *_prepared(raw, texts, config))


def _texts(titles: RawFile | None, config: PrepareConfig, raw: RawInteractions) -> RawItems:
    """Read the texts of the items that there are interactions with; without a file of titles there are none."""
    if titles is None:
        return RawItems(fields={name: {} for name in item_field_names(config)})
    return read_items(titles, config, wanted=set(raw.item_ids))


def _hash_of(raw: RawInteractions) -> str:
    digest = hashlib.sha256(sha256_of_json([raw.user_ids, raw.item_ids]).encode())
    for array in (raw.users, raw.items, raw.times):
        digest.update(b"" if array is None else array.tobytes())
    return digest.hexdigest()


def _prepared(raw: RawInteractions, texts: RawItems, config: PrepareConfig) -> tuple[Dataset, dict[str, Any]]:
    """Return the data set and the contents of dataset.json."""
    raw = raw.without_duplicates() if config.duplicates == "drop" else raw
    dataset = build_dataset(raw, texts, k_core=config.k_core, shares=_shares(config),
                            blank_titles=config.missing_titles == "blank")
    left_out = _left_out(raw, dataset)
    if config.cold_items:
        dataset = hold_out_items(dataset, config.cold_items, config.cold_seed)
    return dataset, dataset.statistics() | left_out | {
        "k_core": config.k_core, "bad_rows": {"interactions": raw.bad_rows, "items": texts.bad_rows},
        "items_without_row": sum(item not in texts.titles for item in dataset.item_ids),
        "unescaped_items": len(texts.unescaped.intersection(dataset.item_ids)),
    }


def _shares(config: PrepareConfig) -> tuple[float, float] | None:
    return (config.validation_share, config.test_share) if config.split == "temporal" else None


def _left_out(raw: RawInteractions, dataset: Dataset) -> dict[str, int]:
    """Say how many rows there were and why some are not in the data set."""
    late, kept_late = 0, 0
    if dataset.cuts and raw.times is not None and dataset.timestamps is not None:
        late, kept_late = (int((times >= dataset.cuts[0]).sum()) for times in (raw.times, dataset.timestamps))
    lost = len(raw.users) - len(dataset.histories.items)
    return {"raw_interactions": len(raw.users) + raw.below_min_rating + raw.outside_window + raw.duplicates,
            "below_min_rating": raw.below_min_rating, "outside_time_window": raw.outside_window,
            "duplicates": raw.duplicates,
            "below_k_core": lost - (late - kept_late), "new_after_training": late - kept_late}


def _save(folder: Path, dataset: Dataset, summary: dict[str, Any]) -> dict[str, Any]:
    dataset.save(folder)
    write_json(folder / "dataset.json", summary)
    return summary


def build_dataset(raw: RawInteractions, texts: RawItems, *, k_core: int, shares: tuple[float, float] | None = None,
                  blank_titles: bool = False) -> Dataset:
    """Filter, order and number interactions.

    Order: stable by (user, time, input order). Internal ids follow the sorted external ids, so they don't
    depend on who interacted with what.

    With the temporal split users, items and the k-core follow from the training period alone; later interactions of
    other users or with other items are left out. So nothing that happens from the first cut on has a part in what is
    learned from, the times apart, from which the cuts follow.

    Args:
        raw: the interactions.
        texts: of the items; every item that stays must be in it.
        k_core: least interactions of a user and of an item; 0 or 1 keeps all.
        shares: of the interactions that are in the validation and in the test period, for the temporal split; None:
            leave-one-out.
        blank_titles: whether items that are not in `texts` get a blank title.

    Raises:
        TslrecError: nothing is left, an item has no title row, or there are no times to split by.
    """
    if not (len(raw.users) or raw.below_min_rating or raw.outside_window or raw.bad_rows):
        raise TslrecError("there are no interactions to prepare: the file (or data frame) has no rows; give one with "
                          "a row for every interaction")
    if not len(raw.users):
        bad = "; ".join(f"{found['rows']:,} rows: {reason}" for reason, found in raw.bad_rows.items())
        raise TslrecError(f"there are no interactions to prepare: {raw.below_min_rating:,} are below --min-rating, "
                          f"{raw.outside_window:,} are not from --from-time to --until-time, and these can't be used: "
                          f"{bad or 'none'}; check the file and these options")
    cuts = None if shares is None else temporal_cuts(raw.times, *shares)
    kept = _kept(raw, k_core, cuts)
    times = None if raw.times is None else raw.times[kept]
    user_ids, users = _renumbered(raw.user_ids, raw.users[kept])
    item_ids, items = _renumbered(raw.item_ids, raw.items[kept])
    unknown = [item for item in item_ids if item not in texts.titles]
    if unknown and not blank_titles:
        both = "" if unknown[0].isascii() else "; if it is there, the two files have different encodings: make it one"
        raise TslrecError(f"{len(unknown)} items of the histories are not in the items file, the first is "
                          f"{unknown[0]!r}; add their rows (a blank title is allowed), or give --missing-titles blank"
                          f"{both}")
    order = np.lexsort((users,) if times is None else (times, users))
    indptr = offsets(np.bincount(users, minlength=len(user_ids)))
    return Dataset(Histories(indptr, (items[order] + 1).astype(np.int32)), user_ids, item_ids,
                   [texts.titles.get(item, "") for item in item_ids], None if times is None else times[order],
                   {name: [of_item.get(item, "") for item in item_ids] for name, of_item in texts.fields.items()},
                   cuts=cuts)


def temporal_cuts(times: np.ndarray | None, validation_share: float, test_share: float) -> tuple[float, float]:
    """Return the times at which the validation and the test period begin: quantiles of the interactions' times.

    Interactions at the time of a cut are after it, so that equal times are never parted.

    Raises:
        TslrecError: there are no times, or too many are equal.
    """
    if times is None:
        raise TslrecError("--split temporal needs a time for every interaction; this input has none")
    ordered, count = np.sort(times), len(times)
    places = (count - round((validation_share + test_share) * count), count - round(test_share * count))
    first, second = (ordered[min(place, count - 1)].item() for place in places)
    if not ordered[0] < first < second:
        raise TslrecError(f"the times of {count} interactions can't be cut into shares of {validation_share} and "
                          f"{test_share}: too many are equal; raise --validation-share or --test-share, or use --split "
                          "leave-one-out")
    return first, second


def _kept(raw: RawInteractions, k_core: int, cuts: tuple[float, float] | None) -> np.ndarray:
    """Return which interactions stay, bool [N]: those of users and items that the k-core (of training) holds."""
    early = slice(None) if cuts is None or raw.times is None else raw.times < cuts[0]
    users, items = raw.users[early], raw.items[early]
    core = k_core_mask(users, items, k_core)
    if not core.any():
        n_users, n_items = (len(np.unique(codes)) for codes in (users, items))
        each = f" ({len(users) / n_users:.1f} a user, {len(users) / n_items:.1f} an item)" if len(users) else ""
        raise TslrecError(f"no interaction is left after the {k_core}-core of {n_users} users, {n_items} items and "
                          f"{len(users)} interactions{each}; lower --k-core")
    if cuts is None:
        return core
    has_user, has_item = (np.bincount(codes[core], minlength=len(ids)) > 0
                          for codes, ids in ((users, raw.user_ids), (items, raw.item_ids)))
    return has_user[raw.users] & has_item[raw.items]


def k_core_mask(users: np.ndarray, items: np.ndarray, k: int) -> np.ndarray:
    """Return which interactions stay when users and items with fewer than `k` are dropped until none is.

    Args:
        users, items: int64 [N].
        k: least number of interactions.

    Returns:
        bool [N].
    """
    kept = np.ones(len(users), bool)
    while True:
        user_counts = np.bincount(users[kept], minlength=users.max() + 1)
        item_counts = np.bincount(items[kept], minlength=items.max() + 1)
        stay = kept & (user_counts[users] >= k) & (item_counts[items] >= k)
        if stay.sum() == kept.sum():
            return kept
        kept = stay
        if not kept.any():
            return kept


def _renumbered(ids: Sequence[str], codes: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Keep the ids in use, numeric ones in numeric order, and number the codes 0.. accordingly."""
    used = np.flatnonzero(np.bincount(codes, minlength=len(ids)))
    names = [ids[code] for code in used.tolist()]
    order = sorted(range(len(names)), key=lambda place: (not names[place].isdecimal(),
                                                         len(names[place]) if names[place].isdecimal() else 0,
                                                         names[place]))
    rank = np.zeros(len(ids), np.int32)
    rank[used[order]] = np.arange(len(order))
    return [names[place] for place in order], rank[codes]
