from __future__ import annotations

import numpy as np

from tslrec_min.bench.references import padded_batch, rejected_negatives

from .. import _reference as reference


def test_references_do_what_the_twins_do() -> None:
    items, starts, lengths = np.arange(1, 21, dtype=np.int32), np.array([0, 3, 18]), np.array([2, 5, 2])
    found = padded_batch(items, starts, lengths, np.empty((3, 5), np.int64))
    np.testing.assert_array_equal(found, reference.padded(items, starts, starts + lengths, 5))
    seen = np.zeros((2, 7), dtype=bool)
    seen[0, [1, 2, 3]] = seen[1, 6] = True
    for cumulative in (None, np.array([0, 0.5, 0.5, 0.6, 0.8, 0.9, 1])):
        drawn = rejected_negatives(seen, np.array([0, 1]), cumulative, 200, np.random.default_rng(0))
        wanted = [{4, 5, 6}, {1, 2, 3, 4, 5} if cumulative is None else {1, 3, 4, 5}]
        assert [set(row) for row in drawn.tolist()] == wanted
