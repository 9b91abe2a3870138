"""Plain twins of the kernels and metrics: slow, short, and written from the definitions."""

from __future__ import annotations

import math

import numpy as np


def padded(items, starts, stops, width):
    """Return the last `width` of each slice as rows of a matrix."""
    rows = []
    for start, stop in zip(starts, stops, strict=True):
        row = list(items[max(start, stop - width):stop])
        rows.append(row + [0] * (width - len(row)))
    return np.array(rows, dtype=np.int64).reshape(len(rows), width)


def next_item_rows(items, row_start, input_stop, first_target, max_len):
    """Return the inputs and targets of each window as lists: the item after an input is its target, if it is ours."""
    inputs, targets = [], []
    for start, stop, first in zip(row_start, input_stop, first_target, strict=True):
        places = list(range(max(start, stop - max_len), stop))
        inputs.append([int(items[place]) for place in places])
        targets.append([int(items[place + 1]) if place + 1 >= first else 0 for place in places])
    return inputs, targets


_WORD = 2**64


def mix(state):
    """One step of SplitMix64, in Python's integers."""
    z = (state + 0x9E3779B97F4A7C15) % _WORD
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % _WORD
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % _WORD
    return z ^ (z >> 31)


def subkey(key, part):
    return mix(key ^ mix(part % _WORD))


def cloze_row(row, key, mask, probability, last_probability):
    """Return inputs and targets of one history."""
    def chance(part, of):
        return subkey(key, part) >> 32 < round(of * 2**32)

    hidden = [place for place in range(len(row)) if chance(place + 2, probability)]
    if not hidden:
        hidden = [subkey(key, 1) * len(row) >> 64]  # Lemire's multiply; rejections: about once in 2**60
    if chance(0, last_probability):
        hidden = [len(row) - 1]
    return ([mask if place in hidden else item for place, item in enumerate(row)],
            [item if place in hidden else 0 for place, item in enumerate(row)])


def dropped(values, key, rows, rate):
    """Drop elements of float32 [B, n], each by the hash of its row's key and its column."""
    def mix32(word):
        word = (word ^ (word >> 16)) * np.uint32(0x7FEB352D)
        word = (word ^ (word >> 15)) * np.uint32(0x846CA68B)
        return word ^ (word >> 16)

    columns, out = np.arange(values.shape[1], dtype=np.uint32), np.zeros_like(values)
    for row in range(len(values)):
        own = subkey(mix(key), int(rows[row]))
        kept = mix32(mix32(columns + np.uint32(own % 2**32)) ^ np.uint32(own >> 32)) >= round(rate * 2**32)
        out[row] = np.where(kept, values[row] * np.float32(1 / (1 - rate)), 0)
    return out


def layer_norm(states, weight, bias, eps):
    """LayerNorm over the last axis of float64 [N, D]."""
    centred = states - states.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred ** 2).mean(axis=-1, keepdims=True) + eps) * weight + bias


def gelu(values):
    """Return GELU, x times the normal distribution's function at x, of float64 numbers."""
    return values * np.vectorize(lambda x: 0.5 * math.erfc(-x / math.sqrt(2)))(values)


def lags(weights, count):
    """Return the lower-triangular matrix [n, n] whose number in row t, column s is weights[t - s]."""
    distance = np.subtract.outer(range(count), range(count))
    return np.where(distance >= 0, weights[np.maximum(distance, 0)], 0)


def causal_filter(states, weights, keep, lengths):
    """Return low + keep * (states - low) of [N, D], low[t] the sum of weights[lag] * states[t - lag] of a sequence."""
    parts = np.split(states, np.cumsum(lengths)[:-1])
    low = np.concatenate([lags(weights, len(part)) @ part for part in parts])
    return low + keep * (states - low)


def rms_norm(states, weight, eps):
    """RMSNorm of [..., D]: rows divided by the root of their mean square, times a weight."""
    return states / np.sqrt((states**2).mean(axis=-1, keepdims=True) + eps) * weight


def gated(gate_up, activation):
    """SiLU, or GELU in its tanh approximation, of the left half of [T, 2F], times the right half."""
    gate, up = np.split(gate_up, 2, axis=1)
    if activation == "silu":
        return gate * (0.5 + 0.5 * np.tanh(gate / 2)) * up  # the logistic function, without overflow
    return 0.5 * gate * (1 + np.tanh(np.sqrt(2 / np.pi) * (gate + 0.044715 * gate**3))) * up


def rotated(heads, cos, sin):
    """Heads [T, H, hd] times cos, plus (minus right half, left half) times sin; cos and sin [T, hd]."""
    left, right = np.split(heads, 2, axis=2)
    return heads * cos[:, None] + np.concatenate([-right, left], axis=2) * sin[:, None]


