"""Kernels of tslrec_min.recommenders.models.packed, each token's row by itself.

The caller has checked that the shapes agree. `sums` [threads, ...] has a row for each thread, to which it adds what its
tokens give to the gradients of weights; the thread of a token depends on nothing but the numbers of both.
"""

from cython.parallel cimport prange, threadid
from libc.stdint cimport int64_t, uint32_t, uint64_t

from _random cimport mix, subkey


cdef extern from "transformer_step.h" nogil:
    float tslrec_layer_norm(const float* x, const float* weight, const float* bias, float* out, float* mean,
                            Py_ssize_t n, float eps) noexcept
    void tslrec_layer_norm_gradient(const float* d_out, const float* x, const float* weight, float mean,
                                    float inverse, const float* past, float* d_x, float* d_weight, float* d_bias,
                                    Py_ssize_t n) noexcept
    void tslrec_gelu(const float* x, const float* bias, float* out, Py_ssize_t n) noexcept
    void tslrec_gelu_gradient(float* gradient, const float* x, const float* bias, float* out, float* d_bias,
                              Py_ssize_t n) noexcept
    void tslrec_drop(const float* values, float* out, Py_ssize_t n, uint64_t key, uint32_t threshold,
                     float scale) noexcept
    void tslrec_drop_add(const float* x, const float* bias, const float* states, float* out, Py_ssize_t n,
                         uint64_t key, uint32_t threshold, float scale) noexcept
    void tslrec_drop_gradient(const float* gradient, float* out, float* d_bias, Py_ssize_t n, uint64_t key,
                              uint32_t threshold, float scale) noexcept
    uint64_t tslrec_drop_from(uint64_t row_key, uint64_t first) noexcept


def layer_norm(const float[:, ::1] states, const float[::1] weight, const float[::1] bias, float eps,
               float[:, ::1] out, float[:, ::1] statistics, int num_threads):
    """Rows of `out` [N, D]: LayerNorm of the states; `statistics` [N, 2]: the mean and 1 / the deviation."""
    cdef Py_ssize_t row
    for row in prange(states.shape[0], nogil=True, schedule='static', num_threads=num_threads):
        statistics[row, 1] = tslrec_layer_norm(&states[row, 0], &weight[0], &bias[0], &out[row, 0],
                                               &statistics[row, 0], states.shape[1], eps)


def layer_norm_gradient(const float[:, ::1] d_out, const float[:, ::1] states, const float[::1] weight,
                        const float[:, ::1] statistics, const float[:, ::1] past, float[:, ::1] d_states,
                        float[:, :, ::1] sums):
    """Rows of `d_states` [N, D]: the gradient by `layer_norm`'s states plus `past`; sums [threads, 2, D]."""
    cdef Py_ssize_t row
    cdef int num_threads = <int>sums.shape[0]
    for row in prange(states.shape[0], nogil=True, schedule='static', num_threads=num_threads):
        tslrec_layer_norm_gradient(&d_out[row, 0], &states[row, 0], &weight[0], statistics[row, 0],
                                   statistics[row, 1], &past[row, 0], &d_states[row, 0], &sums[threadid(), 0, 0],
                                   &sums[threadid(), 1, 0], states.shape[1])


def gelu(const float[:, ::1] values, const float[::1] bias, float[:, ::1] out, int num_threads):
    """Rows of `out` [N, F]: GELU(values + bias)."""
    cdef Py_ssize_t row
    for row in prange(values.shape[0], nogil=True, schedule='static', num_threads=num_threads):
        tslrec_gelu(&values[row, 0], &bias[0], &out[row, 0], values.shape[1])


def gelu_gradient(float[:, ::1] gradient, const float[:, ::1] values, const float[::1] bias, float[:, ::1] out,
                  float[:, ::1] sums):
    """`gradient` [N, F], by `gelu`'s output, becomes that by its values; `out` is filled again; sums [threads, F]."""
    cdef Py_ssize_t row
    cdef int num_threads = <int>sums.shape[0]
    for row in prange(values.shape[0], nogil=True, schedule='static', num_threads=num_threads):
        tslrec_gelu_gradient(&gradient[row, 0], &values[row, 0], &bias[0], &out[row, 0], &sums[threadid(), 0],
                             values.shape[1])


def drop(const float[:, ::1] values, float[:, ::1] out, const int64_t[::1] rows, const int64_t[::1] positions,
         uint64_t key, uint32_t threshold, float scale, int num_threads):
    """Rows of `out` [N, n]: dropout of the tokens' values.

    A token draws what drop_rows draws for row rows[token] and the n elements of its position.
    """
    cdef Py_ssize_t token, width = values.shape[1]
    cdef uint64_t base = mix(key)
    for token in prange(values.shape[0], nogil=True, schedule='static', num_threads=num_threads):
        tslrec_drop(&values[token, 0], &out[token, 0], width,
                    tslrec_drop_from(subkey(base, rows[token]), positions[token] * width), threshold, scale)


def drop_add(const float[:, ::1] values, const float[::1] bias, const float[:, ::1] states, float[:, ::1] out,
             const int64_t[::1] rows, const int64_t[::1] positions, uint64_t key, uint32_t threshold, float scale,
             int num_threads):
    """Rows of `out` [N, D]: states plus `drop` of values + bias."""
    cdef Py_ssize_t token, width = values.shape[1]
    cdef uint64_t base = mix(key)
    for token in prange(values.shape[0], nogil=True, schedule='static', num_threads=num_threads):
        tslrec_drop_add(&values[token, 0], &bias[0], &states[token, 0], &out[token, 0], width,
                        tslrec_drop_from(subkey(base, rows[token]), positions[token] * width), threshold, scale)


def drop_gradient(const float[:, ::1] gradient, float[:, ::1] out, const int64_t[::1] rows,
                  const int64_t[::1] positions, uint64_t key, uint32_t threshold, float scale, float[:, ::1] sums):
    """Rows of `out` [N, D]: `drop` of the gradient, which is that by `drop_add`'s values; sums [threads, D]."""
    cdef Py_ssize_t token, width = gradient.shape[1]
    cdef uint64_t base = mix(key)
    cdef int num_threads = <int>sums.shape[0]
    for token in prange(gradient.shape[0], nogil=True, schedule='static', num_threads=num_threads):
        tslrec_drop_gradient(&gradient[token, 0], &out[token, 0], &sums[threadid(), 0], width,
                             tslrec_drop_from(subkey(base, rows[token]), positions[token] * width), threshold, scale)
