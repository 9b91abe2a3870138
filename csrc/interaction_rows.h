/* Passes over all interactions: their order by user and time, repeated rows, the k-core, and the text of a split. */
#ifndef TSLREC_INTERACTION_ROWS_H
#define TSLREC_INTERACTION_ROWS_H

#include <stddef.h>
#include <stdint.h>

/* Write rows ordered by (user, key, row) to order [n], and where each user's begin to indptr [n_users + 1]. Users are in
 * 0..n_users - 1. Returns 0, or -1 without memory. */
int rows_in_order(const int32_t *users, const int64_t *keys, ptrdiff_t n, ptrdiff_t n_users, int64_t *indptr,
                  int64_t *order);

/* Set repeated[row] where an earlier row has the same user, key and item; returns how many, or -1 without memory. `order`
 * and `indptr` are those of rows_in_order, items in 0..n_items - 1. */
ptrdiff_t rows_repeated(const int64_t *order, const int64_t *indptr, ptrdiff_t n_users, const int64_t *keys,
                        const int32_t *items, ptrdiff_t n_items, uint8_t *repeated);

/* Clear kept[row] of users and items with fewer than k rows, until none is left; the counts are those of all rows. */
void rows_of_core(const int32_t *users, const int32_t *items, ptrdiff_t n, int64_t k, int64_t *user_counts,
                  int64_t *item_counts, uint8_t *kept);

typedef struct {
    const uint8_t *user_text, *item_text;
    const int64_t *user_offsets, *item_offsets; /* [n_users + 1], [n_items + 1], where each name begins */
    const int32_t *items; /* from 1 */
    const int64_t *indptr; /* [n_users + 1] */
    const int64_t *ends; /* [n_users, n_parts], where the parts of a history end */
    ptrdiff_t n_users, n_parts;
} split_names;

/* Write lines "user TAB item item TAB item ... LF" of users from `first` on while they fit into `room` bytes; returns the
 * first user that does not, and how many bytes were written. */
ptrdiff_t split_lines(const split_names *names, ptrdiff_t first, uint8_t *out, ptrdiff_t room, ptrdiff_t *written);

#endif
