from __future__ import annotations

from pathlib import Path

from tslrec_min.report.text import short
from tslrec_min.storage.artifacts import read_json

from ..factories import parsed, tables


def test_item_embeddings_without_training_are_those_of_probe(whole: Path, page: str) -> None:
    rows = tables(parsed(page))["Item embeddings without training"]
    probed = read_json(whole / "probe" / "metrics.json")
    assert [row[0] for row in rows[1:]] == [row["name"] for row in probed["rows"]]
    assert [row[1] for row in rows[1:]] == [short(row["ndcg@10"]) for row in probed["rows"]]
    assert sum(bool(row[-1]) for row in rows[1:]) == len(probed["comparisons"]) > 0
    assert f"{probed['groups']['users']['reachable']:,} users, whose target" in page
