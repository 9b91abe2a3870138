"""Kernel of tslrec_min.recommenders.full_softmax: cross-entropy over all items with its gradients.

The caller has checked shapes and targets. Every element of an output is written.
"""

from cython.parallel cimport prange, threadid
from libc.stdint cimport int64_t

from _dispatch cimport supported_sets


cdef extern from "softmax_kernels.h" nogil:
    ctypedef struct softmax_args:
        Py_ssize_t n_rows, n_items, width
        const float *states
        const float *items
        const int64_t *targets
        double *losses
        float *d_states
        float *d_items
        float *shared
        double *sums

    ctypedef struct softmax_plan:
        Py_ssize_t d_items_rows, d_items_row, n_blocks, all_blocks, n_chunks, n_tiles, n_segments, shared, sums, own

    ctypedef struct softmax_kernel:
        softmax_plan (*plan)(Py_ssize_t n_rows, Py_ssize_t n_items, Py_ssize_t width) noexcept nogil
        void (*prepare)(const softmax_args* args, const softmax_plan* plan, Py_ssize_t block) noexcept nogil
        void (*scores)(const softmax_args* args, const softmax_plan* plan, Py_ssize_t chunk, Py_ssize_t block,
                       Py_ssize_t segment, float* own) noexcept nogil
        void (*finish)(const softmax_args* args, const softmax_plan* plan, Py_ssize_t chunk,
                       Py_ssize_t block) noexcept nogil
        void (*add_items)(const softmax_args* args, const softmax_plan* plan, Py_ssize_t chunk, Py_ssize_t tile,
                          float* own) noexcept nogil

    const softmax_kernel** softmax_kernels


def instruction_sets():
    """Return the names of the instruction sets that this CPU has a kernel for, the fastest last."""
    return supported_sets()


def plan(Py_ssize_t n_rows, Py_ssize_t n_items, Py_ssize_t width, int isa):
    """Return the rows and columns of `d_items`, and the numbers of `shared`, `sums` and of a row of `own`."""
    cdef softmax_plan plan = softmax_kernels[isa].plan(n_rows, n_items, width)
    return plan.d_items_rows, plan.d_items_row, plan.shared, plan.sums, plan.own


def full_softmax(const float[:, ::1] states, const float[:, ::1] items, const int64_t[::1] targets, double[::1] losses,
                 float[:, ::1] d_states, float[:, ::1] d_items, float[::1] shared, double[::1] sums,
                 float[:, ::1] own, int isa):
    """Fill `losses` [M], `d_states` [M, d] and the first I rows and d columns of `d_items`; M, I and d are at least 1.

    `states` [M, d], `items` [I, d], `targets` [M] in 1..I. The sizes of `d_items`, `shared` and `sums` are those of
    `plan`; `own` [threads, numbers] has a row for each thread.
    """
    cdef softmax_args args
    cdef const softmax_kernel* kernel = softmax_kernels[isa]
    cdef softmax_plan plan = kernel.plan(states.shape[0], items.shape[0], states.shape[1])
    cdef Py_ssize_t chunk, task, n_blocks = plan.n_blocks, n_segments = plan.n_segments
    cdef Py_ssize_t left
    cdef int num_threads = <int>own.shape[0]
    args.n_rows, args.n_items, args.width = states.shape[0], items.shape[0], states.shape[1]
    args.states, args.items, args.targets = &states[0, 0], &items[0, 0], &targets[0]
    args.losses, args.d_states, args.d_items = &losses[0], &d_states[0, 0], &d_items[0, 0]
    args.shared, args.sums = &shared[0], &sums[0]
    for task in prange(plan.all_blocks, nogil=True, schedule='static', num_threads=num_threads):
        kernel.prepare(&args, &plan, task)
    for chunk in range(plan.n_chunks):
        left = min(n_blocks, plan.all_blocks - chunk * n_blocks)
        for task in prange(left * n_segments, nogil=True, schedule='dynamic', chunksize=1, num_threads=num_threads):
            kernel.scores(&args, &plan, chunk, task // n_segments, task % n_segments, &own[threadid(), 0])
        for task in prange(left, nogil=True, schedule='static', num_threads=num_threads):
            kernel.finish(&args, &plan, chunk, task)
        for task in prange(plan.n_tiles, nogil=True, schedule='dynamic', chunksize=1, num_threads=num_threads):
            kernel.add_items(&args, &plan, chunk, task, &own[threadid(), 0])
