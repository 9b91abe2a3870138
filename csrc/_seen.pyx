"""Kernel of tslrec_min.data.seen: one bit for each seen item, which tells sampling most unseen ones."""

from libc.stdint cimport int32_t, int64_t, uint64_t


def fill_filter(const int64_t[::1] indptr, const int32_t[::1] items, const int64_t[::1] filter_indptr,
                uint64_t[::1] bits):
    """Set the bit of each user's items; words filter_indptr[u]..filter_indptr[u + 1], a power of two, are user u's."""
    cdef Py_ssize_t user, j
    cdef uint64_t mask
    for user in range(indptr.shape[0] - 1):
        mask = <uint64_t>(filter_indptr[user + 1] - filter_indptr[user]) * 64 - 1
        for j in range(indptr[user], indptr[user + 1]):
            bits[filter_indptr[user] + ((items[j] & mask) >> 6)] |= <uint64_t>1 << (items[j] & 63)
