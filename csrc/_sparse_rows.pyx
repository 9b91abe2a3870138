"""Kernel of tslrec_min.recommenders.sparse_rows: sums of sparse rows with weights, row by row (Gustavson).

Each thread has a number for every item, to which the rows are added, and a bit for every item, from which the items
come out in rising order without a sort. Both are zero before and after each user. The first pass over the rows only
sets bits, to find out how much room the results need.
"""

from cython.parallel cimport prange, threadid
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.string cimport memset


cdef extern from *:
    """
    /* Return the place of the lowest bit that is set in a word that isn't 0. */
    static inline int lowest_bit(uint64_t word)
    {
    #ifdef __GNUC__
        return __builtin_ctzll(word);
    #else
        int place = 0;
        for (; !(word & 1); word >>= 1)
            place++;
        return place;
    #endif
    }
    """
    int lowest_bit(uint64_t word) noexcept nogil


cdef struct Rows:  # the sparse matrix, and the users' entries; row numbers of the matrix are items
    const int64_t* indptr
    const int32_t* items
    const int64_t* user_indptr
    const int32_t* user_items


cdef Rows rows_of(const int64_t[::1] user_indptr, const int32_t[::1] user_items, const int64_t[::1] indptr,
                  const int32_t[::1] items) noexcept:
    cdef Rows rows
    rows.indptr, rows.user_indptr = &indptr[0], &user_indptr[0]
    rows.items = &items[0] if items.shape[0] else NULL
    rows.user_items = &user_items[0] if user_items.shape[0] else NULL
    return rows


cdef int64_t count_row(const Rows* rows, Py_ssize_t user, uint64_t* bits, Py_ssize_t n_words) noexcept nogil:
    """Return how many different items there are in the rows of a user's entries."""
    cdef Py_ssize_t entry, j
    cdef uint64_t bit
    cdef uint64_t* word
    cdef int64_t count = 0
    for entry in range(rows.user_indptr[user], rows.user_indptr[user + 1]):
        for j in range(rows.indptr[rows.user_items[entry]], rows.indptr[rows.user_items[entry] + 1]):
            word = bits + (rows.items[j] >> 6)
            bit = <uint64_t>1 << (rows.items[j] & 63)
            count += (word[0] & bit) == 0
            word[0] |= bit
    if count:
        memset(bits, 0, n_words * sizeof(uint64_t))
    return count


ctypedef fused number:
    float
    double


cdef void add_row(const Rows* rows, Py_ssize_t user, const double* weights, const number* row_values, uint64_t* bits,
                  Py_ssize_t n_words, double* sums, int32_t* items, float* values) noexcept nogil:
    """Write the items of one user and their sums."""
    cdef Py_ssize_t entry, j
    cdef Py_ssize_t place = 0
    cdef int32_t item
    cdef uint64_t word
    for entry in range(rows.user_indptr[user], rows.user_indptr[user + 1]):
        for j in range(rows.indptr[rows.user_items[entry]], rows.indptr[rows.user_items[entry] + 1]):
            item = rows.items[j]
            bits[item >> 6] |= <uint64_t>1 << (item & 63)
            sums[item] += weights[entry] * row_values[j]
    for j in range(n_words):
        word = bits[j]
        while word:
            item = <int32_t>(j * 64 + lowest_bit(word))
            word &= word - 1
            items[place] = item
            values[place] = <float>sums[item]
            sums[item] = 0
            place += 1
        bits[j] = 0


def count_items(const int64_t[::1] indptr, const int32_t[::1] items, const int64_t[::1] row_indptr,
                const int32_t[::1] row_items, uint64_t[:, ::1] bits, int64_t[::1] counts, int num_threads):
    """Fill counts, int64 [B], B >= 1, with the number of different items in the rows items[indptr[b]:indptr[b + 1]].

    bits [num_threads, n] are 0, before and after; item i is bit i % 64 of word i // 64. The caller has checked that
    items are rows of row_indptr, and that there is a bit for each of row_items.
    """
    cdef Py_ssize_t user
    cdef Rows rows = rows_of(indptr, items, row_indptr, row_items)
    for user in prange(counts.shape[0], nogil=True, schedule='dynamic', chunksize=16, num_threads=num_threads):
        counts[user] = count_row(&rows, user, &bits[threadid(), 0], bits.shape[1])


def add_rows(const int64_t[::1] indptr, const int32_t[::1] items, const double[::1] weights,
             const int64_t[::1] row_indptr, const int32_t[::1] row_items, const number[::1] row_values,
             uint64_t[:, ::1] bits, double[:, ::1] sums, const int64_t[::1] out_indptr, int32_t[::1] out_items,
             float[::1] out_values, int num_threads):
    """Fill out_items and out_values, both with at least one entry, with the sums of the rows times the weights of a
    user's entries.

    out_indptr are the offsets of the counts of `count_items`; sums [num_threads, I + 1] are 0, before and after. All
    else is as there.
    """
    cdef Py_ssize_t user
    cdef Rows rows = rows_of(indptr, items, row_indptr, row_items)
    for user in prange(out_indptr.shape[0] - 1, nogil=True, schedule='dynamic', chunksize=16,
                       num_threads=num_threads):
        if out_indptr[user] < out_indptr[user + 1]:
            add_row(&rows, user, &weights[0], &row_values[0], &bits[threadid(), 0], bits.shape[1],
                    &sums[threadid(), 0], &out_items[out_indptr[user]], &out_values[out_indptr[user]])
