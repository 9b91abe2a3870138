/* Ranking: the division of the work among threads. ranking_isa.h has the work, compiled once per instruction set. */

#include "ranking_kernels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "dispatch.h"

/* Of an item block, packed: it stays in a second-level cache while all row blocks meet it. */
#ifndef BLOCK_BYTES
#define BLOCK_BYTES (512 << 10)
#endif
/* Of a tile's row of scores: ROWS such rows stay in a first-level cache. */
#define TILE_ROW_BYTES 1024
/* More tasks than threads, so that a thread which is slower or starts later takes fewer; but a task packs the items
 * that it multiplies, and this is lost time unless many row blocks meet them. */
#define TASKS_PER_THREAD 4
#define MIN_TASK_ROW_BLOCKS 32
#define ALIGNMENT 64
/* Sparse entries are few and far apart: without asking for them ahead, each would be waited for. */
#define ENTRIES_AHEAD 64

typedef struct {
    ptrdiff_t rows; /* users in a row block */
    size_t (*workspace_bytes)(ptrdiff_t depth, ptrdiff_t block_items);
    void (*score_targets)(const ranking_args *args, ptrdiff_t row_block, void *memory);
    void (*run_task)(const ranking_args *args, ptrdiff_t first_item, ptrdiff_t last_item, ptrdiff_t block_items,
                     ptrdiff_t first_row_block, ptrdiff_t last_row_block, void *memory);
} ranking_kernel;

/* Return the first of sorted ids in start .. end that is not below id, or end. No branch depends on the ids. */
static inline const int32_t *first_not_below(const int32_t *start, const int32_t *end, int64_t id)
{
    ptrdiff_t left = end - start;
    while (left > 0) {
        ptrdiff_t half = (left + 1) / 2;
        start += start[half - 1] < id ? half : 0;
        left -= half;
    }
    return start;
}

/* Products in a score: one for each number of a vector, and one for the bias. */
static inline ptrdiff_t depth_of(const ranking_args *args)
{
    return args->width + (args->bias != NULL);
}

#define ISA_SOURCE "ranking_isa.h"
#define NUMBER float
#define INTEGER int32_t
#include "each_isa.h"
#undef NUMBER
#undef INTEGER
#define NUMBER double
#define INTEGER int64_t
#include "each_isa.h"

#define KERNELS(isa) {&kernel_float_##isa, &kernel_double_##isa}
static const ranking_kernel *const kernels[][2] = {INSTRUCTION_SETS(KERNELS)};

int ranking_run(const ranking_args *args, int isa, size_t number_size, int num_threads)
{
    const ranking_kernel *kernel = kernels[isa][number_size == sizeof(double)];
    ptrdiff_t vector_bytes = (ptrdiff_t)number_size * larger(depth_of(args), 1);
    ptrdiff_t max_items = larger(BLOCK_BYTES / vector_bytes, 32);
    /* blocks of the same size, in whole panels of any instruction set */
    ptrdiff_t block_items = round_up(divide_up(args->n_items, divide_up(args->n_items, max_items)), 32);
    ptrdiff_t n_row_blocks = divide_up(args->n_users, kernel->rows);
    /* A user's best items are found by one thread, since they take in the items in order; counts only add up. */
    ptrdiff_t task_items = args->k ? args->n_items : block_items;
    ptrdiff_t item_tasks = divide_up(args->n_items, task_items);
    ptrdiff_t user_tasks = smaller(divide_up((ptrdiff_t)TASKS_PER_THREAD * num_threads, item_tasks),
                                   n_row_blocks / MIN_TASK_ROW_BLOCKS);
    user_tasks = larger(user_tasks, smaller(divide_up(num_threads, item_tasks), n_row_blocks));
    num_threads = (int)smaller(num_threads, item_tasks * user_tasks);
    int failed = 0;
    #pragma omp parallel num_threads(num_threads) reduction(|:failed)
    {
        char *allocated = malloc(kernel->workspace_bytes(depth_of(args), block_items) + ALIGNMENT);
        char *memory = allocated + (ALIGNMENT - (uintptr_t)allocated % ALIGNMENT) % ALIGNMENT;
        failed = allocated == NULL;
        ptrdiff_t row_block, task;
        if (!args->k) {
            #pragma omp for schedule(static)
            for (row_block = 0; row_block < n_row_blocks; row_block++)
                if (allocated)
                    kernel->score_targets(args, row_block, memory);
        }
        #pragma omp for schedule(dynamic)
        for (task = 0; task < item_tasks * user_tasks; task++) {
            ptrdiff_t first_item = 1 + task / user_tasks * task_items, part = task % user_tasks;
            ptrdiff_t last_item = smaller(first_item + task_items, args->n_items + 1);
            if (allocated)
                kernel->run_task(args, first_item, last_item, block_items, n_row_blocks * part / user_tasks,
                                 n_row_blocks * (part + 1) / user_tasks, memory);
        }
        free(allocated);
    }
    return failed ? -1 : 0;
}
