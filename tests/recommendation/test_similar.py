from __future__ import annotations

import json
from pathlib import Path

from tslrec_min.data.dataset import Dataset

from ..factories import tslrec


def test_similar_shows_titles_and_suggests_ids(cycle: Path, dataset: Dataset, embed: Path, tmp_path: Path) -> None:
    result = tslrec("similar", cycle, "i3", "--embeddings", embed, "-k", 3)
    assert result.exit_code == 0 and result.stdout.startswith(f"{dataset.titles[dataset.item_ids.index('i3')]} (i3)")
    found = json.loads(tslrec("similar", cycle, "i3", "--embeddings", embed, "-k", 3, "--json").stdout)
    items = [near["item"] for near in found[0]["similar"]]
    assert items == [line.split()[-2] for line in result.stdout.splitlines()[2:]] and "i3" not in items
    result = tslrec("similar", cycle, "star wars", "--embeddings", embed)
    assert result.exit_code == 1 and "i0 (Star Wars 0), i16 (Star Wars 16), i8 (Star Wars 8)" in result.stderr
    assert "no title contains it" in tslrec("similar", cycle, "nothing", "--embeddings", embed).stderr
    assert tslrec("similar", cycle, "i3").exit_code == 2
