/* Ranking kernels for every instruction set in one build, and their choice at run time. */

#include "_ranking_kernels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Of a block of items, interleaved: stays in a second-level cache while all users pass. */
#ifndef BLOCK_BYTES
#define BLOCK_BYTES (512 << 10)
#endif
/* Of a tile's row of scores: ROWS such rows stay in a first-level cache. */
#define TILE_ROW_BYTES 1024
/* More tasks than threads, so that a thread which is slower or starts later takes fewer; but a task packs the items
 * that it multiplies, and this is lost time unless many groups of users pass them. */
#define TASKS_PER_THREAD 4
#define LEAST_TASK_GROUPS 32
#define ALIGNMENT 64

#ifdef __GNUC__
#define NOINLINE __attribute__((noinline))
#define UNROLL _Pragma("GCC unroll 16")
#else
#define NOINLINE
#define UNROLL
#endif

typedef struct {
    ptrdiff_t rows; /* users in a group */
    size_t (*space_bytes)(ptrdiff_t width, ptrdiff_t block_items);
    void (*start_group)(const ranking_query *query, ptrdiff_t group, void *memory);
    void (*run_task)(const ranking_query *query, ptrdiff_t first_item, ptrdiff_t last_item, ptrdiff_t block_items,
                     ptrdiff_t first_group, ptrdiff_t last_group, void *memory);
} ranking_kernel;

static inline ptrdiff_t smaller(ptrdiff_t a, ptrdiff_t b)
{
    return a < b ? a : b;
}

static inline ptrdiff_t divide_up(ptrdiff_t n, ptrdiff_t by)
{
    return (n + by - 1) / by;
}

static inline ptrdiff_t round_up(ptrdiff_t n, ptrdiff_t multiple)
{
    return divide_up(n, multiple) * multiple;
}

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

/* ROWS x VECTORS sums, the items' vectors and one number of a user fill the registers: 16 of them up to AVX2. */
#define TARGET
#define VECTOR_BYTES 0
#define ROWS 4
#define VECTORS 4
#define NUMBER float
#define INTEGER int32_t
#define NAME(x) x##_float_scalar
#include "_ranking_level.h"
#define NUMBER double
#define INTEGER int64_t
#define NAME(x) x##_double_scalar
#include "_ranking_level.h"
#undef VECTOR_BYTES
#undef ROWS
#undef VECTORS

#ifdef __GNUC__ /* vector extensions: GCC and Clang */
#define VECTOR_BYTES 16
#ifdef __aarch64__ /* 32 registers */
#define VECTORS 4
#define ROWS 6
#else
#define VECTORS 2
#define ROWS 4
#endif
#define NUMBER float
#define INTEGER int32_t
#define NAME(x) x##_float_vector
#include "_ranking_level.h"
#define NUMBER double
#define INTEGER int64_t
#define NAME(x) x##_double_vector
#include "_ranking_level.h"
#undef VECTOR_BYTES
#undef ROWS
#undef TARGET

#ifdef __x86_64__
#define TARGET __attribute__((target("avx2,fma")))
#define VECTOR_BYTES 32
#define ROWS 6
#define NUMBER float
#define INTEGER int32_t
#define NAME(x) x##_float_avx2
#include "_ranking_level.h"
#define NUMBER double
#define INTEGER int64_t
#define NAME(x) x##_double_avx2
#include "_ranking_level.h"
#undef VECTOR_BYTES
#undef ROWS
#undef TARGET

#define TARGET __attribute__((target("avx512f,fma")))
#define VECTOR_BYTES 64
#define ROWS 12
#define NUMBER float
#define INTEGER int32_t
#define NAME(x) x##_float_avx512
#include "_ranking_level.h"
#define NUMBER double
#define INTEGER int64_t
#define NAME(x) x##_double_avx512
#include "_ranking_level.h"
#endif
#endif

static const struct {
    const char *name;
    const ranking_kernel *of_float, *of_double;
} levels[] = {
    {"scalar", &kernel_float_scalar, &kernel_double_scalar},
#ifdef __GNUC__
    {"vector", &kernel_float_vector, &kernel_double_vector},
#ifdef __x86_64__
    {"avx2", &kernel_float_avx2, &kernel_double_avx2},
    {"avx512", &kernel_float_avx512, &kernel_double_avx512},
#endif
#endif
};

const char *ranking_level_name(int level)
{
    if (level < 0 || level >= (int)(sizeof levels / sizeof levels[0]))
        return NULL;
#if defined(__GNUC__) && defined(__x86_64__)
    __builtin_cpu_init();
    if (level >= 2 && !(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")))
        return NULL;
    if (level >= 3 && !__builtin_cpu_supports("avx512f"))
        return NULL;
#endif
    return levels[level].name;
}

int ranking_run(const ranking_query *query, int level, size_t number_size, int num_threads)
{
    const ranking_kernel *kernel = number_size == sizeof(float) ? levels[level].of_float : levels[level].of_double;
    ptrdiff_t vector_bytes = (ptrdiff_t)number_size * (query->width ? query->width : 1);
    ptrdiff_t most_items = BLOCK_BYTES / vector_bytes > 32 ? BLOCK_BYTES / vector_bytes : 32;
    /* blocks of the same size, in whole panels of any level */
    ptrdiff_t block_items = round_up(divide_up(query->n_items, divide_up(query->n_items, most_items)), 32);
    ptrdiff_t n_groups = divide_up(query->n_users, kernel->rows);
    /* A user's best items are found by one thread, since they take in the items in order; counts only add up. */
    ptrdiff_t task_items = query->k ? query->n_items : block_items;
    ptrdiff_t item_tasks = divide_up(query->n_items, task_items);
    ptrdiff_t user_tasks = smaller(divide_up((ptrdiff_t)TASKS_PER_THREAD * num_threads, item_tasks),
                                   n_groups / LEAST_TASK_GROUPS);
    ptrdiff_t for_all_threads = smaller(divide_up(num_threads, item_tasks), n_groups);
    user_tasks = user_tasks > for_all_threads ? user_tasks : for_all_threads;
    num_threads = (int)smaller(num_threads, item_tasks * user_tasks);
    int failed = 0;
    #pragma omp parallel num_threads(num_threads) reduction(|:failed)
    {
        char *allocated = malloc(kernel->space_bytes(query->width, block_items) + ALIGNMENT);
        char *memory = allocated + (ALIGNMENT - (uintptr_t)allocated % ALIGNMENT) % ALIGNMENT;
        failed = allocated == NULL;
        ptrdiff_t group, task;
        if (!query->k) {
            #pragma omp for schedule(static)
            for (group = 0; group < n_groups; group++)
                if (allocated)
                    kernel->start_group(query, group, memory);
        }
        #pragma omp for schedule(dynamic)
        for (task = 0; task < item_tasks * user_tasks; task++) {
            ptrdiff_t first_item = 1 + task / user_tasks * task_items, part = task % user_tasks;
            ptrdiff_t last_item = smaller(first_item + task_items, query->n_items + 1);
            if (allocated)
                kernel->run_task(query, first_item, last_item, block_items, n_groups * part / user_tasks,
                                 n_groups * (part + 1) / user_tasks, memory);
        }
        free(allocated);
    }
    return failed ? -1 : 0;
}
