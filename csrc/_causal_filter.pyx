"""Kernel of tslrec_min.recommenders.models.causal_filter, each sequence by itself.

The caller has checked that the shapes agree. Every element of an output is written.
"""

from cython.parallel cimport prange, threadid
from libc.stdint cimport int64_t

from _dispatch cimport supported_sets


cdef extern from "filter_kernels.h" nogil:
    ctypedef struct filter_args:
        Py_ssize_t width
        bint backwards
        const float *weights, *keep, *values
        float* out
        const float* states
        float* d_keep

    ctypedef struct filter_kernel:
        Py_ssize_t (*workspace)(Py_ssize_t longest, Py_ssize_t width) noexcept nogil
        void (*run)(const filter_args* args, Py_ssize_t sequence, Py_ssize_t begin, Py_ssize_t length,
                    float* workspace) noexcept nogil

    const filter_kernel** filter_kernels
    const Py_ssize_t FILTER_PADDING


PADDING = FILTER_PADDING
"""Zeros that the weights need on both sides."""


def instruction_sets():
    """Return the names of the instruction sets that this CPU has a kernel for, the fastest last."""
    return supported_sets()


def workspace_size(int isa, Py_ssize_t longest, Py_ssize_t width):
    """Return how many numbers of work space a thread needs for rows of `width` and up to `longest` tokens."""
    return filter_kernels[isa].workspace(longest, width)


cdef void run(const filter_args* args, const int64_t[::1] starts, const int64_t[::1] lengths,
              float[:, ::1] workspace, int isa) noexcept:
    cdef Py_ssize_t sequence
    cdef int num_threads = <int>workspace.shape[0]
    for sequence in prange(lengths.shape[0], nogil=True, schedule='dynamic', chunksize=4, num_threads=num_threads):
        filter_kernels[isa].run(args, sequence, starts[sequence], lengths[sequence], &workspace[threadid(), 0])


def causal_filter(const float[:, ::1] states, const float[::1] weights, const float[::1] keep,
                  const int64_t[::1] starts, const int64_t[::1] lengths, float[:, ::1] out,
                  float[:, ::1] workspace, int isa):
    """Fill `out` [T, D]: low + keep * (states - low), where low[t] is the sum of weights[l] * states[t - l].

    The weights [N + 2 * PADDING] have PADDING zeros on both sides; a sequence has at most N tokens. `workspace`
    [threads, workspace_size] has a row for each thread.
    """
    cdef filter_args args
    args.width, args.backwards, args.weights, args.keep = states.shape[1], False, &weights[FILTER_PADDING], &keep[0]
    args.values, args.out, args.states, args.d_keep = &states[0, 0], &out[0, 0], NULL, NULL
    run(&args, starts, lengths, workspace, isa)


def causal_filter_gradient(const float[:, ::1] d_out, const float[:, ::1] states, const float[::1] weights,
                           const float[::1] keep, const int64_t[::1] starts, const int64_t[::1] lengths,
                           float[:, ::1] d_states, float[:, ::1] d_keep, float[:, ::1] workspace, int isa):
    """Fill `d_states` [T, D] and `d_keep` [B, D], a row for each sequence, from the gradient of the output."""
    cdef filter_args args
    args.width, args.backwards, args.weights, args.keep = states.shape[1], True, &weights[FILTER_PADDING], &keep[0]
    args.values, args.out, args.states, args.d_keep = &d_out[0, 0], &d_states[0, 0], &states[0, 0], &d_keep[0, 0]
    run(&args, starts, lengths, workspace, isa)
