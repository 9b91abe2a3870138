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
        Py_ssize_t n_users, n_items, n_parts

    ctypedef struct row_columns:
        int32_t* users
        int32_t* items
        int64_t* keys
        int64_t* indptr
        Py_ssize_t n, n_users

    int rows_by_user(const row_columns* rows, const row_columns* to, void* room, int threads)
    Py_ssize_t rows_repeated(const row_columns* rows, Py_ssize_t n_items, uint8_t* repeated)
    void rows_of_core(const row_columns* rows, int64_t k, int64_t* user_counts, int64_t* item_counts, uint8_t* kept)
    void rows_taken(const row_columns* rows, const uint8_t* kept, const int64_t* users, const int32_t* numbers,
                    const row_columns* to, int threads)
    Py_ssize_t split_lines(const split_names* names, Py_ssize_t first, uint8_t* out, Py_ssize_t room,
                           Py_ssize_t* written)


cdef row_columns columns_of(const int32_t[::1] users, const int32_t[::1] items, const int64_t[::1] keys,
                            const int64_t[::1] indptr):
    """Return rows for the kernel, which writes only to its outputs; any but the items may be None."""
    cdef row_columns rows
    rows.n = items.shape[0]
    rows.users = NULL if users is None else <int32_t*> &users[0]
    rows.items = <int32_t*> &items[0]
    rows.keys = NULL if keys is None else <int64_t*> &keys[0]
    rows.indptr = NULL if indptr is None else <int64_t*> &indptr[0]
    rows.n_users = 0 if indptr is None else indptr.shape[0] - 1
    return rows


def by_user(const int32_t[::1] users, const int32_t[::1] items, const int64_t[::1] keys, int32_t[::1] users_out,
            int32_t[::1] items_out, int64_t[::1] keys_out, int64_t[::1] indptr, int64_t[:, ::1] room, int threads):
    """Write rows ordered by (user, key, place); at least one, users are in 0..len(indptr) - 2, room is [n, 2]."""
    cdef row_columns rows = columns_of(users, items, keys, indptr)
    cdef row_columns to = columns_of(users_out, items_out, keys_out, indptr)
    cdef int failed
    with nogil:
        failed = rows_by_user(&rows, &to, &room[0, 0], threads)
    if failed:
        raise MemoryError()


def repeated(const int32_t[::1] users, const int32_t[::1] items, const int64_t[::1] keys, Py_ssize_t n_items,
             uint8_t[::1] out):
    """Mark rows whose user, key and item an earlier one has, and return how many; at least one, as from `by_user`."""
    cdef row_columns rows = columns_of(users, items, keys, None)
    cdef Py_ssize_t count
    with nogil:
        count = rows_repeated(&rows, n_items, &out[0])
    if count < 0:
        raise MemoryError()
    return count


def core(const int64_t[::1] indptr, const int32_t[::1] items, int64_t k, int64_t[::1] user_counts,
         int64_t[::1] item_counts, uint8_t[::1] kept):
    """Clear `kept` of users and items with fewer than k rows until there are none; at least one row. Counts are 0."""
    cdef row_columns rows = columns_of(None, items, None, indptr)
    with nogil:
        rows_of_core(&rows, k, &user_counts[0], &item_counts[0], &kept[0])


def taken(const int64_t[::1] indptr, const int32_t[::1] items, const int64_t[::1] keys, const uint8_t[::1] kept,
          const int64_t[::1] users, const int32_t[::1] numbers, const int64_t[::1] indptr_out, int32_t[::1] items_out,
          int64_t[::1] keys_out, int threads):
    """Write the kept rows of users, in their order, with numbers for items; at least one row, and keys may be None."""
    cdef row_columns rows = columns_of(None, items, keys, indptr), to = columns_of(None, items_out, keys_out, indptr_out)
    with nogil:
        rows_taken(&rows, &kept[0], &users[0], &numbers[0], &to, threads)


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
    names.n_items = item_offsets.shape[0] - 1
    names.n_users, names.n_parts = ends.shape[0], ends.shape[1]
    with nogil:
        first = split_lines(&names, first, &out[0], out.shape[0], &written)
    return first, written
