"""Kernel of tslrec_min.data.interaction_rows: order by user and time, repeated rows, k-core, text of a split."""

from libc.stdint cimport int32_t, int64_t, uint8_t


cdef extern from "interaction_rows.h" nogil:
    ctypedef struct split_names:
        const uint8_t *user_text
        const uint8_t *item_text
        const int64_t *user_offsets
        const int64_t *item_offsets
        const int32_t* items
        const int64_t *indptr
        const int64_t *ends
        Py_ssize_t n_users, n_parts

    int rows_in_order(const int32_t* users, const int64_t* keys, Py_ssize_t n, Py_ssize_t n_users, int64_t* indptr,
                      int64_t* order)
    Py_ssize_t rows_repeated(const int64_t* order, const int64_t* indptr, Py_ssize_t n_users, const int64_t* keys,
                             const int32_t* items, Py_ssize_t n_items, uint8_t* repeated)
    void rows_of_core(const int32_t* users, const int32_t* items, Py_ssize_t n, int64_t k, int64_t* user_counts,
                      int64_t* item_counts, uint8_t* kept)
    Py_ssize_t split_lines(const split_names* names, Py_ssize_t first, uint8_t* out, Py_ssize_t room,
                           Py_ssize_t* written)


def order(const int32_t[::1] users, const int64_t[::1] keys, int64_t[::1] indptr, int64_t[::1] out):
    """Write rows ordered by (user, key, row); there is at least one, and users are in 0..len(indptr) - 2."""
    cdef int failed
    with nogil:
        failed = rows_in_order(&users[0], &keys[0], users.shape[0], indptr.shape[0] - 1, &indptr[0], &out[0])
    if failed:
        raise MemoryError()


def repeated(const int64_t[::1] order, const int64_t[::1] indptr, const int64_t[::1] keys, const int32_t[::1] items,
             Py_ssize_t n_items, uint8_t[::1] out):
    """Mark rows whose user, key and item an earlier one has, and return how many; order and indptr are `order`'s."""
    cdef Py_ssize_t count
    with nogil:
        count = rows_repeated(&order[0], &indptr[0], indptr.shape[0] - 1, &keys[0], &items[0], n_items, &out[0])
    if count < 0:
        raise MemoryError()
    return count


def core(const int32_t[::1] users, const int32_t[::1] items, int64_t k, int64_t[::1] user_counts,
         int64_t[::1] item_counts, uint8_t[::1] kept):
    """Clear `kept` of users and items with fewer than k rows until there are none; at least one row, with its counts."""
    with nogil:
        rows_of_core(&users[0], &items[0], users.shape[0], k, &user_counts[0], &item_counts[0], &kept[0])


def lines_of_split(const uint8_t[::1] user_text, const int64_t[::1] user_offsets, const uint8_t[::1] item_text,
                   const int64_t[::1] item_offsets, const int32_t[::1] items, const int64_t[::1] indptr,
                   const int64_t[:, ::1] ends, Py_ssize_t first, uint8_t[::1] out):
    """Write the lines of users from `first` on that fit into `out`; return the next user and the bytes written.

    The caller has checked that there is at least one user, item and interaction, and all offsets and ids.
    """
    cdef split_names names
    cdef Py_ssize_t written
    names.user_text, names.user_offsets = &user_text[0], &user_offsets[0]
    names.item_text, names.item_offsets = &item_text[0], &item_offsets[0]
    names.items, names.indptr, names.ends = &items[0], &indptr[0], &ends[0, 0]
    names.n_users, names.n_parts = ends.shape[0], ends.shape[1]
    with nogil:
        first = split_lines(&names, first, &out[0], out.shape[0], &written)
    return first, written
