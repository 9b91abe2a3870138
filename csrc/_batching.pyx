"""Kernel of tslrec_min.recommenders.batching: slices of a flat item array as the rows of a padded batch."""

from cython.parallel cimport prange
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memset

from _random cimport mix, subkey, uniform_below

ctypedef fused item_id:
    int32_t
    int64_t


cdef inline void pad_row(const item_id* items, Py_ssize_t length, Py_ssize_t skipped, int64_t* row,
                         Py_ssize_t width) noexcept nogil:
    """Write items[:length] to `row`, 0 for the first `skipped` of them, and padding after them."""
    cdef Py_ssize_t column
    memset(row, 0, skipped * sizeof(int64_t))
    for column in range(skipped, length):
        row[column] = items[column]
    memset(row + length, 0, (width - length) * sizeof(int64_t))


def pad_rows(const item_id[::1] items, const int64_t[::1] starts, const int64_t[::1] lengths,
             const int64_t[::1] skipped, int64_t[:, ::1] out, int num_threads):
    """Row b of out: items[starts[b]:starts[b] + lengths[b]], padded with 0 on the right.

    The first skipped[b] of the items are written as 0. The caller has checked that the slices are in `items` and no
    longer than out.shape[1], and that 0 <= skipped <= lengths.
    """
    cdef Py_ssize_t b
    cdef Py_ssize_t width = out.shape[1]
    cdef const item_id* first = &items[0] if items.shape[0] else NULL
    for b in prange(out.shape[0], nogil=True, schedule='static', num_threads=num_threads):
        pad_row(first + starts[b], lengths[b], skipped[b], &out[b, 0], width)


cdef inline void hide(int64_t* inputs, int64_t* targets, Py_ssize_t column, int64_t mask) noexcept nogil:
    targets[column] = inputs[column]
    inputs[column] = mask


cdef inline void cloze_row(int64_t* inputs, int64_t* targets, Py_ssize_t length, Py_ssize_t width,
                           int64_t mask, uint64_t key, uint64_t threshold,
                           uint64_t last_threshold) noexcept nogil:
    """Hide items of one padded row: the last one alone with a small probability, otherwise each by its own draw."""
    cdef Py_ssize_t column
    cdef Py_ssize_t hidden = 0
    memset(targets, 0, width * sizeof(int64_t))
    if length == 0:
        return
    if (subkey(key, 0) >> 32) < last_threshold:
        hide(inputs, targets, length - 1, mask)
        return
    for column in range(length):
        if (subkey(key, column + 2) >> 32) < threshold:
            hide(inputs, targets, column, mask)
            hidden += 1
    if hidden == 0:  # a row without a target would teach nothing
        hide(inputs, targets, uniform_below(subkey(key, 1), <uint32_t>length), mask)


def hide_items(int64_t[:, ::1] inputs, int64_t[:, ::1] targets, const int64_t[::1] lengths,
               const int64_t[::1] keys, int64_t mask, uint64_t seed, uint64_t epoch, uint64_t threshold,
               uint64_t last_threshold, int num_threads):
    """Replace items of right-padded inputs by `mask` and write them to targets, zeros elsewhere.

    Row b is keyed by (seed, epoch, keys[b]); thresholds are probabilities in units of 2**-32.
    The caller has checked that lengths are in 0..inputs.shape[1] and that the shapes agree.
    """
    cdef Py_ssize_t b
    cdef Py_ssize_t width = inputs.shape[1]
    cdef uint64_t key = subkey(mix(seed), epoch)
    for b in prange(inputs.shape[0], nogil=True, schedule='static', num_threads=num_threads):
        cloze_row(&inputs[b, 0], &targets[b, 0], lengths[b], width, mask, subkey(key, keys[b]), threshold,
                  last_threshold)
