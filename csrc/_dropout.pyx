"""Kernel of tslrec_min.recommenders.models.dropout: counter-based dropout, so no mask is stored or sent."""

from cython.parallel cimport prange
from libc.stdint cimport int64_t, uint32_t, uint64_t

from _random cimport mix, subkey


cdef extern from "dropout.h" nogil:
    void tslrec_drop(const float* values, float* out, Py_ssize_t n, uint64_t key, uint32_t threshold,
                     float scale) noexcept


def drop_rows(const float[:, ::1] values, float[:, ::1] out, const int64_t[::1] rows, uint64_t key,
              uint32_t threshold, float scale, int num_threads):
    """Row b of out: values[b] times `scale`, or 0 with probability threshold / 2**32, keyed by (key, rows[b]).

    The caller has checked that the shapes agree.
    """
    cdef Py_ssize_t b
    cdef uint64_t base = mix(key)
    for b in prange(values.shape[0], nogil=True, schedule='static', num_threads=num_threads):
        tslrec_drop(&values[b, 0], &out[b, 0], values.shape[1], subkey(base, rows[b]), threshold, scale)
