"""The kernels between matrix products against their NumPy twins."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from tslrec_min.recommenders.models import _packed

from ... import _reference as reference

pytestmark = pytest.mark.kernel


def numbers(*shape: int, scale: float = 1.0, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 9), st.integers(1, 70), st.sampled_from([0.01, 1.0, 30.0]), st.integers(1, 3))
def test_layer_norm_is_its_reference(rows: int, width: int, scale: float, threads: int) -> None:
    x, weight, bias = numbers(rows, width, scale=scale) + 3, numbers(width, seed=1), numbers(width, seed=2)
    out, statistics = np.full_like(x, np.nan), np.full((rows, 2), np.nan, np.float32)
    _packed.layer_norm(x, weight, bias, 1e-5, out, statistics, threads)
    wanted = reference.layer_norm(*(part.astype(np.float64) for part in (x, weight, bias)), 1e-5)
    np.testing.assert_allclose(out, wanted, atol=3e-4 if scale < 1 else 2e-5, rtol=1e-4)
    np.testing.assert_allclose(statistics[:, 0], x.mean(axis=1), rtol=1e-5, atol=1e-5)


def test_gelu_is_its_reference_everywhere() -> None:
    x = np.concatenate([np.linspace(-40, 40, 4001), [0.0, -0.0, 1e-30, -1e-30, 1e30, -1e30]]).astype(np.float32)[None]
    out = np.empty_like(x)
    _packed.gelu(x, np.zeros(x.shape[1], np.float32), out, 1)
    np.testing.assert_allclose(out, reference.gelu(x.astype(np.float64)), atol=5e-7, rtol=3e-7)
    leaf = torch.from_numpy(x).double().requires_grad_()
    F.gelu(leaf).sum().backward()
    gradient, again, sums = np.ones_like(x), np.empty_like(x), np.zeros_like(x)
    _packed.gelu_gradient(gradient, x, np.zeros(x.shape[1], np.float32), again, sums)
    np.testing.assert_allclose(gradient, leaf.grad, atol=5e-7, rtol=1e-6)
    np.testing.assert_array_equal(again, out)
    np.testing.assert_array_equal(sums, gradient)
    _packed.gelu(np.full_like(x, np.nan), np.zeros(x.shape[1], np.float32), out, 1)
    assert np.isnan(out).all()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=5), st.integers(1, 20), st.integers(0, 2**64 - 1),
       st.sampled_from([0.0, 0.1, 0.95]), st.integers(1, 3))
def test_tokens_draw_what_their_padded_row_does(lengths: list[int], width: int, key: int, rate: float,
                                                threads: int) -> None:
    rows = [7 * row + 2**33 for row in range(len(lengths))]
    padded = numbers(len(lengths), max(lengths) * width)
    whole = reference.dropped(padded, key, rows, rate).reshape(len(lengths), -1, width)
    real = np.arange(max(lengths)) < np.array(lengths)[:, None]
    owners, positions = map(np.ascontiguousarray, np.nonzero(real))
    values = np.ascontiguousarray(padded.reshape(whole.shape)[real])
    draws = np.array(rows)[owners], positions, key, round(rate * 2**32), 1 / (1 - rate)
    out = np.full_like(values, np.nan)
    _packed.drop(values, out, *draws, threads)
    np.testing.assert_array_equal(out, whole[real])
    states, bias, added, sums = numbers(*values.shape, seed=1), numbers(width), np.empty_like(out), np.zeros((2, width))
    _packed.drop_add(values - bias, bias, states, added, *draws, threads)
    np.testing.assert_allclose(added, states + out, atol=1e-5)
    sums = sums.astype(np.float32)
    _packed.drop_gradient(values, added, *draws, sums)
    np.testing.assert_array_equal(added, out)
    np.testing.assert_allclose(sums.sum(axis=0), out.sum(axis=0), atol=1e-4)
