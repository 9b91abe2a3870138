"""Kernel of tslrec_min.sampling: uniform draws from the items that a user has not seen."""

from cython.parallel cimport prange
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from _random cimport mix, subkey, uniform_below


cdef inline int64_t unseen_item(const int32_t* seen, Py_ssize_t n_seen, int64_t number) noexcept nogil:
    """Return the unseen item of a number: item ids from 1, unseen items numbered from 0 in the order of ids.

    seen[j] - 1 - j unseen items come before seen[j], so the wanted item follows as many seen ones as there
    are j with seen[j] - 1 - j <= number; these are the first ones, which a binary search counts.
    """
    cdef Py_ssize_t low = 0
    cdef Py_ssize_t high = n_seen
    cdef Py_ssize_t middle
    while low < high:
        middle = (low + high) // 2
        if seen[middle] - 1 - middle <= number:
            low = middle + 1
        else:
            high = middle
    return number + 1 + low


cdef inline void draw_row(const int32_t* seen, Py_ssize_t n_seen, int64_t n_items, uint64_t key, int64_t* row,
                          Py_ssize_t n_draws) noexcept nogil:
    """Fill a row with independent draws."""
    cdef Py_ssize_t draw
    for draw in range(n_draws):
        row[draw] = unseen_item(seen, n_seen, uniform_below(subkey(key, draw), <uint32_t>(n_items - n_seen)))


def draw_unseen(const int64_t[::1] indptr, const int32_t[::1] seen, int64_t n_items, const int64_t[::1] users,
                const int64_t[::1] positions, uint64_t seed, uint64_t epoch, int64_t[:, ::1] out,
                int num_threads):
    """Row i of out: draws for users[i], keyed by (seed, epoch, positions[i], column).

    The caller has checked that every user is a row of indptr, has an unseen item, and that n_items < 2**31.
    """
    cdef Py_ssize_t i
    cdef uint64_t key = subkey(mix(seed), epoch)
    cdef const int32_t* first = &seen[0] if seen.shape[0] else NULL
    for i in prange(out.shape[0], nogil=True, schedule='static', num_threads=num_threads):
        draw_row(first + indptr[users[i]], indptr[users[i] + 1] - indptr[users[i]], n_items,
                 subkey(key, positions[i]), &out[i, 0], out.shape[1])
