/* What csrc/_ranking.pyx calls; the work itself is in ranking_isa.h, once for every instruction set and type. */

#ifndef TSLREC_RANKING_KERNELS_H
#define TSLREC_RANKING_KERNELS_H

#include <stddef.h>
#include <stdint.h>

/* One call: either the counts of each user's target (k == 0) or each user's k best items. "Numbers" are float or
 * double, the same for all. The caller has checked every id: nothing here is looked at twice. */
typedef struct {
    ptrdiff_t width;             /* numbers in a vector */
    ptrdiff_t n_users;           /* B */
    ptrdiff_t n_items;           /* I */
    const void *states;          /* numbers [B, width] */
    const void *item_table;      /* numbers [I + 1, width], row 0 is padding */
    const void *bias;            /* numbers [I + 1], entry 0 is padding; NULL: none */
    const int64_t *sparse_indptr; /* [B + 1], entries of each user; NULL: none */
    const int32_t *sparse_items; /* rising in each row */
    const void *sparse_values;   /* numbers, one for each of them */
    const int64_t *seen_rows;    /* [B], rows of indptr */
    const int64_t *indptr;       /* user b has seen[indptr[seen_rows[b]]] .. seen[indptr[seen_rows[b] + 1] - 1] */
    const int32_t *seen;         /* rising in each row */
    int64_t *not_finite;         /* out [B], added to: scores that are NaN or infinite */

    const int64_t *targets;      /* [B], 1..I */
    void *target_scores;         /* numbers [B], work space */
    int64_t *greater;            /* out [B] */
    int64_t *equal;              /* out [B] */
    int64_t *n_candidates;       /* out [B] */

    ptrdiff_t k;
    int64_t *best_items;         /* out [B, k], filled with 0 by the caller */
    void *best_scores;           /* out, numbers [B, k], filled with -infinity by the caller */
} ranking_args;

/* Returns 0, or -1 if memory for the threads' work space is lacking. `isa` is the number of an instruction set that
 * this CPU has (dispatch.h), number_size is sizeof(float) or sizeof(double). */
int ranking_run(const ranking_args *args, int isa, size_t number_size, int num_threads);

#endif
