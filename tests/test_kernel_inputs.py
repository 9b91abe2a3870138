"""Whatever the kernels' wrappers are given: a right answer or a ValueError, and no memory that isn't theirs.

Every argument of integers is replaced by arrays of other types, shapes and strides, with negative, huge and too few or
too many numbers. Where such an array is accepted, the answer is that of the same numbers as a plain int64 array.
CONTRIBUTING.md says how to run these tests with AddressSanitizer, which sees every read and write out of bounds.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tslrec_min.data.seen import SeenItems
from tslrec_min.llm.attention import attention
from tslrec_min.llm.elementwise import gated_values, rms_norm_values, rotated
from tslrec_min.llm.prompt_layout import prompt_layout
from tslrec_min.ranking.ranks import rank_targets, top_k
from tslrec_min.recommenders.batching import (
    BatchBuffers,
    Windows,
    cloze_batch,
    history_batch,
    length_parts,
    next_item_batch,
    next_item_windows,
    window_phases,
)
from tslrec_min.recommenders.models.dropout import Dropout
from tslrec_min.recommenders.sampling import AliasTable, sample_negatives
from tslrec_min.runtime.validation import as_offsets

CPU = torch.device("cpu")
N_ITEMS, N_USERS, WIDTH = 7, 4, 5
INDPTR, ITEMS = np.array([0, 3, 3, 5, 9]), np.array([1, 4, 7, 2, 3, 5, 5, 6, 1], dtype=np.int32)
SEEN = SeenItems.from_histories(INDPTR, ITEMS, N_ITEMS)
EDGES = (-2**63, -2**63 + 1, -2**31, -1, 0, 1, 2, 3, 6, 7, 8, 9, 10, 2**31 - 1, 2**31, 2**32, 2**63 - 2, 2**63 - 1)
TYPES = (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint32, np.uint64, np.float32, np.float64, np.bool_,
         np.object_, np.complex64)
FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])  # by the wall clock


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    """Arrays that hardly fit: small or extreme numbers in any type, 0 to 2 dimensions, any layout."""
    numbers = draw(st.lists(st.one_of(st.sampled_from(EDGES), st.integers(0, 9)), max_size=9))
    with np.errstate(all="ignore"):
        values = np.array(numbers, dtype=np.int64).astype(draw(st.sampled_from(TYPES)))
    match draw(st.integers(0, 6)):
        case 0:
            return np.repeat(values, 2)[::2]
        case 1:
            return values[::-1]
        case 2:
            return np.asfortranarray(values.reshape(-1, 1))
        case 3:
            return values[:1].reshape(()) if len(values) else values
        case 4:
            values.flags.writeable = False
    return values


def answer(call, argument):
    """Return what a call gives, as arrays; None if it is refused."""
    try:
        found = call(argument)
    except (ValueError, TypeError):
        return None
    return [np.asarray(part) for part in (vars(found).values() if hasattr(found, "__dict__") else
                                          found if isinstance(found, tuple | list) else [found])]


def check(call, argument):
    """An array that is accepted is taken for its numbers."""
    found = answer(call, argument)
    if found is not None:
        for part, expected in zip(found, answer(call, np.array(argument.tolist(), dtype=np.int64)), strict=True):
            np.testing.assert_array_equal(part, expected)


def windows_with(field: str, values: np.ndarray) -> Windows:
    fields = vars(next_item_windows(INDPTR, 3, [0, 0, 1, 2]))
    return Windows(**fields | {field: values})


def unhurt_rows(items: np.ndarray) -> np.ndarray:
    """Items are padding or of the histories: what lies beside the arrays in memory would be something else."""
    assert ((items >= 0) & (items <= N_ITEMS + 1)).all()
    return items


@FUZZ
@given(arrays(), st.sampled_from(("indptr", "users", "items")), st.integers(1, 4))
def test_histories(values, argument, max_len):
    given_arguments = {"indptr": INDPTR, "items": ITEMS, "users": np.array([3, 0])}

    def call(array):
        if argument == "items":  # int32 and int64 alone: no copy is made of all histories
            array = array if array is values else array.astype(values.dtype)
        batch = history_batch(**given_arguments | {argument: array}, max_len=max_len, num_threads=2)
        return [batch.items if argument == "items" else unhurt_rows(batch.items), batch.lengths]

    check(call, values)


@FUZZ
@given(arrays(), st.sampled_from(("users", "row_start", "input_stop", "first_target")), st.integers(1, 4),
       st.booleans())
def test_windows_of_any_numbers(values, field, max_len, cloze):
    def call(array):
        windows, select = windows_with(field, array), np.arange(4)
        if cloze:
            batch = cloze_batch(ITEMS, windows, select, max_len, mask=N_ITEMS + 1, probability=0.3,
                                last_probability=0.1, seed=0, epoch=0, num_threads=2)
        else:
            batch = next_item_batch(ITEMS, windows, select, max_len, num_threads=2)
        return [unhurt_rows(batch.items), unhurt_rows(batch.targets)]

    check(call, values)


@FUZZ
@given(arrays(), st.sampled_from(("indptr", "phases", "select", "lengths")))
def test_plans_of_batches(values, argument):
    calls = {"indptr": lambda array: next_item_windows(array, 3, np.zeros(max(0, len(array) - 1), np.int64)),
             "phases": lambda array: next_item_windows(INDPTR, 3, array),
             "select": lambda array: next_item_batch(ITEMS, next_item_windows(INDPTR, 3, [0] * 4), array, 3),
             "lengths": lambda array: np.concatenate([np.empty(0, np.int64), *length_parts(array)])}
    check(calls[argument], values)


@FUZZ
@given(arrays(), st.sampled_from(("users", "positions", "indptr", "items", "counts")), st.booleans())
def test_negatives(values, argument, weighted):
    def call(array):
        table = AliasTable.from_counts(np.arange(N_ITEMS + 1), 1.0) if weighted else None
        seen, users, positions = SEEN, np.array([0, 1, 3]), np.array([5, 6, 7])
        if argument == "counts":
            table = AliasTable.from_counts(array, 0.5)
        elif argument in ("indptr", "items"):
            seen = SeenItems.from_histories(**{"indptr": INDPTR, "items": ITEMS} | {argument: array}, n_items=N_ITEMS)
            SeenItems(seen.indptr, seen.items, seen.n_items)
        elif argument == "users":
            users, positions = array, np.arange(np.size(array))
        else:
            positions = array
        found = sample_negatives(seen, users, positions, 3, seed=1, epoch=2, table=table, num_threads=2)
        assert ((found >= 1) & (found <= N_ITEMS)).all()
        return found

    if argument == "counts":
        answer(call, values.real)  # real numbers of any kind count
    else:
        check(call, values)


@FUZZ
@given(arrays(), st.sampled_from(("indptr", "items")))
def test_seen_items_that_are_given_as_they_are(values, argument):
    def call(array):
        seen = SeenItems(**{"indptr": np.array([0, 2, 2, 3]), "items": np.array([1, 4, 7], np.int32)}
                         | {argument: array}, n_items=N_ITEMS)
        users = np.arange(len(seen.indptr) - 1)
        return sample_negatives(seen, users, users, 2, seed=0, epoch=0), seen.counts(users)

    check(call, values)


@FUZZ
@given(arrays(), arrays(), arrays())
def test_alias_tables_that_are_given_as_they_are(probabilities, thresholds, aliases):
    for types in ((None,) * 3, (np.float64, np.uint64, np.int32)):
        with np.errstate(all="ignore"):
            parts = [part if kind is None or part.dtype.kind in "Oc" else part.astype(kind)
                     for part, kind in zip((probabilities, thresholds, aliases), types, strict=True)]
        try:
            table = AliasTable(*parts)
            found = sample_negatives(SEEN, [0, 1], [0, 1], 9, seed=0, epoch=0, table=table)
        except (ValueError, TypeError):
            continue
        assert ((found >= 1) & (found <= N_ITEMS)).all()


@FUZZ
@given(arrays(), st.sampled_from((("targets", "targets"), ("users", "targets"), ("users", "best"))))
def test_ranks(values, case):
    argument, function = case
    random = np.random.default_rng(0)
    states, table = random.standard_normal((3, WIDTH)), random.standard_normal((N_ITEMS + 1, WIDTH))
    given_arguments = {"targets": np.array([1, 7, 3]), "users": np.array([0, 2, 3])}

    def call(array):
        arguments = given_arguments | {argument: array}
        if function == "best":
            return top_k(states, table, 9, SEEN, users=arguments["users"], num_threads=2)
        return rank_targets(states, table, arguments["targets"], SEEN, users=arguments["users"], num_threads=2)

    check(call, values)


@FUZZ
@given(st.sampled_from(TYPES), st.lists(st.integers(0, 4), max_size=3), st.integers(0, 3), st.integers(0, 2))
def test_factors_of_any_shape_and_type(kind, shape, layout, which):
    values = np.ones(shape, dtype=np.float64).astype(kind)
    values = [values, np.asfortranarray(values), np.repeat(values, 2, axis=0)[::2] if shape else values,
              values.T][layout]
    states, table = np.ones((3, 4), dtype=kind), np.ones((5, 4), dtype=kind)
    arguments = [(values, table), (states, values), (values, values)][which]
    for call in (lambda: rank_targets(*arguments, [1] * len(arguments[0]), None, num_threads=2),
                 lambda: top_k(*arguments, 3, None, num_threads=2)):
        try:
            call()
        except (ValueError, TypeError):
            continue
        assert kind in (np.float32, np.float64)


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    """Tensors of 0 to 3 short dimensions, some of them empty, repeated, transposed or cut out."""
    values = torch.ones(draw(st.lists(st.sampled_from((0, 1, 2, 3, 4, 8)), max_size=3)))
    match draw(st.integers(0, 4)):
        case 0:
            return values.repeat_interleave(2, -1)[..., ::2] if values.dim() else values
        case 1:
            return values.transpose(0, -1) if values.dim() else values
        case 2:
            return values.expand(3, *values.shape)[0]
        case 3:
            return values.to(draw(st.sampled_from((torch.float64, torch.bfloat16))))
    return values


@FUZZ
@given(tensors(), tensors(), tensors(), st.sampled_from(("norm", "gated", "rotated", "attention")))
def test_operations_of_a_decoder(first, second, third, operation):
    layout = prompt_layout(1, [1, 2], CPU)  # 4 tokens
    calls = {"norm": lambda: rms_norm_values(first, second, 1e-6, third)[0],
             "gated": lambda: gated_values(first, "silu", second),
             "rotated": lambda: rotated(first, second, third),
             "attention": lambda: attention(first, second, third, layout, 1.0, None)}
    try:
        found = calls[operation]()
    except (ValueError, TypeError):
        return
    assert torch.isfinite(found.float()).all() or not first.shape[-1]


@FUZZ
@given(st.integers(0, 6), st.integers(1, 3), st.integers(0, 4), st.integers(1, 2**70), st.booleans())
def test_attention_of_no_heads_no_width_and_any_window(heads, kv_heads, width, window, backward):
    layout = prompt_layout(2, [1, 3], CPU)
    parts = [torch.ones(6, count, width, requires_grad=backward) for count in (heads, kv_heads, kv_heads)]
    if heads % kv_heads:
        with pytest.raises(ValueError, match="divides"):
            attention(*parts, layout, 1.0, window)
        return
    out = attention(*parts, layout, 1.0, window)
    torch.testing.assert_close(out, torch.ones(6, heads * width))  # means of ones
    if backward:
        out.sum().backward()
        assert all(torch.isfinite(part.grad).all() for part in parts)


@FUZZ
@given(arrays(), st.integers(-2, 9))
def test_layouts_of_any_lengths(lengths, shared):
    def call(array):
        layout = prompt_layout(shared, array, CPU)
        total = len(layout.packed)
        assert total == shared + layout.lengths.sum() and (layout.lengths >= 1).all()
        return layout.starts, attention(torch.ones(total, 2, 4), *torch.ones(2, total, 1, 4), layout, 1.0, None)

    assume(lengths.size == 0 or lengths.real.astype(np.float64).max() < 100)  # memory
    check(call, lengths)


@FUZZ
@given(arrays(), st.integers(0, 4), st.integers(0, 5))
def test_dropout(rows, count, columns):
    layer = Dropout(0.5)
    layer.rows, layer.key = rows, 2**64 - 1
    check(lambda array: (setattr(layer, "rows", array), layer(torch.ones(count, columns)))[1], rows)


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
    (lambda: BatchBuffers(4).views(2, 3), "do not fit"),
    (lambda: window_phases([[0, 1]], 3, np.random.default_rng(0)), "indptr is"),
])
def test_what_would_reach_beyond_the_arrays(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_dropout_of_rows_that_are_not_the_batch():
    layer = Dropout(0.5)
    layer.rows = np.arange(2)
    with pytest.raises(ValueError, match="rows has 2 entries; expected 4"):
        layer(torch.ones(4, 3))
    layer.rows = None
    assert layer(torch.ones(0, 3)).shape == (0, 3)
