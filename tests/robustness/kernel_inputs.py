"""What kernels may be given: arrays and tensors that hardly fit."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tslrec_min.data.seen import SeenItems
from tslrec_min.recommenders.batching import Windows, next_item_windows

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
