from __future__ import annotations

import numpy as np
import pytest

from tslrec_min.errors import TslrecError
from tslrec_min.finetuning.parity import compare_states


def test_parity_report_of_known_states() -> None:
    reference = np.eye(4, dtype=np.float32) + 0.1 * np.arange(16, dtype=np.float32).reshape(4, 4)
    assert compare_states(reference, 3 * reference) == pytest.approx(
        {"mean_cosine": 1, "min_cosine": 1, "neighbour_overlap_10": 1})
    other = reference.copy()
    other[2] = -other[2]
    report = compare_states(reference, other)
    assert (report["mean_cosine"], report["min_cosine"]) == pytest.approx((0.5, -1))


def test_neighbour_overlap_against_hand_count() -> None:
    angles = np.linspace(0, 1, 12)
    reference = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    # each of 12 has 11 others; in `swapped` the first and last change places, so lists of 10 lose at most one
    swapped = reference[[11, *range(1, 11), 0]]
    left, right = (np.argsort(-(x @ x.T) + 9 * np.eye(12), axis=1)[:, :10] for x in (reference, swapped))
    expected = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(left, right, strict=True)])
    assert compare_states(reference, swapped)["neighbour_overlap_10"] == pytest.approx(expected)
    assert expected < 1


def test_parity_refuses_broken_states() -> None:
    states = np.ones((3, 2), dtype=np.float32)
    for value in (0, np.nan, np.inf):
        broken = states.copy()
        broken[1] = value
        with pytest.raises(TslrecError, match="zero or not finite"):
            compare_states(states, broken)
