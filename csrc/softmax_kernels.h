/* Cross-entropy over all items and its gradients, without the scores of a batch; _full_softmax.pyx calls it. */
#ifndef TSLREC_SOFTMAX_KERNELS_H
#define TSLREC_SOFTMAX_KERNELS_H

#include <stddef.h>
#include <stdint.h>

/* M states and I items of `width` numbers. All arrays are contiguous, rows of d_items d_items_row numbers apart. */
typedef struct {
    ptrdiff_t n_rows, n_items, width; /* M >= 1, I >= 1 */
    const float *states, *items;      /* [M, width], [I, width] */
    const int64_t *targets;           /* [M], in 1..I: item t is row t - 1 */
    double *losses;                   /* [M]; this and the next two are written */
    float *d_states;                  /* [M, width] */
    float *d_items;                   /* [I, width] in the room of softmax_plan's d_items_rows and d_items_row */
    float *shared;                    /* work space of all threads, floats and doubles: softmax_plan has the sizes */
    double *sums;
} softmax_args;

/* How the work is cut, which depends on M, I and the width alone: threads change no result. */
typedef struct {
    ptrdiff_t d_items_rows, d_items_row; /* room for gradients by items, whole register tiles */
    ptrdiff_t chunk_rows, n_chunks;      /* rows whose exponentials are in memory at the same time */
    ptrdiff_t n_blocks, all_blocks;      /* of rows: in a chunk, the last one may have fewer; in all chunks */
    ptrdiff_t n_tiles;                   /* of items */
    ptrdiff_t segment_tiles, n_segments; /* the tiles of a task of `scores`, and how many such parts */
    ptrdiff_t shared, sums, own;         /* numbers of work space: floats and doubles shared, floats of a thread */
} softmax_plan;

/* Tasks, each step's in any order: `prepare` for each block of all rows; then for each chunk `scores` for its blocks
 * and all segments, `finish` for its blocks, and `add_items` for all tiles. */
typedef struct {
    softmax_plan (*plan)(ptrdiff_t n_rows, ptrdiff_t n_items, ptrdiff_t width);
    void (*prepare)(const softmax_args *args, const softmax_plan *plan, ptrdiff_t block);
    void (*scores)(const softmax_args *args, const softmax_plan *plan, ptrdiff_t chunk, ptrdiff_t block,
                   ptrdiff_t segment, float *own);
    void (*finish)(const softmax_args *args, const softmax_plan *plan, ptrdiff_t chunk, ptrdiff_t block);
    void (*add_items)(const softmax_args *args, const softmax_plan *plan, ptrdiff_t chunk, ptrdiff_t tile, float *own);
} softmax_kernel;

extern const softmax_kernel *const softmax_kernels[]; /* in the order of INSTRUCTION_SETS in dispatch.h */

#endif
