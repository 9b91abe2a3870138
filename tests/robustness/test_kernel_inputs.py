"""Whatever the kernels' wrappers are given: a right answer or a ValueError, and no memory that isn't theirs.

Every argument of integers is replaced by arrays of other types, shapes and strides, with negative, huge and too few or
too many numbers. Where such an array is accepted, the answer is that of the same numbers as a plain int64 array.
CONTRIBUTING.md says how to run these tests with AddressSanitizer, which sees every read and write out of bounds.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tslrec_min.data.seen import SeenItems
from tslrec_min.llm.attention import prompt_layout
from tslrec_min.llm.elementwise import gated_values, rms_norm_values
from tslrec_min.ranking.ranks import rank_targets
from tslrec_min.recommenders.batching import history_batch, next_item_batch, window_phases
from tslrec_min.recommenders.models.dropout import Dropout
from tslrec_min.recommenders.sampling import AliasTable, sample_negatives
from tslrec_min.runtime.validation import as_offsets

from .kernel_inputs import CPU, ITEMS, SEEN, windows_with

pytestmark = pytest.mark.kernel

@pytest.mark.parametrize("call, message", [
    # The differences of these offsets overflow, and rise.
    (lambda: as_offsets("indptr", [0, 2**63 - 1, -2, 9], 9), "indptr must rise from 0 to 9"),
    (lambda: as_offsets("indptr", np.array([0, 2**63, 9], np.uint64), 9), r"indptr\[1\] is 9223372036854775808"),
    (lambda: history_batch(np.array([0, 2**63 - 1, -2, 9]), ITEMS, [1], 3), "row"),
    (lambda: SeenItems(np.array([0, 2**63 - 1, -2, 9]), np.arange(1, 10, dtype=np.int32), 9), "must rise"),
    (lambda: next_item_batch(ITEMS, windows_with("first_target", np.array([9, 4, 8, 9])), [0], 3), "begin after"),
    (lambda: windows_with("users", np.zeros(2, np.int64)), "users has 2 entries; expected 4"),
    (lambda: sample_negatives(SeenItems(np.zeros(3, np.int64), np.empty(0, np.int32), 0), [0], [0], 1, seed=0,
                              epoch=0), "no items"),
    (lambda: AliasTable(np.ones(8) / 7, np.zeros(6, np.uint64), np.ones(7, np.int32)), "thresholds has 6 entries"),
    (lambda: AliasTable(np.ones(8) / 7, np.zeros(7, np.uint64), np.full(7, 8, np.int32)), r"aliases\[0\] is 8"),
    (lambda: AliasTable(np.ones(8) / 7, np.zeros(7, np.int64), np.ones(7, np.int32)), "thresholds is int64"),
    (lambda: sample_negatives(SEEN, [0], [0], 1, seed=0, epoch=0, num_threads=2000), "num_threads is 2000"),
    (lambda: rank_targets(np.ones((1, 2)), np.ones((3, 2)), [1], None, num_threads=2**31 - 1), "num_threads is"),
    (lambda: rms_norm_values(torch.ones(4, 8), torch.ones(8), 1e-6, torch.ones(3, 8)), r"room is .*\(3, 8\)"),
    (lambda: gated_values(torch.ones(4, 8), "silu", torch.ones(4, 8)), r"room is .*\(4, 8\)"),
    (lambda: gated_values(torch.ones(4, 8), "silu", torch.ones(4, 4, dtype=torch.float64)), "room is torch.float64"),
    (lambda: rms_norm_values(torch.tensor(1.0), torch.tensor(1.0), 1e-6), "states has no dimension"),
    (lambda: prompt_layout(0, [2, 0], CPU), "and at least 1 of each prompt"),
    (lambda: prompt_layout(-1, [2], CPU), "-1 shared tokens"),
    (lambda: prompt_layout(1, [], CPU), "1 shared tokens"),
    (lambda: Dropout(1.0), "rate is 1.0"),
    (lambda: window_phases([[0, 1]], 3, np.random.default_rng(0)), "indptr is"),
])
def test_what_would_reach_beyond_the_arrays(call, message):
    with pytest.raises(ValueError, match=message):
        call()
