"""Kernels of tslrec_min.ranking.ranks: counts of the scores above and equal to the targets', and the best items."""

from cython cimport floating
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memset

from _dispatch cimport supported_sets


cdef extern from "ranking_kernels.h" nogil:
    ctypedef struct ranking_args:
        Py_ssize_t width, n_users, n_items
        const void *states, *item_table, *bias
        const int64_t* sparse_indptr
        const int32_t* sparse_items
        const void* sparse_values
        const int64_t *seen_rows, *indptr
        const int32_t* seen
        int64_t* not_finite
        const int64_t* targets
        void* target_scores
        int64_t *greater, *equal, *n_candidates
        Py_ssize_t k
        int64_t* best_items
        void* best_scores

    int ranking_run(const ranking_args* args, int isa, size_t number_size, int num_threads)


def instruction_sets():
    """Return the names of the instruction sets that this CPU has a kernel for, the fastest last."""
    return supported_sets()


cdef ranking_args new_args(const floating[:, ::1] states, const floating[:, ::1] item_table, const floating[::1] bias,
                           const int64_t[::1] sparse_indptr, const int32_t[::1] sparse_items,
                           const floating[::1] sparse_values, const int64_t[::1] seen_rows,
                           const int64_t[::1] indptr, const int32_t[::1] seen, int64_t[::1] not_finite) noexcept:
    """Collect the arguments that both functions below share; there is at least one user and one item."""
    cdef ranking_args args
    memset(&args, 0, sizeof(args))
    args.n_users, args.width, args.n_items = states.shape[0], states.shape[1], item_table.shape[0] - 1
    if args.width:
        args.states, args.item_table = &states[0, 0], &item_table[0, 0]
    if bias.shape[0]:
        args.bias = &bias[0]
    if sparse_items.shape[0]:
        args.sparse_indptr, args.sparse_items = &sparse_indptr[0], &sparse_items[0]
        args.sparse_values = &sparse_values[0]
    args.seen_rows, args.indptr, args.not_finite = &seen_rows[0], &indptr[0], &not_finite[0]
    if seen.shape[0]:
        args.seen = &seen[0]
    return args


cdef int run(const ranking_args* args, int isa, size_t number_size, int num_threads) except -1:
    cdef int failed
    with nogil:
        failed = ranking_run(args, isa, number_size, num_threads)
    if failed:
        raise MemoryError
    return 0


def count_targets(const floating[:, ::1] states, const floating[:, ::1] item_table, const floating[::1] bias,
                  const int64_t[::1] sparse_indptr, const int32_t[::1] sparse_items, const floating[::1] sparse_values,
                  const int64_t[::1] targets, const int64_t[::1] seen_rows, const int64_t[::1] indptr,
                  const int32_t[::1] seen, floating[::1] target_scores, int64_t[::1] greater, int64_t[::1] equal,
                  int64_t[::1] n_candidates, int64_t[::1] not_finite, int isa, int num_threads):
    """Fill target_scores, of the type of states, and greater, equal and n_candidates, int64 [B], and add to
    not_finite, from the products of states [B, d], B >= 1, and the rows 1..I of item_table, plus bias [I + 1] and the
    sparse entries of row b; without a bias or entries these are empty.

    The caller has checked that targets are in 1..I, seen_rows are rows of indptr, seen and sparse ids are in 1..I and
    rise in each row, and `isa` is an index of instruction_sets().
    """
    cdef ranking_args args = new_args(states, item_table, bias, sparse_indptr, sparse_items, sparse_values,
                                      seen_rows, indptr, seen, not_finite)
    args.targets, args.target_scores = &targets[0], &target_scores[0]
    args.greater, args.equal, args.n_candidates = &greater[0], &equal[0], &n_candidates[0]
    run(&args, isa, sizeof(floating), num_threads)


def find_best(const floating[:, ::1] states, const floating[:, ::1] item_table, const floating[::1] bias,
              const int64_t[::1] sparse_indptr, const int32_t[::1] sparse_items, const floating[::1] sparse_values,
              const int64_t[::1] seen_rows, const int64_t[::1] indptr, const int32_t[::1] seen,
              int64_t[:, ::1] best_items, floating[:, ::1] best_scores, int64_t[::1] not_finite, int isa,
              int num_threads):
    """Put each user's best items and their scores, both [B, k], k >= 1, before the 0 and -infinity that the caller
    has filled them with. All else is as in count_targets."""
    cdef ranking_args args = new_args(states, item_table, bias, sparse_indptr, sparse_items, sparse_values,
                                      seen_rows, indptr, seen, not_finite)
    args.k, args.best_items, args.best_scores = best_items.shape[1], &best_items[0, 0], &best_scores[0, 0]
    run(&args, isa, sizeof(floating), num_threads)
