from __future__ import annotations

from pathlib import Path
from statistics import mean

import pytest

from tslrec_min.report.text import short
from tslrec_min.storage.artifacts import read_json

from ...factories import tslrec
from ..factories import parsed, tables

pytest.importorskip("matplotlib")


def test_only_networks_have_epochs(sums_page: str) -> None:
    header, *rows = tables(parsed(sums_page))["Best epochs"]
    assert [row[:2] for row in rows] == [["ids", "0"], ["ids", "1"]]


def test_constants_are_those_of_arms_and_of_parts(sums_page: str, summed: Path) -> None:
    _, *rows = tables(parsed(sums_page))["Recommenders without training"]
    assert [row[:2] for row in rows] == [["popularity", "popularity"], ["content:tfidf", "content"],
                                         ["transitions", "transitions"]]
    folders = ("train/1-popularity", "parts/content-tfidf", "parts/transitions")
    for row, folder in zip(rows, folders, strict=True):
        metrics = read_json(summed / "out" / folder / "metrics.json")
        for name, value in metrics["constants"].items():
            assert f"{name} {value:g}" in row[2]
        assert row[3] == short(metrics["validation_ndcg@10"])
    assert rows[0][2] == "none"


def test_parts_of_sums_say_what_they_bring_and_where(sums_page: str, summed: Path) -> None:
    root = parsed(sums_page)
    found = {caption: rows for caption, rows in tables(root).items() if "of the sum without it" in caption}
    assert [caption.partition(":")[0] for caption in found] == ["“titles”", "“system”"]
    (caption, (header, *rows)), runs = list(found.items())[1], [
        read_json(summed / "out" / "train" / f"4-system-{seed}" / "metrics.json") for seed in (0, 1)]
    whole = mean(run["validation_ndcg@10"] for run in runs)
    assert f"of the sum {short(whole)}" in caption and "means over 2 runs" in caption
    assert header == ["part", "alone", "sum without it", "brings", *(f"weight at {n}" for n in (1, 5, 20, 100))]
    for number, row in enumerate(rows):
        parts = [run["parts"][number] for run in runs]
        without = mean(part["without_it"] for part in parts)
        assert row[:4] == [parts[0]["name"], short(mean(part["validation_ndcg@10"] for part in parts)), short(without),
                           short(whole - without)]
        assert row[4:] == [short(mean(part["weights"][n] for part in parts), 2) for n in ("1", "5", "20", "100")]
    titles = [element.text for element in root.iter("title")]
    assert "Weights of the parts of “system” by the frequency of an item" in titles


def test_a_sum_alone_has_its_section(summed: Path, tmp_path: Path) -> None:
    assert tslrec("report", summed / "out" / "train" / "4-system-1", "-o", tmp_path / "r.html").exit_code == 0
    found = tables(parsed((tmp_path / "r.html").read_text(encoding="utf-8")))
    assert any(caption.startswith("“4-system-1”") for caption in found) and "Best epochs" not in found
