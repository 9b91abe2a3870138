"""Kernel of tslrec_min.ranking: counts of the scores above and beside each user's target."""

from cython cimport floating
from cython.parallel cimport prange
from libc.stdint cimport int32_t, int64_t


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
