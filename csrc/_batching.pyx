"""Kernel of tslrec_min.batching: slices of a flat item array as the rows of a left-padded batch."""

from cython.parallel cimport prange
from libc.stdint cimport int32_t, int64_t

ctypedef fused item_id:
    int32_t
    int64_t


cdef inline void pad_row(const item_id* items, Py_ssize_t start, Py_ssize_t stop, int64_t* row,
                         Py_ssize_t width) noexcept nogil:
    """Write the last `width` of items[start:stop] to the end of `row`, zeros before them."""
    cdef Py_ssize_t column
    cdef Py_ssize_t offset = stop - width  # of column 0
    cdef Py_ssize_t first = start - offset if start > offset else 0
    for column in range(first):
        row[column] = 0
    for column in range(first, width):
        row[column] = items[offset + column]


def left_pad(const item_id[::1] items, const int64_t[::1] starts, const int64_t[::1] stops,
             int64_t[:, ::1] out, int num_threads):
    """Row b of out: the last out.shape[1] of items[starts[b]:stops[b]], left padded with 0.

    The caller has checked that 0 <= starts <= stops <= len(items).
    """
    cdef Py_ssize_t b
    cdef Py_ssize_t width = out.shape[1]
    cdef const item_id* first = &items[0] if items.shape[0] else NULL
    for b in prange(out.shape[0], nogil=True, schedule='static', num_threads=num_threads):
        pad_row(first, starts[b], stops[b], &out[b, 0], width)
