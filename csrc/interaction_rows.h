/* Passes over all interactions: their order by user and time, repeated rows, the k-core, and the text of a split. */
#ifndef TSLREC_INTERACTION_ROWS_H
#define TSLREC_INTERACTION_ROWS_H

#include <stddef.h>
#include <stdint.h>

/* Rows, and perhaps where each user's begin. */
typedef struct {
    int32_t *users, *items; /* [n], users in 0..n_users - 1 */
    int64_t *keys; /* [n], or NULL: all equal */
    int64_t *indptr; /* [n_users + 1], or NULL */
    ptrdiff_t n, n_users;
} row_columns;

/* Write rows in the order of (user, key, place), and their indptr; returns 0, or -1 without memory. `room` has 16 bytes a
 * row. The result does not depend on the threads. */
int rows_by_user(const row_columns *from, const row_columns *to, void *room, int threads);

/* Set repeated[row], which is 0, where an earlier row has the same user, key and item; returns how many, or -1 without
 * memory. Rows are those of rows_by_user, items in 0..n_items - 1. */
ptrdiff_t rows_repeated(const row_columns *rows, ptrdiff_t n_items, uint8_t *repeated);

/* Clear kept[row] of users and items with fewer than k rows, until none is left. Rows are those of rows_by_user; the
 * counts are 0, and then those of what is left. */
void rows_of_core(const row_columns *rows, int64_t k, int64_t *user_counts, int64_t *item_counts, uint8_t *kept);

/* Write the kept rows of these users, [to->n_users], one after the other from the places in to->indptr on:
 * the numbers of their items, and keys. */
void rows_taken(const row_columns *from, const uint8_t *kept, const int64_t *users, const int32_t *numbers,
                const row_columns *to, int threads);

typedef struct {
    const uint8_t *user_text, *item_text;
    const int64_t *user_offsets, *item_offsets; /* [n_users + 1], [n_items + 1], where each name begins */
    const int32_t *items; /* from 1 */
    const int64_t *indptr; /* [n_users + 1] */
    const int64_t *ends; /* [n_users, n_parts], where the parts of a history end */
    ptrdiff_t n_users, n_items, n_parts;
} split_names;

/* Write lines "user TAB item item TAB item ... LF" of users from `first` on while they fit into `room` bytes; returns the
 * first user that does not, and how many bytes were written. */
ptrdiff_t split_lines(const split_names *names, ptrdiff_t first, uint8_t *out, ptrdiff_t room, ptrdiff_t *written);

#endif
