"""Kernels of tslrec_min.ranking.ranks: counts of the scores above and beside each user's target, and the best items."""

from cython cimport floating
from cython.parallel cimport prange
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memset


cdef extern from "_ranking_kernels.h" nogil:
    ctypedef struct ranking_query:
        Py_ssize_t width
        Py_ssize_t n_users
        Py_ssize_t n_items
        const void* states
        const void* item_table
        const int64_t* seen_rows
        const int64_t* indptr
        const int32_t* seen
        int64_t* not_finite
        const int64_t* targets
        void* target_scores
        int64_t* greater
        int64_t* equal
        int64_t* n_candidates
        Py_ssize_t k
        int64_t* best_items
        void* best_scores

    const char* ranking_level_name(int level)
    int ranking_run(const ranking_query* query, int level, size_t number_size, int num_threads)


def levels():
    """Return the names of the instruction sets that this CPU has a kernel for, the fastest last."""
    names = []
    while ranking_level_name(len(names)):
        names.append(ranking_level_name(len(names)).decode())
    return names


cdef ranking_query new_query(const floating[:, ::1] states, const floating[:, ::1] item_table,
                             const int64_t[::1] seen_rows, const int64_t[::1] indptr, const int32_t[::1] seen,
                             int64_t[::1] not_finite) noexcept:
    """What both functions below ask; there is at least one user and one item."""
    cdef ranking_query query
    memset(&query, 0, sizeof(query))
    query.n_users, query.width, query.n_items = states.shape[0], states.shape[1], item_table.shape[0] - 1
    if query.width:
        query.states, query.item_table = &states[0, 0], &item_table[0, 0]
    query.seen_rows, query.indptr, query.not_finite = &seen_rows[0], &indptr[0], &not_finite[0]
    if seen.shape[0]:
        query.seen = &seen[0]
    return query


def count_targets(const floating[:, ::1] states, const floating[:, ::1] item_table, const int64_t[::1] targets,
                  const int64_t[::1] seen_rows, const int64_t[::1] indptr, const int32_t[::1] seen,
                  floating[::1] target_scores, int64_t[::1] greater, int64_t[::1] equal, int64_t[::1] n_candidates,
                  int64_t[::1] not_finite, int level, int num_threads):
    """Fill target_scores, of the type of states, and greater, equal and n_candidates, int64 [B], and add to
    not_finite, from the products of states [B, d], B >= 1, and the rows 1..I of item_table.

    The caller has checked that targets are in 1..I, seen_rows are rows of indptr, seen ids are in 1..I and rise in
    each row, and `level` is an index of levels().
    """
    cdef ranking_query query = new_query(states, item_table, seen_rows, indptr, seen, not_finite)
    cdef int failed
    query.targets, query.target_scores = &targets[0], &target_scores[0]
    query.greater, query.equal, query.n_candidates = &greater[0], &equal[0], &n_candidates[0]
    with nogil:
        failed = ranking_run(&query, level, sizeof(floating), num_threads)
    if failed:
        raise MemoryError


def find_best(const floating[:, ::1] states, const floating[:, ::1] item_table, const int64_t[::1] seen_rows,
              const int64_t[::1] indptr, const int32_t[::1] seen, int64_t[:, ::1] best_items,
              floating[:, ::1] best_scores, int64_t[::1] not_finite, int level, int num_threads):
    """Put each user's best items and their scores, both [B, k], k >= 1, before the 0 and -infinity that the caller
    has filled them with. All else is as in count_targets."""
    cdef ranking_query query = new_query(states, item_table, seen_rows, indptr, seen, not_finite)
    cdef int failed
    query.k, query.best_items, query.best_scores = best_items.shape[1], &best_items[0, 0], &best_scores[0, 0]
    with nogil:
        failed = ranking_run(&query, level, sizeof(floating), num_threads)
    if failed:
        raise MemoryError


cdef inline void count_row(const floating* scores, int32_t n_items, int64_t target, const int32_t* seen,
                           Py_ssize_t n_seen, int64_t* greater, int64_t* equal, int64_t* candidates,
                           int64_t* not_finite) noexcept nogil:
    """Count over all items, then take out the target and the seen items, which are few."""
    cdef floating score = scores[target]
    cdef int32_t above = 0  # as wide as a float32: one vector lane each
    cdef int32_t beside = 0
    cdef int32_t bad = 0
    cdef int32_t item
    cdef Py_ssize_t j
    for item in range(1, n_items + 1):
        above += scores[item] > score
        beside += scores[item] == score
        bad += scores[item] - scores[item] != 0  # infinity and NaN give NaN
    candidates[0] = n_items
    for j in range(n_seen):
        if seen[j] != target:
            above -= scores[seen[j]] > score
            beside -= scores[seen[j]] == score
            candidates[0] -= 1
    greater[0] = above
    equal[0] = beside - 1
    not_finite[0] = bad


def count_scores(const floating[:, ::1] scores, int32_t n_items, const int64_t[::1] targets,
                 const int64_t[::1] users, const int64_t[::1] indptr, const int32_t[::1] seen, int64_t[::1] greater,
                 int64_t[::1] equal, int64_t[::1] candidates, int64_t[::1] not_finite, int num_threads):
    """Fill greater, equal, candidates and not_finite, all int64 [B], from the columns 1..I of scores [B, >= I + 1].

    The caller has checked that targets are in 1..I, users are rows of indptr and seen ids in 1..I.
    """
    cdef Py_ssize_t b
    cdef const int32_t* first = &seen[0] if seen.shape[0] else NULL
    for b in prange(scores.shape[0], nogil=True, schedule='static', num_threads=num_threads):
        count_row(&scores[b, 0], n_items, targets[b], first + indptr[users[b]],
                  indptr[users[b] + 1] - indptr[users[b]], &greater[b], &equal[b], &candidates[b],
                  &not_finite[b])
