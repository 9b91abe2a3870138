/* Cross-entropy over all items: what is the same for every instruction set. softmax_isa.h has the work. */

#include "softmax_kernels.h"

#include <math.h>
#include <string.h>

#include "dispatch.h"
#include "exponential.h"

/* A register tile is ROWS x VECTORS sums, which with the vectors of a step and one number fill 16 registers. */
#define ROWS 6
#define VECTORS 2
#define BLOCK 96 /* rows of states that a task of `scores` takes: whole register tiles both ways */
#define LINE 16  /* numbers of a cache line */
#define TILE 96  /* items: their vectors, and exponentials for a block, stay in a second-level cache */
#define SEGMENTS 8
/* Of the exponentials of a chunk, which are written and read once: a part of a third-level cache. */
#define CHUNK_BYTES (10 << 20)
#define MOST_BLOCKS 4 /* in a chunk */
#define PADDING 16    /* keeps rows of exponentials apart from multiples of powers of two; a cache line */
/* A row's scores count from a reference, at first its target's score. It is raised to the largest score of a tile that
 * is further above it than this; so e^(score - reference) < 3e17, and references hardly ever change. */
#define SLACK 40.0f
#define LEAST (-80.0f) /* e^LEAST = 2e-35, beside a sum of at least 1, counts as 0 */
_Static_assert(BLOCK % ROWS == 0 && BLOCK % 32 == 0 && TILE % ROWS == 0, "register tiles fill blocks and tiles");

/* Where things lie in the shared work space. */
typedef struct {
    float *exponentials; /* [I, stride]: of an item, for the rows of a chunk, e^(score - reference); 0 of the target */
    ptrdiff_t stride;
    float *references;   /* [tiles, chunk_rows]: what each tile's exponentials count from */
    float *largest;      /* [chunk_rows]: the last and largest reference of the row */
    float *target_share; /* [chunk_rows]: minus the gradient by the target's score */
    float *weighted;     /* panels of [chunk_rows, COLUMNS]: states / the sum of exponentials */
    float *panels;       /* [all blocks, BLOCK / COLUMNS, width, COLUMNS]: the states, turned */
    float *target_scores; /* [M, rounded up to blocks] */
    float *d_states;     /* [segments, chunk_rows, padded width]: sums of exponentials times items */
} softmax_places;

static inline ptrdiff_t rows_of(const softmax_args *args, const softmax_plan *plan, ptrdiff_t chunk)
{
    return smaller(plan->chunk_rows, args->n_rows - chunk * plan->chunk_rows);
}

/* Return the numbers of the shared work space; fill `places` unless it is NULL. `columns`: width, in register tiles. */
static ptrdiff_t lay_out(ptrdiff_t n_rows, ptrdiff_t n_items, ptrdiff_t width, const softmax_plan *plan,
                         ptrdiff_t columns, float *shared, softmax_places *places)
{
    const ptrdiff_t stride = plan->chunk_rows + PADDING, all_rows = round_up(n_rows, BLOCK);
    const ptrdiff_t sizes[] = {
        round_up(n_items, ROWS) * stride, plan->n_tiles * plan->chunk_rows, plan->chunk_rows, plan->chunk_rows,
        plan->chunk_rows * columns, all_rows * width, all_rows, plan->n_segments * plan->chunk_rows * columns};
    float *starts[sizeof sizes / sizeof *sizes] = {NULL};
    ptrdiff_t total = 0;
    for (size_t part = 0; part < sizeof sizes / sizeof *sizes; part++) {
        starts[part] = places == NULL ? NULL : shared + total;
        total += round_up(sizes[part], PADDING);
    }
    if (places != NULL)
        *places = (softmax_places){starts[0], stride, starts[1], starts[2], starts[3], starts[4], starts[5],
                                   starts[6], starts[7]};
    return total;
}

static softmax_places places_of(const softmax_args *args, const softmax_plan *plan)
{
    softmax_places places;
    lay_out(args->n_rows, args->n_items, args->width, plan, plan->d_items_row, args->shared, &places);
    return places;
}

#define NUMBER float
#define ISA_SOURCE "softmax_isa.h"
#include "each_isa.h"

#define KERNEL(isa) &kernel_float_##isa
const softmax_kernel *const softmax_kernels[] = {INSTRUCTION_SETS(KERNEL)};
