from __future__ import annotations

import numpy as np

from tslrec_min.llm.packing import PackedBatch, packed_batches, shared_prefix
from tslrec_min.llm.prompts import TokenPrompt


def test_shared_prefix_is_what_all_prompts_begin_with() -> None:
    one = TokenPrompt((1, 2, 3, 4), 3, 4)
    assert shared_prefix([one]) == 0
    assert shared_prefix([one, TokenPrompt((1, 2, 3, 5, 6), 4, 5)]) == 3
    assert shared_prefix([one, TokenPrompt((1, 2), 0, 2)]) == 2  # up to the end of a prompt
    assert shared_prefix([one, TokenPrompt((7, 2, 3), 2, 3)]) == 0


def packed(sequences: list[tuple[int, ...]], prefix: int, tokens: int = 99, prompts: int = 99) -> list[PackedBatch]:
    spans = [TokenPrompt(ids, 0, len(ids)) for ids in sequences]
    return list(packed_batches(spans, prefix, tokens, prompts))


def test_packed_batches_hold_shared_tokens_once() -> None:
    batch, = packed([(9, 1), (9, 1, 2, 3), (9, 1, 2, 4), (9, 5, 2)], prefix=1)
    assert batch.tokens.tolist() == [1, 2, 3, 4, 5, 2]
    assert batch.positions.tolist() == [1, 2, 3, 3, 1, 2]
    assert batch.first.tolist() == [0, 1, 1, 2, 3, 3]
    assert batch.stop.tolist() == [3, 3, 2, 3, 4, 4]
    assert [span.tolist() for span in batch.spans] == [[0, 1], [0, 1, 2, 3], [0, 1, 2, 4], [0, 5, 6]]
    parents = [(0,), (0, 1), (0, 1, 2), (0, 1, 3), (4,), (4, 5)]
    assert [tuple(np.flatnonzero(row)) for row in batch.paths()] == parents


def test_packed_batches_respect_both_limits() -> None:
    ids = [(1, 2), (1, 2, 3), (1, 4), (5, 6, 7)]
    assert [batch.rows for batch in packed(ids, 0)] == [slice(0, 4)]
    assert [batch.tokens.tolist() for batch in packed(ids, 0, tokens=4)] == [[1, 2, 3, 4], [5, 6, 7]]
    assert [batch.tokens.tolist() for batch in packed(ids, 0, prompts=2)] == [[1, 2, 3], [1, 4, 5, 6, 7]]
    assert [batch.tokens.tolist() for batch in packed(ids, 0, tokens=1)] == [[1, 2], [1, 2, 3], [1, 4], [5, 6, 7]]
    assert packed([], 0) == []