def attention(queries, keys, values, shared, lengths, scale, window, ahead=0):
    """Attention of [T, H, d] on [T, G, d], prompt by prompt: each is the shared tokens and its own.

    A token sees itself, window - 1 tokens before it and `ahead` after it.
    """
    out, begin, group = np.zeros_like(queries), shared, queries.shape[1] // keys.shape[1]
    for length in lengths:
        tokens, begin = np.r_[0:shared, begin:begin + length], begin + length
        distance = np.subtract.outer(range(len(tokens)), range(len(tokens)))
        for head in range(queries.shape[1]):
            scores = scale * queries[tokens, head] @ keys[tokens, head // group].T
            scores[(distance < -ahead) | (distance >= window)] = -np.inf
            weights = np.exp(scores - scores.max(axis=1, keepdims=True))
            out[tokens, head] = weights / weights.sum(axis=1, keepdims=True) @ values[tokens, head // group]
    return out


def window_targets(indptr, max_len, phases):
    """Return the target offsets of each window, users and time in order, by walking back from the row's end."""
    windows = []
    for start, stop, phase in zip(indptr[:-1], indptr[1:], phases, strict=True):
        targets, size, of_user = list(range(start + 1, stop)), max_len - phase, []
        while targets:
            of_user.insert(0, targets[-size:])
            targets, size = targets[:-size], max_len
        windows += of_user
    return windows


def score_matrix(states, item_table, bias=None, sparse=None):
    """Return the scores [B, I + 1] of all parts, added in their order in the dtype of the states."""
    scores = states @ item_table.T
    if bias is not None:
        scores = scores + bias
    for b in range(len(scores) if sparse else 0):
        entries = slice(sparse.indptr[b], sparse.indptr[b + 1])
        scores[b, sparse.items[entries]] += sparse.values[entries]
    return scores


def weighted_row_sums(indptr, items, weights, row_indptr, row_items, row_values, n_items):
    """Return each user's sums, a dict by item, float64."""
    users = []
    for start, stop in zip(indptr[:-1], indptr[1:], strict=True):
        sums = {}
        for entry in range(start, stop):
            for place in range(row_indptr[items[entry]], row_indptr[items[entry] + 1]):
                item = int(row_items[place])
                sums[item] = sums.get(item, 0.0) + float(weights[entry]) * float(row_values[place])
        users.append(sums)
    return users


def counts(scores, targets, seen_sets):
    """Return greater, equal, n_candidates, each int64 [B]."""
    rows = []
    for row, target, seen in zip(np.asarray(scores), targets, seen_sets, strict=True):
        others = [item for item in range(1, len(row)) if item != target and item not in seen]
        rows.append((np.sum(row[others] > row[target]), np.sum(row[others] == row[target]), len(others) + 1))
    return np.array(rows, dtype=np.int64).reshape(-1, 3).T


def best(scores, k, seen_sets):
    """Return each user's k best unseen items, int64 [B, k], and their scores: highest first, ties by smaller id."""
    items, values = np.zeros((len(scores), k), dtype=np.int64), np.full((len(scores), k), -np.inf, dtype=scores.dtype)
    for b, (row, seen) in enumerate(zip(scores, seen_sets, strict=True)):
        found = sorted((-row[item], item) for item in range(1, len(row)) if item not in seen)[:k]
        for place, (negative, item) in enumerate(found):
            items[b, place], values[b, place] = item, -negative
    return items, values


def metric(name, greater, equal):
    """Average one user's metric over every place that a tied target can have."""
    kind, _, k = name.partition("@")
    values = []
    for place in range(greater + 1, greater + equal + 2):
        value = {"hr": 1.0, "ndcg": 1 / np.log2(place + 1), "mrr": 1 / place}[kind]
        values.append(value if not k or place <= int(k) else 0.0)
    return sum(values) / len(values)


def full_softmax(states, item_table, targets):
    """Cross-entropy over all items, summed, and its gradients by states and item table; row 0 takes no part."""
    items, own = item_table[1:], (np.arange(len(targets)), np.asarray(targets) - 1)
    scores = states @ items.T
    scores -= scores[own][:, None]
    largest = scores.max(axis=1, initial=0.0)
    powers = np.exp(scores - largest[:, None])
    powers[own] = 0  # what others add; the target itself adds exp(0 - largest)
    others, total = powers.sum(axis=1), np.exp(-largest) + powers.sum(axis=1)
    probabilities = powers / total[:, None]
    probabilities[own] = -others / total  # less 1, without cancellation
    losses = largest + np.log1p(others + np.expm1(-largest))
    return losses.sum(), probabilities @ items, np.vstack([0 * item_table[:1], probabilities.T @ states])
