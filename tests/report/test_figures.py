from __future__ import annotations

import re
import warnings

import numpy as np
import pytest

pytest.importorskip("matplotlib")


def test_maps_stay_small_and_have_a_dot_an_item() -> None:
    from tslrec_min.report.figures import category_colors, item_map

    points = np.random.default_rng(0).normal(size=(3000, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = item_map("m", "map", points, np.arange(3000) % 32, category_colors(32))
    assert len(picture) < 150_000
    dots = re.findall(r'<path d="([^"]*)"[^>]*stroke-linecap: round', picture)
    assert sum(path.count("M") for path in dots) == 3000
    assert len(set(category_colors(32))) == 32
