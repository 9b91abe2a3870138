"""The stage ``prepare``: raw files or data frames in, a data set out; `build` has the filters, order and split."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..configs import PrepareConfig
from ..runtime.background import begun
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
from ..storage.existing import Existing
from .build import build_dataset
from .dataset import Dataset
from .hold_out import hold_out_items
from .raw.columnar import Frame
from .raw.discover import Source
from .raw.interactions import RawInteractions
from .raw.readers import collect, find_files, open_rows, read_interactions
from .raw.titles import RawItems, collect_items, item_field_names


def prepare(source: Path | Source, out: Path, config: PrepareConfig, *, items: Path | None = None,
            existing: Existing = Existing.REFUSE) -> dict[str, Any]:
    """Read raw data and write the data set artifact.

    Args:
        source: a file of interactions, a folder that contains one, or a zip archive of MovieLens; or the files that
            `find_files` returned.
        out: folder of the artifact.
        config: format, columns, filters, split, cold items.
        items: file with the titles; None: the one beside the interactions.
        existing: what to do with an artifact at `out`, see `Existing`.

    Returns:
        The contents of dataset.json: statistics, numbers of rows left out, and the split's hash.

    Raises:
        TslrecError: something can't be read, or nothing is left after the filters.
    """
    files = source if isinstance(source, Source) else find_files(source, items, config)
    inputs: dict[str, str] = {}
    hashed = begun(lambda: inputs.update(
        {name: sha256_of_file(file.path)
         for name, file in (("interactions", files.interactions), ("items", files.items)) if file}))
    if existing.reuses and out.exists():  # else there is nothing to compare the hashes with
        hashed()

    def make() -> tuple[Dataset, dict[str, Any]]:
        made = _prepared(*_read(files, config), config)
        hashed()
        return made

    return _write(out, Recipe("dataset", asdict(config) | {"format": files.format}, inputs), existing, make)


def examine(source: Path, config: PrepareConfig, *, items: Path | None = None) -> dict[str, Any]:
    """Do what `prepare` does, but write nothing; return what dataset.json would contain.

    Raises:
        TslrecError: see `prepare`.
    """
    dataset, further = _prepared(*_read(find_files(source, items, config), config), config)
    return dataset.statistics() | further


def prepare_frames(interactions: Any, items: Any, out: Path, config: PrepareConfig, *,
                   existing: Existing = Existing.REFUSE) -> dict[str, Any]:
    """Write the data set artifact from data frames of pandas or polars; neither is imported.

    Args:
        interactions: a frame with the columns that `config` names: user, item, and time unless ``time_column`` is empty
            (numbers, texts or datetimes).
        items: a frame with the columns item, title and ``item_fields``.
        out, config, existing: see `prepare`; format and encoding have no effect.

    Returns:
        The contents of dataset.json.

    Raises:
        TslrecError: a column is missing, a row can't be used, or nothing is left after the filters.
    """
    raw = collect(Frame(interactions, "the frame of interactions"), config)
    texts = collect_items(Frame(items, "the frame of items"), config, wanted=set(raw.item_ids))
    inputs = {"interactions": _hash_of(raw), "items": sha256_of_json([texts.titles, texts.fields])}
    return _write(out, Recipe("dataset", asdict(config) | {"format": "frames"}, inputs), existing,
                  lambda: _prepared(raw, texts, config))


def _write(out: Path, recipe: Recipe, existing: Existing, make: Callable[[], tuple[Dataset, dict[str, Any]]]
           ) -> dict[str, Any]:
    """Write the artifact, unless the one at `out` can be kept; return the contents of dataset.json."""
    if existing.reuses and is_current(out, recipe):
        return read_json(out / "dataset.json")
    with write_artifact(out, recipe, overwrite=existing.overwrites) as folder:
        dataset, further = make()
        saved = begun(lambda: dataset.save(folder))
        try:
            summary = dataset.statistics() | further
        finally:
            saved()  # before the folder is removed after an error
        write_json(folder / "dataset.json", summary)
    return summary


def _read(source: Source, config: PrepareConfig) -> tuple[RawInteractions, RawItems]:
    """Read interactions and the texts of their items; without a file of titles there are no texts."""
    step(f"reading {source.interactions} ({source.format})")
    raw = read_interactions(source, config)
    step(f"reading {source.items}" if source.items else "no file of titles")
    if source.items is None:
        return raw, RawItems(fields={name: {} for name in item_field_names(config)})
    ordered = begun(raw.by_user)
    texts = collect_items(open_rows(source.items, config, items=True), config, wanted=set(raw.item_ids))
    raw.ordered = ordered()
    return raw, texts


def _hash_of(raw: RawInteractions) -> str:
    digest = hashlib.sha256(sha256_of_json([raw.user_ids, raw.item_ids]).encode())
    for array in (raw.users, raw.items, raw.times):
        digest.update(b"" if array is None else array.tobytes())
    return digest.hexdigest()


def _prepared(raw: RawInteractions, texts: RawItems, config: PrepareConfig) -> tuple[Dataset, dict[str, Any]]:
    """Return the data set and the contents of dataset.json but for its statistics."""
    step(f"filtering {len(raw.users):,} interactions: {config.k_core}-core")
    raw = raw.without_duplicates() if config.duplicates == "drop" else raw
    shares = (config.validation_share, config.test_share) if config.split == "temporal" else None
    dataset = build_dataset(raw, texts, k_core=config.k_core, shares=shares,
                            blank_titles=config.missing_titles == "blank")
    left_out = _left_out(raw, dataset)
    if config.cold_items:
        dataset = hold_out_items(dataset, config.cold_items, config.cold_seed)
    return dataset, left_out | {
        "k_core": config.k_core, "bad_rows": {"interactions": raw.bad_rows, "items": texts.bad_rows},
        "items_without_row": sum(item not in texts.titles for item in dataset.item_ids),
        "unescaped_items": len(texts.unescaped.intersection(dataset.item_ids)),
    }


def _left_out(raw: RawInteractions, dataset: Dataset) -> dict[str, int]:
    """Return the number of rows read, and of those left out by reason."""
    late, kept_late = 0, 0
    if dataset.cuts and raw.times is not None and dataset.timestamps is not None:
        late, kept_late = (int((times >= dataset.cuts[0]).sum()) for times in (raw.times, dataset.timestamps))
    lost = len(raw.users) - len(dataset.histories.items)
    return {"raw_interactions": len(raw.users) + raw.below_min_rating + raw.outside_window + raw.duplicates,
            "below_min_rating": raw.below_min_rating, "outside_time_window": raw.outside_window,
            "duplicates": raw.duplicates,
            "below_k_core": lost - (late - kept_late), "new_after_training": late - kept_late}

